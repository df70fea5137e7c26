import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, notify, PitayaError, request } from '../../lib/handler/define.ts'
import { workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const Text = Type.Object({ text: Type.String() })
const room = defineHandlers('room', { pushes: { onText: Text } }, {
  echo: request({ body: Text, response: Text }, (body) => body),
  whoami: request({ response: Type.Object({ uid: Type.String(), color: Type.String() }) }, (_, { session }) => {
    return { uid: session.uid, color: String(session.data.color ?? '') }
  }),
  join: request({ body: Text, response: Text }, async ({ text }, { session }) => {
    await session.bind(text)
    session.set({ color: 'red' })
    await session.pushToFront()
    session.push('onText', { text: 'welcome' })
    return { text: session.uid }
  }),
  fail: request(() => { throw new PitayaError('GAME-1', 'no luck', { why: 'dice' }) }),
  tell: notify({ body: Text }, ({ text }, { session }) => { session.push('onText', { text }) })
})

t.test('a client calls a backend through its frontend, and the session travels along', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: [room] })
  await backend({ handlers: [room] })
  const client = await workingClient(await frontend())
  client.request(1, 'chat.room.echo', { text: 'hi' })
  t.strictSame(await client.answer(1), { text: 'hi' })
  client.request(2, 'chat.room.join', { text: 'ana' })
  const push = await client.message()
  t.strictSame([push.route, push.data.toString()], ['onText', '{"text":"welcome"}'])
  t.strictSame(await client.answer(2), { text: 'ana' })
  for (let id = 3; id < 103; id++) {
    client.request(id, 'chat.room.whoami')
    t.strictSame(await client.answer(id), { uid: 'ana', color: 'red' })
  }
  client.request(200, 'chat.room.fail')
  t.strictSame(await client.answer(200), { code: 'GAME-1', msg: 'no luck', metadata: { why: 'dice' } })
  client.notify('chat.room.tell', { text: 'psst' })
  t.equal((await client.message()).data.toString(), '{"text":"psst"}')
  client.request(201, 'chat.room.nope')
  t.equal((await client.answer(201)).code, 'PIT-404')
  client.request(202, 'game.room.nope')
  t.equal((await client.answer(202)).code, 'PIT-503')
})

import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, PitayaError, request } from '../../lib/handler/define.ts'
import { build, eventually, rawClient, workingClient } from '../helpers/app.ts'
import { logSink } from '../helpers/log.ts'

const room = defineHandlers('room', {
  fail: notify(() => { throw new PitayaError('GAME-1', 'no gold') }),
  strict: notify({ body: Type.Object({ name: Type.String() }) }, () => {}),
  nothing: request({ response: Type.Object({}) }, () => undefined as never),
  undeclared: request((_, { session }) => { session.push('nowhere' as never, {} as never) }),
  expected: request(() => { throw new PitayaError('GAME-2', 'try again') }),
  bind: request(async (_, { session }) => { await session.bind('ana') })
})

async function start (t: Parameters<typeof build>[0], level = 'info') {
  const { logger, lines } = logSink()
  const app = await build(t, { fastify: { logger: { ...logger, level } }, handlers: [room] })
  return { app, found: (msg: string) => lines.filter((line) => line.msg === msg) }
}

t.test('faults of the server are logged, whatever the client was told', async (t) => {
  const { app, found } = await start(t)
  const client = await workingClient(app)
  for (const [id, method] of [[1, 'nothing'], [2, 'undeclared'], [3, 'expected']] as const) {
    client.request(id, `room.${method}`)
    await client.answer(id)
  }
  t.match(found('reply must not be null'), [{ level: 50, route: 'lobby.room.nothing', sessionId: 1 }])
  t.match(found('push "nowhere" is not declared: name it in the pushes of defineHandlers'), [{ level: 50, route: 'lobby.room.undeclared' }])
  t.strictSame(found('try again'), [], 'an error meant for the client is none of the server')
})

t.test('a failed notify is logged, since nobody is answered', async (t) => {
  const { app, found } = await start(t, 'debug')
  const client = await workingClient(app)
  client.notify('room.fail')
  client.notify('room.strict', { name: 1 })
  client.notify('room.nope')
  await eventually(() => found('pitaya/handler: lobby.room.nope not found').length > 0, 'the last of them')
  t.match(found('a notify handler failed'), [{ level: 40, route: 'lobby.room.fail', err: { message: 'no gold', code: 'GAME-1' } }])
  t.match(found('body/name must be string'), [{ level: 20, route: 'lobby.room.strict', field: '/name' }])
  t.match(found('pitaya/handler: lobby.room.nope not found'), [{ level: 20, code: 'PIT_ERR_NOT_FOUND' }])
})

t.test('a route that always fails writes at most a hundred lines a second', async (t) => {
  const { app, found } = await start(t)
  const client = await workingClient(app)
  for (let i = 0; i < 300; i++) client.notify('room.fail')
  client.request(1, 'room.expected')
  await client.answer(1)
  t.ok(found('a notify handler failed').length >= 100 && found('a notify handler failed').length <= 200)
})

t.test('the line of a closed connection names the user and the error', async (t) => {
  const { app, found } = await start(t)
  const ana = await workingClient(app)
  ana.request(1, 'room.bind')
  await ana.answer(1)
  ana.writeHex('09000000')
  await ana.closed()
  const stranger = rawClient(app)
  stranger.writeHex('01000001 78')
  await stranger.closed()
  t.match(found('connection closed'), [
    { uid: 'ana', reason: 'badPacket', error: 'PIT_ERR_PACKET_TYPE', code: 4500 },
    { uid: undefined, reason: 'handshakeRejected', error: 'PIT_ERR_HANDSHAKE', code: 4503 }
  ])
})

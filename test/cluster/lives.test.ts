import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { HandlerSession } from '../../lib/handler/types.ts'
import { build, clusterIn, eventually, workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { natsTest, startNats } from '../helpers/nats.ts'

const kept: HandlerSession[] = []
const room = defineHandlers('room', {
  keep: request((_, { session }) => { kept.push(session) }),
  user: request({ response: Type.String() }, (_, { session }) => (session.handshake.user as { nick: string }).nick)
})

t.test('an address of a session never becomes another session\'s, though its frontend starts anew under its id', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: [room] })
  const app = await frontend({ serverId: 'front' })
  const alice = await workingClient(app)
  alice.request(1, 'chat.room.keep')
  await alice.answer(1)
  await app.close()
  const mallory = await workingClient(await frontend({ serverId: 'front' }))
  t.not(kept[0]!.address, [...(app.pitaya.sessions)][0]?.address)
  kept[0]!.kick('not you')
  mallory.request(1, 'chat.room.nope')
  t.equal((await mallory.answer(1)).code, 'PIT-404', 'still there')
})

t.test('a handshake\'s user is checked by the backend that declares it, where the frontend does not', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: [room], handshake: { user: Type.Object({ nick: Type.String() }) } })
  const app = await frontend()
  const good = await workingClient(app, { user: { nick: 'ana', undeclared: 1 } })
  good.request(1, 'chat.room.user')
  t.equal(await good.answer(1), 'ana')
  const bad = await workingClient(app, { user: { nick: 5 } })
  bad.request(1, 'chat.room.user')
  t.match(await bad.answer(1), { code: 'PIT-400', metadata: { field: 'user/nick' } })
})

t.test('over NATS', natsTest, async (t) => {
  t.test('the id of a server that was killed is free at once, with the default lease', async (t) => {
    const nats = await startNats(t)
    const cluster = { nats: { servers: nats.url } }
    const options = { frontend: false, serverId: 'solo', cluster }
    const killed = await build(t, options)
    // As a killed process: its connection ends, its entry stays.
    await clusterIn(killed).transport.close()
    const startedAt = performance.now()
    const app = await build(t, options)
    t.ok(performance.now() - startedAt < 5000, 'did not wait for the lease')
    t.ok(app.pitaya.isReady)
    await t.rejects(build(t, options), { code: 'PIT_ERR_SERVER_ID' })
  })

  t.test('a close is over in time though nats-server stands still', async (t) => {
    const nats = await startNats(t)
    const app = await build(t, { cluster: { nats: { servers: nats.url } }, handlers: [defineHandlers('me', { bind: request((_, { session }) => session.bind('ana')) })] })
    const client = await app.pitaya.inject()
    await client.request('me.bind')
    nats.signal('SIGSTOP')
    const startedAt = performance.now()
    await app.close()
    t.ok(performance.now() - startedAt < 15_000, `${Math.round(performance.now() - startedAt)} ms`)
    nats.signal('SIGCONT')
    await eventually(() => true, '')
  })
})

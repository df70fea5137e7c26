import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import t from 'tap'
import { createConnectionPair } from '../../lib/agent/memory-connection.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import pitaya from '../../plugins/pitaya.ts'
import { build, eventually, openPair, rawClient } from '../helpers/app.ts'

const room = defineHandlers('room', { pushes: { onText: Type.String() } }, {
  join: request({ body: Type.String() }, (uid, { session }) => session.bind(uid)),
  hang: request({ deadlineMs: 500, concurrent: true }, () => new Promise<void>(() => {}))
})

t.test('it knows its server, and what the server does now', async (t) => {
  const app = await build(t, { serverId: 'lobby-1', handlers: [room], closeMs: 200 })
  t.equal(app.pitaya.serverType, 'lobby')
  t.equal(app.pitaya.serverId, 'lobby-1')
  t.strictSame([...app.pitaya.acceptors], [])
  t.strictSame(app.pitaya.stats, { connections: 0, sessions: 0, running: 0, waiting: 0, abandoned: 0, pending: 0 })
  const client = await app.pitaya.inject()
  const hanging = client.request('room.hang')
  hanging.catch(() => {})
  await eventually(() => app.pitaya.stats.running === 1, 'the handler to run')
  t.match(app.pitaya.stats, { connections: 1, sessions: 1, abandoned: 0, pending: 0 })
  await t.rejects(hanging, { code: 'PIT-504' })
  t.match(app.pitaya.stats, { running: 0, abandoned: 1 })
})

t.test('a push or kick to uids says who was reached', async (t) => {
  const app = await build(t, { handlers: [room], session: { policy: 'allow' } })
  const heard: string[] = []
  const join = async (uid: string) => {
    const client = await app.pitaya.inject()
    client.on('onText', (text) => { heard.push(`${uid} ${text}`) })
    await client.request('room.join', uid)
    return client
  }
  const clients = [await join('ana'), await join('ana'), await join('bob')]
  t.strictSame(await app.pitaya.push(['ana', 'bob', 'eve'], 'onText', 'hi'), { delivered: ['ana', 'bob'], notConnected: ['eve'], unknown: [] })
  t.strictSame(await app.pitaya.push('eve', 'onText', 'hi'), { delivered: [], notConnected: ['eve'], unknown: [] })
  await eventually(() => heard.length === 3, 'three pushes')
  t.strictSame(heard.sort(), ['ana hi', 'ana hi', 'bob hi'])
  await t.rejects(app.pitaya.push('ana', 'onNone', 'hi'), { code: 'PIT_ERR_PUSH_UNKNOWN' })
  await t.rejects(app.pitaya.push('ana', 'onText', 5), { code: 'PIT_ERR_PUSH_BODY' })
  t.strictSame(await app.pitaya.kick(['ana', 'eve'], 'enough'), { delivered: ['ana'], notConnected: ['eve'], unknown: [] })
  await eventually(() => clients[0]!.closed !== undefined && clients[1]!.closed !== undefined, 'both sessions to close')
  t.strictSame(clients[0]!.closed, { code: 4504, reason: 'enough' })
  t.equal(clients[2]!.closed, undefined)
  t.strictSame(await app.pitaya.push('ana', 'onText', 'hi'), { delivered: [], notConnected: ['ana'], unknown: [] })
})

t.test('one session can be pushed to by its id', async (t) => {
  const app = await build(t, { handlers: [room], session: { policy: 'allow' } })
  const clients = [await app.pitaya.inject(), await app.pitaya.inject()]
  for (const client of clients) await client.request('room.join', 'ana')
  const heard: number[] = []
  for (const [i, client] of clients.entries()) client.on('onText', () => { heard.push(i) })
  const [, second] = app.pitaya.sessions.ofUid('ana')
  t.equal(app.pitaya.sessions.get(second!.id)!.push('onText', 'hi'), true)
  await eventually(() => heard.length > 0, 'the push')
  t.strictSame(heard, [1])
})

t.test('before the app is ready no client is taken', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(pitaya, { acceptors: false })
  t.throws(() => openPair(app), /await app\.ready\(\)/)
  await t.rejects(app.pitaya.inject(), /await app\.ready\(\)/)
})

t.test('a client of an acceptor of one\'s own is taken, unless they come too fast or the server closes', async (t) => {
  const app = await build(t, { limits: { connectionsPerSecond: 2 } })
  const open = () => app.pitaya.accept(createConnectionPair().server)
  t.strictSame([open(), open(), open()], [true, true, false])
  t.equal(app.pitaya.stats.connections, 2)
  await app.pitaya.drain({ timeoutMs: 500 })
  t.equal(open(), false)
  t.equal(app.pitaya.stats.connections, 0)
})

t.test('the address of a client in memory is what the test says', async (t) => {
  const app = await build(t)
  await rawClient(app, '2001:db8::1').greet()
  const [session] = app.pitaya.sessions.page(0, 1)
  t.equal(session!.remoteAddress, '2001:db8::1')
  t.equal(session!.ipVersion, 'ipv6')
})

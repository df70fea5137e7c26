import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import t from 'tap'
import { comesBack } from '../../client/backoff.ts'
import type { Client, CloseInfo, PitayaError } from '../../client/client.ts'
import { defineHandlers, notify, request } from '../../lib/handler/define.ts'
import pitaya from '../../plugins/pitaya.ts'
import { build, eventually, rawClient, workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { defer, turn } from '../helpers/core.ts'

/** What keeps a process from ending, apart from what the runner itself has open. */
const resources = (): string[] => process.getActiveResourcesInfo().filter((name) => /^(Timeout|TCP|Pipe.*Server|FS)/.test(name)).sort()

/** Far less than what a close takes that waits for something: `closeMs` is 8 s. */
const IN_TIME_MS = 5000

/** How a client ended; its end sees that a turn later than the server's. */
const closeOf = (client: Pick<Client, 'onClose'>): Promise<CloseInfo> => new Promise((resolve) => { client.onClose(resolve) })

function handlers () {
  const gate = defer<string>()
  const signals: AbortSignal[] = []
  const room = defineHandlers('room', {
    wait: request({ response: Type.String(), deadlineMs: 60_000 }, (_, { signal }) => { signals.push(signal); return gate.promise }),
    echo: request({ body: Type.String(), response: Type.String() }, (text) => text)
  })
  return { gate, signals, room }
}

t.test('close() with 50 clients ends in time, tells every client 4001 and leaves no handle', async (t) => {
  const before = resources()
  const { room } = handlers()
  const app = await build(t, { handlers: [room] })
  let closed = 0
  app.pitaya.sessions.onClose(() => { closed++ })
  const clients = await Promise.all(Array.from({ length: 50 }, () => app.pitaya.inject()))
  const raw = await workingClient(app)
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < IN_TIME_MS, `took ${performance.now() - start} ms`)
  t.equal(closed, 51, 'sessions are closed by then')
  for (const client of clients) t.strictSame(await closeOf(client), { code: 4001, reason: 'server is shutting down' })
  t.strictSame(await raw.closed(), { code: 4001, reason: 'server is shutting down' })
  t.strictSame(raw.packets, [], 'stock clients get no Kick: they may come back')
  t.strictSame(app.pitaya.stats, { connections: 0, sessions: 0, running: 0, waiting: 0, abandoned: 0, pending: 0 })
  await turn()
  t.strictSame(resources(), before)
})

t.test('close() lets running handlers finish, and their answers out, before it closes their clients', async (t) => {
  const { room, gate } = handlers()
  const app = await build(t, { handlers: [room] })
  const client = await app.pitaya.inject()
  const answer = client.request('room.wait')
  const waiting = client.request('room.echo', 'behind it')
  await eventually(() => app.pitaya.stats.waiting === 1, 'a handler to run and a message to wait')
  const closing = app.close()
  await turn()
  t.equal(client.closed, undefined)
  gate.resolve('done')
  t.equal(await answer, 'done')
  t.equal(await waiting, 'behind it')
  await closing
  t.match(await closeOf(client), { code: 4001 })
})

t.test('close() waits no longer than closeMs for handlers that do not end; their signal tells them', async (t) => {
  const { room, signals } = handlers()
  const app = await build(t, { handlers: [room], closeMs: 200 })
  const client = await app.pitaya.inject()
  const answer = client.request('room.wait')
  answer.catch(() => {})
  await eventually(() => app.pitaya.stats.running === 1, 'the handler to run')
  const start = performance.now()
  await app.close()
  const took = performance.now() - start
  t.ok(took >= 140 && took < IN_TIME_MS, `took ${took} ms`)
  t.equal(signals[0]!.aborted, true)
  await t.rejects(answer, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '4005' } })
})

t.test('close() does not wait for clients that read nothing', async (t) => {
  const app = await build(t, { closeMs: 300 })
  const client = await workingClient(app)
  client.end.pause()
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < IN_TIME_MS, `took ${performance.now() - start} ms`)
  t.equal(app.pitaya.stats.connections, 0)
})

t.test('close() before ready, and without any client, is fine', async (t) => {
  const app = Fastify()
  await app.register(pitaya, { acceptors: false })
  await app.close()
  const failing = Fastify()
  await t.rejects(async () => { await failing.register(pitaya, { acceptors: false, limits: { typo: 1 } as any }) }, { code: 'PIT_ERR_OPTIONS' })
  await failing.close()
  const idle = await build(t)
  await idle.close()
  t.equal(idle.pitaya.isDraining, true)
})

t.test('drain() closes clients and takes no more, while HTTP goes on; again it is harmless', async (t) => {
  const { room } = handlers()
  const app = await build(t, { handlers: [room], setUp: (app) => { app.get('/', async () => 'hi') } })
  const client = await app.pitaya.inject()
  t.equal(app.pitaya.isDraining, false)
  const [one, two] = [app.pitaya.drain(), app.pitaya.drain({ timeoutMs: 10_000 })]
  t.equal(app.pitaya.isDraining, true)
  await Promise.all([one, two])
  t.match(await closeOf(client), { code: 4001 })
  const late = rawClient(app)
  await late.closed()
  t.equal((await app.inject('/')).body, 'hi')
  await app.pitaya.drain()
  await app.close()
  await app.pitaya.drain()
})

t.test('a long drain under way does not make close() late', async (t) => {
  const before = resources()
  const { room } = handlers()
  const app = await build(t, { handlers: [room], closeMs: 200 })
  const client = await app.pitaya.inject()
  const answer = client.request('room.wait')
  answer.catch(() => {})
  await eventually(() => app.pitaya.stats.running === 1, 'the handler to run')
  const draining = app.pitaya.drain({ timeoutMs: 60_000 })
  const start = performance.now()
  await app.close()
  await draining
  t.ok(performance.now() - start < IN_TIME_MS, `took ${performance.now() - start} ms`)
  t.match(await closeOf(client), { code: 4005 })
  t.strictSame(resources(), before)
})

t.test('a client that is busy gets its answers before it is closed; one that is not is closed at once', async (t) => {
  const { room, gate } = handlers()
  const app = await build(t, { handlers: [room] })
  const slow = await workingClient(app)
  slow.request(1, 'room.wait')
  slow.request(2, 'room.echo', '"waits behind it"')
  const idle = await workingClient(app)
  await eventually(() => app.pitaya.stats.running === 1, 'the handler to run')
  const draining = app.pitaya.drain()
  t.equal((await idle.closed()).code, 4001)
  slow.request(3, 'room.echo', '"too late"')
  gate.resolve('done')
  t.equal(await slow.answer(1), 'done')
  t.equal(await slow.answer(2), 'waits behind it')
  t.equal((await slow.closed()).code, 4001)
  t.strictSame(slow.packets, [], 'what came after was not begun')
  await draining
})

t.test('clients are told 4001 only if nothing of theirs was begun that is not answered', async (t) => {
  const { room, gate } = handlers()
  const stuck = defineHandlers('stuck', { tell: notify(() => gate.promise) })
  const app = await build(t, { handlers: [room, stuck] })
  const [busy, telling, idle] = [await app.pitaya.inject(), await app.pitaya.inject(), await app.pitaya.inject()]
  const raw = await workingClient(app)
  const asked = [busy.request('room.wait'), busy.request('room.echo', 'waits behind it')]
  telling.notify('stuck.tell')
  asked.push(telling.request('room.echo', 'waits behind a notify'))
  raw.request(1, 'room.wait')
  const ends = asked.map((request) => request.catch((error: unknown) => error))
  await eventually(() => app.pitaya.stats.running === 3 && app.pitaya.stats.waiting === 2, 'three handlers to run')
  await app.pitaya.drain({ timeoutMs: 100 })
  const unknown = { code: '4005', reason: 'server is shutting down: outcome unknown' }
  const [begun, behind, notBegun] = await Promise.all(ends) as PitayaError[]
  t.strictSame([begun!.code, begun!.metadata], ['PIT_ERR_CLIENT_CLOSED', unknown])
  t.strictSame([behind!.code, behind!.metadata], ['PIT_ERR_CLIENT_CLOSED', unknown], 'not told apart')
  t.match(notBegun, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '4001', executed: 'no' } })
  t.equal((await closeOf(busy)).code, 4005)
  t.equal((await raw.closed()).code, 4005)
  t.equal((await closeOf(telling)).code, 4001)
  t.equal((await closeOf(idle)).code, 4001)
  t.ok(comesBack(4005))
})

t.test('a forwarded request that is not answered when its frontend closes was begun', async (t) => {
  const { room } = handlers()
  const cluster = clusterOf(t)
  const backend = await cluster.backend({ handlers: [room] })
  const frontend = await cluster.frontend()
  const client = await frontend.pitaya.inject()
  const asked = client.request('chat.room.wait').catch((error: unknown) => error)
  await eventually(() => backend.pitaya.stats.running === 1, 'the handler to run')
  await frontend.pitaya.drain({ timeoutMs: 100 })
  t.match(await asked, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '4005', executed: undefined } })
})

t.test('closeMs must end before Fastify gives up', async (t) => {
  const register = async (closeMs: number, pluginTimeout?: number) => {
    const app = Fastify({ pluginTimeout })
    t.teardown(() => app.close())
    await app.register(pitaya, { acceptors: false, closeMs })
  }
  await t.rejects(register(10_000), { code: 'PIT_ERR_OPTIONS', message: /closeMs.*10000/ })
  await t.rejects(register(500, 400), { code: 'PIT_ERR_OPTIONS', message: /closeMs.*400/ })
  await register(399, 400)
  await register(1e6, 0)
})

t.test('a client that is in its handshake when the server closes is closed too', async (t) => {
  const gate = defer<void>()
  const app = await build(t, { handshake: { validators: { slow: () => gate.promise } } })
  const client = rawClient(app)
  client.packet(1, '{}')
  await eventually(() => app.pitaya.stats.connections === 1, 'the client')
  await turn()
  await app.close()
  t.match(await client.closed(), { code: 4001 })
  gate.resolve()
  await turn()
  t.equal(app.pitaya.stats.sessions, 0)
})

import { connect } from 'nats'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { NatsOptions } from '../../../lib/cluster/nats-options.ts'
import { natsStore } from '../../../lib/cluster/stores/nats-kv.ts'
import { reconnectDelayMs, RetryClock } from '../../../lib/cluster/transports/nats-connect.ts'
import { NatsTransport } from '../../../lib/cluster/transports/nats.ts'
import type { TransportEvents } from '../../../lib/cluster/transports/transport.ts'
import { createCertificate } from '../../helpers/certificate.ts'
import { freePort } from '../../helpers/free-port.ts'
import { Lateness } from '../../helpers/lateness.ts'
import { natsTest, startNats } from '../../helpers/nats.ts'
import { deadline, Recorder } from '../../helpers/recorder.ts'

const SECRET = 'canary-secret'
const silent: TransportEvents = { onUp () {}, onDown () {}, onFatal () {}, onSlow () {} }
const certificate = createCertificate()
const tlsTest = certificate === undefined ? { skip: 'no openssl on the PATH' } : natsTest

/** `events` gets what happens, a word each; errors come by their text. */
async function open (t: any, options: NatsOptions): Promise<{ transport: NatsTransport, events: Recorder<string> }> {
  const transport = new NatsTransport(options)
  const events = new Recorder<string>()
  t.teardown(() => transport.close())
  await transport.open({
    onUp: () => events.add('up'),
    onDown: () => events.add('down'),
    onFatal: (error) => events.add(`fatal: ${error.message}`),
    onSlow: () => events.add('slow'),
    onError: (error) => events.add(`error: ${(error as Error).message}`)
  })
  return { transport, events }
}

async function until (told: Recorder<string>, isDone: () => boolean): Promise<void> {
  while (!isDone()) await told.take(told.all.length + 1)
}

/** Fails to start with this sentence, which holds no secret. */
async function refuses (t: any, options: NatsOptions, message: RegExp): Promise<void> {
  const error: any = await new NatsTransport(options).open(silent).then(() => undefined, (error) => error)
  t.match(error, { code: 'PIT_ERR_CLUSTER_START', message })
  t.notOk(String(error?.message).includes(SECRET))
}

t.test('where nothing answers, the error says where, and what to do', async (t) => {
  const port = await freePort()
  const advice = 'does not answer: start one with "nats-server -js", or set cluster\\.nats\\.servers'
  await refuses(t, { servers: `127.0.0.1:${port}` }, new RegExp(`^fastify-pitaya: nats-server at 127\\.0\\.0\\.1:${port} ${advice}`))
  await refuses(t, { servers: [`nats://ana:${SECRET}@127.0.0.1:${port}`, `nats://${SECRET}@127.0.0.1:${port}/`] },
    new RegExp(`at 127\\.0\\.0\\.1:${port}, 127\\.0\\.0\\.1:${port} ${advice}`))
  await refuses(t, { servers: 'nats.invalid:4222' }, new RegExp(`at nats\\.invalid:4222 ${advice}`))
  await refuses(t, { servers: '' }, /cluster\.nats\.servers must be host:port/)
})

t.test('credentials are taken from options or URLs; wrong ones are said to be wrong, and not shown', natsTest, async (t) => {
  const server = await startNats(t, { user: 'ana', pass: `${SECRET}/:@1` })
  const host = `127.0.0.1:${server.port}`
  await open(t, { servers: host, user: 'ana', pass: `${SECRET}/:@1` })
  await open(t, { servers: `nats://ana:${encodeURIComponent(`${SECRET}/:@1`)}@${host}` })
  for (const options of [{ servers: host }, { servers: host, user: 'ana', pass: SECRET }, { servers: `nats://ana:${SECRET}@${host}` }, { servers: `${SECRET}@${host}` }]) {
    await refuses(t, options, new RegExp(`nats-server at ${host} refuses the credentials: check cluster\\.nats`))
  }
  await refuses(t, { servers: host, credentials: SECRET }, /credentials/)
  await refuses(t, { servers: host, nkeySeed: SECRET }, /check cluster\.nats/)
  await server.reload({ token: SECRET })
  await open(t, { servers: host, token: SECRET })
  await open(t, { servers: `nats://${SECRET}@${host}` })
})

t.test('TLS is used where it is asked for or offered; each misfit has its sentence', tlsTest, async (t) => {
  const ca = certificate!.cert.toString()
  const [secure, plain] = [await startNats(t, { tls: certificate! }), await startNats(t)]
  const { transport } = await open(t, { servers: secure.url, tls: { ca } })
  await transport.flush()
  await refuses(t, { servers: secure.url }, new RegExp(`TLS with nats-server at localhost:${secure.port} fails \\(DEPTH_ZERO_SELF_SIGNED_CERT\\): check cluster\\.nats\\.tls`))
  await refuses(t, { servers: plain.url, tls: true }, new RegExp(`nats-server at 127\\.0\\.0\\.1:${plain.port} speaks no TLS`))
  await refuses(t, { servers: secure.url, tls: { ca: 'nonsense' } }, /check cluster\.nats\.tls/)
})

t.test('a nats-server without JetStream, and one that cannot keep the store, are said to be', natsTest, async (t) => {
  const [without, one] = [await startNats(t, { jetStream: false }), await startNats(t)]
  const { transport } = await open(t, { servers: without.url })
  await t.rejects(natsStore(transport, 'servers'), { code: 'PIT_ERR_CLUSTER_START', message: /nats-server has no JetStream: start it with "nats-server -js"/ })
  const three = await open(t, { servers: one.url, replicas: 3 })
  await t.rejects(natsStore(three.transport, 'servers'), { code: 'PIT_ERR_CLUSTER_START', message: /does not make the store "servers" \(.*replicas.*\): check cluster\.nats\.replicas/ })
})

t.test('a store that exists is used as it is', natsTest, async (t) => {
  const server = await startNats(t)
  const first = await open(t, { servers: server.url, storage: 'file' })
  const second = await open(t, { servers: server.url, storage: 'memory', replicas: 3 })
  const [a, b] = [await natsStore(first.transport, 'servers'), await natsStore(second.transport, 'servers')]
  const revision = await a.create('k', Buffer.from('v'))
  t.equal((await b.get('k'))?.revision, revision)
  const both = await Promise.all([natsStore(first.transport, 'new'), natsStore((await open(t, { servers: server.url })).transport, 'new')])
  t.equal(both.length, 2)
})

t.test('stores in memory are made again when nats-server was restarted, and watches go on', natsTest, async (t) => {
  const server = await startNats(t)
  const { transport, events } = await open(t, { servers: server.url })
  const store = await natsStore(transport, 'servers')
  const told = new Recorder<string>()
  await store.watch('*', { onPut: ({ key }) => told.add(key), onDelete () {}, onCaughtUp: () => told.add('all') })
  const before = await store.create('k', Buffer.from('v'))
  await told.take(2)
  for (const round of [1, 2, 3]) {
    await server.restart()
    await events.take(2 * round)
    const after = await store.create('k', Buffer.from('v'))
    t.ok(after! > before!)
    t.equal(await store.update('k', Buffer.from('w'), before!), undefined)
    await until(told, () => told.all.filter((word) => word === 'all').length === round + 1)
  }
  t.strictSame(events.all, ['down', 'up', 'down', 'up', 'down', 'up'])
  await store.create('end', Buffer.from('v'))
  await until(told, () => told.all.includes('end'))
})

t.test('a store that is removed under a running server is made again by the next operation', natsTest, async (t) => {
  const server = await startNats(t)
  const { transport } = await open(t, { servers: server.url })
  const store = await natsStore(transport, 'servers')
  const before = await store.create('k', Buffer.from('v'))
  const jsm = await transport.connection.jetstreamManager()
  // Where the store is gone, nats-server does not answer who looks for a key; what comes next makes a new one.
  const look = (): Promise<unknown> => store.get('k').catch((error) => error.code === 'PIT_ERR_STORE' ? store.get('k') : error)
  await jsm.streams.delete('KV_servers')
  t.equal(await look(), undefined)
  await jsm.streams.delete('KV_servers')
  const again = await store.create('k', Buffer.from('v'))
  t.ok(again! > before!)
  await jsm.streams.delete('KV_servers')
  t.strictSame(await store.keys('>'), [])
  await jsm.streams.delete('KV_servers')
  t.equal(await store.update('k', Buffer.from('w'), again!), undefined)
})

t.test('a nats-server that hangs makes calls fail in time, and publishes refused before memory fills', natsTest, async (t) => {
  const server = await startNats(t)
  const { transport } = await open(t, { servers: server.url })
  const store = await natsStore(transport, 'servers')
  t.teardown(() => server.signal('SIGCONT'))
  server.signal('SIGSTOP')
  const start = performance.now()
  // It may answer once more before the signal arrives.
  const calls = async (): Promise<void> => { for (let i = 0; ; i++) await store.create(`k${i}`, Buffer.from('v')) }
  await t.rejects(deadline(calls(), 'a failure'), { code: 'PIT_ERR_STORE' })
  await t.rejects(store.get('k'), { code: 'PIT_ERR_STORE' })
  t.ok(performance.now() - start < 12_000)
  const message = new Uint8Array(1024 * 1024)
  let sent = 0
  while (sent < 500 && transport.publish('x', message)) {
    sent++
    await new Promise(setImmediate)
  }
  t.ok(sent > 50 && sent < 90, `${sent} MiB`)
  server.signal('SIGCONT')
  await deadline(transport.flush(), 'a flush')
  await deadline((async () => { while (!transport.publish('x', message)) await new Promise(setImmediate) })(), 'room')
})

t.test('credentials that are withdrawn end it for good, with a sentence', natsTest, async (t) => {
  const server = await startNats(t, { user: 'ana', pass: SECRET })
  const { events, transport } = await open(t, { servers: server.url, user: 'ana', pass: SECRET })
  await server.reload({ user: 'bob', pass: 'other' })
  t.strictSame(await events.take(2), ['down', 'fatal: nats-server no longer accepts the credentials of cluster.nats'])
  t.equal(transport.isUp, false)
  t.equal(transport.publish('x', Buffer.from('x')), false)
  t.throws(() => transport.subscribe('x', () => {}), { code: 'PIT_ERR_CLUSTER_DOWN' })
  await transport.close()
})

t.test('a subscription that is not permitted is fatal, a publish that is not permitted is told', natsTest, async (t) => {
  const config = 'authorization { users: [ { user: ana, password: x, permissions: { subscribe: "ok.>", publish: "ok.>" } } ] }'
  const server = await startNats(t, { config, jetStream: false })
  const { events, transport } = await open(t, { servers: server.url, user: 'ana', pass: 'x' })
  transport.publish('secret.1', Buffer.from('x'))
  t.match(await events.take(1), [/^error: nats-server does not permit to publish to "secret\.1"/])
  transport.subscribe('secret.2', () => {})
  t.match((await events.take(2))[1], /^fatal: nats-server does not permit a subscription of "secret\.2": check the permissions/)
})

t.test('the bound on a message is what nats-server says', natsTest, async (t) => {
  const server = await startNats(t, { config: 'max_payload: 100000' })
  const { transport, events } = await open(t, { servers: server.url })
  t.equal(transport.maxBytes, 100_000)
  t.throws(() => transport.publish('x', new Uint8Array(100_001)), { code: 'PIT_ERR_RPC_SIZE' })
  const store = await natsStore(transport, 'servers')
  await t.rejects(store.create('k', new Uint8Array(200_000)), { code: 'PIT_ERR_RPC_SIZE' })
  await server.kill()
  await server.start()
  await events.take(2)
  t.equal(transport.isUp, true)
})

t.test('a connection of the host is used, and left open', natsTest, async (t) => {
  const server = await startNats(t)
  const connection = await connect({ servers: server.url, reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  t.teardown(() => connection.close())
  const { transport, events } = await open(t, { connection })
  const got = new Recorder<string>()
  transport.subscribe('x', (data) => got.add(Buffer.from(data!).toString()))
  await transport.flush()
  await server.restart()
  await events.take(2)
  transport.publish('x', Buffer.from('1'))
  await got.take(1)
  await (await natsStore(transport, 'servers')).create('k', Buffer.from('v'))
  await transport.close()
  t.equal(connection.isClosed(), false)
  connection.publish('x', Buffer.from('2'))
  await connection.flush()
  t.strictSame(got.all, ['1'])

  const second = await open(t, { connection })
  await connection.close()
  t.match(await second.events.take(2), ['down', /^fatal: the connection given as cluster\.nats\.connection was closed/])
  await refuses(t, { connection }, /cluster\.nats\.connection is closed/)
})

t.test('a connection that keeps its writer to itself is used by its own publish', natsTest, async (t) => {
  const server = await startNats(t)
  const connection = await connect({ servers: server.url })
  t.teardown(() => connection.close())
  const names = ['publish', 'subscribe', 'flush', 'closed', 'isClosed', 'status', 'jetstream'] as const
  const outer = Object.fromEntries(names.map((name) => [name, (connection[name] as () => unknown).bind(connection)]))
  const { transport } = await open(t, { connection: outer as unknown as NonNullable<NatsOptions['connection']> })
  const got = new Recorder<string>()
  transport.subscribe('x', (data, _, reply) => got.add(`${Buffer.from(data!).toString()} ${reply}`))
  const bytes = Buffer.from('1')
  transport.publish('x', bytes, 'reply')
  bytes.fill(0)
  t.strictSame(await got.take(1), ['1 reply'])
})

t.test('tries to connect spread over a window that grows with the outage', async (t) => {
  for (const [downMs, window] of [[0, 250], [1000, 400], [5000, 2000], [60_000, 5000]] as const) {
    const delays = Array.from({ length: 20_000 }, () => reconnectDelayMs(downMs))
    t.ok(Math.min(...delays) >= 0 && Math.max(...delays) <= window)
    const bins = new Map<number, number>()
    for (const delay of delays) bins.set(Math.floor(delay * 20 / window), (bins.get(Math.floor(delay * 20 / window)) ?? 0) + 1)
    t.equal(bins.size, 20)
    t.ok(Math.max(...bins.values()) < 20_000 * 0.06)
  }
  const clock = new RetryClock()
  t.equal(clock.next(), 0, 'the first connection is tried at once')
})

t.test('a server of the NATS cluster that was not tried yet is tried without waiting', natsTest, async (t) => {
  const [first, second] = [await startNats(t), await startNats(t)]
  const { transport, events } = await open(t, { servers: [first.url, second.url] })
  const [current, other] = transport.connection.getServer().endsWith(`:${first.port}`) ? [first, second] : [second, first]
  const late = new Lateness(t)
  const start = performance.now()
  await current.kill()
  t.strictSame(await events.take(2), ['down', 'up'])
  t.ok(performance.now() - start < 1000 + late.takeSumMs())
  t.ok(transport.connection.getServer().endsWith(`:${other.port}`))
})

t.test('a server that is put out because it stood still is told so', natsTest, async (t) => {
  const server = await startNats(t, { config: 'max_pending: 1MB\nhttp: "127.0.0.1:-1"', jetStream: false })
  const { transport, events } = await open(t, { servers: server.url })
  transport.subscribe('x', () => {})
  await transport.flush()
  const [, monitor] = /http monitor on .*:(\d+)/.exec(server.log.findLast((line) => line.includes('http monitor'))!)!
  const isPutOut = new Int32Array(new SharedArrayBuffer(4))
  const flood = `const { workerData } = require('node:worker_threads')
    const { connect } = require(${JSON.stringify(createRequire(import.meta.url).resolve('nats'))})
    const isPutOut = async () => (await (await fetch('http://127.0.0.1:${monitor}/varz')).json()).slow_consumers > 0
    connect({ servers: ${JSON.stringify(server.url)} }).then(async (nc) => {
      for (let i = 0; i < 1000 && (i % 10 > 0 || !await isPutOut()); i++) {
        nc.publish('x', new Uint8Array(500_000))
        await nc.flush()
      }
      Atomics.store(workerData, 0, 1)
      Atomics.notify(workerData, 0)
      await nc.close()
    })`
  const worker = new Worker(flood, { eval: true, workerData: isPutOut })
  const ended = once(worker, 'exit')
  await once(worker, 'online')
  const start = performance.now()
  t.equal(Atomics.wait(isPutOut, 0, 0, 60_000), 'ok')
  Atomics.wait(isPutOut, 0, 1, Math.max(0, 2500 - (performance.now() - start)))
  t.strictSame(await events.take(3), ['down', 'slow', 'up'])
  await ended
  t.equal(server.log.filter((line) => line.includes('Slow Consumer')).length, 1)
})

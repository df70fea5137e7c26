import t from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import type { MemoryTransport } from '../../lib/cluster/transports/memory.ts'
import pitaya from '../../plugins/pitaya.ts'
import { build, eventually, workingClient, clusterIn } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { logSink } from '../helpers/log.ts'

async function readiness (app: FastifyInstance): Promise<string> {
  const { statusCode, body } = await app.inject('/readyz')
  return `${statusCode} ${(JSON.parse(body) as { status: string }).status}`
}

t.test('healthz answers without credentials, and goes on doing so while the server drains', async (t) => {
  const app = await build(t, { ops: true })
  const client = await workingClient(app)
  const ask = async () => { const { statusCode, body } = await app.inject('/healthz'); return [statusCode, body] }
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
  const drained = app.pitaya.drain({ timeoutMs: 1000 })
  t.equal(app.pitaya.isDraining, true)
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
  await drained
  t.equal((await client.closed()).code, 4001)
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
})

t.test('both take a prefix, and are not there unless asked for', async (t) => {
  const app = await build(t, { ops: { prefix: '/internal' } })
  const without = await build(t)
  for (const path of ['/healthz', '/readyz']) {
    t.equal((await app.inject(`/internal${path}`)).statusCode, 200)
    t.equal((await app.inject(path)).statusCode, 404)
    t.equal((await without.inject(path)).statusCode, 404)
  }
})

t.test('readyz is ok on a server alone, and ends with the start of a drain', async (t) => {
  const app = await build(t, { ops: true })
  t.equal(await readiness(app), '200 ok')
  const drained = app.pitaya.drain({ timeoutMs: 1000 })
  t.equal(await readiness(app), '503 draining')
  await drained
  t.equal(await readiness(app), '503 draining')
})

t.test('readyz says that a server starts until others can find it', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  let early = ''
  app.addHook('onRoute', ({ url, method, handler }) => {
    if (url !== '/readyz' || method !== 'GET') return
    // Over HTTP nobody can ask so early.
    const reply = { code: (status: number) => ({ send: (body: { status: string }) => { early = `${status} ${body.status}` } }) }
    app.addHook('onReady', async () => { await Reflect.apply(handler, app, [{}, reply]) })
  })
  await app.register(pitaya, { acceptors: false, ops: true })
  await app.ready()
  t.equal(early, '503 starting')
  t.equal(await readiness(app), '200 ok')
})

t.test('readyz ends while the cluster cannot be reached, healthz does not', async (t) => {
  const bus = new MemoryBus()
  const cluster = clusterOf(t, { memory: bus })
  const cut = await cluster.frontend({ ops: true })
  const other = await cluster.frontend({ ops: true })
  t.equal(await readiness(cut), '200 ok')
  bus.disconnect(clusterIn(cut).transport as MemoryTransport)
  t.equal(await readiness(cut), '503 unreachable')
  t.equal((await cut.inject('/healthz')).statusCode, 200)
  t.equal(await readiness(other), '200 ok')
  bus.reconnect()
  await eventually(() => clusterIn(cut).isReady, 'it is back')
  t.equal(await readiness(cut), '200 ok')
})

t.test('what orchestrators ask is not logged', async (t) => {
  const { logger, lines } = logSink()
  const app = await build(t, { ops: true, fastify: { logger } })
  const before = lines.length
  await app.inject('/healthz')
  await readiness(app)
  t.equal(lines.length, before)
})

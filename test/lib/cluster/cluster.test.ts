/** A server among others: how it begins and ends, what it tells of, and what it refuses. */
import Fastify from 'fastify'
import t from 'tap'
import { Cluster, type Carrier } from '../../../lib/cluster/cluster.ts'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { MemoryStore } from '../../../lib/cluster/stores/memory.ts'
import { MemoryTransport } from '../../../lib/cluster/transports/memory.ts'
import type { TransportEvents } from '../../../lib/cluster/transports/transport.ts'
import { createError } from '../../../lib/errors.ts'
import { defineHandlers, defineRemotes, request } from '../../../lib/handler/define.ts'
import { resolveOptions } from '../../../lib/options.ts'
import { createRuntime } from '../../../lib/runtime.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import pitaya from '../../../plugins/pitaya.ts'
import { build, clusterIn, eventually, workingClient } from '../../helpers/app.ts'
import { clusterOf } from '../../helpers/cluster.ts'
import { createCore, turn } from '../../helpers/core.ts'
import { lineLog } from '../../helpers/discovery.ts'

interface Test { teardown (fn: () => unknown): void }

/** A cluster by itself, its clock and its carrier in the hands of the test. */
function alone (carrier: Partial<Carrier> = {}, bus = new MemoryBus()) {
  const core = createCore([defineHandlers('room', { join: request(() => {}) })])
  const { log, lines } = lineLog()
  const options = resolveOptions({ serverId: 'one', serverType: 'chat', acceptors: false, cluster: { memory: bus } })
  const runtime = { ...createRuntime(options, [createJsonSerializer()], log), wheel: core.wheel }
  let events: TransportEvents | undefined
  const transport = new MemoryTransport(bus)
  const { open } = transport
  transport.open = async (given) => { events = given; await open.call(transport, given) }
  const parts = { transport, openStore: async (name: string) => new MemoryStore(bus, name), ...carrier }
  return {
    core,
    lines,
    bus,
    transport,
    get events () { return events! },
    open: () => Cluster.open({ runtime, carrier: parts, isShared: true, sessions: core.sessions, service: core.service, version: '1.0.0' })
  }
}

t.test('a server whose stores cannot be opened is not left connected', async (t) => {
  const bus = new MemoryBus()
  const { open, transport } = alone({ openStore: async () => { throw createError('PIT_ERR_CLUSTER_START', ['no JetStream']) } }, bus)
  await t.rejects(open(), { code: 'PIT_ERR_CLUSTER_START', message: 'fastify-pitaya: no JetStream' })
  t.equal(transport.isUp, false)
})

t.test('what comes before the start or after the end is nobody\'s business', async (t) => {
  const one = alone()
  const cluster = await one.open()
  t.equal(cluster.isReady, false)
  t.equal(await cluster.retire(), false)
  one.events.onDown()
  one.events.onUp()
  t.strictSame(one.lines, [])
  await cluster.start()
  t.equal(cluster.isReady, true)
  t.equal(await cluster.retire(), false, 'there is nobody to tell')
  await Promise.all([cluster.close(), cluster.close()])
  await cluster.close()
  t.equal(cluster.isReady, false)
  one.events.onFatal(new Error('late'))
  t.equal(await cluster.retire(), false)
  await t.rejects(cluster.call('game.match.create', Buffer.from('')), { code: 'PIT_ERR_NO_SERVER' })
  await turn()
  t.equal(one.core.wheel.size, 0)
})

t.test('a server closed while it starts is left with nothing', async (t) => {
  const one = alone()
  const cluster = await one.open()
  const starting = cluster.start().catch(() => {})
  await cluster.close()
  await starting
  await turn()
  t.equal(one.core.wheel.size, 0)
  t.equal(cluster.isReady, false)
})

t.test('the end of a server in the cluster is told once to everyone who asks, also later', async (t) => {
  const one = alone()
  const cluster = await one.open()
  t.teardown(() => cluster.close())
  await cluster.start()
  const told: string[] = []
  cluster.onFatal(({ message }) => told.push(`a ${message}`))
  one.events.onFatal(new Error('first'))
  one.events.onFatal(new Error('second'))
  cluster.onFatal(({ message }) => told.push(`b ${message}`))
  t.strictSame(told, ['a first', 'b first'])
  t.equal(one.lines.filter((line) => line.includes('cannot be part of the cluster')).length, 1)
  one.events.onError?.(new Error('mine'))
  one.events.onSlow()
  t.ok(one.lines.includes('a message of another server failed'))
  t.ok(one.lines.some((line) => line.includes('were lost')))
})

t.test('after an outage everything is put back', async (t) => {
  const one = alone()
  const cluster = await one.open()
  t.teardown(() => cluster.close())
  await cluster.start()
  one.bus.disconnect()
  t.equal(cluster.isReady, false)
  await t.rejects(cluster.parts.peers.bind('one', { sessionId: 9, uid: 'ana' }), { code: 'PIT_ERR_CLOSED' }, 'it still reaches itself')
  one.bus.wipe()
  one.bus.reconnect()
  const store = new MemoryStore(one.bus, 'servers')
  await eventually(() => cluster.isReady, 'it is back')
  await eventually(() => cluster.discovery.isRegistered, 'it is registered')
  for (let i = 0; i < 20; i++) await turn()
  t.equal((await store.keys('contract.*')).length, 1)
  t.ok(one.lines.some((line) => line.includes('can be reached again')))
})

t.test('what is refused by its form is refused before it is sent', async (t) => {
  const app = await build(t, { serverId: 'one', serverType: 'game' })
  const rpc = app.pitaya.rpc.bind(app.pitaya) as (...args: any[]) => Promise<Uint8Array>
  const body = Buffer.from('')
  for (const route of ['match', 'match.create', '', 'a.b.c.d', 'game..create', '.match.create', undefined, 5]) {
    await t.rejects(rpc(route, body), { code: 'PIT_ERR_REMOTE', message: /three parts, serverType\.contract\.method/ })
  }
  for (const data of ['text', undefined, { length: 3 }]) await t.rejects(rpc('game.match.create', data), { code: 'PIT_ERR_REMOTE', message: /Uint8Array/ })
  for (const timeoutMs of [0, -1, NaN, Infinity, 1.5, '5']) {
    await t.rejects(rpc('game.match.create', body, { timeoutMs }), { code: 'PIT_ERR_REMOTE', message: /timeoutMs/ })
  }
  await t.rejects(rpc('match.create', body, { serverId: 'one' }), { code: 'PIT-404', metadata: { route: 'match.create' } }, 'short, to one server')
  await t.rejects(rpc('game.match.create', body), { code: 'PIT-404' })
  await t.rejects(rpc('chat.match.create', body), { code: 'PIT_ERR_NO_SERVER' })
})

t.test('the name of the system remotes is reserved', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(pitaya, { acceptors: false })
  const mine = (name: string) => app.pitaya.remotes(defineRemotes(name, { ping: {} }), { ping () {} })
  t.throws(() => mine('sys'), { code: 'PIT_ERR_REMOTE', message: /sys: this name is reserved/ })
  mine('match')
  t.throws(() => mine('match'), { code: 'PIT_ERR_REMOTE', message: /registered twice/ })
  await app.ready()
  t.throws(() => mine('late'), { code: 'PIT_ERR_STARTED' })
})

/** Two frontends and a backend, and what the backend was told of closed sessions. */
async function three (t: Test) {
  const { frontend, backend } = clusterOf(t)
  const closed: string[] = []
  const join = defineHandlers('room', { join: request((_, { session }) => session.bind('ana')) })
  const back = await backend({ serverId: 'z', handlers: [join], setUp: (app) => { app.pitaya.sessions.onClosed(({ uid, frontendId }) => { closed.push(`${frontendId} ${uid}`) }) } })
  return { frontend, back, closed }
}

t.test('a frontend that is gone is cleaned up after by one of those that are left', async (t) => {
  const { frontend, back, closed } = await three(t)
  const [first, second] = [await frontend({ serverId: 'a' }), await frontend({ serverId: 'b', closeMs: 500 })]
  const client = await workingClient(second)
  client.request(1, 'chat.room.join')
  await client.answer(1)
  // It dies: nothing is told of its end, and its lease is renewed no more.
  const { transport, discovery } = clusterIn(second)
  transport.publish = () => false
  await discovery.close()
  await eventually(() => back.pitaya.servers.length === 2 && first.pitaya.servers.length === 2, 'its lease ends')
  await eventually(() => closed.length > 0, 'its session is told of')
  for (let i = 0; i < 20; i++) await turn()
  t.strictSame(closed, ['b ana'])
})

t.test('a server\'s load is told to the others with its lease', async (t) => {
  const { frontend, back } = await three(t)
  const front = await frontend({ serverId: 'a' })
  clusterIn(back).discovery.update({ load: 7 }, true)
  await eventually(() => front.pitaya.servers.find(({ id }) => id === 'z')?.load === 7, 'it is told')
  t.equal(clusterIn(front).pending, 0)
})

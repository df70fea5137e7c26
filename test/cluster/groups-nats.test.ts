/** Groups over a real nats-server: what every member does, and what only a broker can show. */
import t from 'tap'
import { openCarrier } from '../../lib/cluster/carrier.ts'
import { groupKeys } from '../../lib/cluster/names.ts'
import type { TransportEvents } from '../../lib/cluster/transports/transport.ts'
import { testGroups } from '../contracts/groups.ts'
import { type Carrier, type Client, GroupCluster, type GroupServer, openCluster, silent, texts, until } from '../helpers/groups.ts'
import { natsTest, type NatsServer, startNats } from '../helpers/nats.ts'

const MONITOR = { config: 'http: "127.0.0.1:-1"' }

let clusters = 0

function natsCarrier (nats: NatsServer, events: TransportEvents = silent): Carrier {
  const prefix = `g${clusters++}`
  return {
    prefix,
    open: async () => {
      const { transport, openStore } = await openCarrier({ nats: { servers: nats.url }, prefix })
      await transport.open(events)
      return { transport, store: await openStore('groups') }
    }
  }
}

/** What the broker counts of its clients. */
async function counters (nats: NatsServer): Promise<{ messages: number, subscriptions: number }> {
  const [, port] = /http monitor on .*:(\d+)/.exec(nats.log.findLast((line) => line.includes('http monitor'))!)!
  const { connections } = await (await fetch(`http://127.0.0.1:${port}/connz`)).json() as { connections: Connection[] }
  const sum = (of: (connection: Connection) => number): number => connections.reduce((all, connection) => all + of(connection), 0)
  return { messages: sum(({ in_msgs: messages }) => messages), subscriptions: sum(({ subscriptions }) => subscriptions) }
}

interface Connection { in_msgs: number, subscriptions: number }

async function heard (clients: Iterable<Client>, text: string): Promise<void> {
  for (const { client } of clients) await until(`${text} arrived`, () => texts(client).at(-1) === text)
}

async function connectAll (count: number, servers: GroupServer[]): Promise<Client[]> {
  return await Promise.all(Array.from({ length: count }, (_, i) => servers[i % servers.length]!.connect(`u${i}`)))
}

t.test('the contract over a nats-server', natsTest, async (t) => {
  const nats = await startNats(t)
  testGroups(t, 'nats, on the member\'s frontend', async (t, options) => {
    const cluster = new GroupCluster(t, natsCarrier(nats))
    const front = await cluster.add('front', options)
    return openCluster(cluster, front, [front])
  })
  testGroups(t, 'nats, from a backend', async (t, options) => {
    const cluster = new GroupCluster(t, natsCarrier(nats))
    const back = await cluster.add('back', options)
    return openCluster(cluster, back, [await cluster.add('front-1', options), await cluster.add('front-2', options)])
  })
})

t.test('10,000 members in three groups cost a subscription for each group and frontend, and a broadcast one message', natsTest, async (t) => {
  const nats = await startNats(t, MONITOR)
  const cluster = new GroupCluster(t, natsCarrier(nats))
  const [one, two, back] = [await cluster.add('one'), await cluster.add('two'), await cluster.add('back')]
  const idle = await counters(nats)
  const clients = await connectAll(10_000, [one, two])
  const start = performance.now()
  await Promise.all(clients.map(({ uid }, i) => back.groups.add(`room ${i % 3}`, uid)))
  t.comment(`10,000 joins took ${Math.round(performance.now() - start)} ms`)
  const full = await counters(nats)
  t.equal(full.subscriptions - idle.subscriptions, 6)
  t.equal(await back.groups.count('room 1'), 3333)
  const before = await counters(nats)
  for (let i = 0; i < 100; i++) for (const server of [back, one]) await server.groups.broadcast('room 0', 'onText', `${server.id} ${i}`)
  const members = clients.filter((_, i) => i % 3 === 0)
  await until('all arrived', () => members.every(({ client }) => client.frames.length === 200))
  t.equal((await counters(nats)).messages - before.messages, 200)
  t.ok(clients.every(({ client }, i) => i % 3 === 0 || client.frames.length === 0))
  const end = performance.now()
  for (const { client } of clients) client.close('normal')
  await until('all have left', () => cluster.told.length === 20_000)
  t.strictSame(await one.store.keys('>'), [])
  t.comment(`10,000 leaves took ${Math.round(performance.now() - end)} ms`)
  t.equal((await counters(nats)).subscriptions, idle.subscriptions)
})

t.test('1,000 join one group in reasonable time, and a broadcast reaches them in order', natsTest, async (t) => {
  const nats = await startNats(t)
  const cluster = new GroupCluster(t, natsCarrier(nats))
  const [one, two, back] = [await cluster.add('one'), await cluster.add('two'), await cluster.add('back')]
  const clients = await connectAll(1000, [one, two])
  const start = performance.now()
  await Promise.all(clients.map(({ uid }) => back.groups.add('room', uid)))
  const joined = performance.now()
  t.comment(`1,000 joins took ${Math.round(joined - start)} ms`)
  t.ok(joined - start < 10_000)
  const sent = Array.from({ length: 100 }, (_, i) => `text ${i}`)
  await Promise.all(sent.map((text) => back.groups.broadcast('room', 'onText', text)))
  await heard(clients, 'text 99')
  t.comment(`100 broadcasts to 1,000 took ${Math.round(performance.now() - joined)} ms`)
  t.strictSame(new Set(clients.map(({ client }) => texts(client).join())), new Set([sent.join()]))
  await back.groups.removeAll('room')
  t.equal((await back.store.keys('m.>')).length, 0)
  t.equal(cluster.told.length, 2000)
})

t.test('members of a dead frontend are gone, its keys are swept, and a moved session keeps its groups', natsTest, async (t) => {
  const nats = await startNats(t)
  const cluster = new GroupCluster(t, natsCarrier(nats))
  const [one, two, back] = [await cluster.add('one'), await cluster.add('two'), await cluster.add('back')]
  const clients = await connectAll(200, [one, two])
  await Promise.all(clients.map(({ uid }) => back.groups.add('room', uid)))
  const moved = await two.connect('u0')
  const groups = one.groups.handOver('u0')
  clients[0]!.client.close('replaced')
  await two.groups.adopt('u0', groups)
  await cluster.kill(one)
  t.equal(await back.groups.count('room'), 101)
  await back.groups.broadcast('room', 'onText', 'still here')
  await heard([moved, ...clients.filter((_, i) => i % 2 === 1)], 'still here')
  await back.groups.janitor('one')
  t.strictSame(new Set((await back.store.keys('m.>')).map((key) => groupKeys.readMember(key).frontendId)), new Set(['two']))
  t.equal(cluster.told.filter((text) => text.startsWith('leave')).length, 99)
})

t.test('TTL over a nats-server: renewed anywhere, ended everywhere', natsTest, async (t) => {
  const nats = await startNats(t)
  const cluster = new GroupCluster(t, natsCarrier(nats))
  const [one, two, back] = [await cluster.add('one'), await cluster.add('two'), await cluster.add('back')]
  const clients = await connectAll(20, [one, two])
  await back.groups.create('room', { ttlMs: 1000 })
  await Promise.all(clients.map(({ uid }) => back.groups.add('room', uid)))
  cluster.skip(900)
  await two.groups.renew('room')
  cluster.skip(900)
  t.equal(await one.groups.count('room'), 20)
  cluster.skip(5000)
  await until('all have left', () => cluster.told.length === 40)
  await t.rejects(back.groups.members('room'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
})

t.test('a nats-server that comes back empty is filled again, and what was broadcast meanwhile was refused', natsTest, async (t) => {
  const nats = await startNats(t)
  let ups = 0
  const cluster = new GroupCluster(t, natsCarrier(nats, { ...silent, onUp: () => { ups++ } }))
  const [one, two, back] = [await cluster.add('one'), await cluster.add('two'), await cluster.add('back')]
  const servers = [one, two, back]
  const clients = await connectAll(300, [one, two])
  await back.groups.create('empty')
  await one.groups.create('timed', { ttlMs: 60_000 })
  await Promise.all(clients.map(({ uid }) => back.groups.add('room', uid)))
  cluster.told.length = 0
  await nats.kill()
  await until('the loss is seen', () => servers.every(({ transport }) => !transport.isUp))
  for (const { groups } of servers) await t.rejects(async () => await groups.broadcast('room', 'onText', 'lost'), { code: 'PIT_ERR_CLUSTER_DOWN' })
  await t.rejects(one.groups.members('room'), { code: 'PIT_ERR_STORE' })
  await nats.restart({ wipe: true })
  await until('all are back', () => ups === 3)
  const start = performance.now()
  await until('the store is filled', () => Promise.all(servers.map(({ groups }) => groups.reconcile())).then(() => true, () => false))
  t.comment(`300 memberships were put back after ${Math.round(performance.now() - start)} ms`)
  t.equal(await back.groups.count('room'), 300)
  t.equal(await two.groups.count('empty'), 0)
  await two.groups.renew('timed')
  await back.groups.broadcast('room', 'onText', 'again')
  await heard(clients, 'again')
  t.strictSame(new Set(clients.map(({ client }) => client.frames.length)), new Set([1]))
  t.strictSame(cluster.told, [])
})

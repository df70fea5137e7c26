import t from 'tap'
import { encodeEntry } from '../../../lib/cluster/discovery/entry.ts'
import { LeaseDiscovery } from '../../../lib/cluster/discovery/leases.ts'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { MemoryStore } from '../../../lib/cluster/stores/memory.ts'
import { createError } from '../../../lib/errors.ts'
import { TimerWheel } from '../../../lib/timer-wheel.ts'
import { discoveryContract } from '../../contracts/discovery.ts'
import { ClockedCluster, type ClockedServer, lineLog, type Self, selfOf, settle } from '../../helpers/discovery.ts'

/** Renewed each half second: a shorter one may be lost on a busy machine. */
const LEASE_MS = 1500

discoveryContract({
  name: 'memory',
  leaseMs: LEASE_MS,
  async open (t) {
    const bus = new MemoryBus()
    return {
      async create (id, changes) {
        const wheel = new TimerWheel()
        const { log } = lineLog()
        const store = new MemoryStore(bus, 'servers')
        const discovery = new LeaseDiscovery({ store, self: selfOf(id, changes), wheel, log, leaseMs: LEASE_MS, isConnected: () => true })
        t.teardown(async () => {
          await discovery.close()
          wheel.stop()
        })
        return discovery
      }
    }
  }
})

const write = (value: unknown): Uint8Array => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
const idsOf = ({ discovery }: ClockedServer): string[] => discovery.all().map(({ id }) => id)

t.test('a process that was stopped for longer than its lease knows at once, and comes back as another life', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const { incarnation } = b.discovery.self
  b.isStopped = true
  await cluster.pass(15_000)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
  t.notOk(b.discovery.isRegistered)
  t.ok(b.discovery.isStale)
  b.isStopped = false
  await cluster.pass(400)
  t.ok(b.discovery.isRegistered)
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
  t.strictSame(a.witness.changes, ['+b', '-b lease', '+b'])
  t.not(b.discovery.self.incarnation, incarnation)
  t.ok(a.discovery.isAlive('b', b.discovery.self.incarnation))
  t.notOk(a.discovery.isAlive('b', incarnation))
  await cluster.pass(10_000)
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
  t.equal(b.lines.filter((line) => line === 'the lease was lost and taken again').length, 1)
})

t.test('a process that was stopped for less than its lease goes on as if nothing had been', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  for (let i = 0; i < 5; i++) {
    b.isStopped = true
    await cluster.pass(1900)
    b.isStopped = false
    await cluster.pass(1100)
    t.ok(b.discovery.isRegistered)
  }
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
})

t.test('those who could not be heard while this process was stopped are not dropped for it', async (t) => {
  const cluster = new ClockedCluster(t)
  const [, b] = [await cluster.add('a'), await cluster.add('b')]
  b.isStopped = true
  b.store.isDeaf = true
  await cluster.pass(60_000)
  b.isStopped = false
  await cluster.pass(25)
  t.ok(b.discovery.get('a'))
  b.store.isDeaf = false
  await cluster.pass(10_000)
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
})

t.test('while the store is down everyone is kept as last seen', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b, c] = [await cluster.add('a'), await cluster.add('b'), await cluster.add('c')]
  const all = a.discovery.all()
  for (const { store } of cluster.servers) store.isDown = true
  await cluster.pass(2000)
  t.ok(a.discovery.isStale)
  t.strictSame(a.discovery.all(), all)
  await cluster.pass(60_000)
  t.strictSame(idsOf(a), ['b', 'c'])
  t.notOk(a.discovery.isRegistered)
  await c.discovery.close()
  for (const { store } of cluster.servers) store.isDown = false
  await cluster.pass(2000)
  t.notOk(a.discovery.isStale)
  t.ok(a.discovery.isRegistered && b.discovery.isRegistered)
  t.strictSame(idsOf(a), ['a', 'b', 'c'])
  await cluster.pass(2000)
  t.strictSame([...a.witness.changes].sort(), ['+b', '+b', '+c', '-b lease', '-c lease', 'reincarnated'])
  t.strictSame([...b.witness.changes].sort(), ['+a', '+a', '+c', '-a lease', '-c lease', 'reincarnated'])
  t.strictSame(a.lines.filter((line) => line.startsWith('discovery is')),
    ['discovery is stale: servers are kept as they were last seen', 'discovery is fresh again'])
})

t.test('an outage shorter than the lease leaves no trace', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  for (let i = 0; i < 10; i++) {
    for (const { store } of cluster.servers) store.isDown = store.isDeaf = true
    await cluster.pass(1500)
    for (const { store } of cluster.servers) store.isDown = store.isDeaf = false
    await cluster.pass(1500)
  }
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
  t.strictSame([a.discovery.isRegistered, b.discovery.isRegistered, a.discovery.isStale, b.discovery.isStale], [true, true, false, false])
})

t.test('nobody is dropped while the connection is known to be down', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  a.isConnected = false
  await b.discovery.close()
  await cluster.pass(60_000)
  t.strictSame(a.witness.changes, ['+b'])
  a.isConnected = true
  a.discovery.refresh()
  await cluster.pass(3200)
  t.strictSame(a.witness.changes, ['+b'])
  await cluster.pass(300)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
})

t.test('everyone registers again in a store that was wiped, and those who are absent are kept for their lease', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b, c] = [await cluster.add('a'), await cluster.add('b'), await cluster.add('c')]
  const lives = [a.discovery.self.incarnation, b.discovery.self.incarnation]
  await c.discovery.close()
  await cluster.pass(500)
  cluster.bus.wipe()
  await cluster.pass(1100)
  t.strictSame((await cluster.store.keys('*')).sort(), ['a', 'b'])
  t.strictSame(idsOf(a), ['a', 'b', 'c'])
  await cluster.pass(10_000)
  t.strictSame(a.witness.changes, ['+b', '+c', '-c lease'])
  t.strictSame(b.witness.changes, ['+a', '+c', '-c lease'])
  t.strictSame([a.discovery.self.incarnation, b.discovery.self.incarnation], lives)
})

t.test('a store that comes back with older entries is put right by their owners', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const older = [await cluster.entry('a'), await cluster.entry('b')]
  await cluster.pass(7000)
  cluster.bus.disconnect()
  cluster.bus.wipe()
  cluster.bus.reconnect()
  for (const { key, value } of older) await cluster.store.create(key, value)
  await cluster.pass(10_000)
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
  t.ok(a.discovery.isRegistered && b.discovery.isRegistered)
})

t.test('a watch that fell silent is noticed by the silence of those who live', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  a.store.breakWatches()
  await cluster.pass(1000)
  await cluster.add('c')
  await cluster.pass(2600)
  t.strictSame(a.witness.changes, ['+b', '+c'])
  t.strictSame(b.witness.changes, ['+a', '+c'])
})

t.test('what a watch did not tell is seen at the next full list', async (t) => {
  const cluster = new ClockedCluster(t)
  const a = await cluster.add('a')
  a.store.breakWatches()
  const b = await cluster.add('b')
  await cluster.pass(28_000)
  t.strictSame(a.witness.changes, [])
  await cluster.pass(2500)
  t.strictSame(a.witness.changes, ['+b'])
  a.store.breakWatches()
  await b.discovery.leave()
  await cluster.pass(3300)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
  t.equal(a.store.watches, 2)
})

t.test('a watch that cannot be opened again is tried again, and nobody is dropped meanwhile', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a] = [await cluster.add('a'), await cluster.add('b')]
  let refused = 0
  const { watch } = a.store
  a.store.watch = async () => { refused++; throw createError('PIT_ERR_STORE') }
  a.discovery.refresh()
  await cluster.pass(60_000)
  t.ok(a.discovery.isStale)
  t.ok(refused > 100 && refused < 300, `${refused} tries`)
  a.store.watch = watch
  await cluster.pass(10_000)
  t.notOk(a.discovery.isStale)
  t.strictSame(a.witness.changes, ['+b'])
})

t.test('a write whose answer was lost is found again', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const { incarnation } = b.discovery.self
  b.store.losesAnswers = true
  await cluster.pass(2500)
  t.ok(b.discovery.isRegistered)
  b.store.losesAnswers = false
  await cluster.pass(1000)
  t.equal(b.discovery.self.incarnation, incarnation)
  t.strictSame(a.witness.changes, ['+b'])

  b.store.losesAnswers = true
  await cluster.pass(9000)
  t.notOk(b.discovery.isRegistered)
  b.store.losesAnswers = false
  await cluster.pass(1000)
  t.ok(b.discovery.isRegistered)
  t.strictSame(a.witness.changes, ['+b', '-b lease', '+b'])
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
  t.strictSame(a.discovery.get('b'), b.discovery.self)
})

t.test('a lease that ends while its renewal is under way is lost, though the renewal succeeds', async (t) => {
  const cluster = new ClockedCluster(t)
  const [, b] = [await cluster.add('a'), await cluster.add('b')]
  const { incarnation } = b.discovery.self
  const { update } = b.store
  let slow = 2
  b.store.update = async (key, value, revision) => {
    if (slow-- > 0) {
      const until = cluster.now + 5000
      while (cluster.now < until) await settle()
    }
    return await update.call(b.store, key, value, revision)
  }
  await cluster.pass(12_000)
  t.ok(b.discovery.isRegistered)
  t.not(b.discovery.self.incarnation, incarnation)
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
})

t.test('a server whose id was taken over is told to end, and leaves the other alone', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const other = { server: { ...b.discovery.self, incarnation: 'another' }, leaseMs: 3000 }
  await cluster.put('b', encodeEntry(other))
  await cluster.pass(100)
  t.strictSame(b.witness.changes, ['+a', 'fatal'])
  t.match(b.witness.error, { code: 'PIT_ERR_SERVER_ID', message: /"b"/ })
  t.notOk(b.discovery.isRegistered)
  t.strictSame(a.witness.changes, ['+b', '-b lease', '+b'])
  await b.discovery.leave()
  await cluster.pass(1000)
  t.ok(await cluster.store.get('b'))
  t.strictSame(b.witness.changes, ['+a', 'fatal'])
})

t.test('an entry that an operator deleted is written again at once', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const { incarnation } = b.discovery.self
  await cluster.store.delete('b', (await cluster.entry('b')).revision)
  await cluster.pass(100)
  t.strictSame(a.witness.changes, ['+b', '-b left', '+b'])
  t.ok(a.discovery.isAlive('b', incarnation))
})

t.test('what is no entry is ignored with one line, whoever it concerns', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const good = JSON.parse(Buffer.from((await cluster.entry('b')).value).toString()) as Record<string, unknown>
  const bad: Array<[string, unknown]> = [
    ['text', '{"id":'], ['empty', ''], ['null', null], ['list', []], ['other-id', good], ['proto', '{"__proto__":{"id":"proto"}}'],
    ['large', { ...good, id: 'large', filler: 'x'.repeat(500 * 1024) }], ['format', { ...good, id: 'format', format: 2 }],
    ['lease', { ...good, id: 'lease', leaseMs: 1e12 }]
  ]
  for (const [key, value] of bad) {
    await cluster.store.create(key, write(value))
    await cluster.pass(100)
    await cluster.put(key, write(value))
  }
  await cluster.pass(5000)
  t.equal(a.lines.filter((line) => line === 'an entry of discovery was ignored').length, bad.length)
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])

  // In the place of a server that lives: it is written over.
  await cluster.put('b', write('{"no":"entry"}'))
  await cluster.pass(5000)
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
  t.ok(b.discovery.isRegistered)

  // A server that is dead, under another type: not the one that is known.
  await b.discovery.close()
  await cluster.put('b', write({ ...good, type: 'game' }))
  await cluster.pass(4000)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
  t.equal(a.lines.filter((line) => line === 'an entry of discovery was ignored').length, bad.length + 1)
})

t.test('what a dead server left in the store is not taken for life, and is removed', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b, c] = [await cluster.add('a'), await cluster.add('b'), await cluster.add('c')]
  await c.discovery.close()
  await cluster.pass(3500)
  for (let i = 0; i < 10; i++) {
    await cluster.pass(500)
    a.discovery.refresh()
  }
  t.strictSame(a.witness.changes, ['+b', '+c', '-c lease'])
  t.ok(await cluster.store.get('c'))
  await cluster.pass(30_000)
  t.notOk(await cluster.store.get('c'))
  t.strictSame(a.witness.changes, ['+b', '+c', '-c lease'])
  t.strictSame(b.witness.changes, ['+a', '+c', '-c lease'])
  await cluster.add('c')
  t.strictSame(a.witness.changes, ['+b', '+c', '-c lease', '+c'])
})

t.test('each is kept for the lease that it names itself', async (t) => {
  const cluster = new ClockedCluster(t)
  const a = await cluster.add('a')
  const [short, long] = [await cluster.add('short', {}, 1000), await cluster.add('long', {}, 9000)]
  await cluster.pass(20_000)
  await Promise.all([short.discovery.close(), long.discovery.close()])
  await cluster.pass(1200)
  t.strictSame(a.witness.changes, ['+short', '+long', '-short lease'])
  await cluster.pass(5000)
  t.strictSame(a.witness.changes, ['+short', '+long', '-short lease'])
  await cluster.pass(4000)
  t.strictSame(a.witness.changes, ['+short', '+long', '-short lease', '-long lease'])
})

t.test('a crashed server\'s id is held for two thirds of its lease, then taken by one of those who wait', async (t) => {
  const cluster = new ClockedCluster(t)
  const a = await cluster.add('a')
  const first = await cluster.add('b')
  await first.discovery.close()
  const waiting = [await cluster.add('b'), await cluster.add('b'), await cluster.add('b')]
  await cluster.pass(1300)
  t.strictSame(waiting.map(({ isStarted, refusal }) => isStarted || refusal !== undefined), [false, false, false])
  await cluster.pass(900)
  t.equal(waiting.filter(({ isStarted }) => isStarted).length, 1)
  t.strictSame(waiting.flatMap(({ refusal }) => refusal === undefined ? [] : [refusal.code]), ['PIT_ERR_SERVER_ID', 'PIT_ERR_SERVER_ID'])
  t.strictSame(a.witness.changes, ['+b', '-b lease', '+b'])
})

t.test('of two servers with one id, a hundred times at once, exactly one lives', async (t) => {
  const cluster = new ClockedCluster(t)
  for (let i = 0; i < 100; i++) {
    for (let twin = 0; twin < 2; twin++) {
      cluster.create(`s${i}`).start()
    }
  }
  await cluster.pass(2000)
  const living = cluster.servers.filter(({ isStarted }) => isStarted)
  t.equal(living.length, 100)
  t.equal(new Set(living.map(({ discovery }) => discovery.self.id)).size, 100)
  t.equal(cluster.servers.filter(({ refusal }) => refusal?.code === 'PIT_ERR_SERVER_ID').length, 100)
  await cluster.pass(2000)
  for (const { discovery, witness } of living) {
    t.ok(discovery.isRegistered && discovery.all().length === 100 && !witness.heard.includes('fatal'), discovery.self.id)
  }
})

t.test('one write is in hand at a time, and none is left out', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const before = b.store.writes
  for (let load = 1; load <= 100; load++) b.discovery.update({ load }, true)
  await cluster.pass(50)
  t.equal(a.discovery.get('b')?.load, 100)
  t.equal(b.store.writes - before, 2)
  b.store.isDown = true
  b.discovery.update({ load: 5 }, true)
  b.discovery.update({ contract: 'c2' }, true)
  await cluster.pass(50)
  b.store.isDown = false
  b.discovery.update({ load: 6 })
  await cluster.pass(500)
  t.match(a.discovery.get('b'), { load: 6, contract: 'c2' })
  t.equal(b.store.mostWritesInHand, 1)
})

t.test('what changed while it started is written with it or right after', async (t) => {
  const cluster = new ClockedCluster(t)
  const a = await cluster.add('a')
  const first = await cluster.add('b')
  await first.discovery.close()
  const b = await cluster.add('b')
  b.discovery.update({ contract: 'c2' }, true)
  await cluster.pass(3500)
  t.ok(b.isStarted)
  t.equal(a.discovery.get('b')?.contract, 'c2')
})

t.test('a start that fails leaves nothing behind', async (t) => {
  const cluster = new ClockedCluster(t)
  const down = cluster.create('a')
  down.store.isDown = true
  await t.rejects(down.discovery.start(down.witness), { code: 'PIT_ERR_STORE' })
  t.equal(down.wheel.size, 0)

  const first = await cluster.add('b')
  await first.discovery.close()
  for (const end of ['leave', 'close'] as const) {
    const second = await cluster.add('b')
    t.equal(second.wheel.size, 1)
    await second.discovery[end]()
    await settle()
    t.equal(second.refusal?.code, 'PIT_ERR_CLUSTER_START')
    t.equal(second.wheel.size, 0)
  }

  const slow = cluster.create('c')
  slow.start()
  await Promise.all([slow.discovery.leave(), slow.discovery.close()])
  await settle()
  t.equal(slow.refusal?.code, 'PIT_ERR_CLUSTER_START')
  t.strictSame(await cluster.store.keys('*'), ['b'])
  t.equal(slow.wheel.size, 0)
})

t.test('a start that is stopped before it meets the id\'s holder does not wait for it', async (t) => {
  const cluster = new ClockedCluster(t)
  const first = await cluster.add('b')
  await first.discovery.close()
  const second = cluster.create('b')
  second.start()
  await second.discovery.close()
  await settle()
  t.equal(second.refusal?.code, 'PIT_ERR_CLUSTER_START')
  t.equal(second.wheel.size, 0)
})

t.test('a server that cannot be looked up is kept', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  await b.discovery.close()
  const { get } = a.store
  let refused = 0
  a.store.get = async () => { refused++; throw createError('PIT_ERR_STORE') }
  await cluster.pass(10_000)
  t.equal(refused, 3)
  t.strictSame(a.witness.changes, ['+b'])
  a.store.get = get
  await cluster.pass(3500)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
})

t.test('a key that everybody fights for is left for later', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  const { update } = b.store
  b.store.update = async () => undefined
  await cluster.pass(2500)
  t.ok(b.discovery.isRegistered && b.discovery.isStale)
  b.store.update = update
  await cluster.pass(500)
  t.notOk(b.discovery.isStale)
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
})

t.test('after close no timer is left', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a] = [await cluster.add('a'), await cluster.add('b')]
  t.ok(a.wheel.size > 0)
  await a.discovery.leave()
  await a.discovery.close()
  await cluster.pass(100)
  t.equal(a.wheel.size, 0)
})

t.test('leaving does not fail when the store is down, and says so in the log', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  b.store.isDown = true
  await b.discovery.leave()
  t.ok(b.lines.includes('leaving discovery failed: others notice when the lease ends'))
  await cluster.pass(4000)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
})

t.test('leaving finds the entry again whose answer was lost', async (t) => {
  const cluster = new ClockedCluster(t)
  const b = await cluster.add('b')
  b.store.losesAnswers = true
  await cluster.pass(1500)
  b.store.losesAnswers = false
  await b.discovery.leave()
  t.notOk(await cluster.store.get('b'))
})

t.test('a server that left goes on dropping those whose lease ends', async (t) => {
  const cluster = new ClockedCluster(t)
  const [a, b] = [await cluster.add('a'), await cluster.add('b')]
  await a.discovery.leave()
  await b.discovery.close()
  await cluster.pass(3500)
  t.strictSame(a.witness.changes, ['+b', '-b lease'])
})

t.test('a server that others would not accept is refused with the place', async (t) => {
  const cluster = new ClockedCluster(t)
  const make = (changes: Partial<Self>, leaseMs?: number) => () => cluster.create('a', changes, leaseMs)
  const rows: Array<[() => unknown, RegExp]> = [
    [make({ id: 'a.b' }), /\/id/], [make({ id: '' }), /\/id/], [make({ type: '*' }), /\/type/], [make({}, 100), /\/leaseMs/], [make({}, 1.5), /\/leaseMs/],
    [make({ metadata: { big: 'x'.repeat(2000) } }), /\/metadata\/big/], [make({ metadata: { half: '\ud800' } }), /well-formed/],
    [make({ events: Array.from({ length: 64 }, () => 'x'.repeat(64)), metadata: Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, 'x'.repeat(1000)])) }), /16384/]
  ]
  for (const [run, message] of rows) t.throws(run, { code: 'PIT_ERR_OPTIONS', message })
  const a = await cluster.add('a')
  t.throws(() => a.discovery.update({ contract: 'x'.repeat(1000) }), { code: 'PIT_ERR_OPTIONS', message: /\/contract/ })
})

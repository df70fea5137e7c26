import t, { type Test } from 'tap'
import { LeaseDiscovery } from '../../../lib/cluster/discovery/leases.ts'
import { natsStore } from '../../../lib/cluster/stores/nats-kv.ts'
import { NatsTransport } from '../../../lib/cluster/transports/nats.ts'
import { TimerWheel } from '../../../lib/timer-wheel.ts'
import { discoveryContract } from '../../contracts/discovery.ts'
import { inTime, lineLog, type Self, selfOf, Witness } from '../../helpers/discovery.ts'
import { Lateness } from '../../helpers/lateness.ts'
import { type NatsServer, natsTest, startNats } from '../../helpers/nats.ts'
import { startProxy } from '../../helpers/proxy.ts'

/** Renewed each half second: a shorter one may be lost on a busy machine. */
const LEASE_MS = 1500

type MemberOptions = Partial<Self> & { bucket?: string, leaseMs?: number }

/** A server's connection, and what it tells its discovery. */
class Member {
  readonly discovery: LeaseDiscovery
  readonly transport: NatsTransport
  readonly witness = new Witness()
  readonly lines: string[]
  readonly wheel = new TimerWheel()

  private constructor (transport: NatsTransport, discovery: (wheel: TimerWheel) => LeaseDiscovery, lines: string[]) {
    this.transport = transport
    this.discovery = discovery(this.wheel)
    this.lines = lines
  }

  static async open (t: Test, url: string, id: string, { bucket = 'servers', leaseMs = 2000, ...changes }: MemberOptions = {}): Promise<Member> {
    const transport = new NatsTransport({ servers: url })
    const { log, lines } = lineLog()
    await transport.open({ onUp: () => member.discovery.refresh(), onDown () {}, onFatal (error) { throw error }, onSlow () {} })
    const store = await natsStore(transport, bucket)
    const isConnected = (): boolean => transport.isUp
    const self = selfOf(id, changes)
    const member = new Member(transport, (wheel) => new LeaseDiscovery({ store, self, wheel, log, leaseMs, isConnected }), lines)
    t.teardown(async () => {
      await member.discovery.close()
      await store.close()
      await transport.close()
      member.wheel.stop()
    })
    return member
  }

  async start (): Promise<this> {
    await inTime(this.discovery.start(this.witness), `${this.discovery.self.id} starts`)
    return this
  }
}

let shared: Promise<NatsServer> | undefined
/** One for all tests that leave it as it is. */
async function nats (): Promise<NatsServer> {
  shared ??= startNats(t)
  return await shared
}
let clusters = 0

discoveryContract({
  name: 'nats-kv',
  leaseMs: LEASE_MS,
  options: natsTest,
  async open (t) {
    const { url } = await nats()
    const bucket = `contract-${++clusters}`
    return { create: async (id, changes) => (await Member.open(t, url, id, { bucket, leaseMs: LEASE_MS, ...changes })).discovery }
  }
})

t.test('a store that lost everything is filled again, and those who are absent are kept for their lease', natsTest, async (t: Test) => {
  const server = await startNats(t)
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(async (id) => await (await Member.open(t, server.url, id)).start()))
  for (const { discovery, witness } of [a!, b!, c!]) await witness.until(() => discovery.all().length === 3, 'three servers')
  const lives = [a!.discovery.self.incarnation, b!.discovery.self.incarnation]
  await c!.discovery.close()
  await server.restart({ wipe: true })
  await a!.witness.until(() => a!.transport.isUp && a!.witness.heard.slice(-4).includes('b'), 'b after the restart')
  t.strictSame(a!.discovery.all().map(({ id }) => id), ['a', 'b', 'c'])
  await a!.witness.hears('-c lease')
  await b!.witness.hears('-c lease')
  t.strictSame([...a!.witness.changes].sort(), ['+b', '+c', '-c lease'])
  t.strictSame([...b!.witness.changes].sort(), ['+a', '+c', '-c lease'])
  t.strictSame([a!.discovery.self.incarnation, b!.discovery.self.incarnation], lives)
  t.ok(a!.discovery.isRegistered && b!.discovery.isRegistered)
})

t.test('while the store is down everyone is kept as last seen, and after it all are there again', natsTest, async (t: Test) => {
  const server = await startNats(t)
  const [a, b] = [await (await Member.open(t, server.url, 'a', { leaseMs: LEASE_MS })).start(), await (await Member.open(t, server.url, 'b', { leaseMs: LEASE_MS })).start()]
  await a.witness.hears('+b')
  const all = a.discovery.all()
  await server.kill()
  await passes(a.wheel, 2 * LEASE_MS)
  t.ok(a.discovery.isStale && b.discovery.isStale)
  t.notOk(a.discovery.isRegistered)
  t.strictSame(a.discovery.get('b'), all[1])
  t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
  await server.start()
  await a.witness.hears('reincarnated')
  await b.witness.hears('reincarnated')
  await a.witness.until(() => a.discovery.isAlive('b', b.discovery.self.incarnation), 'the new life of b')
  await b.witness.until(() => b.discovery.isAlive('a', a.discovery.self.incarnation), 'the new life of a')
  t.notOk(a.discovery.isStale)
})

t.test('one that is cut off without a word is dropped by the others, keeps its own list, and comes back', natsTest, async (t: Test) => {
  const server = await startNats(t)
  const proxy = await startProxy(t, server.port)
  const a = await (await Member.open(t, server.url, 'a', { leaseMs: LEASE_MS })).start()
  const b = await (await Member.open(t, `nats://127.0.0.1:${proxy.port}`, 'b', { leaseMs: LEASE_MS })).start()
  await b.witness.hears('+a')
  const { incarnation } = b.discovery.self
  proxy.swallow()
  const late = new Lateness(t)
  const start = performance.now()
  await a.witness.hears('-b lease')
  const ms = performance.now() - start
  t.ok(ms < LEASE_MS + 1000 + late.takeSumMs(), `dropped after ${ms.toFixed(0)} ms`)
  await passes(b.wheel, 3000)
  t.ok(b.discovery.isStale)
  t.notOk(b.discovery.isRegistered)
  t.ok(b.discovery.get('a'))
  t.strictSame(b.witness.changes, ['+a'])
  proxy.release()
  await b.witness.hears('reincarnated')
  await a.witness.until(() => a.discovery.isAlive('b', b.discovery.self.incarnation), 'the new life of b')
  t.not(b.discovery.self.incarnation, incarnation)
  await passes(b.wheel, 2000)
  t.strictSame(b.witness.changes, ['+a', 'reincarnated'])
  t.ok(b.discovery.isRegistered)
})

t.test('of two servers with one id, a hundred times, exactly one lives', natsTest, async (t: Test) => {
  const { url } = await nats()
  const started: LeaseDiscovery[] = []
  const refused: string[] = []
  const connections = [await Member.open(t, url, 'x1', { bucket: 'twins' }), await Member.open(t, url, 'x2', { bucket: 'twins' })]
  const stores = await Promise.all(connections.map(async ({ transport }) => await natsStore(transport, 'twins')))
  const { log } = lineLog()
  for (let round = 0; round < 5; round++) {
    await inTime(Promise.all(Array.from({ length: 40 }, async (_, i) => {
      const { wheel, transport } = connections[i % 2]!
      const self = selfOf(`s${round}-${i >> 1}`)
      const discovery = new LeaseDiscovery({ store: stores[i % 2]!, self, wheel, log, leaseMs: 2000, isConnected: () => transport.isUp })
      t.teardown(() => discovery.close())
      await discovery.start(new Witness()).then(() => started.push(discovery), (error) => refused.push(error.code))
    })), 'forty starts')
    t.equal(started.length, 20)
    t.equal(new Set(started.map(({ self }) => self.id)).size, 20)
    for (const discovery of started) {
      t.ok(discovery.isRegistered)
      await discovery.leave()
      await discovery.close()
    }
    started.length = 0
  }
  t.strictSame(refused, Array.from({ length: 100 }, () => 'PIT_ERR_SERVER_ID'))
})

t.test('stopping does not wait for a store that is down', natsTest, async (t: Test) => {
  const server = await startNats(t)
  const a = await (await Member.open(t, server.url, 'a')).start()
  await server.kill()
  const late = new Lateness(t)
  const start = performance.now()
  await inTime(a.discovery.leave(), 'leaving')
  await inTime(a.discovery.close(), 'closing')
  t.ok(performance.now() - start < 3000 + late.takeSumMs())
  t.ok(a.lines.includes('leaving discovery failed: others notice when the lease ends'))
})

/** Time as the timers of discovery see it. */
async function passes (wheel: TimerWheel, ms: number): Promise<void> {
  const until = wheel.now + ms
  await inTime(new Promise<void>((resolve) => {
    const look = (): void => { if (wheel.now >= until) resolve(); else setTimeout(look, 25) }
    look()
  }), `${ms} ms`)
}

/** What every discovery must do, wherever the list of servers is kept. */
import t, { type Test } from 'tap'
import type { Discovery } from '../../lib/cluster/discovery/discovery.ts'
import { Lateness } from '../helpers/lateness.ts'
import { inTime, type Self, Witness } from '../helpers/discovery.ts'

export interface DiscoveryCase {
  readonly name: string
  readonly leaseMs: number
  /** Of `t.test`: why it is skipped. */
  readonly options?: { skip?: string }
  /** A cluster of its own, ended with the test. */
  open (t: Test): Promise<DiscoveryCluster>
}

export interface DiscoveryCluster {
  /** A server's discovery, not started; closed with the test. */
  create (id: string, changes?: Partial<Self>): Promise<Discovery>
}

interface Member { readonly discovery: Discovery, readonly witness: Witness }

export function discoveryContract ({ name, leaseMs, options = {}, open }: DiscoveryCase): void {
  const test = (does: string, run: (t: Test, join: (id: string, changes?: Partial<Self>) => Promise<Member>) => Promise<void>): void => {
    t.test(`${name}: ${does}`, options, async (t) => {
      const cluster = await open(t as Test)
      await run(t as Test, async (id, changes) => {
        const discovery = await cluster.create(id, changes)
        const witness = new Witness()
        await inTime(discovery.start(witness), `${id} starts`)
        return { discovery, witness }
      })
    })
  }

  test('servers see each other, whichever came first', async (t, join) => {
    const metadata = { region: 'eu', ключ: 'é 🎮' }
    const a = await join('a', { frontend: true, type: 'connector', metadata, events: ['bound'], contract: 'c1' })
    t.ok(a.discovery.isRegistered)
    t.notOk(a.discovery.isStale)
    t.strictSame(a.discovery.all(), [a.discovery.self])
    const b = await join('b')
    await a.witness.hears('+b')
    await b.witness.hears('+a')
    for (const { discovery } of [a, b]) {
      t.strictSame(discovery.all(), [a.discovery.self, b.discovery.self])
      t.strictSame(discovery.get('a'), {
        id: 'a',
        type: 'connector',
        frontend: true,
        metadata,
        incarnation: a.discovery.self.incarnation,
        hostname: 'host',
        version: '1.0.0',
        load: 0,
        draining: false,
        contract: 'c1',
        events: ['bound']
      })
      t.ok(discovery.isAlive('b', b.discovery.self.incarnation))
      t.notOk(discovery.isAlive('b', a.discovery.self.incarnation))
      t.notOk(discovery.isAlive('c', a.discovery.self.incarnation))
      t.equal(discovery.get('c'), undefined)
    }
  })

  test('servers of a type come in the order of their ids, in one array until something changes', async (t, join) => {
    const { discovery, witness } = await join('m')
    for (const id of ['z', 'b', 'k']) await join(id)
    await join('other', { type: 'game' })
    await witness.until(() => discovery.all().length === 5, 'five servers')
    const servers = discovery.ofType('chat')
    t.strictSame(servers.map(({ id }) => id), ['b', 'k', 'm', 'z'])
    t.equal(discovery.ofType('chat'), servers)
    t.strictSame(discovery.ofType('game').map(({ id }) => id), ['other'])
    t.strictSame(discovery.ofType('nobody'), [])
    t.strictSame(discovery.ofType('__proto__'), [])
  })

  test('a server that leaves is lost at once, and goes on to see the others', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await a.witness.hears('+b')
    await b.discovery.leave()
    await b.discovery.leave()
    t.notOk(b.discovery.isRegistered)
    await a.witness.hears('-b left')
    t.strictSame(a.discovery.all(), [a.discovery.self])
    t.strictSame(b.discovery.all(), [a.discovery.self])
    await join('c')
    await b.witness.hears('+c')
    await a.witness.hears('+c')
    t.strictSame(a.witness.changes, ['+b', '-b left', '+c'])
  })

  test('a server that ends without a word is lost when its lease ends, within a second', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await a.witness.hears('+b')
    await b.discovery.close()
    const late = new Lateness(t)
    const start = performance.now()
    await a.witness.until(() => a.witness.heard.some((word) => word.startsWith('-b')), 'b is lost')
    const ms = performance.now() - start
    t.strictSame(a.witness.changes, ['+b', '-b lease'])
    t.ok(ms > leaseMs / 2 && ms < leaseMs + 1000 + late.takeSumMs(), `lost after ${ms.toFixed(0)} ms`)
  })

  test('a living server is kept for lease after lease', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    // A server that renews often, three leases long.
    await a.witness.until(() => a.witness.heard.filter((word) => word === 'b').length >= 9, 'nine renewals of b')
    await b.witness.until(() => b.witness.heard.filter((word) => word === 'a').length >= 9, 'nine renewals of a')
    t.strictSame([...a.witness.changes, ...b.witness.changes], ['+b', '+a'])
    t.ok(a.discovery.isRegistered && b.discovery.isRegistered)
    t.notOk(a.discovery.isStale || b.discovery.isStale)
  })

  test('changes are seen with the next renewal, or at once', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await a.witness.hears('+b')
    b.discovery.update({ load: 7 })
    t.equal(b.discovery.self.load, 0)
    await a.witness.until(() => a.discovery.get('b')?.load === 7, 'the load of b')
    await b.witness.until(() => b.discovery.self.load === 7, 'b knows that it was written')
    t.strictSame(a.discovery.ofType('chat').map(({ load }) => load), [0, 7])
    const late = new Lateness(t)
    const start = performance.now()
    b.discovery.update({ load: 8 }, true)
    b.discovery.update({ contract: 'c2' }, true)
    b.discovery.update({ events: ['bound'] }, true)
    await a.witness.until(() => a.discovery.get('b')?.events.length === 1, 'the events of b')
    t.ok(performance.now() - start < leaseMs / 3 + late.takeSumMs(), 'not with the next renewal')
    t.match(a.discovery.get('b'), { load: 8, contract: 'c2', events: ['bound'] })
  })

  test('a server that drains is there, but not among those that take calls', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await a.witness.hears('+b')
    b.discovery.update({ draining: true }, true)
    await a.witness.until(() => a.discovery.get('b')?.draining, 'b drains')
    await b.witness.until(() => b.discovery.self.draining, 'b knows that it drains')
    for (const { discovery } of [a, b]) {
      t.strictSame(discovery.ofType('chat').map(({ id }) => id), ['a'])
      t.strictSame(discovery.all().map(({ id }) => id), ['a', 'b'])
    }
    t.strictSame(a.witness.changes, ['+b'])
  })

  test('a second server with an id is refused, and the first lives on', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await t.rejects(join('b'), { code: 'PIT_ERR_SERVER_ID' })
    await a.witness.until(() => a.witness.heard.at(-1) === 'b', 'a renewal of b')
    t.ok(b.discovery.isRegistered)
    t.strictSame(a.witness.changes, ['+b'])
    t.strictSame(b.witness.changes, ['+a'])
  })

  test('of two servers that start with an id at once, one lives', async (t, join) => {
    const outcomes = await Promise.allSettled([join('b'), join('b'), join('b')])
    t.strictSame(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected'])
    for (const outcome of outcomes) if (outcome.status === 'rejected') t.equal(outcome.reason.code, 'PIT_ERR_SERVER_ID')
  })

  test('the id of a server that left is free at once', async (t, join) => {
    const first = await join('b')
    await first.discovery.leave()
    const late = new Lateness(t)
    const start = performance.now()
    const second = await join('b')
    t.ok(performance.now() - start < leaseMs + late.takeSumMs())
    t.not(second.discovery.self.incarnation, first.discovery.self.incarnation)
  })

  test('the id of a server that ended without a word is taken over when its lease has ended', async (t, join) => {
    const a = await join('a')
    const first = await join('b')
    await first.discovery.close()
    const second = await join('b')
    await a.witness.until(() => a.witness.heard.filter((word) => word === '+b').length === 2, 'b again')
    t.strictSame(a.witness.changes, ['+b', '-b lease', '+b'])
    t.strictSame(a.discovery.get('b'), second.discovery.self)
    t.notOk(a.discovery.isAlive('b', first.discovery.self.incarnation))
  })

  test('nothing is told after close, and closing again is harmless', async (t, join) => {
    const a = await join('a')
    const b = await join('b')
    await a.witness.hears('+b')
    await Promise.all([a.discovery.close(), a.discovery.close()])
    await a.discovery.leave()
    a.discovery.update({ load: 1 }, true)
    a.discovery.refresh()
    t.notOk(a.discovery.isRegistered)
    t.strictSame(a.discovery.all(), [])
    const heard = a.witness.heard.length
    await join('c')
    await b.witness.hears('+c')
    await b.witness.hears('-a lease')
    t.equal(a.witness.heard.length, heard)
  })

  test('asking for everything again changes nothing', async (t, join) => {
    const a = await join('a')
    await join('b')
    await a.witness.hears('+b')
    for (let i = 0; i < 20; i++) a.discovery.refresh()
    await join('c')
    await a.witness.hears('+c')
    t.strictSame(a.witness.changes, ['+b', '+c'])
    t.ok(a.discovery.isRegistered)
  })

  test('metadata of ten kilobytes travels', async (t, join) => {
    const metadata = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`key${i}`, 'x'.repeat(1000)]))
    const a = await join('a', { metadata })
    await join('b')
    await a.witness.hears('+b')
    t.strictSame(a.discovery.get('a')?.metadata, metadata)
  })
}

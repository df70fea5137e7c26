/** Uids over a real nats-server: races between two frontends, the server's end and its loss of everything, and how fast binds are. */
import t from 'tap'
import { openCarrier } from '../../lib/cluster/carrier.ts'
import type { Store } from '../../lib/cluster/stores/store.ts'
import { eventually, type Frontend, outcomeOf, TestCluster } from '../helpers/frontends.ts'
import { cpuMs, Lateness } from '../helpers/lateness.ts'
import { natsTest, startNats, type NatsServer } from '../helpers/nats.ts'

t.setTimeout(240_000)

interface Test { teardown (fn: () => unknown): void }

async function openStore (t: Test, nats: NatsServer): Promise<Store> {
  const { transport, openStore } = await openCarrier({ nats: { servers: nats.url }, prefix: 'races' })
  const ignore = (): void => {}
  await transport.open({ onUp: ignore, onDown: ignore, onFatal: ignore, onSlow: ignore })
  const store = await openStore('bindings')
  t.teardown(async () => {
    await store.close()
    await transport.close()
  })
  return store
}

async function createCluster (t: Test) {
  const nats = await startNats(t)
  const cluster = new TestCluster(t)
  const a = cluster.add('a', await openStore(t, nats))
  const b = cluster.add('b', await openStore(t, nats))
  return { nats, cluster, a, b }
}

/** Binds what `uidOf` names, `atOnce` under way on each frontend. */
async function bindMany (
  frontends: Frontend[], count: number, uidOf: (frontend: Frontend, i: number) => string, atOnce = 1000
): Promise<string[]> {
  const outcomes: string[] = []
  await Promise.all(frontends.map(async (frontend) => {
    let next = 0
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (next < count) outcomes.push(await outcomeOf(frontend.connect().session.bind(uidOf(frontend, next++))))
    }))
  }))
  return outcomes
}

t.test('2,000 times two frontends race for a uid: one session has it, the other is closed as replaced within a second', natsTest, async (t) => {
  const { cluster, a, b } = await createCluster(t)
  const bad: unknown[] = []
  let slowestMs = 0
  const late = new Lateness(t)
  for (let round = 0; round < 40; round++) {
    await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      const uid = `u${round}-${i}`
      const racers = i % 2 === 0 ? [a.connect(), b.connect()] : [b.connect(), a.connect()]
      await Promise.all(racers.map(({ session }) => outcomeOf(session.bind(uid))))
      const start = performance.now()
      await eventually(() => racers.some(({ client }) => client.closedWith !== undefined), 'a loser')
      slowestMs = Math.max(slowestMs, performance.now() - start)
      const bound = cluster.ofUid(uid)
      const winners = racers.filter(({ client }) => client.closedWith === undefined).map(({ session }) => session)
      const loser = racers.find(({ client }) => client.closedWith !== undefined)
      const stored = await a.stored(uid)
      const isOne = winners.length === 1 && bound.length === 1 && bound[0] === winners[0] && loser?.client.closedWith === 'replaced'
      const isRight = isOne && stored?.length === 1 && stored[0]!.replace(/\/.*\//, ':') === winners[0]!.address
      if (!isRight) bad.push([uid, stored, bound.map(({ address }) => address), racers.map(({ client }) => client.closedWith)])
    }))
  }
  t.strictSame(bad, [])
  t.ok(slowestMs < 1000 + late.takeMs(), `the last loser after ${slowestMs.toFixed(0)} ms`)
  a.closeAll()
  b.closeAll()
  await cluster.settled()
  t.strictSame(await a.store.keys('>'), [])
  for (const { sessions, bindings } of [a, b]) t.strictSame([sessions.size, sessions.boundUids, bindings.size], [0, 0, 0])
})

t.test('without a nats-server binds fail within seconds; one that lost everything gets every uid back', natsTest, async (t) => {
  const { nats, cluster, a, b } = await createCluster(t)
  await bindMany([a, b], 500, ({ id }, i) => `${id}${i}`)
  await nats.kill()
  const start = performance.now()
  const outcomes = await bindMany([a], 2000, (_, i) => `late${i % 200}`)
  const ms = performance.now() - start
  t.strictSame([...new Set(outcomes)], ['PIT_ERR_STORE'])
  t.ok(ms < 20_000, `2,000 binds refused in ${ms.toFixed(0)} ms`)
  const free = [...a.sessions].filter(({ uid }) => uid === '')
  t.equal(free.length, 2000)
  for (const session of [...a.sessions].slice(0, 100)) session.close()
  await nats.restart({ wipe: true })
  await eventually(async () => await a.store.get('x').then(() => true, () => false) && await b.store.get('x').then(() => true, () => false), 'the store')
  await Promise.all([a.bindings.reconcile(), b.bindings.reconcile()])
  await eventually(() => a.bindings.size === 400, 'everything to be put back or taken away')
  t.equal((await a.store.keys('>')).length, 900)
  t.equal(await outcomeOf(free[0]!.bind('late')), 'ok')
  a.closeAll()
  b.closeAll()
  await cluster.settled()
  t.strictSame(await a.store.keys('>'), [])
})

t.test('binds that a nats-server took but never answered are taken back when it answers again', natsTest, async (t) => {
  const { nats, cluster, a, b } = await createCluster(t)
  nats.signal('SIGSTOP')
  const late = new Lateness(t)
  const start = performance.now()
  const outcomes = await bindMany([a, b], 1000, ({ id }, i) => `${id}${i % 500}`)
  const ms = performance.now() - start
  t.strictSame([...new Set(outcomes)], ['PIT_ERR_STORE'])
  t.ok(ms < 10_000 + late.takeSumMs(), `2,000 binds refused in ${ms.toFixed(0)} ms`)
  nats.signal('SIGCONT')
  await eventually(() => a.bindings.size === 0 && b.bindings.size === 0, 'everything to be taken back')
  t.strictSame(await a.store.keys('>'), [])
  const session = [...a.sessions][0]!
  t.equal(await outcomeOf(session.bind('a0')), 'ok')
  a.closeAll()
  b.closeAll()
  await cluster.settled()
  t.strictSame(await a.store.keys('>'), [])
})

t.test('20,000 sessions on two frontends are bound within 15 seconds', natsTest, async (t) => {
  const { cluster, a, b } = await createCluster(t)
  const start = performance.now()
  const computed = cpuMs()
  const outcomes = await bindMany([a, b], 10_000, ({ id }, i) => `${id}${i}`, 200)
  const ms = cpuMs() - computed
  t.strictSame([...new Set(outcomes)], ['ok'])
  // Of computing, which other programs do not extend: the processor is what binds wait for.
  t.ok(ms <= 15_000, `20,000 binds in ${ms.toFixed(0)} ms`)
  t.equal((await a.store.keys('>')).length, 20_000)
  a.closeAll()
  b.closeAll()
  await cluster.settled()
  t.comment(`bound and released in ${(performance.now() - start).toFixed(0)} ms`)
  t.strictSame(await a.store.keys('>'), [])
})

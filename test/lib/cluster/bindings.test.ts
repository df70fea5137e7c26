import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { bindingKey, decodeHolders, encodeHolders, MAX_HOLDERS } from '../../../lib/cluster/holders.ts'
import { removeFrontend } from '../../../lib/cluster/janitor.ts'
import type { Session } from '../../../lib/session/session.ts'
import { defer } from '../../helpers/core.ts'
import { lineLog } from '../../helpers/discovery.ts'
import { eventually, memoryStores, outcomeOf, TestCluster, type TestClusterOptions } from '../../helpers/frontends.ts'
import { fuzzSeed, Random } from '../../helpers/fuzz.ts'

interface Test { teardown (fn: () => unknown): void, strictSame (found: unknown, wanted: unknown): unknown }

function createCluster (t: Test, options?: TestClusterOptions) {
  const stores = memoryStores()
  const cluster = new TestCluster(t, options)
  const [a, b] = [cluster.add('a', stores.open()), cluster.add('b', stores.open())]
  return { cluster, stores, a, b }
}

/** Nothing of any session is left, here or in the store. */
async function isEmpty (t: Test, { cluster, stores }: Pick<ReturnType<typeof createCluster>, 'cluster' | 'stores'>): Promise<void> {
  await cluster.settled()
  for (const { id, sessions, bindings } of cluster.frontends) {
    t.strictSame([id, sessions.size, sessions.boundUids, bindings.size], [id, 0, 0, 0])
  }
  t.strictSame(await stores.keys(), [])
}

t.test('a bound session is in the store until it closes, and a bind is one write', async (t) => {
  const all = createCluster(t)
  const { a, cluster } = all
  const { session } = a.connect()
  await session.bind('ana')
  t.equal(session.uid, 'ana')
  t.strictSame(await a.stored('ana'), [`a/a-1/${session.id}`])
  t.strictSame([a.store.writes, a.store.reads], [1, 1])
  session.close()
  await cluster.settled()
  t.equal(await a.stored('ana'), undefined)
  t.strictSame([a.store.writes, a.store.reads], [2, 2], 'and so is a close')
  await isEmpty(t, all)
})

t.test('policy kick-old: a session on another frontend is replaced, and its groups come along', async (t) => {
  const all = createCluster(t)
  const { a, b, cluster } = all
  const [old, young] = [a.connect(), b.connect()]
  await old.session.bind('ana')
  a.groups.set('ana', ['lobby', 'team'])
  await young.session.bind('ana')
  await cluster.settled()
  t.equal(old.client.closedWith, 'replaced')
  t.equal(young.client.closedWith, undefined)
  t.strictSame(cluster.ofUid('ana'), [young.session])
  t.strictSame(await b.stored('ana'), [`b/b-1/${young.session.id}`])
  t.strictSame([a.groups.get('ana'), b.groups.get('ana')], [undefined, ['lobby', 'team']])
  t.equal(a.store.writes, 1, 'the loser has nothing to release')
  b.closeAll()
  await isEmpty(t, all)
})

t.test('policy kick-old: a session of the same frontend is replaced at once and the uid is never without one', async (t) => {
  const all = createCluster(t)
  const { a, cluster } = all
  const [old, young] = [a.connect(), a.connect()]
  await old.session.bind('ana')
  a.groups.set('ana', ['lobby'])
  await young.session.bind('ana')
  t.equal(old.client.closedWith, 'replaced')
  t.strictSame(a.groups.get('ana'), ['lobby'])
  await cluster.settled()
  t.strictSame(await a.stored('ana'), [`a/a-1/${young.session.id}`], 'the loser\'s close does not remove the winner')
  t.equal(cluster.calls, 0)
  a.closeAll()
  await isEmpty(t, all)
})

t.test('policy refuse-new: the older session keeps the uid on whatever frontend it is', async (t) => {
  const all = createCluster(t, { policy: 'refuse-new' })
  const { a, b, cluster } = all
  const [old, young, here] = [a.connect(), b.connect(), a.connect()]
  await old.session.bind('ana')
  t.equal(await outcomeOf(young.session.bind('ana')), 'PIT_ERR_UID_TAKEN')
  t.equal(await outcomeOf(here.session.bind('ana')), 'PIT_ERR_UID_TAKEN')
  t.equal(young.session.uid, '')
  t.equal(await outcomeOf(young.session.bind('bob')), 'ok')
  t.strictSame(cluster.ofUid('ana'), [old.session])
  old.session.close()
  await cluster.settled()
  t.equal(await outcomeOf(here.session.bind('ana')), 'ok')
  a.closeAll()
  b.closeAll()
  await isEmpty(t, all)
})

t.test('policy allow: a uid has sessions on many frontends, and each leaves alone', async (t) => {
  const all = createCluster(t, { policy: 'allow' })
  const { a, b, cluster } = all
  const [one, two, three] = [a.connect(), b.connect(), a.connect()]
  for (const { session } of [one, two, three]) await session.bind('ana')
  t.strictSame((await a.stored('ana'))?.sort(), ['a/a-1/1', 'a/a-1/2', 'b/b-1/1'])
  one.session.close()
  await cluster.settled()
  t.strictSame((await a.stored('ana'))?.sort(), ['a/a-1/2', 'b/b-1/1'])
  two.session.close()
  three.session.close()
  await isEmpty(t, all)
})

t.test('policy allow has a bound, and bound sessions under it stay', async (t) => {
  const { a, b, stores, cluster } = createCluster(t, { policy: 'allow' })
  cluster.live('c', 'connector', 'c-1')
  const many = Array.from({ length: MAX_HOLDERS - 1 }, (_, sessionId) => ({ frontendId: 'c', incarnation: 'c-1', sessionId }))
  await stores.open().create(bindingKey('connector', 'ana'), encodeHolders(many))
  await a.connect().session.bind('ana')
  t.equal(await outcomeOf(a.connect().session.bind('ana')), 'PIT_ERR_UID_TAKEN')
  t.equal(await outcomeOf(b.connect().session.bind('ana')), 'PIT_ERR_UID_TAKEN')
  t.equal((await a.stored('ana'))?.length, MAX_HOLDERS)
  t.equal(cluster.ofUid('ana').length, 1)
})

for (const [scope, closedWith] of [['type', undefined], ['cluster', 'replaced']] as const) {
  t.test(`scope ${scope}: a uid on frontends of two types ${closedWith === undefined ? 'is two' : 'is one'}`, async (t) => {
    const all = createCluster(t, { scope })
    const { a, cluster } = all
    const gate = cluster.add('c', all.stores.open(), 'gate')
    const [old, young] = [a.connect(), gate.connect()]
    await old.session.bind('ana')
    await young.session.bind('ana')
    await cluster.settled()
    t.equal(old.client.closedWith, closedWith)
    a.closeAll()
    gate.closeAll()
    await isEmpty(t, all)
  })
}

t.test('uids are kept apart byte by byte, whatever they look like', async (t) => {
  const all = createCluster(t)
  const { a, cluster } = all
  const uids = ['1', 'a.b', '*', '>', '\u00e9', 'e\u0301', 'Ana', 'ana', ' ana', '__proto__', 'constructor', '🎮', '/', 'x'.repeat(128)]
  for (const uid of uids) await a.connect().session.bind(uid)
  t.strictSame(uids.map((uid) => cluster.ofUid(uid).length), uids.map(() => 1))
  t.equal((await all.stores.keys()).length, uids.length)
  for (const key of await all.stores.keys()) t.match(key, /^connector\.[\w-]+$/)
  a.closeAll()
  await isEmpty(t, all)
})

t.test('a session that closes while the store is written leaves no key', async (t) => {
  for (const closes of ['before', 'after'] as const) {
    const all = createCluster(t)
    const { a } = all
    const gate = defer()
    a.store.gate = gate.promise
    const { session } = a.connect()
    const bound = outcomeOf(session.bind('ana'))
    if (closes === 'after') await eventually(() => a.store.writes === 1, 'the write')
    session.close()
    gate.resolve()
    t.equal(await bound, 'PIT_ERR_CLOSED', closes)
    await isEmpty(t, all)
  }
})

t.test('a session that was replaced before the store answered its claim is closed as replaced', async (t) => {
  const all = createCluster(t)
  const { a, b, cluster } = all
  const gate = defer()
  a.store.gate = gate.promise
  const [old, young] = [a.connect(), b.connect()]
  const bound = outcomeOf(old.session.bind('ana'))
  await eventually(async () => await b.stored('ana'), 'the first claim')
  await young.session.bind('ana')
  await eventually(() => cluster.calls === 1 && b.bindings.notices === 0, 'the notice')
  t.equal(old.client.closedWith, undefined, 'it is not bound yet')
  gate.resolve()
  t.equal(await bound, 'PIT_ERR_CLOSED')
  t.equal(old.client.closedWith, 'replaced')
  t.strictSame(cluster.ofUid('ana'), [young.session])
  b.closeAll()
  await isEmpty(t, all)
})

t.test('a notice that comes late does not touch a session that is newer', async (t) => {
  const { a, b } = createCluster(t)
  const { session } = a.connect()
  await b.connect().session.bind('ana')
  await session.bind('ana')
  t.strictSame(a.bindings.onReplaced({ uid: 'ana', sessionIds: [session.id], revision: 1 }), { groups: [] })
  t.strictSame(a.bindings.onReplaced({ uid: 'ana', sessionIds: [99], revision: 1000 }), { groups: [] })
  t.strictSame(a.bindings.onReplaced({ uid: 'nobody', sessionIds: [1], revision: 1000 }), { groups: [] })
  t.equal(session.isClosed, false)
})

t.test('a notice is sent again until it is answered, though the bind did not wait for it', async (t) => {
  const { a, b, cluster } = createCluster(t)
  const [old, young] = [a.connect(), b.connect()]
  await old.session.bind('ana')
  cluster.isCut = true
  await young.session.bind('ana')
  await eventually(() => cluster.calls >= 2, 'a second try')
  t.equal(old.client.closedWith, undefined)
  cluster.isCut = false
  await eventually(() => old.client.closedWith === 'replaced', 'the kick')
  await cluster.settled()
})

t.test('a notice to a frontend that is gone ends', async (t) => {
  const { a, b, cluster } = createCluster(t)
  await a.connect().session.bind('ana')
  cluster.isCut = true
  await b.connect().session.bind('ana')
  await eventually(() => cluster.calls === 1, 'a try')
  cluster.lives.delete('a')
  await eventually(() => b.bindings.notices === 0, 'its end')
  t.strictSame(cluster.ofUid('ana').map(({ address }) => address).sort(), ['a:1', 'b:1'], 'who could not be told was not')
})

t.test('a dead frontend\'s entries count for nothing: its users bind elsewhere at once, whatever the policy', async (t) => {
  for (const policy of ['kick-old', 'refuse-new', 'allow'] as const) {
    const { a, b, cluster } = createCluster(t, { policy })
    await a.connect().session.bind('ana')
    cluster.lives.delete('a')
    const { session } = b.connect()
    t.equal(await outcomeOf(session.bind('ana')), 'ok')
    t.strictSame(await b.stored('ana'), [`b/b-1/${session.id}`])
  }
})

t.test('a session that died with its frontend and was replaced is told as closed, since nothing else knows of it', async (t) => {
  const { a, b, cluster } = createCluster(t)
  const old = a.connect().session
  await old.bind('ana')
  cluster.lives.delete('a')
  await b.connect().session.bind('ana')
  await eventually(() => b.events.includes(`closed ana a:${old.id}`), 'the news')
  t.strictSame(b.events, ['bound ana b:1', `closed ana a:${old.id}`])
})

t.test('a frontend that starts anew under its old id is not its old life', async (t) => {
  const { a, b, cluster } = createCluster(t, { policy: 'refuse-new' })
  await a.connect().session.bind('ana')
  a.reincarnate('a-2')
  t.equal(await outcomeOf(b.connect().session.bind('ana')), 'ok')
  t.equal(cluster.ofUid('ana').length, 2, 'until it confirms what it has')
  await a.bindings.reconcile()
  t.strictSame(cluster.ofUid('ana').map(({ address }) => address), ['b:1'])
})

t.test('while the store is down a bind fails within seconds, leaves the session free, and leaves nothing behind', async (t) => {
  const all = createCluster(t)
  const { a } = all
  Object.assign(a.store, { isDown: true, downMs: 200 })
  const sessions = Array.from({ length: 500 }, () => a.connect().session)
  const start = performance.now()
  const outcomes = await Promise.all(sessions.map((session, at) => outcomeOf(session.bind(`u${at % 10}`))))
  t.strictSame([...new Set(outcomes)], ['PIT_ERR_STORE'])
  t.ok(performance.now() - start < 5000, 'those that waited behind others too')
  t.ok(sessions.every(({ uid, isClosed }) => uid === '' && !isClosed))
  a.store.isDown = false
  t.equal(await outcomeOf(sessions[0]!.bind('ana')), 'ok')
  a.closeAll()
  await a.bindings.reconcile()
  await isEmpty(t, all)
})

t.test('in a rush of binds 256 are written at once, and the others wait', async (t) => {
  const { a } = createCluster(t)
  const gate = defer()
  a.store.gate = gate.promise
  const bound = Promise.all(Array.from({ length: 1000 }, (_, at) => a.connect().session.bind(`u${at}`)))
  await eventually(() => a.store.writes === 256, 'the first')
  await turn()
  gate.resolve()
  await bound
  t.equal(a.store.peak, 256)
  t.equal(a.sessions.boundUids, 1000)
})

t.test('a write whose answer was lost is taken back', async (t) => {
  const all = createCluster(t)
  const { a, b, cluster } = all
  a.store.losesAnswers = true
  const { session } = a.connect()
  t.equal(await outcomeOf(session.bind('ana')), 'PIT_ERR_STORE')
  await a.bindings.settled()
  t.equal(a.store.writes, 2)
  t.equal(await b.stored('ana'), undefined)
  a.store.losesAnswers = false
  t.equal(await outcomeOf(session.bind('ana')), 'ok')
  t.strictSame(cluster.ofUid('ana'), [session])
  a.closeAll()
  await eventually(() => a.bindings.size === 0, 'its release')
  await isEmpty(t, all)
})

t.test('sessions that close while the store is down are released when it is back, 64 at once', async (t) => {
  const all = createCluster(t)
  const { a } = all
  const sessions = Array.from({ length: 500 }, () => a.connect().session)
  await Promise.all(sessions.map((session, at) => session.bind(`u${at}`)))
  a.store.isDown = true
  a.store.peak = 0
  a.closeAll()
  await a.bindings.settled()
  t.ok(a.store.peak <= 64, `${a.store.peak} at once`)
  t.equal((await all.stores.keys()).length, 500)
  a.store.isDown = false
  await a.bindings.reconcile()
  t.ok(a.store.peak <= 64, `${a.store.peak} at once`)
  await isEmpty(t, all)
})

t.test('without a word from outside, what the store did not take is tried again', async (t) => {
  const all = createCluster(t)
  const { a } = all
  const { session } = a.connect()
  await session.bind('ana')
  a.store.isDown = true
  session.close()
  await a.bindings.settled()
  t.equal(a.bindings.size, 1)
  a.store.isDown = false
  await eventually(() => a.bindings.size === 0, 'the release')
  await isEmpty(t, all)
})

t.test('after a wiped store every uid is put back; one that another frontend has by then is lost', async (t) => {
  const all = createCluster(t)
  const { a, b, cluster, stores } = all
  const sessions = Array.from({ length: 200 }, () => a.connect())
  for (const [at, { session }] of sessions.entries()) await session.bind(`u${at}`)
  stores.wipe()
  const thief = b.connect()
  await thief.session.bind('u7')
  a.bindings.reconcile()
  await a.bindings.reconcile()
  await cluster.settled()
  t.equal((await stores.keys()).length, 200)
  t.strictSame(await a.stored('u0'), ['a/a-1/1'])
  t.strictSame(sessions.filter(({ client }) => client.closedWith === 'replaced').map(({ session }) => session.uid), ['u7'])
  t.strictSame(cluster.ofUid('u7'), [thief.session])
  a.closeAll()
  b.closeAll()
  await isEmpty(t, all)
})

t.test('after a wiped store the next claim still replaces what was put back', async (t) => {
  const all = createCluster(t)
  const { a, b, cluster, stores } = all
  for (let i = 0; i < 50; i++) await a.connect().session.bind(`u${i}`)
  const { session, client } = a.connect()
  await session.bind('ana')
  stores.wipe()
  await a.bindings.reconcile()
  await b.connect().session.bind('ana')
  await cluster.settled()
  t.equal(client.closedWith, 'replaced')
  t.equal(cluster.ofUid('ana').length, 1)
})

t.test('with a new incarnation every uid is confirmed under it', async (t) => {
  for (const policy of ['kick-old', 'refuse-new', 'allow'] as const) {
    const all = createCluster(t, { policy })
    const { a, b } = all
    await a.connect().session.bind('ana')
    if (policy === 'allow') await b.connect().session.bind('ana')
    a.reincarnate('a-2')
    await a.bindings.reconcile()
    t.strictSame((await a.stored('ana'))?.sort(), policy === 'allow' ? ['a/a-2/1', 'b/b-1/1'] : ['a/a-2/1'])
    t.equal(a.sessions.boundUids, 1)
    a.closeAll()
    b.closeAll()
    await isEmpty(t, all)
  }
})

t.test('reconcile while a bind is under way: the bind is confirmed too', async (t) => {
  const { a, b, stores } = createCluster(t)
  const gate = defer()
  a.store.gate = gate.promise
  const bound = a.connect().session.bind('ana')
  await eventually(async () => await b.stored('ana'), 'the claim')
  stores.wipe()
  const reconciled = a.bindings.reconcile()
  gate.resolve()
  await bound
  await reconciled
  t.strictSame(await b.stored('ana'), ['a/a-1/1'])
})

t.test('a value that cannot be read counts as nobody\'s, is told, and the next bind writes over it', async (t) => {
  const all = createCluster(t)
  const { a, stores } = all
  const key = bindingKey('connector', 'ana')
  for (const bad of ['', 'x', '{}', '{"v":2,"sessions":[]}', '{"v":1,"sessions":[["a",1,1]]}', '{"v":1,"sessions":[["a","b",1.5]]}', '{"v":1,"sessions":[null]}']) {
    t.equal(decodeHolders(Buffer.from(bad)), undefined, bad)
    await stores.open().create(key, Buffer.from(bad))
    const { session } = a.connect()
    t.equal(await outcomeOf(session.bind('ana')), 'ok')
    t.strictSame(a.lines.splice(0), ['a binding in the store cannot be read'])
    session.close()
    await a.bindings.settled()
  }
  await isEmpty(t, all)
})

t.test('a bind hook that fails after the claim gives the uid back', async (t) => {
  const all = createCluster(t)
  const { a } = all
  let isFailing = true
  a.sessions.afterBind(() => { if (isFailing) throw new Error('mine') })
  const { session } = a.connect()
  t.equal(await outcomeOf(session.bind('ana')), 'mine')
  await a.bindings.settled()
  t.strictSame(await all.stores.keys(), [])
  isFailing = false
  t.equal(await outcomeOf(session.bind('bob')), 'ok')
  a.closeAll()
  await isEmpty(t, all)
})

t.test('an old client that cannot be told does not cost the new one its bind', async (t) => {
  const { a, b, cluster } = createCluster(t)
  const [old, young] = [a.connect(), b.connect()]
  await old.session.bind('ana')
  old.client.onKick = () => { throw new Error('dead socket') }
  t.equal(await outcomeOf(young.session.bind('ana')), 'ok')
  await eventually(() => a.lines.includes('a replaced session could not be kicked'), 'the kick')
  old.client.close('heartbeat')
  await cluster.settled()
  t.strictSame(await b.stored('ana'), [`b/b-1/${young.session.id}`])
})

t.test('bound and closed are told once each, of bound sessions only', async (t) => {
  const { a, b, cluster } = createCluster(t)
  const [old, young, unbound] = [a.connect(), b.connect(), a.connect()]
  await old.session.bind('ana')
  await young.session.bind('ana')
  unbound.session.close()
  await cluster.settled()
  b.closeAll()
  t.strictSame(a.events, ['bound ana a:1', 'closed ana a:1'])
  t.strictSame(b.events, ['bound ana b:1', 'closed ana b:1'])
})

t.test('closed bindings write nothing more, and refuse binds', async (t) => {
  const { a } = createCluster(t)
  const { session } = a.connect()
  await session.bind('ana')
  a.bindings.close()
  a.bindings.close()
  session.close()
  await a.bindings.settled()
  t.equal(a.store.writes, 1)
  t.equal(a.bindings.size, 0)
  t.equal(await outcomeOf(a.connect().session.bind('bob')), 'PIT_ERR_STORE')
})

t.test('the sessions of a frontend that is gone are taken out of the store and told of, those of its ended lives only', async (t) => {
  const { a, b, cluster, stores } = createCluster(t, { policy: 'allow' })
  const { log } = lineLog()
  for (let i = 0; i < 100; i++) await a.connect().session.bind(`u${i}`)
  await b.connect().session.bind('u0')
  await b.connect().session.bind('bob')
  const closed: string[] = []
  const options = {
    store: stores.open(),
    discovery: cluster.discovery('b'),
    scope: 'type' as const,
    events: { publish: (kind: string, { uid, address }: { uid: string, address: string }) => { closed.push(`${kind} ${uid} ${address}`) } },
    log
  }
  t.equal(await removeFrontend({ id: 'a', type: 'connector' }, options), 0, 'it lives')
  cluster.live('a', 'connector', 'a-2')
  await a.connect().session.bind('new')
  t.equal(await removeFrontend({ id: 'a', type: 'connector' }, options), 100)
  t.equal(closed.length, 100)
  t.ok(closed.includes('closed u0 a:1'))
  t.strictSame(await b.stored('u0'), ['b/b-1/1'])
  t.strictSame(await b.stored('new'), ['a/a-2/101'])
  t.equal((await stores.keys()).length, 3)
})

t.test('10,000 times over two frontends: a session binds twice at once, and the first bind wins', async (t) => {
  const all = createCluster(t)
  const { a, b } = all
  const bad: unknown[] = []
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const { session } = (i % 2 === 0 ? a : b).connect()
      const first = `u${round}-${i}`
      const second = i % 4 < 2 ? first : `${first}-other`
      const outcomes = await Promise.all([outcomeOf(session.bind(first)), outcomeOf(session.bind(second))])
      if (outcomes.join() !== 'ok,PIT_ERR_BOUND' || session.uid !== first) bad.push({ outcomes, uid: session.uid })
      session.close()
    }))
  }
  t.strictSame(bad, [])
  await isEmpty(t, all)
})

t.test('10,000 times over three frontends: sessions race for a uid, and one has it at the end', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const all = createCluster(t)
  const { cluster, stores } = all
  cluster.add('c', stores.open())
  const { frontends } = cluster
  for (const { sessions } of frontends) {
    sessions.onBind(() => random.int(2) === 0 ? turn() : undefined)
    sessions.afterBind(() => random.int(2) === 0 ? turn() : undefined)
  }
  const bad: unknown[] = []
  for (let round = 0; round < 20; round++) {
    const races = await Promise.all(Array.from({ length: 500 }, async (_, i) => {
      const uid = `u${round}-${i}`
      const racers = Array.from({ length: 2 + random.int(2) }, () => random.pick(frontends).connect())
      if (random.int(8) === 0) setImmediate(() => racers[0]!.session.close())
      await Promise.all(racers.map(({ session }) => outcomeOf(session.bind(uid))))
      return { uid, racers }
    }))
    await cluster.settled()
    for (const { uid, racers } of races) {
      const open = racers.filter(({ client }) => client.closedWith === undefined).map(({ session }) => session)
      const bound: Session[] = cluster.ofUid(uid)
      const lost = racers.filter(({ client }) => client.closedWith === 'replaced').length
      const isRight = open.length <= 1 && bound.length === open.length && bound[0] === open[0] && lost + open.length >= racers.length - 1
      if (!isRight) bad.push({ uid, closed: racers.map(({ client }) => client.closedWith), bound: bound.map(({ address }) => address) })
    }
    for (const frontend of frontends) frontend.closeAll()
    await cluster.settled()
  }
  t.strictSame(bad, [])
  await isEmpty(t, all)
})

for (const policy of ['kick-old', 'refuse-new', 'allow'] as const) {
  t.test(`a storm of binds, closes, reconciliations and losses of the store leaves nothing behind (policy ${policy})`, async (t) => {
    const seed = fuzzSeed()
    t.comment(`SEED=${seed}`)
    const random = new Random(seed)
    const all = createCluster(t, { policy })
    const { cluster, stores } = all
    cluster.add('c', stores.open())
    const { frontends } = cluster
    const open: Session[] = []
    let life = 2
    for (let step = 0; step < 6000; step++) {
      const frontend = random.pick(frontends)
      switch (random.int(20)) {
        case 0: frontend.store.isDown = !frontend.store.isDown; break
        case 1: frontend.store.losesAnswers = !frontend.store.losesAnswers; break
        case 2: if (random.int(20) === 0) stores.wipe(); break
        case 3: frontend.bindings.reconcile(); break
        case 4: if (random.int(10) === 0) { frontend.reincarnate(`${frontend.id}-${life++}`); frontend.bindings.reconcile() } break
        case 5: cluster.isCut = random.int(4) === 0; break
        case 6: case 7: case 8: case 9: case 10: case 11:
          open.splice(random.int(open.length + 1), 1)[0]?.close()
          break
        default: {
          const { session } = frontend.connect()
          open.push(session)
          session.bind(`u${random.int(30)}`).catch(() => {})
        }
      }
      if (random.int(4) === 0) await turn()
    }
    cluster.isCut = false
    for (const { store } of frontends) Object.assign(store, { isDown: false, losesAnswers: false })
    await turn()
    for (const { bindings } of frontends) await bindings.reconcile()
    await cluster.settled()
    for (const { bindings } of frontends) await bindings.reconcile()
    if (policy !== 'allow') {
      const doubles = Array.from({ length: 30 }, (_, i) => cluster.ofUid(`u${i}`)).filter((sessions) => sessions.length > 1)
      t.strictSame(doubles.map((sessions) => sessions.map(({ uid, address }) => `${uid} ${address}`)), [])
    }
    for (let i = 0; i < 30; i++) {
      const stored = (await frontends[0]!.stored(`u${i}`))?.map((text) => text.replace(/\/.*\//, ':')).sort() ?? []
      t.strictSame(stored, cluster.ofUid(`u${i}`).map(({ address }) => address).sort())
    }
    for (const frontend of frontends) frontend.closeAll()
    await isEmpty(t, all)
  })
}

t.test('a bind that is overtaken every time gives up as busy, and leaves nothing behind', async (t) => {
  const all = createCluster(t)
  const { a, stores } = all
  const store = stores.open()
  const key = bindingKey('connector', 'ana')
  await store.create(key, encodeHolders([{ frontendId: 'c', incarnation: 'c-1', sessionId: 1 }]))
  a.store.onRead = async (entry) => { if (entry !== undefined) await store.update(key, entry.value, entry.revision) }
  const { session } = a.connect()
  t.equal(await outcomeOf(session.bind('ana')), 'PIT_ERR_BUSY')
  t.strictSame([session.uid, session.isClosed, a.bindings.size], ['', false, 0])
  a.store.onRead = undefined
  t.equal(await outcomeOf(session.bind('ana')), 'ok')
  a.closeAll()
  await isEmpty(t, all)
})

import t from 'tap'
import { channels } from '../../../lib/channels.ts'
import { PitayaError } from '../../../lib/errors.ts'
import { fuzzSeed, Random } from '../../helpers/fuzz.ts'
import { createCore, defer, turn } from '../../helpers/core.ts'

/** What a promise came to: `ok`, or the code of its error. */
const outcomeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(() => 'ok', (error: unknown) => error instanceof PitayaError ? error.wireCode : (error as Error).message)

t.test('sessions have ids of their own, and addresses with their server\'s', async (t) => {
  const { connect, sessions } = createCore()
  const [one, two] = [connect(), connect()]
  t.not(one.session.id, two.session.id)
  t.equal(one.session.address, `test:${one.session.id}`)
  t.equal(sessions.get(one.session.id), one.session)
  t.equal(sessions.get(99), undefined)
  t.equal(sessions.size, 2)
  t.strictSame([...sessions], [one.session, two.session])
  one.client.close('normal')
  t.equal(sessions.get(one.session.id), undefined)
  const { session } = connect()
  t.ok(session.id > two.session.id, 'an id is not given twice')
})

t.test('a page of sessions begins after an id and ends at its limit', async (t) => {
  const { connect, sessions } = createCore()
  const ids = Array.from({ length: 10 }, () => connect().session.id)
  t.strictSame(sessions.page(0, 4).map(({ id }) => id), ids.slice(0, 4))
  t.strictSame(sessions.page(ids[3]!, 100).map(({ id }) => id), ids.slice(4))
  t.strictSame(sessions.page(ids[9]!, 5), [])
})

t.test('a bound session is found by its uid until it closes', async (t) => {
  const { connect, sessions } = createCore()
  const { session, client } = connect()
  t.equal(session.uid, '')
  await session.bind('ana')
  t.equal(session.uid, 'ana')
  t.strictSame(sessions.ofUid('ana'), [session])
  t.equal(sessions.isConnected('ana'), true)
  client.close('normal')
  t.strictSame(sessions.ofUid('ana'), [])
  t.equal(sessions.isConnected('ana'), false)
  t.equal(sessions.boundUids, 0)
})

t.test('a session is bound once: again is PIT-409, after its close PIT-499', async (t) => {
  const { connect } = createCore()
  const { session, client } = connect()
  await session.bind('ana')
  t.equal(await outcomeOf(session.bind('ana')), 'PIT-409')
  t.equal(await outcomeOf(session.bind('bob')), 'PIT-409')
  t.equal(session.uid, 'ana')
  client.close('normal')
  t.equal(await outcomeOf(connect().session.bind('ana')), 'ok')
  t.equal(await outcomeOf(session.bind('ana')), 'PIT-499')
})

t.test('policy kick-old: the newer session has the uid, the older one is closed as replaced', async (t) => {
  const { connect, sessions } = createCore()
  const [old, young] = [connect(), connect()]
  await old.session.bind('ana')
  await young.session.bind('ana')
  t.equal(old.client.closedWith, 'replaced')
  t.equal(young.client.closedWith, undefined)
  t.strictSame(sessions.ofUid('ana'), [young.session])
  old.session.ended()
  t.strictSame(sessions.ofUid('ana'), [young.session])
})

t.test('policy refuse-new: the older session keeps the uid, the newer one stays unbound and may bind another', async (t) => {
  const { connect, sessions } = createCore([], { policy: 'refuse-new' })
  const [old, young] = [connect(), connect()]
  await old.session.bind('ana')
  t.equal(await outcomeOf(young.session.bind('ana')), 'PIT-409')
  t.equal(young.session.uid, '')
  t.equal(await outcomeOf(young.session.bind('bob')), 'ok')
  t.strictSame(sessions.ofUid('ana'), [old.session])
  old.client.close('normal')
  t.equal(await outcomeOf(connect().session.bind('ana')), 'ok')
})

t.test('policy allow: a uid has many sessions, until the last one closes', async (t) => {
  const { connect, sessions } = createCore([], { policy: 'allow' })
  const all = [connect(), connect(), connect()]
  for (const { session } of all) await session.bind('ana')
  t.strictSame(sessions.ofUid('ana'), all.map(({ session }) => session))
  all[1]!.client.close('normal')
  t.strictSame(sessions.ofUid('ana'), [all[0]!.session, all[2]!.session])
  all[0]!.client.close('normal')
  all[2]!.client.close('normal')
  t.equal(sessions.boundUids, 0)
})

t.test('hooks run around every bind, in order, each waited for; the bind is told', async (t) => {
  const { connect, sessions } = createCore()
  const order: string[] = []
  const bounds: object[] = []
  const onBound = (event: object) => { order.push('told'); bounds.push(event) }
  channels.bound.subscribe(onBound)
  t.teardown(() => channels.bound.unsubscribe(onBound))
  sessions.onBind(async (session, uid) => { await turn(); order.push(`1 ${uid} ${session.uid === ''}`) })
  sessions.onBind((_, uid) => { order.push(`2 ${uid}`) })
  sessions.afterBind((session) => { order.push(`3 ${session.uid}`) })
  const { session } = connect()
  await session.bind('ana')
  t.strictSame(order, ['1 ana true', '2 ana', '3 ana', 'told'])
  t.match(bounds, [{ serverId: 'test', sessionId: session.id, uid: 'ana' }])
})

for (const when of ['onBind', 'afterBind'] as const) {
  for (const [what, fail, code] of [
    ['throws', () => { throw new Error('private') }, 'private'],
    ['rejects', async () => { throw new Error('private') }, 'private'],
    ['throws a PitayaError', () => { throw new PitayaError('BANNED') }, 'BANNED'],
    ['hangs', () => new Promise(() => {}), 'PIT-504']
  ] as const) {
    t.test(`a hook ${when} that ${what} leaves the session unbound and free to try again`, async (t) => {
      const { connect, sessions } = createCore([], { bindMs: 20 })
      let isFailing = true
      sessions[when](() => isFailing ? fail() : undefined)
      const { session, client } = connect()
      t.equal(await outcomeOf(session.bind('ana')), code)
      t.equal(session.uid, '')
      t.equal(sessions.boundUids, 0)
      isFailing = false
      t.equal(await outcomeOf(session.bind('bob')), 'ok')
      t.equal(session.uid, 'bob')
      client.close('normal')
      t.equal(sessions.boundUids, 0)
    })
  }
}

t.test('a session that closes while its bind hook runs is bound nowhere', async (t) => {
  const { connect, sessions } = createCore()
  const gate = defer<void>()
  sessions.onBind(() => gate.promise)
  const { session, client } = connect()
  const bound = outcomeOf(session.bind('ana'))
  client.close('normal')
  gate.resolve()
  t.equal(await bound, 'PIT-499')
  t.equal(sessions.boundUids, 0)
  t.equal(sessions.size, 0)
})

t.test('a session that is replaced while its afterBind hook runs does not take the uid from its successor', async (t) => {
  const { connect, sessions } = createCore()
  const gate = defer<void>()
  const [old, young] = [connect(), connect()]
  sessions.afterBind((session) => session === old.session ? gate.promise : undefined)
  const bound = outcomeOf(old.session.bind('ana'))
  await turn()
  t.equal(await outcomeOf(young.session.bind('ana')), 'ok')
  gate.resolve()
  t.equal(await bound, 'PIT-499')
  t.strictSame(sessions.ofUid('ana'), [young.session])
})

t.test('an old session that cannot be kicked does not keep the new one from its bind', async (t) => {
  const { connect, sessions, lines } = createCore()
  const [old, young] = [connect(), connect()]
  await old.session.bind('ana')
  old.client.onKick = () => { throw new Error('dead socket') }
  t.equal(await outcomeOf(young.session.bind('ana')), 'ok')
  t.ok(sessions.ofUid('ana').includes(young.session))
  t.match(lines, [{ level: 'error', fields: { err: { message: 'dead socket' } } }])
  old.client.close('normal')
  t.strictSame(sessions.ofUid('ana'), [young.session])
})

t.test('a closed session calls its callbacks once, then those of all sessions; one that fails stops none', async (t) => {
  const { connect, sessions, lines } = createCore()
  const order: string[] = []
  sessions.onClose((session) => { order.push(`all ${session.uid} ${session.isClosed}`) })
  sessions.onClose(() => { throw new Error('mine') })
  sessions.onClose(async () => { throw new Error('later') })
  const { session, client } = connect()
  await session.bind('ana')
  session.onClose(() => { throw new Error('own') })
  session.onClose(() => { order.push('own') })
  client.close('normal')
  session.ended()
  await turn()
  t.strictSame(order, ['all ana true', 'own'])
  t.strictSame(lines.map(({ fields }) => fields.err.message).sort(), ['later', 'mine', 'own'])
  session.onClose(() => { order.push('late') })
  t.strictSame(order, ['all ana true', 'own', 'late'], 'at once when it has closed')
})

t.test('10,000 times: one session binds twice at once, and the first bind wins', async (t) => {
  const { connect, sessions } = createCore()
  sessions.onBind(() => turn())
  const bad: unknown[] = []
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const { session, client } = connect()
      const first = `u${round}-${i}`
      const second = i % 2 === 0 ? first : `${first}-other`
      const outcomes = await Promise.all([outcomeOf(session.bind(first)), outcomeOf(session.bind(second))])
      if (outcomes.join() !== 'ok,PIT-409' || session.uid !== first) bad.push({ outcomes, uid: session.uid })
      client.close('normal')
    }))
  }
  t.strictSame(bad, [])
  t.equal(sessions.size, 0)
  t.equal(sessions.boundUids, 0)
})

t.test('10,000 times: two sessions bind one uid at once; one is left, and the loser\'s close does not unbind it', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const { connect, sessions } = createCore()
  sessions.onBind(() => { if (random.int(2) === 0) return turn(); return undefined })
  sessions.afterBind(() => { if (random.int(2) === 0) return turn(); return undefined })
  const bad: unknown[] = []
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const uid = `u${round}-${i}`
      const pair = [connect(), connect()]
      await Promise.all(pair.map(({ session }) => outcomeOf(session.bind(uid))))
      const open = pair.filter(({ client }) => client.closedWith === undefined)
      const lost = pair.find(({ client }) => client.closedWith !== undefined)
      lost?.session.ended()
      const [winner] = sessions.ofUid(uid)
      if (open.length !== 1 || lost?.client.closedWith !== 'replaced' || winner !== open[0]!.session || winner.uid !== uid) bad.push(uid)
      open[0]?.client.close('normal')
    }))
  }
  t.strictSame(bad, [])
  t.equal(sessions.size, 0)
  t.equal(sessions.boundUids, 0)
})

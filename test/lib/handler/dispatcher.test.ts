import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, request } from '../../../lib/handler/define.ts'
import { fuzzSeed, heapBytes, Random } from '../../helpers/fuzz.ts'
import { createCore, defer, turn, type CoreOptions } from '../../helpers/core.ts'

const Tag = Type.String()
const Count = Type.Integer()

/** Handlers that end when the test says so: `gates` by tag, `started` and `ended` in order. */
function gated (options: CoreOptions = {}, deadlines: { short?: number, long?: number } = {}) {
  const started: string[] = []
  const ended: string[] = []
  const gates = new Map<string, ReturnType<typeof defer<void>>>()
  const signals = new Map<string, AbortSignal>()
  const hold = async (tag: string, context?: { signal: AbortSignal }) => {
    started.push(tag)
    if (context !== undefined) signals.set(tag, context.signal)
    const gate = defer<void>()
    gates.set(tag, gate)
    await gate.promise
    ended.push(tag)
    return tag
  }
  const now = (tag: string) => { started.push(tag); ended.push(tag); return tag }
  const core = createCore([defineHandlers('room', {
    hold: request({ body: Tag, response: Tag, deadlineMs: deadlines.long }, (tag, context) => hold(tag, context)),
    hang: request({ body: Tag, response: Tag, deadlineMs: deadlines.short }, (tag, context) => hold(tag, context)),
    free: request({ body: Tag, response: Tag, concurrent: true }, (tag) => hold(tag)),
    sync: request({ body: Tag, response: Tag }, now),
    tell: notify({ body: Tag }, (tag) => hold(tag))
  })], options)
  return {
    ...core,
    started,
    ended,
    gates,
    signals,
    async open (tag: string) { gates.get(tag)!.resolve(); await turn() }
  }
}

t.test('a synchronous handler answers in the same tick', async (t) => {
  const { connect, call, dispatcher, wheel } = gated()
  const { session, client } = connect()
  call(session, 1, 'room.sync', 'a')
  t.strictSame(client.answers, [{ id: 1, data: '"a"', isError: false }])
  t.equal(dispatcher.running, 0)
  t.equal(wheel.size, 0)
  t.equal(session.lane, null)
})

t.test('messages of one session run in order, one at a time, over synchronous and asynchronous handlers', async (t) => {
  const { connect, call, tell, started, open, dispatcher } = gated()
  const { session, client } = connect()
  call(session, 1, 'lobby.room.hold', 'a')
  call(session, 2, 'room.sync', 'b')
  tell(session, 'room.tell', 'c')
  call(session, 3, 'room.sync', 'd')
  call(session, 4, 'room.hold', 'e')
  t.strictSame(started, ['a'])
  t.equal(dispatcher.waiting, 4)
  await open('a')
  t.strictSame(started, ['a', 'b', 'c'])
  await open('c')
  t.strictSame(started, ['a', 'b', 'c', 'd', 'e'])
  await open('e')
  t.strictSame(client.answers.map(({ id }) => id), [1, 2, 3, 4])
  t.equal(dispatcher.running, 0)
  t.equal(dispatcher.waiting, 0)
})

t.test('random mixes of handlers keep the order of every session and answer everything', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const seen = new Map<number, number[]>()
  const visit = (n: number, id: number) => { const list = seen.get(id) ?? []; list.push(n); seen.set(id, list); return n }
  const { connect, call, dispatcher } = createCore([defineHandlers('mix', {
    sync: request({ body: Count, response: Count }, (n, { session }) => visit(n, session.id)),
    micro: request({ body: Count, response: Count }, async (n, { session }) => { visit(n, session.id); await null; return n }),
    macro: request({ body: Count, response: Count }, async (n, { session }) => { visit(n, session.id); await turn(); return n }),
    fail: request({ body: Count, response: Count }, async (n, { session }) => { visit(n, session.id); throw new Error('no') })
  })], { dispatch: 3, waitingPerSession: 10_000, waitingBytes: 1e9 })
  const clients = Array.from({ length: 10 }, () => connect())
  const sent = clients.map(() => 0)
  let most = 0
  for (let i = 0; i < 3000; i++) {
    const at = random.int(clients.length)
    const n = ++sent[at]!
    call(clients[at]!.session, n, `mix.${random.pick(['sync', 'micro', 'macro', 'fail'])}`, n)
    most = Math.max(most, dispatcher.running)
    if (random.int(20) === 0) await turn()
  }
  await dispatcher.idle()
  t.equal(most, 3)
  for (const [i, { session, client }] of clients.entries()) {
    const expected = Array.from({ length: sent[i]! }, (_, n) => n + 1)
    t.strictSame(seen.get(session.id), expected)
    t.strictSame(client.answers.map(({ id }) => id), expected)
  }
})

t.test('a concurrent route neither waits for its session\'s earlier messages nor holds them up', async (t) => {
  const { connect, call, started, open } = gated()
  const { session, client } = connect()
  call(session, 1, 'room.hold', 'a')
  call(session, 2, 'room.sync', 'b')
  call(session, 3, 'room.free', 'c')
  t.strictSame(started, ['a', 'c'])
  await open('c')
  t.strictSame(client.answers.map(({ id }) => id), [3])
  await open('a')
  t.strictSame(client.answers.map(({ id }) => id), [3, 1, 2])
})

t.test('of one session\'s concurrent messages eight run at once; an ordered one does not wait for them', async (t) => {
  const { connect, call, started, open } = gated()
  const { session, client } = connect()
  for (let id = 1; id <= 10; id++) call(session, id, 'room.free', `f${id}`)
  t.equal(started.length, 8)
  call(session, 11, 'room.sync', 'ordered')
  t.strictSame(client.answers.map(({ id }) => id), [11])
  await open('f3')
  t.equal(started.at(-1), 'f9')
  await open('f9')
  t.equal(started.at(-1), 'f10')
  for (const tag of ['f1', 'f2', 'f4', 'f5', 'f6', 'f7', 'f8', 'f10']) await open(tag)
  t.equal(client.answers.length, 11)
})

for (const dispatch of [1, 2]) {
  t.test(`with ${dispatch} place(s) sessions take turns, whoever has more waiting`, async (t) => {
    const { connect, call, started, open, dispatcher } = gated({ dispatch })
    const [greedy, modest, other] = [connect(), connect(), connect()]
    for (let id = 1; id <= 6; id++) call(greedy.session, id, 'room.hold', `g${id}`)
    call(modest.session, 1, 'room.hold', 'm1')
    call(other.session, 1, 'room.hold', 'o1')
    call(modest.session, 2, 'room.hold', 'm2')
    call(other.session, 2, 'room.hold', 'o2')
    for (let i = 0; i < started.length; i++) {
      t.ok(dispatcher.running <= dispatch)
      await open(started[i]!)
    }
    t.equal(started.length, 10)
    t.ok(started.indexOf('m2') < started.indexOf('g4'), started.join())
    t.ok(started.indexOf('o2') < started.indexOf('g4'), started.join())
    t.equal(dispatcher.running, 0)
    t.equal(dispatcher.waiting, 0)
  })
}

t.test('concurrent messages count against the places of the process', async (t) => {
  const { connect, call, started, open } = gated({ dispatch: 2 })
  const [one, two] = [connect(), connect()]
  for (let id = 1; id <= 4; id++) call(one.session, id, 'room.free', `f${id}`)
  call(two.session, 1, 'room.sync', 's')
  t.strictSame(started, ['f1', 'f2'])
  await open('f1')
  await open('f2')
  t.strictSame(started, ['f1', 'f2', 'f3', 's', 'f4'])
})

t.test('what waits for a place is answered PIT-503 at its deadline, whoever waits before it', async (t) => {
  const { connect, call, pass, dispatcher } = gated({ dispatch: 1 }, { short: 50, long: 10_000 })
  const [one, two] = [connect(), connect()]
  call(one.session, 1, 'room.hang', 'a1')
  call(two.session, 1, 'room.hold', 'b1')
  call(one.session, 2, 'room.hang', 'a2')
  await pass(100)
  t.strictSame(one.client.outcomes, ['PIT-504'])
  await pass(100)
  t.strictSame(one.client.outcomes, ['PIT-504', 'PIT-503'])
  t.strictSame(two.client.outcomes, [])
  t.equal(dispatcher.waiting, 0)
  await pass(10_100)
  t.strictSame(two.client.outcomes, ['PIT-504'])
  t.equal(dispatcher.running, 0)
})

t.test('a message given up while waiting for a place does not let the next one overtake what runs', async (t) => {
  const { connect, call, pass, started, open } = gated({ dispatch: 2, handlerMs: 100 }, { long: 60_000 })
  const [one, two] = [connect(), connect()]
  call(one.session, 1, 'room.hold', 'ordered 1')
  call(two.session, 1, 'room.hold', 'other')
  call(one.session, 2, 'room.free', 'free')
  call(one.session, 3, 'room.hold', 'ordered 2')
  await pass(200)
  t.strictSame(one.client.outcomes, ['PIT-503'])
  await open('other')
  t.notOk(started.includes('ordered 2'), 'ordered 1 still runs')
  await open('ordered 1')
  t.ok(started.includes('ordered 2'))
})

t.test('over maxQueued requests are answered PIT-503 at once, and nothing waits for ever', async (t) => {
  const { connect, call, tell, open, started, dispatcher } = gated({ maxQueued: 2 })
  const { session, client } = connect()
  call(session, 1, 'room.hold', 'a')
  call(session, 2, 'room.sync', 'b')
  call(session, 3, 'room.sync', 'c')
  call(session, 4, 'room.sync', 'd')
  tell(session, 'room.tell', 'e')
  t.strictSame(client.outcomes, ['PIT-503'])
  t.equal(client.answers[0]!.id, 4)
  await open('a')
  t.strictSame(started, ['a', 'b', 'c'])
  t.equal(dispatcher.waiting, 0)
})

t.test('a session with too many waiting messages is not read until half of them are gone', async (t) => {
  const { connect, call, open, gates } = gated({ waitingPerSession: 8 })
  const { session, client } = connect()
  call(session, 1, 'room.hold', 'a')
  for (let id = 2; id <= 8; id++) call(session, id, 'room.hold', `h${id}`)
  t.equal(client.isPaused, false)
  call(session, 9, 'room.hold', 'h9')
  t.equal(client.isPaused, true)
  await open('a')
  for (let id = 2; id <= 4; id++) await open(`h${id}`)
  t.equal(client.isPaused, false)
  t.equal(client.pauses, 1)
  t.ok(gates.has('h5'))
})

t.test('more waiting bytes than a session may have close it, and free everything', async (t) => {
  const { connect, call, dispatcher, sessions, wheel, open } = gated({ waitingBytes: 1000 })
  const { session, client } = connect()
  call(session, 1, 'room.hold', 'a')
  call(session, 2, 'room.hold', 'x'.repeat(600))
  t.equal(client.closedWith, undefined)
  call(session, 3, 'room.hold', 'x'.repeat(600))
  t.equal(client.closedWith, 'overload')
  t.equal(dispatcher.waiting, 0)
  t.equal(sessions.size, 0)
  await open('a')
  t.equal(dispatcher.running, 0)
  t.equal(wheel.size, 0)
})

t.test('a handler past its deadline is answered PIT-504, told by its signal, and its place goes to the next message', async (t) => {
  const { connect, call, pass, started, signals, service, dispatcher, open } = gated({ dispatch: 1 }, { short: 100 })
  const { session, client } = connect()
  call(session, 1, 'room.hang', 'a')
  call(session, 2, 'room.sync', 'b')
  await pass(75)
  t.equal(signals.get('a')!.aborted, false)
  await pass(100)
  t.equal(signals.get('a')!.aborted, true)
  t.strictSame(client.outcomes, ['PIT-504', 'ok'])
  t.strictSame(started, ['a', 'b'])
  t.equal(dispatcher.running, 0)
  t.equal(service.abandonedCalls, 1)
  await open('a')
  t.equal(service.abandonedCalls, 0)
  t.equal(client.answers.length, 2, 'the late result is dropped')
})

t.test('closing a session aborts what runs for it and forgets what waits', async (t) => {
  const { connect, call, signals, dispatcher, open, started } = gated()
  const { session, client } = connect()
  call(session, 1, 'room.hold', 'a')
  call(session, 2, 'room.hold', 'b')
  client.close('normal')
  t.equal(signals.get('a')!.aborted, true)
  t.equal(dispatcher.waiting, 0)
  t.equal(dispatcher.running, 1)
  await open('a')
  t.strictSame(started, ['a'])
  t.equal(client.answers.length, 0)
  t.equal(dispatcher.running, 0)
})

t.test('a session that closes while its turn is near leaves no gap in the line', async (t) => {
  const { connect, call, open, started, dispatcher, wheel } = gated({ dispatch: 1 })
  const [one, two, three] = [connect(), connect(), connect()]
  call(one.session, 1, 'room.hold', 'a')
  call(two.session, 1, 'room.hold', 'b')
  call(three.session, 1, 'room.hold', 'c')
  two.client.close('normal')
  await open('a')
  t.strictSame(started, ['a', 'c'])
  await open('c')
  t.equal(dispatcher.running, 0)
  t.equal(wheel.size, 0)
})

t.test('a handler that closes its own session before its first await is told by its signal', async (t) => {
  let signal: AbortSignal | undefined
  const { connect, call } = createCore([defineHandlers('room', {
    leave: request(async (_, context) => {
      signal = context.signal
      context.session.close()
      await turn()
    })
  })])
  const { session } = connect()
  call(session, 1, 'room.leave')
  t.equal(signal!.aborted, true)
})

t.test('idle() waits for what runs and what waits', async (t) => {
  const { connect, call, dispatcher, open } = gated()
  await dispatcher.idle()
  const { session } = connect()
  call(session, 1, 'room.hold', 'a')
  call(session, 2, 'room.hold', 'b')
  let isIdle = false
  const idle = dispatcher.idle().then(() => { isIdle = true })
  await open('a')
  t.equal(isIdle, false)
  await open('b')
  await idle
})

t.test('10,000 handlers that never end leave nothing pending and a flat heap', async (t) => {
  const { connect, call, pass, service, dispatcher, wheel, lines } = createCore([defineHandlers('room', {
    hang: request({ deadlineMs: 25, concurrent: true }, () => new Promise<void>(() => {}))
  })], { maxQueued: 100_000, waitingPerSession: 100_000, waitingBytes: 1e9 })
  const clients = Array.from({ length: 10 }, () => connect())
  const round = async (base: number) => {
    for (let i = 0; i < 1000; i++) call(clients[i % 10]!.session, base + i, 'room.hang')
    // Eight at once of each session, and each leaves its place at its deadline: 13 rounds of at most three ticks.
    while (dispatcher.running > 0 || dispatcher.waiting > 0) await pass(100)
  }
  await round(1)
  const before = heapBytes()
  for (let i = 1; i < 10; i++) await round(1 + i * 1000)
  t.equal(service.abandonedCalls, 10_000)
  t.equal(dispatcher.running, 0)
  t.equal(dispatcher.waiting, 0)
  t.equal(wheel.size, 0)
  const outcomes = clients.flatMap(({ client }) => client.outcomes)
  t.equal(outcomes.length, 10_000)
  t.ok(outcomes.every((code) => code === 'PIT-504' || code === 'PIT-503'))
  for (const { client } of clients) client.answers.length = 0
  lines.length = 0
  const grown = heapBytes() - before
  t.ok(grown < 1024 * 1024, `the heap grew by ${grown} bytes`)
})

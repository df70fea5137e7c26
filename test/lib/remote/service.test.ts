import t from 'tap'
import { Type } from '@sinclair/typebox'
import { channels } from '../../../lib/channels.ts'
import { PitayaError } from '../../../lib/errors.ts'
import { defineRemotes, raw, type RemoteContext, type RemoteSteps } from '../../../lib/handler/define.ts'
import { createRemotes } from '../../helpers/remotes.ts'
import { defer } from '../../helpers/core.ts'

const Name = Type.Object({ name: Type.String({ maxLength: 8 }), tags: Type.Optional(Type.Array(Type.String())) })
const match = defineRemotes('match', {
  greet: { body: Name, response: Type.Object({ text: Type.String() }) },
  slow: { response: Type.Integer(), deadlineMs: 100 },
  ping: {},
  bytes: { body: raw, response: raw }
})
const served = {
  greet: ({ name }: { name: string }) => ({ text: `hello ${name}` }),
  slow: async () => 1,
  ping () {},
  bytes: (bytes: Uint8Array) => bytes
}
const EMPTY = new Uint8Array(0)

/** Serves `match`, with some of its methods replaced. */
function serve (implementation: Partial<Record<keyof typeof served, any>> = {}, levels: RemoteSteps[] = [], options = {}) {
  const remotes = createRemotes(options)
  remotes.service.register(match, { ...served, ...implementation }, levels)
  remotes.service.compile()
  return { ...remotes, game: remotes.clients.of('game', match) }
}

t.test('a remote is called by its route, with or without the server type', async (t) => {
  const { ask, service } = serve()
  t.strictSame(service.routes, ['game.match.greet', 'game.match.slow', 'game.match.ping', 'game.match.bytes'])
  for (const route of ['match.ping', 'game.match.ping']) t.strictSame(await ask(route, EMPTY), { data: EMPTY, error: undefined })
  for (const route of ['other.match.ping', 'match.other', 'ping', '', 'match.constructor', '__proto__']) {
    const { error } = await ask(route, EMPTY)
    t.match(error, { code: 'PIT-404', msg: 'route not found', metadata: { route } })
  }
  t.equal(service.running, 0)
})

t.test('a synchronous implementation is answered within the call, without a promise or a timer', async (t) => {
  const { service, wheel } = serve()
  let replies = 0
  service.call('match.ping', EMPTY, { callerId: 'a', remainingMs: 100, context: undefined }, () => { replies++ })
  t.equal(replies, 1)
  t.equal(wheel.size, 0)
})

t.test('an implementation gets caller, route, what was propagated, a signal and a logger', async (t) => {
  let seen: RemoteContext | undefined
  const { game, lines } = serve({ ping (_: undefined, context: RemoteContext) { seen = context; context.log.info('mine') } })
  await game.ping()
  t.equal(seen!.caller, 'connector-1')
  t.equal(seen!.route, 'game.match.ping')
  t.strictSame(seen!.propagated, {})
  t.equal(seen!.signal.aborted, false)
  t.equal(seen!.signal, seen!.signal)
  t.match(lines, [{ level: 'info' }])
  await game.ping(undefined, { propagated: { trace: '1' } })
  t.strictSame(seen!.propagated, { trace: '1' })
})

t.test('`this` of an implementation is the object it was given in', async (t) => {
  const { game } = serve({ ping (this: typeof served) { if (typeof this.slow !== 'function') throw new Error('no this') } })
  t.equal(await game.ping(), undefined)
})

t.test('errors keep code, message and metadata; anything else is PIT-500 with the stack in the log', async (t) => {
  for (const fail of [(error: unknown) => { throw error }, async (error: unknown) => { throw error }]) {
    let thrown: unknown
    const { game, lines } = serve({ ping: () => fail(thrown) })
    thrown = new PitayaError('GAME-001', 'no such match', { id: '7' })
    await t.rejects(game.ping(), { code: 'GAME-001', message: 'no such match', metadata: { id: '7' } })
    t.strictSame(lines, [])
    for (thrown of [new Error('secret'), 'secret', undefined, null, Symbol('secret'), new Proxy({}, { get () { throw new Error('secret') } })]) {
      await t.rejects(game.ping(), { code: 'PIT-500', message: 'internal error', metadata: undefined })
      t.match(lines.pop(), { level: 'error', text: 'a handler failed' })
    }
    thrown = new PitayaError('PIT_ERR_REMOTE', 'details for developers', undefined, { statusCode: 500 })
    await t.rejects(game.ping(), { code: 'PIT-500', message: 'internal error' })
    t.match(lines.pop(), { level: 'error', text: 'details for developers' })
  }
})

t.test('the stack of what was thrown is in the log', async (t) => {
  const { game, lines } = serve({ ping () { throw new Error('mine') } })
  await t.rejects(game.ping())
  t.match(lines[0]!.fields.err.stack, /service\.test/)
})

t.test('a response that does not fit its schema is PIT-500, and its undeclared properties stay here', async (t) => {
  let response: unknown
  const { game, lines, ask } = serve({ greet: () => response, bytes: () => response })
  for (response of [{ text: 1 }, {}, 'text']) await t.rejects(game.greet({ name: 'ana' }), { code: 'PIT-500', message: 'the answer could not be encoded' })
  t.equal(lines.length, 3)
  await t.rejects(game.bytes(EMPTY), { code: 'PIT-500' })
  response = undefined
  await t.rejects(game.greet({ name: 'ana' }), { message: 'reply must not be null' })
  response = { text: 'hi', secret: 'abcdef' }
  t.strictSame(await game.greet({ name: 'ana' }), { text: 'hi' })
  const { data } = await ask('match.greet', Uint8Array.of(2, 0x61, 0))
  t.equal(Buffer.from(data).includes('abcdef'), false)
})

t.test('hooks of all levels run around the implementation, outermost first; before may replace the body, after the outcome', async (t) => {
  const order: string[] = []
  const level = (name: string): RemoteSteps => ({
    before: [(body, { route }) => { order.push(`before ${name} ${route}`); return { ...body, name: body.name + name } }],
    after: [(outcome) => { order.push(`after ${name}`); return outcome.error === undefined ? { result: { text: outcome.result.text + name } } : undefined }]
  })
  const { game } = serve({}, [level('1'), level('2')])
  t.strictSame(await game.greet({ name: 'ana' }), { text: 'hello ana1212' })
  t.strictSame(order, ['before 1 game.match.greet', 'before 2 game.match.greet', 'after 1', 'after 2'])
})

t.test('hooks added after the registration count, until everything is compiled', async (t) => {
  const level: RemoteSteps = { before: [], after: [] }
  const remotes = createRemotes()
  remotes.service.register(match, served, [level])
  level.before.push(async () => { throw new PitayaError('AUTH', 'no', { why: 'test' }) })
  remotes.service.compile()
  await t.rejects(remotes.clients.of('game', match).ping(), { code: 'AUTH', message: 'no', metadata: { why: 'test' } })
})

t.test('an after-hook sees the error and may turn it into a result, or a result into an error', async (t) => {
  const after: RemoteSteps['after'] = [async (outcome) => {
    if (outcome.error !== undefined) return { result: { text: (outcome.error as Error).message } }
    throw new PitayaError('VETO')
  }]
  const { game } = serve({ greet ({ name }: { name: string }) { if (name === 'bad') throw new Error('sorry'); return { text: '' } } }, [{ before: [], after }])
  t.strictSame(await game.greet({ name: 'bad' }), { text: 'sorry' })
  await t.rejects(game.greet({ name: 'ana' }), { code: 'VETO' })
})

t.test('past its deadline a call is answered PIT-504, its signal fires, and what comes late is dropped and counted', async (t) => {
  for (const end of ['resolve', 'reject'] as const) {
    const gate = defer<number>()
    let signal!: AbortSignal
    const slow = (_: undefined, context: RemoteContext) => { signal = context.signal; return gate.promise }
    const { game, skip, service, host, drops, lines } = serve({ slow })
    const abandoned: object[] = []
    const onAbandoned = (event: object) => abandoned.push(event)
    channels.abandoned.subscribe(onAbandoned)
    t.teardown(() => channels.abandoned.unsubscribe(onAbandoned))
    const call = game.slow()
    t.equal(service.running, 1)
    skip(75)
    t.equal(signal.aborted, false)
    skip(100)
    await t.rejects(call, { code: 'PIT-504' })
    t.equal(signal.aborted, true)
    t.equal(service.running, 0)
    t.equal(host.abandonedCalls, 1)
    t.match(abandoned, [{ serverId: 'game-1', route: 'game.match.slow', abandoned: 1 }])
    t.match(lines, [{ level: 'warn', fields: { route: 'game.match.slow', caller: 'connector-1' } }])
    gate[end](2 as never)
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(host.abandonedCalls, 0)
    t.strictSame(drops, ['result late game.match.slow'])
    channels.abandoned.unsubscribe(onAbandoned)
  }
})

t.test('the deadline is the shortest of the caller\'s, the method\'s and the server\'s', async (t) => {
  const { ask, skip, wheel } = serve({ slow: () => new Promise(() => {}), ping: () => new Promise(() => {}) })
  const cases: Array<[string, number, number]> = [['match.slow', 50, 50], ['match.slow', 86_400_000, 100], ['match.ping', 86_400_000, 5000]]
  for (const [route, remainingMs, expected] of cases) {
    const call = ask(route, EMPTY, { remainingMs })
    skip(expected - 25)
    t.equal(wheel.size, 1)
    skip(75)
    t.equal(wheel.size, 0)
    t.equal((await call).error!.code, 'PIT-504')
  }
})

t.test('a signal first read after the deadline has fired already', async (t) => {
  const gate = defer<number>()
  let isAborted: boolean | undefined
  const { game, skip } = serve({
    slow: async (_: undefined, context: RemoteContext) => {
      await gate.promise
      isAborted = context.signal.aborted
      return 1
    }
  })
  const call = game.slow()
  skip(200)
  await t.rejects(call)
  gate.resolve(1)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(isAborted, true)
})

t.test('above maxRunning a call is answered PIT-503 at once; idle() resolves when the last one ended', async (t) => {
  const gates = [defer<number>(), defer<number>()]
  let calls = 0
  const { game, service, drops } = serve({ slow: () => gates[calls++]!.promise }, [], { maxRunning: 2 })
  const running = [game.slow(), game.slow()]
  await t.rejects(game.ping(), { code: 'PIT-503', message: 'server is busy' })
  t.strictSame(drops, ['request busy game.match.ping'])
  let isIdle = false
  const idle = service.idle().then(() => { isIdle = true })
  gates[0]!.resolve(1)
  t.equal(await running[0], 1)
  t.equal(await game.ping(), undefined)
  t.equal(isIdle, false)
  gates[1]!.resolve(2)
  t.equal(await running[1], 2)
  await idle
  await service.idle()
  t.equal(service.running, 0)
})

t.test('a reply that cannot be sent is answered by an error; if that fails too the call still ends', async (t) => {
  const { service, lines } = serve()
  const codes: Array<string | undefined> = []
  const info = { callerId: 'a', remainingMs: 100, context: undefined }
  service.call('match.ping', EMPTY, info, (_, error) => {
    codes.push(error?.code)
    if (error === undefined) throw new PitayaError('PIT_ERR_RPC_SIZE', 'too large', undefined, { statusCode: 413 })
  })
  t.strictSame(codes, [undefined, 'PIT-413'])
  const fail = () => { throw new Error('no') }
  for (const route of ['match.ping', 'match.other']) service.call(route, EMPTY, info, fail)
  t.equal(service.running, 0)
  t.ok(lines.length > 0)
})

t.test('the end of every remote is told, with its outcome and its time', async (t) => {
  const ends: Array<{ route: string }> = []
  const onEnd = (event: { route: string }) => { if (event.route.startsWith('game.match.')) ends.push(event) }
  channels.handled.subscribe(onEnd)
  t.teardown(() => channels.handled.unsubscribe(onEnd))
  const { game, host } = serve({ ping () { throw new PitayaError('FULL') } })
  await game.slow()
  await t.rejects(game.ping())
  t.match(ends, [{ route: 'game.match.slow', kind: 'remote', code: '' }, { route: 'game.match.ping', kind: 'remote', code: 'FULL' }])
  t.equal(host.latestHandler!.route, 'game.match.ping')
})

t.test('what cannot be served is refused when it is registered', async (t) => {
  const { service } = createRemotes()
  const register = (...args: unknown[]) => () => (service.register as any)(...args)
  const refused = (message: RegExp) => ({ code: 'PIT_ERR_REMOTE', message })
  t.throws(register({}, {}), refused(/app\.pitaya\.remotes\(\): takes what defineRemotes/))
  t.throws(register(undefined, {}), refused(/defineRemotes/))
  t.throws(register(match, undefined), refused(/remote match: its implementation must be an object/))
  t.throws(register(match, { ...served, ping: undefined }), refused(/remote match\.ping: its implementation must be a function, not undefined/))
  t.throws(register(match, { ...served, other () {} }), refused(/remote match\.other: is implemented, but not in the contract/))
  register(match, served)()
  t.throws(register(match, served), refused(/remote match: these remotes are registered twice/))
  service.register(defineRemotes('odd', { fn: { body: Type.Function([], Type.Null()) } }), { fn () {} })
  t.throws(() => service.compile(), { code: 'PIT_ERR_SCHEMA', message: /odd\.fn\.body/ })
})

t.test('methods of a class instance are an implementation', async (t) => {
  class Matches {
    #greeting = 'hello'
    greet ({ name }: { name: string }) { return { text: `${this.#greeting} ${name}` } }
    slow () { return 1 }
    ping () {}
    bytes (bytes: Uint8Array) { return bytes }
    helper () {}
  }
  const { service, clients } = createRemotes()
  service.register(match, new Matches())
  service.compile()
  t.strictSame(await clients.of('game', match).greet({ name: 'ana' }), { text: 'hello ana' })
})

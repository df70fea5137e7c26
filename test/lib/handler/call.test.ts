import t from 'tap'
import { createError } from '../../../lib/errors.ts'
import { deflateSync } from 'node:zlib'
import { randomBytes } from 'node:crypto'
import { Type } from '@sinclair/typebox'
import { channels } from '../../../lib/channels.ts'
import { defineHandlers, notify, PitayaError, request } from '../../../lib/handler/define.ts'
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../../../lib/protocol/message.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import type { Session } from '../../../lib/session/session.ts'
import { createCore, defer, turn, type Core } from '../../helpers/core.ts'

class Hostile extends Error {
  override get message (): string { throw new Error('message') }
  override get stack (): string { throw new Error('stack') }
}
const hostileProxy = new Proxy({}, { get () { throw new Error('get') }, has () { throw new Error('has') }, getPrototypeOf () { throw new Error('proto') } })
const thrown: Array<[string, unknown]> = [
  ['an Error', new Error('secret')],
  ['a text', 'secret'],
  ['null', null],
  ['undefined', undefined],
  ['a number', 7],
  ['a symbol', Symbol('secret')],
  ['an object with a throwing getter', { get message () { throw new Error('secret') } }],
  ['an Error with throwing getters', new Hostile()],
  ['a proxy that throws at everything', hostileProxy],
  ['an object without prototype', Object.create(null)],
  ['a PitayaError whose fields throw', Object.defineProperty(new PitayaError('X'), 'metadata', { get () { throw new Error('secret') } })],
  ['a PitayaError with a cause that cannot be read', new PitayaError('PIT_ERR_INTERNAL', 'internal error', undefined, { statusCode: 500, cause: hostileProxy })]
]

for (const [what, value] of thrown) {
  t.test(`a handler that throws ${what} is answered PIT-500, and the next message is served`, async (t) => {
    const fail = () => { throw value }
    const { connect, call, tell, dispatcher, lines } = createCore([defineHandlers('room', {
      sync: request(fail),
      async: request(() => Promise.reject(value)),
      hooked: request({ after: [() => {}] }, fail),
      hookedAsync: request({ after: [async () => {}] }, async () => fail()),
      tell: notify(fail),
      next: request(() => {})
    })])
    const { session, client } = connect()
    for (const [i, method] of ['sync', 'async', 'hooked', 'hookedAsync'].entries()) call(session, i + 1, `room.${method}`)
    tell(session, 'room.tell')
    call(session, 9, 'room.next')
    await dispatcher.idle()
    t.strictSame(client.outcomes, ['PIT-500', 'PIT-500', 'PIT-500', 'PIT-500', 'ok'])
    for (const { data } of client.answers) t.notMatch(data, /secret/)
    t.equal(dispatcher.running, 0)
    t.ok(lines.filter(({ level, text }) => level === 'error' && text !== '').length >= 4)
  })
}

t.test('a logger that cannot print what was thrown does not cost the answer', async (t) => {
  const core = createCore([defineHandlers('room', { fail: request(() => { throw new Error('mine') }) })])
  const real = core.service.log.error
  let calls = 0
  core.service.log.error = (...args) => { if (calls++ === 0) throw new Error('cannot print'); real(...args) }
  const { session, client } = core.connect()
  core.call(session, 1, 'room.fail')
  t.strictSame(client.outcomes, ['PIT-500'])
  t.match(core.lines[0]!.fields.err.message, /cannot be read/)
})

t.test('the stack of what was thrown is in the log', async (t) => {
  const { connect, call, lines } = createCore([defineHandlers('room', { fail: request(() => { throw new Error('mine') }) })])
  call(connect().session, 1, 'room.fail')
  t.match(lines[0]!.fields.err.stack, /call\.test/)
})

t.test('a result that cannot be serialized is PIT-500: BigInt, cycle, throwing toJSON, too large', async (t) => {
  const Any = Type.Any()
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const { connect, call } = createCore([defineHandlers('room', {
    big: request({ response: Any }, () => 1n),
    cycle: request({ response: Any }, () => cycle),
    toJson: request({ response: Any }, () => ({ toJSON () { throw new Error('no') } })),
    getter: request({ response: Type.Object({ a: Type.String() }) }, () => ({ get a (): string { throw new Error('no') } })),
    next: request(() => {})
  })])
  const { session, client } = connect()
  for (const [i, method] of ['big', 'cycle', 'toJson', 'getter', 'next'].entries()) call(session, i + 1, `room.${method}`)
  t.strictSame(client.outcomes, ['PIT-500', 'PIT-500', 'PIT-500', 'PIT-500', 'ok'])
})

t.test('an answer that the connection refuses becomes an error answer', async (t) => {
  const { connect, call, dispatcher } = createCore([defineHandlers('room', { ask: request(() => {}), later: request(async () => {}) })])
  const { session, client } = connect()
  client.onRespond = ({ isError }) => { if (!isError) throw createError('PIT_ERR_PACKET_SIZE') }
  call(session, 1, 'room.ask')
  call(session, 2, 'room.later')
  await dispatcher.idle()
  t.strictSame(client.outcomes, ['PIT-413', 'PIT-413'])
})

t.test('an error that cannot be encoded is answered as PIT-500; if that fails too the connection closes', async (t) => {
  const json = createJsonSerializer()
  let isBroken = false
  const fragile = { ...json, encodeError: (error: any) => { if (isBroken || error.code === 'ODD') throw new TypeError('cannot'); return json.encodeError(error) } }
  const { connect, call, dispatcher } = createCore([defineHandlers('room', {
    odd: request(() => { throw new PitayaError('ODD', 'odd') }),
    oddLater: request(async () => { throw new PitayaError('ODD', 'odd') }),
    hooked: request({ after: [() => {}] }, () => { throw new PitayaError('ODD', 'odd') })
  })], { serializers: [fragile] })
  const { session, client } = connect()
  for (const [i, method] of ['odd', 'oddLater', 'hooked'].entries()) call(session, i + 1, `room.${method}`)
  await dispatcher.idle()
  t.strictSame(client.outcomes, ['PIT-500', 'PIT-500', 'PIT-500'])
  isBroken = true
  call(session, 4, 'room.oddLater')
  await dispatcher.idle()
  t.equal(client.closedWith, 'internal')
  t.equal(dispatcher.running, 0)
})

t.test('after its deadline a handler reads its session but writes no more; groups and others\' sessions are not its concern', async (t) => {
  const gate = defer<void>()
  const outcome: Record<string, unknown> = {}
  const attempt = async (name: string, write: () => unknown) => {
    try { outcome[name] = await write() ?? 'done' } catch (error) { outcome[name] = (error as PitayaError).wireCode }
  }
  const { connect, call, pass, service } = createCore([defineHandlers('room', { pushes: { onHello: Type.String() } }, {
    slow: request({ deadlineMs: 50 }, async (_, { session, groups }) => {
      await gate.promise
      await attempt('id', () => session.id)
      await attempt('uid', () => session.uid)
      await attempt('push', () => session.push('onHello', 'late'))
      await attempt('set', () => session.set({ late: true }))
      await attempt('bind', () => session.bind('late'))
      await attempt('onClose', () => session.onClose(() => {}))
      await attempt('kick', () => session.kick())
      await attempt('close', () => session.close())
      await attempt('groups', () => groups.create('late'))
      throw new Error('too late to matter')
    })
  })])
  const { session, client } = connect()
  await session.bind('ana')
  call(session, 1, 'room.slow')
  await pass(150)
  gate.resolve()
  await turn()
  const refused = 'PIT-499'
  const writes = { push: refused, set: refused, bind: refused, onClose: refused, kick: refused, close: refused }
  t.strictSame(outcome, { id: session.id, uid: 'ana', ...writes, groups: 'done' })
  t.strictSame(client.outcomes, ['PIT-504'])
  t.strictSame(client.pushes, [])
  t.equal(client.closedWith, undefined)
  t.equal(service.abandonedCalls, 0)
})

t.test('a signal read after the deadline, or after the close, has fired already', async (t) => {
  const gate = defer<void>()
  const seen: boolean[] = []
  const { connect, call, pass } = createCore([defineHandlers('room', {
    slow: request({ deadlineMs: 50 }, async (_, context) => { await gate.promise; seen.push(context.signal.aborted) }),
    other: request({ concurrent: true }, async (_, context) => { await gate.promise; seen.push(context.signal.aborted) })
  })])
  const [late, gone] = [connect(), connect()]
  call(late.session, 1, 'room.slow')
  call(gone.session, 1, 'room.other')
  await pass(150)
  gone.client.close('normal')
  gate.resolve()
  await turn()
  t.strictSame(seen, [true, true])
})

t.test('a notify past its deadline ends without an answer', async (t) => {
  const abandoned: object[] = []
  const onAbandoned = (event: object) => abandoned.push(event)
  channels.abandoned.subscribe(onAbandoned)
  t.teardown(() => channels.abandoned.unsubscribe(onAbandoned))
  const hang = notify({ deadlineMs: 50 }, () => new Promise(() => {}))
  const { connect, tell, pass, lines, dispatcher } = createCore([defineHandlers('room', { hang })])
  const { session, client } = connect()
  tell(session, 'room.hang')
  await pass(150)
  t.strictSame(client.answers, [])
  t.equal(dispatcher.running, 0)
  t.match(abandoned, [{ route: 'lobby.room.hang', abandoned: 1 }])
  t.match(lines, [{ level: 'warn', fields: { route: 'lobby.room.hang' } }])
})

t.test('a thenable that settles twice is taken once', async (t) => {
  const { connect, call, dispatcher } = createCore([defineHandlers('room', {
    twice: request({ response: Type.Integer() }, () => ({
      then (resolve: (n: number) => void, reject: (error: Error) => void) { resolve(1); reject(new Error('no')); resolve(2) }
    }) as any)
  })])
  const { session, client } = connect()
  call(session, 1, 'room.twice')
  await dispatcher.idle()
  t.strictSame(client.answers, [{ id: 1, data: '1', isError: false }])
})

t.test('the end of every handler is told, with its outcome and its time', async (t) => {
  const ends: object[] = []
  const onEnd = (event: object) => ends.push(event)
  channels.handled.subscribe(onEnd)
  t.teardown(() => channels.handled.unsubscribe(onEnd))
  const { connect, call, tell, dispatcher } = createCore([defineHandlers('room', {
    ok: request(async () => {}),
    fail: request(() => { throw new Error('no') }),
    full: request(() => { throw new PitayaError('FULL') }),
    tell: notify(() => {})
  })])
  const { session } = connect()
  for (const [i, method] of ['ok', 'fail', 'full'].entries()) call(session, i + 1, `room.${method}`)
  tell(session, 'room.tell')
  await dispatcher.idle()
  t.match(ends, [
    { route: 'lobby.room.ok', kind: 'request', code: '' },
    { route: 'lobby.room.fail', kind: 'request', code: 'PIT-500' },
    { route: 'lobby.room.full', kind: 'request', code: 'FULL' },
    { route: 'lobby.room.tell', kind: 'notify', code: '' }
  ])
  t.ok(ends.every((end) => (end as { durationMs: number }).durationMs >= 0))
})

/** A request with a compressed body large enough to be inflated on the thread pool. */
function callCompressed ({ service }: Core, session: Session, id: number, route: string, text: string): void {
  const view = createMessageView()
  const data = deflateSync(Buffer.from(JSON.stringify(text)))
  const message = encodeMessage({ type: MessageType.request, id, route, data })
  message[0]! |= 0x10
  decodeMessage(message, 0, message.length, view)
  service.onMessage(session, view, message, false)
}

const large = randomBytes(40_000).toString('hex')
const inflating = (deadlineMs?: number) => {
  const ran: string[] = []
  const core = createCore([defineHandlers('room', {
    take: request({ body: Type.String(), response: Type.Integer(), deadlineMs }, (text) => {
      ran.push(text.slice(0, 4))
      return text.length
    }),
    next: request({ response: Type.Integer() }, () => { ran.push('next'); return 1 })
  })])
  return { ...core, core, ran }
}

t.test('a body inflated on the thread pool keeps its place in the session\'s order', async (t) => {
  const { core, connect, call, dispatcher, ran } = inflating()
  const { session, client } = connect()
  callCompressed(core, session, 1, 'room.take', large)
  call(session, 2, 'room.next')
  t.strictSame(ran, [])
  await dispatcher.idle()
  t.strictSame(ran, [large.slice(0, 4), 'next'])
  t.strictSame(client.answers.map(({ id }) => id), [1, 2])
})

t.test('a handler whose body is inflated only after its deadline does not run', async (t) => {
  const { core, connect, dispatcher, wheel, service, ran } = inflating(25)
  const { session, client } = connect()
  callCompressed(core, session, 1, 'room.take', large)
  // Time passes without a turn of the event loop in which the thread pool could report.
  for (const handler of dispatcherCalls(session)) wheel.schedule(handler, 0)
  core.skip(200)
  t.strictSame(client.outcomes, ['PIT-504'])
  while (service.abandonedCalls > 0) await turn()
  t.strictSame(ran, [])
  t.equal(dispatcher.running, 0)
})

t.test('a body that does not inflate, found out after the deadline, is counted as ended', async (t) => {
  const { core, connect, wheel, service } = inflating(25)
  const { session, client } = connect()
  const view = createMessageView()
  const data = deflateSync(Buffer.from(large))
  data.fill(0xff, 100, 2000)
  const message = encodeMessage({ type: MessageType.request, id: 1, route: 'room.take', data })
  message[0]! |= 0x10
  decodeMessage(message, 0, message.length, view)
  service.onMessage(session, view, message, false)
  for (const handler of dispatcherCalls(session)) wheel.schedule(handler, 0)
  core.skip(200)
  while (service.abandonedCalls > 0) await turn()
  t.strictSame(client.outcomes, ['PIT-504'])
})

function dispatcherCalls (session: Session): any[] {
  return (session.lane as { running: any[] }).running
}

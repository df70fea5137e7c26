import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, definePitaya, notify, PitayaError, raw, request } from '../../../lib/handler/define.ts'

const Message = Type.Object({ name: Type.String() })
const hook = () => {}
const one = { join: request(() => {}) }
/** As plain JavaScript calls it. */
const untyped = { defineHandlers, definePitaya, request, notify } as unknown as Record<string, (...args: unknown[]) => unknown>
const { defineHandlers: handlers, definePitaya: pitaya, request: req, notify: not } = untyped as Record<string, (...args: any[]) => any>

t.test('request() keeps what it was given and fills in the defaults', async (t) => {
  const handle = () => undefined
  const options = { body: Message, response: raw, errors: ['GAME-001'], concurrent: true, deadlineMs: 5, ratePerSecond: 0.5, before: [hook], after: [hook] }
  t.strictSame(req!(options, handle), { kind: 'request', ...options, handle })
  t.strictSame(request(handle), {
    kind: 'request',
    body: undefined,
    response: undefined,
    errors: [],
    concurrent: false,
    deadlineMs: undefined,
    ratePerSecond: undefined,
    before: [],
    after: [],
    handle
  })
  t.equal(notify({ body: Message }, handle).kind, 'notify')
  t.equal(notify(handle).handle, handle)
})

t.test('every definition has the same properties in the same order, whatever was given', async (t) => {
  const order = Object.keys(request(hook))
  t.strictSame(Object.keys(notify(hook)), order)
  t.strictSame(Object.keys(notify({ before: [hook], body: raw }, hook)), order)
  t.strictSame(Object.keys(request({ response: Message, body: raw }, () => ({ name: '' }))), order)
})

t.test('a handler structure holds its name, pushes, hooks and methods', async (t) => {
  const room = defineHandlers('room', { pushes: { onMessage: Message, onBytes: raw }, before: [hook], after: [hook] }, one)
  t.equal(room.name, 'room')
  t.strictSame(Object.keys(room.pushes), ['onMessage', 'onBytes'])
  t.equal(room.pushes.onMessage, Message)
  t.strictSame(room.before, [hook])
  t.strictSame(room.after, [hook])
  t.equal(room.methods.join, one.join)
  t.equal(room.session, undefined)
  t.equal(room.user, undefined)
})

t.test('options may be left out', async (t) => {
  const room = defineHandlers('room', one)
  t.equal(room.methods.join, one.join)
  t.strictSame(Object.keys(room.pushes), [])
  t.strictSame(room.before, [])
  t.strictSame(Object.keys(handlers!('room', undefined, one).methods), ['join'])
})

t.test('definitions are frozen, and copies: what the caller changes afterwards does not reach them', async (t) => {
  const before = [hook]
  const methods: Record<string, typeof one.join> = { ...one }
  const room = defineHandlers('room', { before }, methods)
  before.push(hook)
  methods.leave = one.join
  t.equal(room.before.length, 1)
  t.equal('leave' in room.methods, false)
  const { join } = one
  for (const value of [raw, join, join.errors, join.before, join.after, room, room.pushes, room.methods, room.before, definePitaya()]) {
    t.ok(Object.isFrozen(value))
  }
})

t.test('only own properties are methods and pushes', async (t) => {
  const methods = Object.assign(Object.create({ inherited: one.join }), one)
  const room = handlers!('room', { pushes: Object.create({ onInherited: Message }) }, methods)
  t.strictSame(Object.keys(room.methods), ['join'])
  for (const name of ['inherited', 'constructor', 'toString', '__proto__']) t.equal(room.methods[name], undefined)
  for (const name of ['onInherited', 'constructor']) t.equal(room.pushes[name], undefined)
  const odd = handlers!('room', { pushes: { ['__proto__']: Message } }, { ['__proto__']: one.join })
  t.equal(odd.methods.__proto__, one.join) // eslint-disable-line no-proto
  t.strictSame(Object.keys(odd.pushes), ['__proto__'])
})

t.test('definePitaya() puts the schemas of session and user into its handler structures', async (t) => {
  const User = Type.Object({ token: Type.String() })
  const room = definePitaya({ session: Message, user: User }).handlers('room', one)
  t.equal(room.session, Message)
  t.equal(room.user, User)
  t.equal(definePitaya().handlers('room', { pushes: {} }, one).session, undefined)
})

t.test('definePitaya() refuses what is no schema', async (t) => {
  const refused = (text: RegExp) => ({ code: 'PIT_ERR_OPTIONS', message: text })
  t.throws(() => pitaya!({ session: raw }), refused(/"session" of definePitaya must be a TypeBox schema/))
  t.throws(() => pitaya!({ user: { type: 'object' } }), refused(/"user" of definePitaya/))
  t.throws(() => pitaya!({ sessions: Message }), refused(/"sessions" of definePitaya is unknown: it takes session, user/))
})

t.test('names and values that cannot work are refused, naming the place and what to do', async (t) => {
  const handle = () => {}
  const method = (options: object) => () => handlers!('room', { join: req!(options, handle) })
  const cases: Array<[string, () => unknown, RegExp]> = [
    ['empty name', () => handlers!('', one), /handler "": the handler name must have 1 to 64 characters/],
    ['dot in a name', () => handlers!('chat.room', one), /handler "chat\.room": .*none of them white space or "\."/],
    ['space in a name', () => handlers!('a room', one), /handler "a room"/],
    ['exotic space in a name', () => handlers!('a\u2003room', one), /white space/],
    ['long name', () => handlers!('r'.repeat(65), one), /1 to 64/],
    ['no name', () => handlers!(undefined, one), /handler undefined: the handler name/],
    ['empty method name', () => handlers!('room', { '': one.join }), /handler "": a method name of "room"/],
    ['dot in a method name', () => handlers!('room', { 'a.b': one.join }), /handler "a\.b": a method name of "room"/],
    ['newline in a method name', () => handlers!('room', { 'a\n': one.join }), /a method name of "room"/],
    ['no methods', () => handlers!('room'), /handler room: its methods must be an object/],
    ['methods in an array', () => handlers!('room', [one.join]), /handler room: its methods/],
    ['bare function', () => handlers!('room', { join: handle }), /handler room\.join: must be made by request\(\) or notify\(\)/],
    ['unknown option', () => handlers!('room', { push: {} }, one), /handler room: option "push" is unknown: known are pushes, before, after/],
    ['options that are none', () => handlers!('room', [], one), /handler room: its options must be an object/],
    ['pushes in an array', () => handlers!('room', { pushes: [Message] }, one), /handler room: pushes must be an object/],
    ['push without name', () => handlers!('room', { pushes: { '': Message } }, one), /push "" must have 1 to 255 bytes/],
    ['long push name', () => handlers!('room', { pushes: { ['ü'.repeat(128)]: Message } }, one), /must have 1 to 255 bytes/],
    ['push without schema', () => handlers!('room', { pushes: { onX: { type: 'object' } } }, one), /push "onX" must be a TypeBox schema or raw/],
    ['hooks that are none', () => handlers!('room', { before: hook }, one), /handler room: before must be an array of functions/],
    ['hook that is none', () => handlers!('room', { after: [1] }, one), /handler room: after must be an array of functions/],
    ['unknown method option', method({ deadLineMs: 1 }), /handler request\(\): option "deadLineMs" is unknown: known are .*deadlineMs/],
    ['response of a notify', () => not!({ response: Message }, handle), /handler notify\(\): option "response" is unknown/],
    ['no handler', () => req!({ body: Message }, undefined), /handler request\(\): its last argument must be the handler function, not undefined/],
    ['no handler at all', () => req!(), /must be the handler function/],
    ['method options that are none', () => not!('x', handle), /handler notify\(\): its options must be an object/],
    ['body without schema', method({ body: {} }), /handler room\.join: body must be a TypeBox schema or raw/],
    ['response without schema', method({ response: 'raw' }), /handler room\.join: response must be/],
    ['errors of a notify', () => not!({ errors: ['GAME-001'] }, handle), /handler notify\(\): option "errors" is unknown/],
    ...['GAME-001', Array(65).fill('GAME-001'), { 0: 'GAME-001' }].map((errors): [string, () => unknown, RegExp] =>
      ['errors that are no list', method({ errors }), /handler room\.join: errors must be an array of at most 64 codes/]),
    ...['', 'x'.repeat(65), 'PIT_ERR_RATE', 5, undefined].map((code): [string, () => unknown, RegExp] =>
      [`code ${code}`, method({ errors: ['GAME-001', code] }), /handler room\.join: errors: .* must have 1 to 64 characters and not begin with PIT_ERR_/]),
    ['concurrent', method({ concurrent: 1 }), /handler room\.join: concurrent must be true or false/],
    ['method hooks', method({ before: {} }), /handler room\.join: before must be an array of functions/],
    ...[0, -1, 1.5, Infinity, NaN, 86_400_001, '5'].map((deadlineMs): [string, () => unknown, RegExp] =>
      [`deadline ${deadlineMs}`, method({ deadlineMs }), /handler room\.join: deadlineMs must be a whole number of milliseconds/]),
    ...[0, -1, Infinity, NaN, '5'].map((ratePerSecond): [string, () => unknown, RegExp] =>
      [`rate ${ratePerSecond}`, method({ ratePerSecond }), /handler room\.join: ratePerSecond must be a number above 0/])
  ]
  for (const [name, run, message] of cases) t.throws(run, { code: 'PIT_ERR_HANDLER', message }, name)
})

t.test('names at their limits are accepted', async (t) => {
  const room = handlers!('r'.repeat(64), { pushes: { ['p'.repeat(255)]: Message } }, { ['m'.repeat(64)]: one.join, 方法: one.join })
  t.equal(Object.keys(room.methods).length, 2)
})

t.test('PitayaError is the one of the error table', async (t) => {
  t.equal(new PitayaError('GAME-001', 'no such game').wireCode, 'GAME-001')
})

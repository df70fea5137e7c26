import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineRemotes, raw } from '../../../lib/handler/define.ts'

const Body = Type.Object({ name: Type.String() })
/** As plain JavaScript calls it. */
const define = defineRemotes as unknown as (...args: unknown[]) => any

t.test('a contract holds its name and its methods, the same properties in each', async (t) => {
  const match = defineRemotes('match', { create: { body: Body, response: raw, deadlineMs: 5 }, ping: {} })
  t.equal(match.name, 'match')
  t.strictSame({ ...match.methods }, {
    create: { body: Body, response: raw, deadlineMs: 5 },
    ping: { body: undefined, response: undefined, deadlineMs: undefined }
  })
})

t.test('a contract is frozen, a copy, and has own properties only', async (t) => {
  const ping: { deadlineMs?: number } = {}
  const methods = Object.assign(Object.create({ inherited: {} }), { ping })
  const match = define('match', methods)
  methods.later = {}
  ping.deadlineMs = 1
  t.strictSame(Object.keys(match.methods), ['ping'])
  t.equal(match.methods.ping.deadlineMs, undefined)
  for (const name of ['inherited', 'constructor', 'toString', '__proto__']) t.equal(match.methods[name], undefined)
  for (const value of [match, match.methods, match.methods.ping]) t.ok(Object.isFrozen(value))
})

t.test('names and values that cannot work are refused, naming the place and what to do', async (t) => {
  const cases: Array<[string, unknown[], RegExp]> = [
    ['no name', [undefined, {}], /remote undefined: the name of remotes must have 1 to 64 characters/],
    ['dot in a name', ['a.b', {}], /remote "a\.b": the name of remotes/],
    ['no methods', ['match'], /remote match: its methods must be an object/],
    ['methods in an array', ['match', [{}]], /remote match: its methods/],
    ['space in a method name', ['match', { 'a b': {} }], /remote "a b": a method name of "match"/],
    ['a method named then', ['match', { then: {} }], /remote match\.then: .* a promise/],
    ['code in a contract', ['match', { create () {} }], /remote match\.create: must be an object/],
    ['unknown option', ['match', { create: { bodi: Body } }], /remote match\.create: option "bodi" is unknown: known are body, response, deadlineMs/],
    ['body without schema', ['match', { create: { body: {} } }], /remote match\.create: body must be a TypeBox schema or raw/],
    ['response without schema', ['match', { create: { response: 'raw' } }], /remote match\.create: response must be/],
    ['deadline', ['match', { create: { deadlineMs: 0 } }], /remote match\.create: deadlineMs must be a whole number of milliseconds/]
  ]
  for (const [name, args, message] of cases) t.throws(() => define(...args), { code: 'PIT_ERR_REMOTE', message }, name)
})

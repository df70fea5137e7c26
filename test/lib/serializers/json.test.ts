import { FormatRegistry, Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import type { Codec } from '../../../lib/serializers/serializer.ts'
import { readVectors, toHex } from '../../helpers/vectors.ts'

const json = createJsonSerializer()
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const read = (codec: Codec, text: string | Uint8Array): unknown => {
  const input = typeof text === 'string' ? bytes(text) : text
  return codec.decode(input, 0, input.length)
}
const write = (schema: TSchema, value: unknown): string => Buffer.from(json.compile(schema, 'test').encode(value)).toString()

const at = (field: string) => ({ code: 'PIT_ERR_BODY', metadata: { field } })

const open = json.compile(Type.Any(), 'any')
const chat = json.compile(Type.Object({ name: Type.String(), age: Type.Optional(Type.Integer()) }), 'chat')

t.test('cut JSON and other wrong JSON have each one text', async (t) => {
  const whole = '{"name":"a\\u00e9","list":[1.5e3,true,null]}'
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => read(open, whole.slice(0, length)), { code: 'PIT_ERR_BODY', message: /^unexpected end of JSON input$/ }, whole.slice(0, length))
  }
  for (const wrong of ['{a:1}', '{"a":1}x', '[1,]', 'truth', '\'a\'', '"\u0001"', 'NaN', '-Infinity', '01', '{"a" 1}', 'undefined', '\0']) {
    t.throws(() => read(open, wrong), { code: 'PIT_ERR_BODY', message: /^invalid JSON$/, metadata: undefined }, wrong)
  }
})

t.test('bytes that are no UTF-8 are refused, U+FFFD itself is not', async (t) => {
  for (const hex of ['22ff22', '22c08022', '22eda08022', '22f4908080', '22e282', '7b22c322', '22efbfbdff22']) {
    t.throws(() => read(open, Buffer.from(hex, 'hex')), { code: 'PIT_ERR_BODY', message: /^invalid JSON$/ }, hex)
  }
  t.equal(read(open, '"\ufffd"'), '\ufffd')
})

t.test('half a surrogate pair is refused, a pair and an escaped backslash are not', async (t) => {
  for (const text of ['"\\ud800"', '"\\uDC00"', '"\\ud83d\\ud83d\\udfae"', '{"\\udfff":1}', '"\\\\\\ud800"', '"\\ud800x\\udc00"']) {
    t.throws(() => read(open, text), { code: 'PIT_ERR_BODY', message: /^invalid JSON$/ }, text)
  }
  t.equal(read(open, '"\\ud83d\\udfae"'), '\ud83d\udfae')
  t.equal(read(open, '"\\\\ud800"'), '\\ud800')
})

t.test('keys that poison prototypes are refused wherever they stand', async (t) => {
  const poisoned = [
    '{"__proto__":{"admin":true}}', '{"name":"a","__proto__":null}', '{"a":[{"\\u005f_proto__":1}]}', '{"constructor":{"prototype":{"admin":true}}}',
    '[{"a":{"constructor":{"prototype":1}}}]'
  ]
  for (const text of poisoned) {
    for (const codec of [open, chat, json.compile(Type.Record(Type.String(), Type.Any()), 'map')]) {
      t.throws(() => read(codec, text), { code: 'PIT_ERR_BODY' }, text)
    }
  }
  t.equal(({} as Record<string, unknown>).admin, undefined)
  t.equal(read(open, '"\\"__proto__\\":"'), '"__proto__":')
})

t.test('hostile shapes are only refused', async (t) => {
  const deep = '['.repeat(30_000) + ']'.repeat(30_000)
  const tree = json.compile(Type.Recursive((Node) => Type.Object({ next: Type.Optional(Node), list: Type.Optional(Type.Array(Node)) })), 'tree')
  const chain = '{"next":'.repeat(8_000) + '{}' + '}'.repeat(8_000)
  t.throws(() => read(chat, deep), { code: 'PIT_ERR_BODY', metadata: { field: '' } })
  try { read(tree, chain) } catch (error) { t.match(error, { code: 'PIT_ERR_BODY' }) }
  const many = `{${Array.from({ length: 10_000 }, (_, i) => `"k${i}":${i}`).join(',')},"name":"a"}`
  t.strictSame(read(chat, many), { name: 'a' })
  t.strictSame(read(chat, '{"name":"first","name":"last"}'), { name: 'last' })
  t.throws(() => read(chat, '{"name":"a","age":1e400}'), at('/age'))
  t.throws(() => read(chat, '{"name":"a","age":1.5}'), at('/age'))
})

t.test('a violation names the field and says what it must be', async (t) => {
  const codec = json.compile(Type.Object({
    list: Type.Array(Type.Object({ n: Type.Integer({ minimum: 1 }) }), { maxItems: 2 }),
    map: Type.Optional(Type.Record(Type.String(), Type.Integer()))
  }), 'test')
  t.throws(() => read(codec, '{}'), { message: 'body/list is required', metadata: { field: '/list' } })
  t.throws(() => read(codec, '{"list":[{"n":1},{"n":0}]}'), { message: 'body/list/1/n must be integer to be greater or equal to 1', metadata: { field: '/list/1/n' } })
  t.throws(() => read(codec, '{"list":[{"n":1},{"n":1},{"n":1}]}'), at('/list'))
  t.throws(() => read(codec, '[]'), { message: 'body must be object', metadata: { field: '' } })
  const long = `{"list":[],"map":{"${'🎮'.repeat(2_000)}":"x"}}`
  t.throws(() => read(codec, long), at('/map/' + '🎮'.repeat(61)))
})

t.test('an undeclared property is dropped, also where additionalProperties is false, and kept where it has a schema', async (t) => {
  const closed = json.compile(Type.Object({ a: Type.Integer() }, { additionalProperties: false }), 'test')
  t.strictSame(read(closed, '{"a":1,"b":2}'), { a: 1 })
  const more = Type.Object({ a: Type.Integer() }, { additionalProperties: Type.Object({ n: Type.Integer() }) })
  t.strictSame(read(json.compile(more, 'test'), '{"a":1,"b":{"n":1,"x":2}}'), { a: 1, b: { n: 1 } })
  t.equal(write(more, { a: 1, b: { n: 1, x: 2 } }), '{"a":1,"b":{"n":1}}')
  const keyed = Type.Record(Type.RegExp(/^k[0-9]$/), Type.Integer())
  t.strictSame(read(json.compile(keyed, 'test'), '{"k1":1,"other":"x"}'), { k1: 1 })
  t.equal(write(keyed, { k1: 1, other: 'x' }), '{"k1":1}')
})

t.test('a value is read and written by the branch of the union that it passes', async (t) => {
  const union = Type.Array(Type.Union([
    Type.Object({ kind: Type.Literal('a'), x: Type.Integer() }),
    Type.Object({ kind: Type.Literal('b'), y: Type.Object({ z: Type.String() }) }),
    Type.Tuple([Type.Integer(), Type.Object({ q: Type.Null() })]),
    Type.Null()
  ]))
  const dirty = [{ kind: 'a', x: 1, y: 2 }, { kind: 'b', x: 1, y: { z: 'z', w: 1 } }, [1, { q: null, r: 1 }], null]
  const clean = [{ kind: 'a', x: 1 }, { kind: 'b', y: { z: 'z' } }, [1, { q: null }], null]
  t.strictSame(read(json.compile(union, 'test'), JSON.stringify(dirty)), clean)
  t.equal(write(union, dirty), JSON.stringify(clean))
  const one = Type.Object({ a: Type.Integer() }, { additionalProperties: false })
  const closed = Type.Union([one, Type.Object({ a: Type.Integer(), b: Type.Integer() })])
  t.strictSame(read(json.compile(closed, 'test'), '{"a":1,"b":2,"c":3}'), { a: 1, b: 2 })
})

t.test('bytes are base64 text with padding', async (t) => {
  const parts = Type.Array(Type.Union([Type.Null(), Type.Uint8Array()]))
  const schema = Type.Object({ data: Type.Uint8Array({ maxByteLength: 4 }), parts })
  const value = { data: Uint8Array.of(1, 2, 3, 255), parts: [null, Uint8Array.of(0)] }
  t.equal(write(schema, { ...value, more: 1 }), '{"data":"AQID/w==","parts":[null,"AA=="]}')
  const codec = json.compile(schema, 'test')
  t.strictSame(read(codec, '{"data":"AQID/w==","parts":[null,"AA=="]}'), value)
  for (const data of ['AQID/w', 'AQID_w==', 'AQID/w==\n', '=', 'A', 'é', 'AQIDBAU=']) {
    t.throws(() => read(codec, JSON.stringify({ data, parts: [] })), { code: 'PIT_ERR_BODY', metadata: { field: '/data' } }, data)
  }
  t.throws(() => json.compile(Type.Union([Type.String(), Type.Uint8Array()]), 'test'), { code: 'PIT_ERR_SCHEMA' })
})

t.test('what has no JSON is not encoded', async (t) => {
  const cycle: unknown[] = []
  cycle.push(cycle)
  for (const value of [cycle, 1n, () => 1, Symbol('s'), undefined]) t.throws(() => write(Type.Any(), value))
  t.throws(() => write(Type.Object({ a: Type.Unknown() }), { a: 1n }))
  t.equal(write(Type.Object({ a: Type.Any() }), { a: { b: [1, () => 1] }, c: 1 }), '{"a":{"b":[1,null]}}')
  t.throws(() => write(Type.Any(), { deep: ['\ud800'] }))
  t.throws(() => write(Type.String(), 'x'.repeat(2 ** 24)), { name: 'RangeError' })
})

t.test('keywords that writers act upon change nothing', async (t) => {
  FormatRegistry.Set('test:free', () => true)
  t.teardown(() => FormatRegistry.Delete('test:free'))
  t.equal(write(Type.Object({ s: Type.String({ format: 'test:free' }) }), { s: '"quoted"' }), '{"s":"\\"quoted\\""}')
  t.equal(write(Type.Object({ a: Type.Optional(Type.Integer({ default: 7 })) }), {}), '{}')
  t.equal(write(Type.Object({ 'odd "key"': Type.Integer() }), { 'odd "key"': 1 }), '{"odd \\"key\\"":1}')
})

t.test('schemas that would fail for every value, or do something else than they say, are refused', async (t) => {
  const wrong: TSchema[] = [
    Type.String({ format: 'no-such-format' }), Type.Transform(Type.String()).Decode(Number).Encode(String),
    Type.Object({ toString: Type.Optional(Type.String()) }),
    Type.Intersect([Type.Object({ a: Type.Integer() }), Type.Object({ a: Type.String() })]),
    Type.Intersect([Type.String(), Type.String()]),
    Type.Union([]), Type.Ref('Nowhere'), Type.Never(), Type.Not(Type.String())
  ]
  for (const schema of wrong) t.throws(() => json.compile(Type.Object({ a: schema }), 'chat.message'), { code: 'PIT_ERR_SCHEMA', message: /chat\.message: \/a/ })
})

t.test('error payloads are byte for byte those of Go', async (t) => {
  interface Vector { name: string, code: string, msg: string, metadata: Record<string, string>, jsonHex: string }
  const { vectors } = readVectors<{ vectors: Vector[] }>('errors.json')
  for (const { name, jsonHex, ...error } of vectors) t.equal(toHex(json.encodeError(error)), jsonHex, name)
  t.equal(Buffer.from(json.encodeError({ code: '', msg: '', metadata: undefined })).toString(), '{}')
  t.equal(Buffer.from(json.encodeError({ code: 'A', msg: '\u2028', metadata: { b: '2', a: '<' } })).toString(),
    '{"code":"A","msg":"\\u2028","metadata":{"a":"\\u003c","b":"2"}}')
})

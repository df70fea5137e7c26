import { Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { cpuMs } from '../../helpers/lateness.ts'
import type { Codec } from '../../../lib/serializers/serializer.ts'

const avro = createAvroSerializer()
const codecOf = (schema: TSchema): Codec => avro.compile(schema, 'test')
const read = (codec: Codec, hex: string): unknown => codec.decode(Buffer.from(hex, 'hex'), 0, hex.length / 2)
const write = (schema: TSchema, value: unknown): string => Buffer.from(codecOf(schema).encode(value)).toString('hex')
const refused = { code: 'PIT_ERR_BODY', message: /^invalid Avro data$/, metadata: undefined }

t.test('values are written as the Avro specification says', async (t) => {
  t.equal(write(Type.Object({ a: Type.Integer(), b: Type.String() }), { a: 27, b: 'foo' }), '3606666f6f')
  t.equal(write(Type.Array(Type.Integer()), [3, 27]), '04063600')
  t.equal(write(Type.Record(Type.String(), Type.Boolean()), { a: true }), '0202610100')
  t.equal(write(Type.Object({ a: Type.Optional(Type.String()) }), {}), '00')
  t.equal(write(Type.Object({ a: Type.Optional(Type.String()) }), { a: 'a' }), '020261')
  t.equal(write(Type.Number(), 1), '000000000000f03f')
  t.equal(write(Type.Integer(), Number.MAX_SAFE_INTEGER), 'feffffffffffff1f')
  t.equal(write(Type.Integer(), Number.MIN_SAFE_INTEGER), 'fdffffffffffff1f')
})

t.test('hostile bytes are refused with one text, at once', async (t) => {
  const texts = codecOf(Type.Array(Type.String()))
  const map = codecOf(Type.Record(Type.String(), Type.Integer()))
  const small = codecOf(Type.Integer({ minimum: -10, maximum: 10 }))
  const rows: Array<[string, Codec, string]> = [
    ['2^31 - 1 items announced', texts, 'feffffff0f'], ['2^53 items announced', texts, 'feffffffffffff1f'], ['the same in a map', map, 'feffffff0f'],
    ['negative count, negative size', texts, '0103'], ['negative count', texts, '01'], ['block of the largest negative count', texts, 'ffffffffffffffffff01'],
    ['one more item than the limit', codecOf(Type.Array(Type.Boolean())), `${'a29c01'}${'00'.repeat(10_001)}00`],
    ['block upon block to one more', codecOf(Type.Array(Type.Boolean())), `${'a09c01'}${'00'.repeat(10_000)}020000`],
    ['no end of the array', texts, '020261'], ['text longer than the message', texts, '02ff7f6100'], ['negative length', texts, '020100'],
    ['map key __proto__', map, `0212${Buffer.from('__proto__').toString('hex')}0200`], ['a varint of eleven bytes', small, '8080808080808080808000'],
    ['a varint without end', small, '80'], ['int out of range', small, 'feffffffff1f'], ['long beyond 2^53', codecOf(Type.Integer()), '8080808080808020'],
    ['long below -2^53', codecOf(Type.Integer()), 'ffffffffffffff1f'], ['boolean 2', codecOf(Type.Boolean()), '02'], ['nothing', codecOf(Type.Boolean()), ''],
    ['trailing byte', codecOf(Type.Boolean()), '0100'], ['invalid UTF-8', codecOf(Type.String()), '02ff'], ['half a surrogate pair', codecOf(Type.String()), '06eda080'],
    ['overlong UTF-8', codecOf(Type.String()), '04c080'], ['enum index', codecOf(Type.Union([Type.Literal('a'), Type.Literal('b')])), '04'],
    ['negative enum index', codecOf(Type.Union([Type.Literal('a'), Type.Literal('b')])), '01'],
    ['union index', codecOf(Type.Union([Type.String(), Type.Null()])), '04'], ['half a double', codecOf(Type.Number()), '00000000'],
    ['bytes longer than the message', codecOf(Type.Uint8Array()), 'feffffff0f']
  ]
  for (const [name, codec, hex] of rows) {
    const start = cpuMs()
    t.throws(() => read(codec, hex), refused, name)
    t.ok(cpuMs() - start < 50, name)
  }
})

t.test('U+FFFD itself is text', async (t) => {
  t.equal(read(codecOf(Type.String()), '06efbfbd'), '\ufffd')
})

t.test('recursion ends at 64 levels', async (t) => {
  const list = codecOf(Type.Recursive((Node) => Type.Object({ next: Type.Optional(Node) })))
  const depth = (value: any): number => value.next === undefined ? 1 : 1 + depth(value.next)
  t.equal(depth(read(list, '02'.repeat(63) + '00')), 64)
  t.throws(() => read(list, '02'.repeat(64) + '00'), refused)
  t.throws(() => read(list, '02'.repeat(60_000)), refused)
  t.strictSame(read(list, '00'), {}, 'the next message begins anew')
})

t.test('limits of the schema are checked after decoding', async (t) => {
  const codec = codecOf(Type.Object({ s: Type.String({ pattern: '^a+$' }), n: Type.Number({ maximum: 1 }) }))
  t.throws(() => read(codec, '0262000000000000f03f'), { code: 'PIT_ERR_BODY', metadata: { field: '/s' } })
  t.throws(() => read(codec, '02610000000000000040'), { code: 'PIT_ERR_BODY', metadata: { field: '/n' } })
  t.throws(() => read(codec, '0261000000000000f87f'), { code: 'PIT_ERR_BODY', metadata: { field: '/n' } }, 'NaN')
})

t.test('an optional null is absent, a required one is null', async (t) => {
  const nullable = Type.Union([Type.String(), Type.Null()])
  const codec = codecOf(Type.Object({ a: Type.Optional(nullable), b: nullable }))
  const bytes = codec.encode({ a: null, b: null })
  t.strictSame(codec.decode(bytes, 0, bytes.length), { b: null })
})

t.test('decoded records are plain objects', async (t) => {
  const value = read(codecOf(Type.Object({ a: Type.Object({ b: Type.Boolean() }) })), '01') as { a: object }
  t.equal(Object.getPrototypeOf(value), Object.prototype)
  t.equal(Object.getPrototypeOf(value.a), Object.prototype)
})

t.test('keys that a map does not declare are dropped both ways', async (t) => {
  const codec = codecOf(Type.Record(Type.RegExp(/^k[0-9]$/), Type.Integer()))
  const bytes = codec.encode({ k1: 1, other: 2 })
  t.strictSame(codec.decode(bytes, 0, bytes.length), { k1: 1 })
  t.strictSame(read(codec, '04046b3102047a7a0200'), { k1: 1 })
})

t.test('a block may say its size', async (t) => {
  t.strictSame(read(codecOf(Type.Array(Type.Integer())), '0304063600'), [3, 27])
})

t.test('an Avro schema given by hand is used', async (t) => {
  const Position = Type.Unsafe<{ x: number, y: number }>({
    avro: { type: 'record', name: 'Position', fields: [{ name: 'x', type: 'float' }, { name: 'y', type: 'float' }] }
  })
  const schema = Type.Object({ from: Position, to: Position, id: Type.Uint8Array({ avro: { type: 'fixed', name: 'Id', size: 2 } }), at: Type.Integer({ avro: 'int' }) })
  const value = { from: { x: 1, y: 2 }, to: { x: 0.5, y: -1 }, id: Uint8Array.of(1, 2), at: 7 }
  const codec = codecOf(schema)
  const bytes = codec.encode({ ...value, more: 1 })
  t.equal(bytes.length, 4 * 4 + 2 + 1)
  t.strictSame(codec.decode(bytes, 0, bytes.length), value)
  t.throws(() => codec.encode({ ...value, id: Uint8Array.of(1) }))
  t.throws(() => codec.encode({ ...value, from: { x: 'a', y: 1 } }))
  t.throws(() => codec.encode({ ...value, at: 2 ** 31 }))
})

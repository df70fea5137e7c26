import { Type, type TSchema } from '@sinclair/typebox'
import avsc from 'avsc'
import t from 'tap'
import { compileCodec, Writer, type AvroCodec, type AvroSchema } from '../../../lib/avro/codec.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { deriveAvro } from '../../../lib/serializers/avro-schema.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'
import { rows } from '../../contracts/serializer.ts'
import { cpuMs } from '../../helpers/lateness.ts'
import { fromHex, toHex } from '../../helpers/vectors.ts'

const codecOf = (schema: TSchema): AvroCodec => compileCodec(deriveAvro(reduceSchema(schema, 'test'), 'test'))
const read = (codec: AvroCodec, hex: string): unknown => codec.decode(fromHex(hex))
const write = (schema: TSchema, value: unknown): string => toHex(codecOf(schema).encode(value))
const refused = { code: 'PIT_ERR_BODY', message: 'invalid Avro data' }

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

t.test('what every serializer carries is written and read as the server does it', async (t) => {
  const server = createAvroSerializer()
  const writer = new Writer()
  for (const { name, schema, values } of rows) {
    const codec = compileCodec(deriveAvro(reduceSchema(schema, name), name), writer)
    const theirs = server.compile(schema, name)
    for (const value of values) {
      const bytes = Uint8Array.from(theirs.encode(value))
      t.ok(Buffer.from(bytes).equals(codec.encode(value)), name)
      t.strictSame(codec.decode(bytes), value, name)
    }
  }
})

t.test('integers at each length of their varint are written as the server writes them', async (t) => {
  const server = createAvroSerializer().compile(Type.Integer(), 'test')
  const codec = codecOf(Type.Integer())
  const edges = Array.from({ length: 54 }, (_, power) => [-2, -1, 0, 1].flatMap((more) => [2 ** power + more, -(2 ** power) + more])).flat()
  const wrong = edges.filter(Number.isSafeInteger).filter((value) => {
    const bytes = Buffer.from(server.encode(value))
    return !bytes.equals(codec.encode(value)) || codec.decode(bytes) !== value
  })
  t.strictSame(wrong, [])
})

t.test('texts of every length and script are written as the server writes them, whatever was in the buffer before', async (t) => {
  const server = createAvroSerializer().compile(Type.Object({ a: Type.Integer(), text: Type.String() }), 'test')
  const codec = codecOf(Type.Object({ a: Type.Integer(), text: Type.String() }))
  const lengths = [0, 1, 21, 31, 32, 63, 64, 65, 341, 1021, 2730, 2731, 4095, 4096, 8191, 8192, 100_000, 524_288, 1_048_576]
  for (const unit of ['a', 'é', '日', '🎮', '\ufeff', '\u0000']) {
    const wrong = lengths.filter((length) => {
      const value = { a: 1, text: unit.repeat(length) }
      const bytes = Buffer.from(server.encode(value))
      return !bytes.equals(codec.encode(value)) || (codec.decode(bytes) as typeof value).text !== value.text
    })
    t.strictSame(wrong, [], unit)
  }
  t.equal(toHex(codec.encode({ a: 1, text: 'x' })), '020278', 'the buffer that grew is given up')
})

t.test('hostile bytes are refused with one text, at once', async (t) => {
  const texts = codecOf(Type.Array(Type.String()))
  const map = codecOf(Type.Record(Type.String(), Type.Integer()))
  const small = codecOf(Type.Integer({ minimum: -10, maximum: 10 }))
  const rows: Array<[string, AvroCodec, string]> = [
    ['2^31 - 1 items announced', texts, 'feffffff0f'], ['2^53 items announced', texts, 'feffffffffffff1f'], ['the same in a map', map, 'feffffff0f'],
    ['negative count, negative size', texts, '0103'], ['negative count', texts, '01'], ['block of the largest negative count', texts, 'ffffffffffffffffff01'],
    ['one more item than the limit', codecOf(Type.Array(Type.Boolean())), `${'a29c01'}${'00'.repeat(10_001)}00`],
    ['block upon block to one more', codecOf(Type.Array(Type.Boolean())), `${'a09c01'}${'00'.repeat(10_000)}020000`],
    ['no end of the array', texts, '020261'], ['text longer than the message', texts, '02ff7f6100'], ['negative length', texts, '020100'],
    ['map key __proto__', map, `0212${toHex(Buffer.from('__proto__'))}0200`], ['a varint of eleven bytes', small, '8080808080808080808000'],
    ['a varint without end', small, '80'], ['int out of range', small, 'feffffffff1f'], ['long beyond 2^53', codecOf(Type.Integer()), '8080808080808020'],
    ['long below -2^53', codecOf(Type.Integer()), 'ffffffffffffff1f'], ['boolean 2', codecOf(Type.Boolean()), '02'], ['nothing', codecOf(Type.Boolean()), ''],
    ['trailing byte', codecOf(Type.Boolean()), '0100'], ['invalid UTF-8', codecOf(Type.String()), '02ff'], ['half a surrogate pair', codecOf(Type.String()), '06eda080'],
    ['overlong UTF-8', codecOf(Type.String()), '04c080'], ['invalid UTF-8 in a long text', codecOf(Type.String()), `8001${'61'.repeat(63)}ff`],
    ['enum index', codecOf(Type.Union([Type.Literal('a'), Type.Literal('b')])), '04'],
    ['negative enum index', codecOf(Type.Union([Type.Literal('a'), Type.Literal('b')])), '01'],
    ['union index', codecOf(Type.Union([Type.String(), Type.Null()])), '04'], ['negative union index', codecOf(Type.Union([Type.String(), Type.Null()])), '01'],
    ['half a double', codecOf(Type.Number()), '00000000'], ['bytes longer than the message', codecOf(Type.Uint8Array()), 'feffffff0f']
  ]
  for (const [name, codec, hex] of rows) {
    const start = cpuMs()
    t.throws(() => read(codec, hex), refused, name)
    t.ok(cpuMs() - start < 50, name)
  }
})

t.test('a value that does not fit is refused with the place and what was wanted', async (t) => {
  const Chat = Type.Object({
    name: Type.String(),
    tags: Type.Array(Type.Integer()),
    more: Type.Record(Type.String(), Type.Boolean()),
    maybe: Type.Optional(Type.String())
  })
  const good = { name: 'ana', tags: [1], more: { a: true } }
  const rows: Array<[TSchema, unknown, string, string]> = [
    [Chat, undefined, '', 'must be object'], [Chat, null, '', 'must be object'], [Chat, [], '', 'must be object'], [Chat, { ...good, name: 1 }, '/name', 'must be string'],
    [Chat, { ...good, name: undefined }, '/name', 'is required'], [Chat, { ...good, name: null }, '/name', 'must be string'],
    [Chat, { ...good, name: 'half \ud800' }, '/name', 'must be well-formed text'], [Chat, { ...good, name: '\udc00'.padEnd(100) }, '/name', 'must be well-formed text'],
    [Chat, { ...good, tags: { length: 1 } }, '/tags', 'must be array'], [Chat, { ...good, tags: [0, 1.5] }, '/tags/1', 'must be integer'],
    [Chat, { ...good, tags: [0, 2 ** 53] }, '/tags/1', 'must be integer'], [Chat, { ...good, tags: Array(10_001).fill(0) }, '/tags', 'has more than 10000 items'],
    [Chat, { ...good, more: { 'a/b~c': 1 } }, '/more/a~1b~0c', 'must be boolean'], [Chat, { ...good, more: JSON.parse('{"__proto__":true}') }, '/more/__proto__', 'is not allowed as a key'],
    [Chat, { ...good, more: Object.fromEntries(Array(10_001).fill(true).entries()) }, '/more', 'has more than 10000 keys'],
    [Chat, { ...good, maybe: 1 }, '/maybe', 'must be null or string'], [Type.Number(), NaN, '', 'must be number'], [Type.Number(), '1', '', 'must be number'],
    [Type.Integer({ minimum: 0, maximum: 9 }), 2 ** 31, '', 'must be integer within 32 bits'], [Type.Number({ avro: 'float' }), Infinity, '', 'must be number'],
    [Type.Uint8Array(), [1], '', 'must be Uint8Array'], [Type.Uint8Array({ avro: { type: 'fixed', name: 'Id', size: 2 } }), Uint8Array.of(1), '', 'must be Uint8Array of 2'],
    [Type.Union([Type.Literal('a'), Type.Literal('b')]), 'toString', '', 'must be one of a, b'], [Type.Null(), undefined, '', 'must be null'],
    [Type.Array(Type.Union([Type.Boolean(), Type.Array(Type.Integer())])), [true, [1, '2']], '/1/1', 'must be integer'],
    [Type.Union([Type.Boolean(), Type.Array(Type.Integer())]), 1n, '', 'must be boolean or array']
  ]
  for (const [schema, value, field, demand] of rows) {
    t.throws(() => codecOf(schema).encode(value), { code: 'PIT_ERR_BODY', message: `body${field} ${demand}`, metadata: { field } })
  }
  const codec = codecOf(Chat)
  t.throws(() => codec.encode({ ...good, tags: [[]] }))
  t.strictSame(codec.decode(codec.encode(good)), good, 'the next value begins anew')
})

t.test('an error of a getter is the application\'s own', async (t) => {
  const codec = codecOf(Type.Object({ a: Type.Object({ b: Type.String() }) }))
  t.throws(() => codec.encode({ a: { get b () { throw new Error('mine') } } }), { message: 'mine' })
})

t.test('an optional null is absent, a required one is null', async (t) => {
  const nullable = Type.Union([Type.String(), Type.Null()])
  const codec = codecOf(Type.Object({ a: Type.Optional(nullable), b: nullable }))
  for (const value of [{ b: null }, { a: undefined, b: null }, { a: null, b: null }]) {
    t.strictSame(codec.decode(codec.encode(value)), { b: null })
  }
  t.throws(() => codec.encode({ a: null }), { code: 'PIT_ERR_BODY', message: 'body/b is required' })
})

t.test('recursion ends at 64 levels, both ways', async (t) => {
  const codec = codecOf(Type.Recursive((Node) => Type.Object({ next: Type.Optional(Node) })))
  const chain = (levels: number): object => levels === 1 ? {} : { next: chain(levels - 1) }
  t.equal(toHex(codec.encode(chain(64))), '02'.repeat(63) + '00')
  t.strictSame(read(codec, '02'.repeat(63) + '00'), chain(64))
  t.throws(() => codec.encode(chain(65)), { code: 'PIT_ERR_BODY', message: /is nested deeper than 64$/ })
  t.throws(() => read(codec, '02'.repeat(64) + '00'), refused)
  t.throws(() => read(codec, '02'.repeat(60_000)), refused)
  const cycle: { next?: object } = {}
  cycle.next = cycle
  t.throws(() => codec.encode(cycle), { code: 'PIT_ERR_BODY' })
  t.strictSame(read(codec, '00'), {}, 'the next message begins anew')
})

t.test('a message is no larger than a packet', async (t) => {
  const codec = codecOf(Type.Array(Type.String()))
  const text = 'x'.repeat(1_000_000)
  t.equal(codec.encode(Array(16).fill(text)).length, 16_000_000 + 16 * 3 + 2)
  t.throws(() => codec.encode(Array(17).fill(text)), { code: 'PIT_ERR_PACKET_SIZE' })
  t.throws(() => codec.encode(['é'.repeat(8_400_000)]), { code: 'PIT_ERR_PACKET_SIZE' })
  t.equal(toHex(codec.encode([])), '00')
})

t.test('decoded records and maps are plain objects, and no key is taken for another', async (t) => {
  const value = read(codecOf(Type.Object({ a: Type.Object({ b: Type.Boolean() }) })), '01') as { a: object }
  t.equal(Object.getPrototypeOf(value), Object.prototype)
  t.equal(Object.getPrototypeOf(value.a), Object.prototype)
  const map = codecOf(Type.Record(Type.String(), Type.Integer()))
  t.strictSame(map.decode(map.encode({ constructor: 1, toString: 2 })), { constructor: 1, toString: 2 })
})

t.test('a message is read where it lies, and shares no memory with it', async (t) => {
  const codec = codecOf(Type.Object({ text: Type.String(), data: Type.Uint8Array(), n: Type.Number() }))
  const value = { text: 'text of some length, so that it might be a view', data: Uint8Array.of(1, 2, 3), n: 0.1 }
  const message = Uint8Array.from(codec.encode(value))
  for (const bytes of [new Uint8Array(message.length + 20).fill(0xff), Buffer.alloc(message.length + 20, 0xff)]) {
    bytes.set(message, 7)
    const decoded = codec.decode(bytes, 7, 7 + message.length)
    bytes.fill(0)
    t.strictSame(decoded, value)
  }
})

t.test('a block may say its size', async (t) => {
  t.strictSame(read(codecOf(Type.Array(Type.Integer())), '0304063600'), [3, 27])
})

t.test('namespaces, logical types and types inside types are those of Avro', async (t) => {
  const schema: AvroSchema = {
    type: 'record',
    name: 'Move',
    namespace: 'game',
    fields: [
      { name: 'from', type: { type: 'record', name: 'geo.Point', fields: [{ name: 'x', type: 'float' }, { name: 'unit', type: { type: 'enum', name: 'Unit', symbols: ['m', 'ft'] } }] } },
      { name: 'to', type: 'geo.Point' },
      { name: 'unit', type: ['null', 'geo.Unit'], default: null },
      { name: 'id', type: { type: 'fixed', name: 'Id', size: 2 } },
      { name: 'other', type: 'Id', doc: 'of this namespace' },
      { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' }, default: 0 },
      { name: 'next', type: ['null', 'Move'], default: null }
    ]
  }
  const codec = compileCodec(schema)
  const move = { from: { x: 1.5, unit: 'ft' }, to: { x: -2, unit: 'm' }, id: Buffer.of(1, 2), other: Buffer.of(3, 4), at: 1e12 }
  const value = { ...move, unit: 'm', next: move }
  const bytes = avsc.Type.forSchema(schema as avsc.Schema).toBuffer(value)
  t.equal(toHex(codec.encode(value)), toHex(bytes))
  const plain = { ...move, id: Uint8Array.of(1, 2), other: Uint8Array.of(3, 4) }
  t.strictSame(codec.decode(bytes), { ...plain, unit: 'm', next: plain })
})

t.test('codecs of one writer take turns', async (t) => {
  const writer = new Writer()
  const texts = compileCodec('string', writer)
  const numbers = compileCodec({ type: 'array', items: 'double' }, writer)
  t.equal(toHex(texts.encode('a')), '0261')
  t.equal(numbers.encode(Array(1000).fill(0.5)).length, 8003)
  t.throws(() => numbers.encode([1, 'a']))
  t.equal(toHex(texts.encode('b')), '0262')
})

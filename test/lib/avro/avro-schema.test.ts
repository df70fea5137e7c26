import t from 'tap'
import { compileCodec, errorSchema, type AvroSchema } from '../../../lib/avro/codec.ts'
import { isPitayaError } from '../../../lib/errors.ts'
import { checkFuzz, fuzz, FUZZ_TIMEOUT_MS, fuzzRuns, type Random } from '../../helpers/fuzz.ts'
import { cpuMs } from '../../helpers/lateness.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const BAD_NAME = 'a name that is none, or taken'
const AMBIGUOUS = 'branches of a union that cannot be told apart'
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
const record = (fields: unknown, name = 'R'): AvroSchema => ({ type: 'record', name, fields })
const refusal = (message: RegExp | string): { code: string, message: RegExp | string } => ({ code: 'PIT_ERR_CLIENT_SCHEMA', message })

t.test('what is no schema is refused with its place', async (t) => {
  const rows: Array<[unknown, string]> = [
    [undefined, 'no Avro schema'], [null, 'no Avro schema'], [1, 'no Avro schema'], [{}, 'no Avro schema'], ['nope', 'a type that is not known'],
    [{ type: 'constructor' }, 'a type that is not known'], [{ type: 'array' }, '/*: no Avro schema'], [{ type: 'map', values: 1 }, '/*: no Avro schema'],
    [record(undefined), 'no Avro schema'], [record({ length: 1 }), 'no Avro schema'], [record([null]), 'no Avro schema'],
    [record([{ name: 'a' }]), '/a: no Avro schema'], [record([{ name: 'a', type: record([{ name: 'b', type: 'x' }], 'S') }]), '/a/b: a type that is not known'],
    ...['', 'a-b', '1a', 'a b', 'ä', 'a\n', 'a.b', '__proto__', 'constructor', 'toString', 7, undefined].map((name): [unknown, string] =>
      [record([{ name, type: 'int' }]), BAD_NAME]),
    [record([{ name: 'a', type: 'int' }, { name: 'a', type: 'int' }]), BAD_NAME],
    ...['', 'a-b', '1a', '.a', 'a.', 'a..b', 'a\n', 'string', 'null', 7, undefined, {}].map((name): [unknown, string] =>
      [{ type: 'record', name, fields: [] }, BAD_NAME]),
    [{ type: 'record', name: 'a', namespace: 'b c', fields: [] }, BAD_NAME],
    [record([{ name: 'a', type: record([]) }]), `/a: ${BAD_NAME}`], [record([{ name: 'a', type: 'S' }, { name: 'b', type: record([], 'S') }]), '/a: a type that is not known'],
    ...[[], ['a', 'a'], ['a-b'], [1], undefined, 'ab'].map((symbols): [unknown, string] =>
      [{ type: 'enum', name: 'E', symbols }, Array.isArray(symbols) ? BAD_NAME : 'no Avro schema']),
    ...[-1, 1.5, '1', undefined, 2 ** 24, NaN].map((size): [unknown, string] => [{ type: 'fixed', name: 'F', size }, 'no Avro schema']),
    [['int', 'double'], AMBIGUOUS], [['string', { type: 'enum', name: 'E', symbols: ['a'] }], AMBIGUOUS],
    [[{ type: 'map', values: 'int' }, record([])], AMBIGUOUS], [['null', ['int']], AMBIGUOUS],
    [{ type: 'array', items: 'null' }, 'an array of items that take no bytes'], [{ type: 'array', items: record([]) }, 'an array of items that take no bytes'],
    [record([{ name: 'a', type: { type: 'array', items: { type: 'fixed', name: 'F', size: 0 } } }]), '/a: an array of items that take no bytes'],
    [record([{ name: 'a', type: 'R' }, { name: 'b', type: { type: 'array', items: 'R' } }, { name: 'c', type: { type: 'array', items: 'null' } }]),
      '/c: an array of items that take no bytes']
  ]
  for (const [schema, reason] of rows) t.throws(() => compileCodec(schema as AvroSchema), refusal(`unusable Avro schema: ${reason}`), JSON.stringify(schema))
})

t.test('a schema has at most 128 levels, 1,000 names and 10,000 parts', async (t) => {
  const nested = (levels: number): AvroSchema => levels === 0 ? 'int' : { type: 'array', items: nested(levels - 1) }
  const names = (count: number): AvroSchema => record(Array.from({ length: count }, (_, i) => ({ name: `f${i}`, type: record([], `R${i}`) })))
  const fields = (count: number): AvroSchema => record(Array.from({ length: count }, (_, i) => ({ name: `f${i}`, type: 'int' })))
  const symbols = (count: number): AvroSchema => ({ type: 'enum', name: 'E', symbols: Array.from({ length: count }, (_, i) => `s${i}`) })
  for (const schema of [nested(128), names(999), fields(10_000), symbols(10_000)]) t.ok(compileCodec(schema))
  t.throws(() => compileCodec(nested(129)), refusal(/too large$/))
  t.throws(() => compileCodec(nested(5000)), refusal(/^.{0,200}too large$/))
  t.throws(() => compileCodec(names(1000)), refusal(/too large$/))
  t.throws(() => compileCodec(fields(10_001)), refusal(/too large$/))
  t.throws(() => compileCodec(symbols(10_001)), refusal(/too large$/))
  t.throws(() => compileCodec(record([{ name: 'a', type: symbols(5000) }, { name: 'b', type: Array(5001).fill('null') }])), refusal(/too large$/))
})

t.test('types that double with every level cost no time: not to compile, and not to read from nothing', async (t) => {
  const doubling = (levels: number, last: unknown[]): AvroSchema => {
    let type: unknown = record(last, 'R0')
    for (let i = 1; i < levels; i++) type = record([{ name: 'a', type }, { name: 'b', type: `R${i - 1}` }], `R${i}`)
    return type as AvroSchema
  }
  const start = cpuMs()
  const empty = compileCodec(doubling(60, []))
  t.throws(() => empty.decode(new Uint8Array(0)), { code: 'PIT_ERR_BODY' })
  const nulls = compileCodec(doubling(12, [{ name: 'a', type: 'null' }]))
  t.ok(nulls.decode(new Uint8Array(0)), 'what is small is read')
  const booleans = compileCodec({ type: 'array', items: doubling(60, [{ name: 'a', type: 'boolean' }]) })
  t.throws(() => booleans.decode(new Uint8Array(65_536).fill(1)), { code: 'PIT_ERR_BODY' })
  const wide = compileCodec({ type: 'array', items: record([{ name: 'a', type: 'boolean' }, ...Array.from({ length: 9000 }, (_, i) => ({ name: `n${i}`, type: 'null' }))]) })
  t.throws(() => wide.decode(Uint8Array.of(0xa0, 0x9c, 0x01, ...Array(10_000).fill(1), 0)), { code: 'PIT_ERR_BODY' })
  t.ok(cpuMs() - start < 500, `${(cpuMs() - start).toFixed(0)} ms`)
})

t.test('a record that holds itself without end takes more bytes than there are', async (t) => {
  const endless = compileCodec(record([{ name: 'a', type: 'R' }]))
  t.throws(() => endless.decode(new Uint8Array(100)), { code: 'PIT_ERR_BODY' })
  const cycle: { a?: object } = {}
  cycle.a = cycle
  t.throws(() => endless.encode(cycle), { code: 'PIT_ERR_BODY' })
})

t.test('no schema makes the reader do anything but compile or refuse, and what it compiles reads any bytes or refuses them', async (t) => {
  const schemas = [
    errorSchema, record([{ name: 'next', type: ['null', 'R'], default: null }, { name: 'list', type: { type: 'array', items: 'R' } }]),
    [{ type: 'enum', name: 'a.E', symbols: ['x', 'y'] }, { type: 'fixed', name: 'F', namespace: 'a', size: 4 }, 'double', 'boolean', 'null'],
    { type: 'map', values: record([{ name: 'f', type: 'float' }, { name: 'l', type: 'long' }, { name: 'b', type: 'bytes' }, { name: 'i', type: { type: 'int' } }]) }
  ]
  const words = ['"null"', '"string"', '"R"', '"array"', '"record"', '"type":', '"items":', '"fields":', '"name":', '[', ']', '{', '}', ',', '1e9', '"__proto__"']
  checkFuzz(t, await fuzz({
    corpus: schemas.map(encode),
    dictionary: words.map(encode),
    runs: fuzzRuns(5),
    target: (input, random) => {
      const codec = compileCodec(random.int(2) === 0 ? parsed(input) : wild(random, 5) as AvroSchema)
      for (let i = 0; i < 3; i++) {
        try {
          codec.encode(codec.decode(random.bytes(random.int(40))))
        } catch (error) {
          if (!isPitayaError(error)) throw error
        }
      }
    }
  }))
  t.strictSame(Object.keys(Object.prototype), [])
})

function parsed (text: Uint8Array): AvroSchema {
  try {
    return JSON.parse(Buffer.from(text).toString())
  } catch {
    return 'no JSON'
  }
}

/** A schema that is nearly right. */
function wild (random: Random, depth: number): unknown {
  const inner = (): unknown => wild(random, depth - 1)
  const list = (make: () => unknown): unknown[] => Array.from({ length: random.int(5) }, make)
  const name = (): unknown => random.pick(['A', 'B', 'C', 'D', 'E', 'a.A', 'b.B', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', random.int(50) === 0 ? '__proto__' : 'N'])
  switch (depth === 0 ? 0 : random.int(8)) {
    case 1: return { type: 'array', items: inner() }
    case 2: return { type: 'map', values: inner() }
    case 3: return ['null', ...list(inner)]
    case 4: return { type: 'enum', name: name(), symbols: list(name) }
    case 5: return { type: 'fixed', name: name(), size: random.int(9) }
    case 6: case 7: return { type: 'record', name: name(), fields: list(() => ({ name: name(), type: inner(), default: random.pick([null, undefined, 0]) })) }
    default: return random.pick(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string', name()])
  }
}

import t from 'tap'
import { compileAdapter } from '../../../lib/contract/adapt.ts'
import { isPitayaError } from '../../../lib/errors.ts'
import { compileAvro } from '../../../lib/serializers/avro-safe.ts'
import type { AvroSchema } from '../../../lib/serializers/avro-schema.ts'
import { ReadTap, WriteTap } from '../../../lib/serializers/avro-tap.ts'
import { FUZZ_TIMEOUT_MS, fuzzRuns, fuzzSeed, Random } from '../../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const record = (name: string, fields: Record<string, unknown>): AvroSchema =>
  ({ type: 'record', name, fields: Object.entries(fields).map(([name, type]) => ({ name, type })) })

t.test('names of types and the order of fields take no part', async (t) => {
  const from = record('one.A', { a: 'int', b: record('B', { x: 'string' }) })
  const to = record('two.C', { a: 'int', b: record('D', { x: 'string' }) })
  t.equal(compileAdapter(from, to).isSame, true)
  const reordered = compileAdapter(from, record('C', { b: record('D', { x: 'string' }), a: 'int' }))
  t.equal(reordered.isSame, false)
  t.equal(reordered.verdict, 'fits')
  const value = { a: 1, b: { x: 'y' } }
  t.equal(reordered.adapt(value), value)
})

t.test('schemas that are the same give values back as they are, recursive ones too', async (t) => {
  const tree = (name: string): AvroSchema => ({
    type: 'record', name, fields: [{ name: 'inner', type: { type: 'array', items: name } }, { name: 'next', type: ['null', name], default: null }]
  })
  const adapter = compileAdapter(tree('A'), tree('B'))
  t.equal(adapter.isSame, true)
  const value = { inner: [] }
  t.equal(adapter.adapt(value), value)
})

t.test('types that only Avro knows', async (t) => {
  const fixed = (size: number): AvroSchema => ({ type: 'fixed', name: 'F', size })
  const symbols = (symbols: string[], value?: string): AvroSchema => ({ type: 'enum', name: 'E', symbols, default: value })
  const rows: Array<[AvroSchema, AvroSchema, string]> = [
    ['int', 'float', 'fits'], ['float', 'double', 'fits'], ['double', 'float', 'fits by value'], ['float', 'long', 'fits by value'],
    [fixed(2), fixed(2), 'fits'], [fixed(2), fixed(3), 'cannot fit'], [fixed(2), 'bytes', 'fits'], ['bytes', fixed(2), 'fits by value'],
    [symbols(['a', 'b']), symbols(['a', 'c'], 'c'), 'fits'], [symbols(['a']), symbols(['b']), 'cannot fit'], ['int', symbols(['b']), 'cannot fit'],
    ['string', symbols(['b'], 'b'), 'fits'], ['boolean', 'int', 'cannot fit'], [record('A', {}), { type: 'map', values: 'int' }, 'cannot fit'],
    ['null', ['null', 'int'], 'fits'], [['null', 'int'], 'null', 'cannot fit'], ['null', 'int', 'cannot fit'], [['int', 'string'], 'boolean', 'cannot fit'],
    [['bytes', 'int'], ['int', 'string'], 'fits by value'], [{ type: 'array', items: 'int' }, { type: 'map', values: 'int' }, 'cannot fit']
  ]
  for (const [from, to, verdict] of rows) t.equal(compileAdapter(from, to).verdict, verdict, JSON.stringify([from, to]))
  t.equal(compileAdapter(symbols(['a', 'b']), symbols(['a', 'c'], 'c')).adapt('b'), 'c')
  t.throws(() => compileAdapter('double', 'float').adapt(1e300), { code: 'PIT_ERR_EVOLUTION', metadata: { field: '' } })
  t.equal(compileAdapter('double', 'float').adapt(0.1), 0.1)
})

t.test('aliases of both sides are tried, the name first, and each field is used once', async (t) => {
  const field = (name: string, aliases?: string[], value?: unknown): object => ({ name, type: 'string', aliases, default: value })
  const from: AvroSchema = { type: 'record', name: 'A', fields: [field('a'), field('b', ['old'])] }
  const to: AvroSchema = { type: 'record', name: 'B', fields: [field('b'), field('c', ['a']), field('old', [], 'none'), field('again', ['a'], 'none')] }
  t.strictSame(compileAdapter(from, to).adapt({ a: '1', b: '2' }), { b: '2', c: '1', old: 'none', again: 'none' })
  const outward: AvroSchema = { type: 'record', name: 'C', fields: [field('old'), field('a')] }
  t.strictSame(compileAdapter(from, outward).adapt({ a: '1', b: '2' }), { old: '2', a: '1' })
})

t.test('defaults are made anew for every value', async (t) => {
  const inner: AvroSchema = { type: 'record', name: 'I', fields: [{ name: 'x', type: 'int' }, { name: 'y', type: ['null', 'int'], default: null }, { name: 'z', type: 'bytes', default: '\u00ff' }] }
  const to: AvroSchema = {
    type: 'record',
    name: 'R',
    fields: [{ name: 'list', type: { type: 'array', items: inner }, default: [{ x: 1 }] }, { name: 'map', type: { type: 'map', values: 'int' }, default: { a: 1 } }]
  }
  const { adapt } = compileAdapter(record('A', {}), to)
  const [one, two] = [adapt({}), adapt({})] as any[]
  t.strictSame(one, { list: [{ x: 1, z: Uint8Array.of(255) }], map: { a: 1 } })
  t.ok(one.list !== two.list && one.list[0] !== two.list[0] && one.map !== two.map)
})

t.test('hostile schemas are refused with a code, in bounded time', async (t) => {
  let deep: AvroSchema = 'int'
  for (let i = 0; i < 100_000; i++) deep = { type: 'array', items: deep }
  const wide = { type: 'enum', name: 'E', symbols: Array.from({ length: 50_000 }, (_, i) => `s${i}`) }
  const selfDefault = { type: 'record', name: 'A', fields: [{ name: 'a', type: 'A', default: {} }] }
  const bad: unknown[] = [
    deep, wide, selfDefault, undefined, null, 5, '', 'unknown', [], [['int']], ['int', 'double'], { type: 'record', name: 'A' },
    record('A', { constructor: 'int' }), record('A', { __proto__$: 'int', 'no-name': 'int' }), { type: 'record', name: 'int', fields: [] },
    { type: 'record', name: 'A', fields: [{ name: 'a', type: 'int', default: 'x' }] }, { type: 'fixed', name: 'F', size: 1e9 },
    { type: 'record', name: 'A', fields: [{ name: 'a', type: 'bytes', default: '€' }] }, { type: 'enum', name: 'E', symbols: ['a', 'a'] },
    { type: 'enum', name: 'E', symbols: ['a'], default: 'b' }, { type: 'record', name: 'A', fields: [{ name: 'a', type: ['int', 'string'], default: true }] }
  ]
  const start = performance.now()
  for (const schema of bad) t.throws(() => compileAdapter(schema as AvroSchema, 'int'), { code: 'PIT_ERR_SCHEMA' })
  t.ok(performance.now() - start < 2000)
})

t.test('types that are used many times over are compared up to a limit', async (t) => {
  const bomb = (name: string, last: AvroSchema): AvroSchema => {
    let schema: AvroSchema = last
    for (let i = 0; i < 30; i++) schema = { type: 'record', name: `${name}${i}`, fields: [{ name: 'a', type: schema }, { name: 'b', type: i === 0 ? last : `${name}${i - 1}` }] }
    return schema
  }
  const start = performance.now()
  const { verdict, fields } = compileAdapter(bomb('A', 'int'), bomb('B', 'long'))
  t.equal(verdict, 'cannot fit')
  t.ok(fields.length <= 32 && fields.every((field) => field.length <= 128))
  t.equal(compileAdapter(bomb('A', 'int'), bomb('B', 'int')).isSame, true)
  t.ok(performance.now() - start < 1000)
})

t.test('what an adapter gives, the other schema can write; what it refuses, has a code; verdicts hold', async (t) => {
  const seed = fuzzSeed()
  const random = new Random(seed)
  const runs = Math.ceil(fuzzRuns() / 20)
  const seen = new Map<string, number>()
  const write = new WriteTap()
  const read = new ReadTap()
  for (let run = 0; run < runs; run++) {
    const [from, to] = [randomSchema(random, 3), randomSchema(random, 3)]
    const { verdict, adapt } = compileAdapter(from, to)
    seen.set(verdict, (seen.get(verdict) ?? 0) + 1)
    const target = compileAvro(to, 'to')
    for (let i = 0; i < 20; i++) {
      const value = randomValue(random, from)
      const where = `SEED=${seed} run ${run} ${JSON.stringify({ from, to, value })}`
      let adapted
      try {
        adapted = adapt(value)
      } catch (error) {
        if (!isPitayaError(error) || error.code !== 'PIT_ERR_EVOLUTION' || verdict === 'fits') throw new Error(where, { cause: error })
        continue
      }
      if (verdict === 'cannot fit') throw new Error(where)
      try {
        write.begin()
        target._write(write, adapted)
        const bytes = write.end()
        read.begin(bytes, 0, bytes.length)
        target._read(read)
        if (read.pos !== bytes.length) throw new Error('bytes are left')
      } catch (cause) {
        throw new Error(`${where} became ${JSON.stringify(adapted)}`, { cause })
      }
    }
  }
  t.ok(seen.size === 3, `SEED=${seed}: ${runs} pairs, ${JSON.stringify(Object.fromEntries(seen))}`)
})

t.test('values that are none of their schema are refused with a code, or left to the codec', async (t) => {
  const seed = fuzzSeed()
  const random = new Random(seed)
  const hostile: unknown[] = [undefined, null, 0, -0, NaN, Infinity, '', '\ud800', {}, [], [null], { a: null }, { a: { a: [] } }, Uint8Array.of(1), true, 1n, Symbol('s'), () => {}]
  for (let run = 0; run < Math.ceil(fuzzRuns() / 20); run++) {
    const [from, to] = [randomSchema(random, 3), randomSchema(random, 3)]
    const { adapt } = compileAdapter(from, to)
    for (const value of hostile) {
      try {
        adapt(value)
      } catch (error) {
        if (!isPitayaError(error)) throw new Error(`SEED=${seed} run ${run} ${JSON.stringify({ from, to })}`, { cause: error })
      }
    }
  }
  t.ok(true, `SEED=${seed}`)
})

/** Of few names, so that two of them have much in common. */
function randomSchema (random: Random, depth: number, names = { next: 0 }, canBeUnion = true): AvroSchema {
  const kind = random.int(depth === 0 ? 9 : canBeUnion ? 14 : 12)
  if (kind < 8) return (['boolean', 'int', 'long', 'float', 'double', 'string', 'bytes', 'int'] as const)[kind]!
  if (kind === 8) {
    const symbols = ['a', 'b', 'c', 'd'].filter(() => random.int(2) === 0)
    if (symbols.length === 0) symbols.push('a')
    return { type: 'enum', name: `T${names.next++}`, symbols, ...random.int(3) === 0 ? { default: symbols[0] } : {} }
  }
  if (kind === 9) return { type: 'array', items: randomSchema(random, depth - 1, names) }
  if (kind === 10) return { type: 'map', values: randomSchema(random, depth - 1, names) }
  if (kind === 11) {
    // At least one: a list of records without fields is none that can be read.
    const own = ['a', 'b', 'c'].filter((_, i) => i === 0 || random.int(3) > 0)
    const fields = own.map((name) => {
      const type = randomSchema(random, depth - 1, names, false)
      const aliases = random.int(4) === 0 ? { aliases: [random.pick(['a', 'b', 'c', 'd'])] } : {}
      return random.int(2) === 0 ? { name, type, ...aliases } : { name, type: ['null', type], default: null, ...aliases }
    })
    return { type: 'record', name: `T${names.next++}`, fields }
  }
  const branch = randomSchema(random, depth - 1, names, false)
  return kind === 12 ? ['null', branch] : [branch, { type: 'array', items: 'int' }].filter((one, i) => i === 0 || (branch as any).type !== 'array')
}

function randomValue (random: Random, schema: any): unknown {
  if (Array.isArray(schema)) return randomValue(random, random.pick(schema))
  switch (schema.type ?? schema) {
    case 'null': return null
    case 'boolean': return random.int(2) === 0
    case 'int': return random.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)])
    case 'long': return random.pick([0, 5, 2 ** 40, -(2 ** 53 - 1)])
    case 'float': return random.pick([0, 1.5, -2, 2 ** 100])
    case 'double': return random.pick([0, 0.1, 1e300, 7, 2 ** 40])
    case 'string': return random.pick(['', 'a', 'b', 'zzz', 'ä'])
    case 'bytes': return random.pick([Uint8Array.of(), Uint8Array.of(97), Uint8Array.of(0xff)])
    case 'enum': return random.pick(schema.symbols)
    case 'array': return Array.from({ length: random.int(3) }, () => randomValue(random, schema.items))
    case 'map': return Object.fromEntries(['k', 'toString'].slice(random.int(3)).map((key) => [key, randomValue(random, schema.values)]))
    default: {
      const entries = schema.fields.map((field: any) => [field.name, randomValue(random, field.type), field.default])
      return Object.fromEntries(entries.filter(([, value, ifAbsent]: any) => value !== null || ifAbsent === undefined))
    }
  }
}

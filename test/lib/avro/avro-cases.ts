import { Type, type TSchema } from '@sinclair/typebox'
import type { Random } from '../../helpers/fuzz.ts'

/** A schema that the server may have, with values of it. */
export interface Case {
  readonly schema: TSchema
  value (random: Random): unknown
}

const ALPHABETS = ['abcdefghij XYZ_09', '\u0000\t"\\\u007f', 'äß€\u07ff\u0800', '🎮\u{10ffff}\u{10000}', '\ufeff\ufffd\ud7ff\ue000'].map((text) => [...text])
const LENGTHS = [0, 1, 2, 5, 20, 23, 24, 25, 62, 63, 64, 65, 130, 2700, 8191, 8192]
const LONGS = [0, -1, 63, 64, -64, -65, 8191, 8192, 2 ** 27, 2 ** 28, 2 ** 30, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32,
  2 ** 35 + 1, 2 ** 37, 2 ** 38, 2 ** 44 - 1, 2 ** 52, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, -0]
const DOUBLES = [0, -0, 0.1, -1.5, 2 ** 53, 2 ** -1074, Number.MAX_VALUE, Math.PI, 1e21]

function text (random: Random): string {
  const length = random.int(8) === 0 ? random.pick(LENGTHS) : random.int(12)
  const alphabet = random.pick(random.int(2) === 0 ? ALPHABETS : [ALPHABETS[0]!])
  let text = ''
  while (text.length < length) text += random.pick(alphabet)
  return text
}

const integer = (random: Random): number => random.int(2) === 0 ? random.pick(LONGS) : random.int(2 ** 31) * random.pick([1, -(2 ** 21)])
const within32 = (random: Random): number => random.int(3) === 0 ? random.int(200) - 100 : random.int(0xffffffff) - 2 ** 31
const double = (random: Random): number => random.int(2) === 0 ? random.pick(DOUBLES) : random.int(2 ** 31) / (1 + random.int(1000))
const bytes = (random: Random): Uint8Array => random.bytes(random.int(random.int(8) === 0 ? 300 : 12))

const nothing: Case = { schema: Type.Null(), value: () => null }

/** By the kinds that a union can tell apart. */
const scalars: Record<string, Case[]> = {
  number: [
    { schema: Type.Integer(), value: integer },
    { schema: Type.Integer({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }), value: within32 },
    { schema: Type.Number(), value: double },
    { schema: Type.Integer({ avro: 'int' }), value: within32 },
    { schema: Type.Number({ avro: 'float' }), value: (random) => Math.fround(double(random) / 1e300) },
    { schema: Type.Union([Type.Literal(1), Type.Literal(2 ** 40)]), value: (random) => random.pick([1, 2 ** 40]) }
  ],
  string: [
    { schema: Type.String(), value: text },
    { schema: Type.Union(['red', 'green', 'blue'].map((color) => Type.Literal(color))), value: (random) => random.pick(['red', 'green', 'blue']) },
    { schema: Type.Union([Type.Literal('a-b'), Type.Literal('ä')]), value: (random) => random.pick(['a-b', 'ä']) }
  ],
  boolean: [{ schema: Type.Boolean(), value: (random) => random.int(2) === 0 }],
  bytes: [
    { schema: Type.Uint8Array(), value: bytes },
    { schema: Type.Uint8Array({ avro: { type: 'fixed', name: 'Id', size: 3 } }), value: (random) => random.bytes(3) }
  ]
}

function scalarCase (random: Random, cases = random.pick(Object.values(scalars))): Case {
  const { schema, value } = random.pick(cases)
  // A type with a name of its own is written once in a message.
  const hasName = schema.avro?.name !== undefined
  return { schema: hasName ? { ...schema, avro: { ...schema.avro, name: `Id${random.int(2 ** 31)}` } } : schema, value }
}

/** A schema of at most so many levels. */
export function randomCase (random: Random, depth: number): Case {
  if (depth === 0 || random.int(4) === 0) return scalarCase(random)
  switch (random.int(6)) {
    case 0: return listOf(randomCase(random, depth - 1))
    case 1: return mapOf(randomCase(random, depth - 1))
    case 2: return unionCase(random, depth)
    case 3: return recursiveCase(random)
    default: return objectCase(random, depth)
  }
}

function listOf (item: Case): Case {
  return { schema: Type.Array(item.schema), value: (random) => Array.from({ length: random.int(5) }, () => item.value(random)) }
}

function mapOf (item: Case): Case {
  return {
    schema: Type.Record(Type.String(), item.schema),
    value: (random) => Object.fromEntries(Array.from({ length: random.int(5) }, () => [text(random), item.value(random)]))
  }
}

/** T or null, or branches that differ in kind. */
function unionCase (random: Random, depth: number): Case {
  if (random.int(2) === 0) {
    const inner = randomCase(random, depth - 1)
    const branches = random.int(2) === 0 ? [inner, nothing] : [nothing, inner]
    return { schema: Type.Union(branches.map(({ schema }) => schema)), value: (random) => random.pick(branches).value(random) }
  }
  const branches = Object.values(scalars).filter(() => random.int(2) === 0).map((cases) => scalarCase(random, cases))
  branches.push(listOf(scalarCase(random)), random.int(2) === 0 ? mapOf(scalarCase(random)) : objectCase(random, 1))
  if (random.int(2) === 0) branches.push(nothing)
  return { schema: Type.Union(branches.map(({ schema }) => schema)), value: (random) => random.pick(branches).value(random) }
}

function objectCase (random: Random, depth: number): Case {
  const fields = Array.from({ length: 1 + random.int(7) }, (_, i) => ({
    name: `${random.pick(['name', 'Z', '_', 'content', 'x1'])}${i}`,
    // The first takes a byte, as an item of a list must.
    inner: i === 0 ? scalarCase(random) : random.int(12) === 0 ? nothing : randomCase(random, depth - 1),
    isOptional: random.int(3) === 0
  }))
  const properties = fields.map(({ name, inner: { schema }, isOptional }) => [name, isOptional ? Type.Optional(schema) : schema])
  return {
    schema: Type.Object(Object.fromEntries(properties)),
    value: (random) => {
      const present = fields.filter(({ isOptional }) => !isOptional || random.int(2) === 0)
      return Object.fromEntries(present.map(({ name, inner }) => [name, inner.value(random)]))
    }
  }
}

function recursiveCase (random: Random): Case {
  const leaf = scalarCase(random)
  const tree = (random: Random, depth: number): object => ({
    leaf: leaf.value(random),
    children: depth === 0 ? [] : Array.from({ length: random.int(3) }, () => tree(random, depth - 1)),
    ...random.int(2) === 0 || depth === 0 ? {} : { next: tree(random, depth - 1) }
  })
  return {
    schema: Type.Recursive((Node) => Type.Object({ leaf: leaf.schema, children: Type.Array(Node), next: Type.Optional(Node) })),
    value: (random) => tree(random, 3)
  }
}

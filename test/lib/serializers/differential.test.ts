import { Kind, Type, type TSchema } from '@sinclair/typebox'
import fc from 'fast-check'
import t from 'tap'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import type { Serializer } from '../../../lib/serializers/serializer.ts'
import { checkProperty, propertyRuns } from '../../helpers/fuzz.ts'

/** A schema with its values. */
interface Case { schema: TSchema, value: fc.Arbitrary<unknown> }

const text = fc.string({ unit: 'binary', maxLength: 80 })
const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value === 0 ? 0 : value) // JSON has no -0
const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/).filter((key) => !(key in Object.prototype))

const scalars: Array<fc.Arbitrary<Case>> = [
  fc.constant({ schema: Type.String(), value: text }),
  fc.constant({ schema: Type.Integer(), value: fc.maxSafeInteger() }),
  fc.constant({ schema: Type.Integer({ minimum: -100, maximum: 2 ** 31 - 1 }), value: fc.integer({ min: -100, max: 2 ** 31 - 1 }) }),
  fc.constant({ schema: Type.Number(), value: double }),
  fc.constant({ schema: Type.Boolean(), value: fc.boolean() }),
  fc.uniqueArray(name, { minLength: 1, maxLength: 4 }).map(oneOf),
  fc.uniqueArray(text, { minLength: 1, maxLength: 4 }).map(oneOf),
  fc.integer().map((value) => oneOf([value]))
]
const bytes = fc.constant({ schema: Type.Uint8Array(), value: fc.uint8Array({ maxLength: 40 }) })

function oneOf (values: Array<string | number>): Case {
  return { schema: Type.Union(values.map((value) => Type.Literal(value))), value: fc.constantFrom(...values) }
}

function cases (depth: number): fc.Arbitrary<Case> {
  if (depth === 0) return fc.oneof(...scalars, bytes)
  const inner = fc.oneof({ weight: 2, arbitrary: cases(0) }, { weight: 1, arbitrary: cases(depth - 1) })
  const lists = inner.map(({ schema, value }) => ({ schema: Type.Array(schema), value: fc.array(value, { maxLength: 5 }) }))
  const key = fc.string({ unit: 'binary', maxLength: 6 }).filter((key) => key !== '__proto__')
  const maps = inner.map(({ schema, value }) =>
    ({ schema: Type.Record(Type.String(), schema), value: fc.dictionary(key, value, { maxKeys: 5, noNullPrototype: true }) }))
  const objects = fc.dictionary(name, fc.tuple(inner, fc.boolean()), { minKeys: 1, maxKeys: 5, noNullPrototype: true }).map(toObject)
  const nullables = inner.map(({ schema, value }) => ({ schema: Type.Union([schema, Type.Null()]), value: fc.option(value) }))
  const boxed = nullables.map((it) => toObject({ it: [it, true] })) // required: Avro has one absence for null and nothing
  const mixed = fc.tuple(fc.oneof(...scalars), lists, objects).map((all) =>
    ({ schema: Type.Union(all.map(({ schema }) => schema)), value: fc.oneof(...all.map(({ value }) => value)) }))
  return fc.oneof(lists, maps, objects, boxed, mixed, fc.oneof(...scalars, bytes))
}

function toObject (properties: Record<string, [Case, boolean]>): Case {
  const entries = Object.entries(properties)
  const schemas = entries.map(([key, [{ schema }, isRequired]]) => [key, isRequired ? schema : Type.Optional(schema)])
  return {
    schema: Type.Object(Object.fromEntries(schemas)),
    value: fc.record(Object.fromEntries(entries.map(([key, [{ value }]]) => [key, value])), {
      requiredKeys: entries.filter(([, [, isRequired]]) => isRequired).map(([key]) => key), noNullPrototype: true
    })
  }
}

/** The value with undeclared properties wherever there is an object. */
function withMore (schema: TSchema, value: any): unknown {
  if (schema[Kind] === 'Array') return value.map((item: unknown) => withMore(schema.items, item))
  if (schema[Kind] !== 'Object') return value
  const entries = Object.entries(value).map(([key, part]) => [key, withMore(schema.properties[key], part)])
  return { undeclared$: 1n, ...Object.fromEntries(entries) }
}

const VALUES = 25

t.test('JSON and Avro give back every value of every schema, without what is undeclared', async (t) => {
  const members: Serializer[] = [createJsonSerializer(), createAvroSerializer()]
  const schemasWithValues = cases(2).chain(({ schema, value }) =>
    fc.tuple(fc.constant(schema), fc.array(value, { minLength: VALUES, maxLength: VALUES })))
  await checkProperty(t, fc.property(schemasWithValues, ([schema, values]) => {
    for (const serializer of members) {
      const codec = serializer.compile(schema, 'random')
      for (const value of values) {
        const encoded = codec.encode(withMore(schema, value))
        const decoded = codec.decode(encoded, 0, encoded.length)
        if (!same(decoded, value)) throw new Error(`${serializer.name}: ${fc.stringify(value)} came back as ${fc.stringify(decoded)}`)
      }
    }
  }), Math.ceil(propertyRuns() / VALUES))
})

/** Deep equality that knows plain values only. */
function same (a: any, b: any): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
}

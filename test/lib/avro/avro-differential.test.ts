import t from 'tap'
import { compileCodec, errorSchema, Writer } from '../../../lib/avro/codec.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { deriveAvro } from '../../../lib/serializers/avro-schema.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'
import type { Codec, WireError } from '../../../lib/serializers/serializer.ts'
import { fuzzSeed, propertyRuns, Random } from '../../helpers/fuzz.ts'
import { toHex } from '../../helpers/vectors.ts'
import { randomCase } from './avro-cases.ts'

const VALUES = 25

t.test('the client writes the bytes that the server writes, and both read them alike, as JSON does', async (t) => {
  const server = createAvroSerializer()
  const json = createJsonSerializer()
  const writer = new Writer()
  const seed = fuzzSeed()
  const random = new Random(seed)
  let pairs = 0
  for (const wanted = propertyRuns(); pairs < wanted;) {
    const { schema, value: next } = randomCase(random, 3)
    const name = 'chat.room.random.body'
    const avro = server.compile(schema, name)
    const text = compileJson(() => json.compile(schema, name))
    const client = compileCodec(deriveAvro(reduceSchema(schema, name), name), writer)
    for (let i = 0; i < VALUES; i++, pairs++) {
      const value = next(random)
      const place = `SEED=${seed} pair ${pairs}: ${JSON.stringify(schema)} ${JSON.stringify(value)}`
      const bytes = Buffer.from(avro.encode(value))
      if (!bytes.equals(client.encode(value))) throw new Error(`${place}: ${toHex(bytes)} was written as ${toHex(client.encode(value))}`)
      const decoded = client.decode(bytes, 0, bytes.length)
      if (!same(decoded, avro.decode(bytes, 0, bytes.length))) throw new Error(`${place}: the client read ${JSON.stringify(decoded)}`)
      if (text !== undefined && !same(withoutNulls(decoded), withoutNulls(overWire(text, value)))) throw new Error(`${place}: JSON differs`)
    }
  }
  t.ok(pairs >= propertyRuns(), `SEED=${seed}: ${pairs} pairs`)
})

t.test('errors of the server are read', async (t) => {
  const codec = compileCodec(errorSchema)
  const errors: WireError[] = [{ code: 'PIT-404', msg: 'not found', metadata: { a: 'é' } }, { code: '', msg: '', metadata: {} }]
  for (const error of errors) {
    const bytes = createAvroSerializer().encodeError(error)
    t.strictSame(codec.decode(bytes), error)
    t.equal(toHex(codec.encode(error)), toHex(bytes))
  }
})

/** JSON has no form for a union of text and bytes. */
function compileJson (compile: () => Codec): Codec | undefined {
  try {
    return compile()
  } catch {
    return undefined
  }
}

function overWire (codec: Codec, value: unknown): unknown {
  const bytes = codec.encode(value)
  return codec.decode(bytes, 0, bytes.length)
}

/** Avro has one absence for null and nothing, and JSON no -0. */
function withoutNulls (value: any): unknown {
  if (value === 0) return 0
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(withoutNulls)
  return Object.fromEntries(Object.entries(value).filter(([, part]) => part !== null).map(([key, part]) => [key, withoutNulls(part)]))
}

/** Deep equality that knows plain values only. */
function same (a: any, b: any): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
}

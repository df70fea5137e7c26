import t from 'tap'
import { compileCodec } from '../../../lib/avro/codec.ts'
import { isPitayaError } from '../../../lib/errors.ts'
import { compileAvro } from '../../../lib/serializers/avro-safe.ts'
import { deriveAvro } from '../../../lib/serializers/avro-schema.ts'
import { ReadTap } from '../../../lib/serializers/avro-tap.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'
import { rows } from '../../contracts/serializer.ts'
import { checkFuzz, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

t.test('no bytes make the decoder do anything but what the server\'s does: give the same value, or refuse', async (t) => {
  const tap = new ReadTap()
  const codecs = rows.map(({ name, schema }) => {
    const avro = deriveAvro(reduceSchema(schema, name), name)
    return { client: compileCodec(avro), server: compileAvro(avro, name) }
  })
  const corpus = rows.flatMap(({ values }, i) => values.map((value) => {
    return Uint8Array.of(i, ...codecs[i]!.client.encode(value).subarray(0, 600))
  }))
  checkFuzz(t, await fuzz({
    corpus,
    maxBytes: 700,
    target: (input) => {
      const { client, server } = codecs[(input[0] ?? 0) % codecs.length]!
      const start = Math.min(1, input.length)
      tap.begin(input, start, input.length)
      let theirs: unknown = REFUSED
      try {
        theirs = server._read(tap)
        if (tap.pos !== input.length) theirs = REFUSED
      } catch {}
      let ours: unknown = REFUSED
      let refusal: unknown
      try {
        ours = client.decode(input, start, input.length)
      } catch (error) {
        if (!isPitayaError(error) || error.code !== 'PIT_ERR_BODY') throw error
        refusal = error
      }
      if (!same(ours, theirs)) throw new Error('the server reads it otherwise')
      if (refusal !== undefined) throw refusal
    }
  }))
  t.strictSame(Object.keys(Object.prototype), [])
})

const REFUSED = Symbol('refused')

function same (a: any, b: any): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
}

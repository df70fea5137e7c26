import type { Serializer } from '../../../lib/serializers/serializer.ts'
import type { FuzzOptions } from '../../helpers/fuzz.ts'
import { rows } from '../../contracts/serializer.ts'

/** The first byte says which schema of the contract reads the rest. What it takes, it must write again, and read the same. */
export function serializerFuzz (serializer: Serializer): FuzzOptions {
  const codecs = rows.map(({ name, schema }) => serializer.compile(schema, `fuzz.${name}`))
  const corpus = rows.flatMap(({ values }, i) => values.map((value) => Uint8Array.of(i, ...codecs[i]!.encode(value).subarray(0, 600))))
  return {
    corpus,
    maxBytes: 700,
    target: (input) => {
      const codec = codecs[(input[0] ?? 0) % codecs.length]!
      const value = codec.decode(input, Math.min(1, input.length), input.length)
      const again = Buffer.from(codec.encode(value))
      const same = Buffer.from(codec.encode(codec.decode(again, 0, again.length)))
      if (!again.equals(same)) throw new Error(`${again.toString('hex')} came back as ${same.toString('hex')}`)
    }
  }
}

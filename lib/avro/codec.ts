import { createError } from '../protocol/errors.ts'
import { compile, Misfit } from './compile.ts'
import { Reader } from './reader.ts'
import { readSchema, type AvroSchema } from './schema.ts'
import { Writer } from './writer.ts'

export type { AvroSchema } from './schema.ts'
export { Writer } from './writer.ts'

export interface AvroCodec {
  /**
   * The bytes are valid until the next `encode` with the same writer. Absent, undefined and null are one for an optional field.
   * @throws PIT_ERR_BODY (metadata.field: the place) for a value that does not fit, PIT_ERR_PACKET_SIZE above 16 MiB
   */
  encode (value: unknown): Uint8Array
  /**
   * Decodes what lies from `start` to `end`, and shares no memory with it. An optional field that is null is left out.
   * @throws PIT_ERR_BODY for anything that is no such value, has more than 64 levels, 10,000 items in a list or map, or bytes to spare
   */
  decode (bytes: Uint8Array, start?: number, end?: number): unknown
}

/** The payload of an answer that is an error, as the server writes it: `{ code, msg, metadata }`. */
export const errorSchema: AvroSchema = {
  type: 'record',
  name: 'error',
  fields: [{ name: 'code', type: 'string' }, { name: 'msg', type: 'string' }, { name: 'metadata', type: { type: 'map', values: 'string' } }]
}

/**
 * Makes the codec of a schema, of closures: it runs where a page may not generate code.
 * Unions are unwrapped, so their branches must differ in kind; longs are numbers within 2^53; bytes are Uint8Array.
 * @param writer of its own by default; codecs that are not used at the same time share one
 * @throws PIT_ERR_CLIENT_SCHEMA
 */
export function compileCodec (schema: AvroSchema, writer = new Writer()): AvroCodec {
  const root = compile(readSchema(schema))
  const reader = new Reader()
  return {
    encode (value) {
      writer.begin()
      try {
        root.write(value, writer)
      } catch (error) {
        throw error instanceof Misfit ? createError('PIT_ERR_BODY', [`body${error.path} ${error.demand}`], { metadata: { field: error.path } }) : error
      }
      return writer.end()
    },
    decode (bytes, start = 0, end = bytes.length) {
      reader.begin(bytes, start, end)
      try {
        const value = root.read(reader)
        reader.finish()
        return value
      } catch {
        throw createError('PIT_ERR_BODY', ['invalid Avro data'])
      } finally {
        reader.release()
      }
    }
  }
}

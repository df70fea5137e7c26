import type { TSchema } from '@sinclair/typebox'
import { createError, isPitayaError } from '../errors.ts'
import type { Codec, Serializer } from '../serializers/serializer.ts'

/**
 * A codec per serializer.
 * @param name what error messages call the schema
 * @throws PIT_ERR_SCHEMA, saying which serializer refused
 */
export function compileCodecs (schema: TSchema, serializers: readonly Serializer[], name: string): Codec[] {
  return serializers.map((serializer) => {
    try {
      return serializer.compile(schema, name)
    } catch (cause) {
      if (!isPitayaError(cause)) throw cause
      const text = `${cause.message} (serializer "${serializer.name}"; a server that does not offer it takes the schema: option serializers)`
      throw createError('PIT_ERR_SCHEMA', [], { text, cause })
    }
  })
}

import { createError, isPitayaError } from '../errors.ts'
import type { Codec } from '../serializers/serializer.ts'

const EMPTY = new Uint8Array(0)

/**
 * The bytes of what a handler returned.
 * @param codec undefined: no response is declared, what was returned is ignored
 * @throws PIT_ERR_NULL_REPLY, PIT_ERR_RESPONSE, PIT_ERR_EVOLUTION
 */
export function encodeResult (result: unknown, codec: Codec | 'raw' | undefined, acceptsNull: boolean): Uint8Array {
  if (codec === undefined) return EMPTY
  if (result === undefined || (result === null && !acceptsNull)) throw createError('PIT_ERR_NULL_REPLY')
  if (codec === 'raw') {
    if (result instanceof Uint8Array) return result
    throw createError('PIT_ERR_RESPONSE', [], { cause: new TypeError('a raw response must be a Uint8Array') })
  }
  try {
    return codec.encode(result)
  } catch (cause) {
    if (isEvolution(cause)) throw cause
    throw createError('PIT_ERR_RESPONSE', [], { cause })
  }
}

/** Asked of the codec, since a serializer may know schemas that nobody else does. */
export function encodesNull (codec: Codec): boolean {
  try {
    codec.encode(null)
    return true
  } catch {
    return false
  }
}

/** True for a value, or all of a route, that the client's version does not have: its own affair, not a fault of the server. */
export function isEvolution (error: unknown): boolean {
  return isPitayaError(error) && error.code === 'PIT_ERR_EVOLUTION'
}

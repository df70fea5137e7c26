import type { TSchema } from '@sinclair/typebox'
import type { WireError } from '../errors.ts'

export type { WireError } from '../errors.ts'

/**
 * A family member: one way to write message bodies. It is a value: `serializers: ['json', 'avro', mine]`.
 * Schemas are compiled once, when the app gets ready; the message path only calls codecs.
 */
export interface Serializer {
  /** The name a client asks for in its handshake (`sys.serializer`). */
  readonly name: string
  /**
   * @param schema TypeBox schema of the body, response or push
   * @param name unique name of the message, such as `chat.room.join.body`; Avro derives record names from it
   * @throws PIT_ERR_SCHEMA when the schema has no mapping
   */
  compile (schema: TSchema, name: string): Codec
  /** The error payload of an answer (protocol.md 1.8): code, msg, metadata; empty fields left out where the format can. */
  encodeError (error: WireError): Uint8Array
}

export interface Codec {
  /**
   * The bytes are valid until the next call of any `encode` of this serializer: the caller writes or copies them at once.
   * Throws when the value does not fit.
   */
  encode (value: unknown): Uint8Array
  /**
   * Decodes `bytes` from `start` to `end`, checks against the schema and drops undeclared properties.
   * The value shares no memory with `bytes`, except `Uint8Array` fields, which are copies too.
   * @throws PIT_ERR_BODY (metadata.field: the place) for anything that is no such message; never another error
   */
  decode (bytes: Uint8Array, start: number, end: number): unknown
}

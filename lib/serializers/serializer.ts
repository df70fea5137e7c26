import type { TSchema } from '@sinclair/typebox'
import type { WireError } from '../errors.ts'
import type { AvroSchema } from './avro-schema.ts'

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

/** A codec with what it does besides reading and writing bytes, so that bytes of another version of its schema can take its way too. */
export interface VersionedCodec extends Codec {
  readonly schema: AvroSchema
  /** A decoded value, checked and without what is not declared. @throws PIT_ERR_BODY */
  accept (value: unknown): unknown
  /** A value to be encoded, checked. Throws when it does not fit. */
  prepare (value: unknown): unknown
}

/**
 * A serializer as clients of another version use it: made while the server runs, on top of one that it has. Each method takes that one's
 * codec for a message and gives the version's.
 */
export interface SerializerVersion {
  /** `avro@` and the fingerprint of the version. */
  readonly name: string
  /** Name of the serializer that it is a version of. */
  readonly of: string
  /** @param route `handler.method` */
  body (codec: Codec, route: string): Codec
  response (codec: Codec, route: string): Codec
  push (codec: Codec, name: string): Codec
}

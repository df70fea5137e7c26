import { Type, type Static } from '@sinclair/typebox'
import { createError } from '../errors.ts'

export { HandshakeAnswers, parseHandshakeAnswer, type HandshakeAnswer } from './handshake-answer.ts'

const Label = Type.Optional(Type.String({ maxLength: 256 }))

/** What a client says of itself under `sys`. Unknown fields are allowed and dropped. */
export const HandshakeRequest = Type.Object({
  platform: Label,
  libVersion: Label,
  clientBuildNumber: Label,
  clientVersion: Label,
  /** Name of the serializer the client asks for; absent: the server's default. */
  serializer: Type.Optional(Type.String({ maxLength: 64 })),
  /** The client reads reasons: Kick packets may have a body, and closes are preceded by one. */
  closeReason: Type.Optional(Type.Boolean()),
  /** Fingerprint of the schemas that the client has of this server, empty for none: it wants to be told those that it lacks. */
  schemas: Type.Optional(Type.String({ maxLength: 64 })),
  /** Fingerprint of the contract that the client is pinned to; it goes with serializer `avro`. */
  contract: Type.Optional(Type.String({ maxLength: 64 }))
})

/** What a client said of itself in its handshake (protocol.md 1.4), names as the protocol spells them. */
export type HandshakeSys = Static<typeof HandshakeRequest>

// The schema is checked by hand: its compiler generates code, which browsers with a strict policy refuse.
const fields = new Map(Object.entries(HandshakeRequest.properties).map(([name, schema]) => [
  name.toLowerCase(), { name, type: schema.type as string, maxLength: schema.type === 'string' ? schema.maxLength! : 0 }
]))

/**
 * Checks the parsed JSON of a handshake packet and brings it into one form. Names of the top level and of `sys` are
 * matched without regard to case, the last of several wins; null stands for absent, as in Go (protocol.md 1.4).
 *
 * ```
 * handshake = null / {"sys": null / {...}, "user": null / {...}}
 * ```
 *
 * @returns `sys` with only the known fields that were given; `user` as it came, undefined when absent
 * @throws PIT_ERR_HANDSHAKE; its text and `metadata.field` are the path of the field, never what the client sent
 */
export function normalizeHandshake (value: unknown): { sys: HandshakeSys, user: unknown } {
  let sys: HandshakeSys = {}
  let user: unknown
  for (const [name, field] of entriesOf(value, 'body')) {
    const key = name.toLowerCase()
    if (key === 'sys') sys = normalizeSys(field)
    if (key === 'user') user = isAbsent(field) ? undefined : checkObject(field, 'user')
  }
  return { sys, user }
}

function normalizeSys (value: unknown): HandshakeSys {
  const sys: Record<string, unknown> = {}
  for (const [key, given] of entriesOf(value, 'sys')) {
    const field = fields.get(key.toLowerCase())
    if (field === undefined || isAbsent(given)) continue
    const type: string = typeof given
    if (type !== field.type || (typeof given === 'string' && given.length > field.maxLength)) refuse(`sys.${field.name}`)
    sys[field.name] = given
  }
  return sys
}

function entriesOf (value: unknown, path: string): Array<[string, unknown]> {
  return isAbsent(value) ? [] : Object.entries(checkObject(value, path))
}

function checkObject (value: unknown, path: string): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path)
  return value
}

function isAbsent (value: unknown): value is null | undefined {
  return value === null || value === undefined
}

function refuse (path: string): never {
  throw createError('PIT_ERR_HANDSHAKE', [path], { metadata: { field: path } })
}

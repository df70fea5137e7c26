import { Type, type TSchema } from '@sinclair/typebox'

const ErrorBody = Type.Object({ statusCode: Type.Integer(), code: Type.String(), error: Type.String(), message: Type.String() })
type ErrorStatus = 400 | 404 | 413 | 415 | 503 | 504

/** Response schemas of a route: its own, the errors it may answer with, and those that every admin route has. */
export function responses<R extends Record<number, TSchema>, E extends ErrorStatus = never> (own: R, errors: readonly E[] = []) {
  const all = Object.fromEntries([401, 429, 500, ...errors].map((status) => [status, ErrorBody]))
  return { ...own, ...all } as R & Record<401 | 429 | 500 | E, typeof ErrorBody>
}

/** What a mutation's body can be refused for, besides what it asks for. */
export const bodyErrors = [400, 404, 413, 415] as const

/** `serverId:sessionId`, or the session id alone. */
export const SessionId = Type.String({ pattern: '^(?:[A-Za-z0-9_-]{1,64}:)?[0-9]{1,15}$', description: 'serverId:sessionId, or the session id alone' })

export const Uid = Type.String({ minLength: 1, maxLength: 128 })

/** Also at most 123 bytes, which a schema cannot say: `assertReason`. */
export const Reason = Type.String({ minLength: 1, maxLength: 123, description: 'shown to clients that read close reasons; at most 123 bytes of UTF-8' })

/** What was said in the handshake's `user`, and session data without a schema, is never shown: either may hold secrets. */
export const SessionRow = Type.Object({
  id: Type.String({ description: 'serverId:sessionId' }),
  uid: Type.String({ description: 'empty until bound' }),
  transport: Type.String(),
  remoteAddress: Type.String(),
  serializer: Type.String(),
  ageSeconds: Type.Integer(),
  sys: Type.Object({
    platform: Type.Optional(Type.String()),
    libVersion: Type.Optional(Type.String()),
    clientBuildNumber: Type.Optional(Type.String()),
    clientVersion: Type.Optional(Type.String())
  }),
  data: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'session data, where the server declares its schema' }))
})

export const Nothing = Type.Null({ description: 'done' })

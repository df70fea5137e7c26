import { createHash } from 'node:crypto'
import type { AvroSchema } from '../serializers/avro-schema.ts'
import { canonicalSchema } from './canonical.ts'
import type { PartSchema, RouteSchemas } from './set.ts'

const LENGTH = 16

/** The first 16 characters of the SHA-256 in base64url: 96 bits. */
export function fingerprint (text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, LENGTH)
}

/** The same for schemas that read and write the same, whatever their documentation and the names of their types. Throws PIT_ERR_SCHEMA. */
export function schemaFingerprint (schema: AvroSchema): string {
  return fingerprint(JSON.stringify(canonicalSchema(schema)))
}

/** Of all routes and pushes with their schemas, which must be canonical. */
export function setFingerprint (
  serverType: string, routes: Iterable<readonly [string, RouteSchemas]>, pushes: Iterable<readonly [string, PartSchema]>
): string {
  const sorted = sortEntries(routes).map(([route, { kind, body = null, response = null }]) => [route, kind, body, response])
  return fingerprint(JSON.stringify([serverType, sorted, sortEntries(pushes)]))
}

/** By the code units of their names. */
export function sortEntries<T> (entries: Iterable<readonly [string, T]>): Array<readonly [string, T]> {
  return [...entries].sort(([a], [b]) => a < b ? -1 : 1)
}

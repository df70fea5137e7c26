import { Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import secureJson from 'secure-json-parse'
import { hasLoneEscape, readUtf8 } from '../../serializers/text.ts'
import type { ServerInfo } from './discovery.ts'

/** What lies in the store under a server's id: JSON. The lease is the sender's, so that servers with different ones get along. */
export interface ServerEntry {
  readonly server: ServerInfo
  readonly leaseMs: number
}

export const MAX_ENTRY_BYTES = 16 * 1024
export const MIN_LEASE_MS = 300
export const MAX_LEASE_MS = 3_600_000

/** Raised when an older reader could not make sense of an entry; a new field needs no new format. */
const FORMAT = 1
const MAX_METADATA = 64
const MAX_PATH = 128

const Name = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })
// Not minLength: a Record reads nothing but a pattern of its key's schema.
const Key = Type.String({ pattern: '^[^]{1,64}$' })
const Schema = TypeCompiler.Compile(Type.Object({
  format: Type.Literal(FORMAT),
  id: Name,
  type: Name,
  frontend: Type.Boolean(),
  metadata: Type.Record(Key, Type.String({ maxLength: 1024 }), { maxProperties: MAX_METADATA, additionalProperties: false }),
  incarnation: Name,
  hostname: Type.String({ maxLength: 255 }),
  version: Type.String({ maxLength: 64 }),
  load: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  draining: Type.Boolean(),
  contract: Type.String({ maxLength: 128 }),
  events: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 64 }),
  sets: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 64 })),
  leaseMs: Type.Integer({ minimum: MIN_LEASE_MS, maximum: MAX_LEASE_MS })
}))

export function encodeEntry ({ server, leaseMs }: ServerEntry): Uint8Array {
  const { id, type, frontend, metadata, incarnation, hostname, version, load, draining, contract, events, sets } = server
  const json = JSON.stringify({
    format: FORMAT, id, type, frontend, metadata, incarnation, hostname, version, load, draining, contract, events, sets, leaseMs
  })
  return Buffer.from(json)
}

/**
 * Anyone with access to the store may have written the bytes. Fields that are not known are left out.
 * @returns a text: why it is no entry, without a word of its content
 */
export function decodeEntry (key: string, bytes: Uint8Array): ServerEntry | string {
  if (bytes.length > MAX_ENTRY_BYTES) return `larger than ${MAX_ENTRY_BYTES} bytes`
  const text = readUtf8(bytes, 0, bytes.length)
  if (text === undefined) return 'not UTF-8'
  let value: unknown
  try {
    value = secureJson.parse(text)
  } catch { return 'not JSON' }
  if (!Schema.Check(value)) return demand(value)
  if (hasLoneEscape(text)) return 'text is not well-formed'
  const { id, type, frontend, metadata, incarnation, hostname, version, load, draining, contract, events, sets, leaseMs } = value
  if (id !== key) return 'id is not its key'
  const server = { id, type, frontend, metadata, incarnation, hostname, version, load, draining, contract, events }
  return { server: sets === undefined ? server : { ...server, sets }, leaseMs }
}

function demand (value: unknown): string {
  const first = Schema.Errors(value).First()
  return `${first?.path.slice(0, MAX_PATH) || 'value'}: ${first?.message ?? 'unexpected'}`
}

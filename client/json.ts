import { decodeUtf8, encodeUtf8 } from '../lib/protocol/utf8.ts'
import type { ClientCodec, ClientSerializer } from './codec.ts'

export const EMPTY = new Uint8Array(0)

/** @param raw routes and pushes whose data are bytes */
export function createJsonSerializer (raw: readonly string[] = []): ClientSerializer {
  const codec: ClientCodec = {
    encode: (_, __, value) => value === undefined ? EMPTY : value instanceof Uint8Array ? value : encodeJson(value),
    decode (route, kind, bytes) {
      if (kind !== 'error' && raw.includes(route)) return new Uint8Array(bytes)
      return bytes.length === 0 ? undefined : decodeJson(bytes)
    }
  }
  return { name: 'json', codec: () => codec }
}

export function encodeJson (value: unknown): Uint8Array { return encodeUtf8(JSON.stringify(value)) }
export function decodeJson (bytes: Uint8Array): unknown { return JSON.parse(decodeUtf8(bytes)) }

import type { SchemaStorage } from '../options.ts'
import { Schemas } from './schemas.ts'

const MAX_SERVERS = 16
const WRITE_MS = 100

/** By server. Shared by all clients of a program: sets are large, and what is behind a fingerprint never changes. */
const known = new Map<string, Schemas>()

export interface SchemaCache {
  get (): Schemas | undefined
  set (schemas: Schemas): void
}

/**
 * Keeps the schemas of one server.
 * @param address undefined: as long as the client lives
 */
export function createCache (address: string | undefined, storage: SchemaStorage | undefined): SchemaCache {
  let own: Schemas | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  // What follows may be a secret.
  const key = `fastify-pitaya ${address?.replace(/[?#].*/s, '')}`
  if (address === undefined) return { get: () => own, set: (schemas) => { own = schemas } }
  const write = (schemas = own!): void => {
    timer = undefined
    // Storage may be full or forbidden; then the next program asks the server.
    try { storage?.setItem(key, JSON.stringify(schemas)) } catch {}
  }
  return {
    get: () => known.get(key) ?? read(storage, key),
    set (schemas) {
      known.delete(key)
      known.set(key, schemas)
      if (known.size > MAX_SERVERS) known.delete(known.keys().next().value!)
      // Schemas that are fetched one by one are written together.
      if (own === undefined) write(schemas)
      else timer ??= setTimeout(() => write(), WRITE_MS)
      ;(timer as { unref?: () => void } | undefined)?.unref?.()
      own = schemas
    }
  }
}

function read (storage: SchemaStorage | undefined, key: string): Schemas | undefined {
  try { return new Schemas(JSON.parse(storage!.getItem(key)!)) } catch {}
}

import { createHash } from 'node:crypto'
import type { CompiledHandler } from '../handler/registry.ts'

/** What a frontend must know of another server's route to forward to it. */
export interface RouteTraits {
  readonly kind: 'request' | 'notify'
  readonly concurrent: boolean
  /** Milliseconds; undefined: the frontend's own. */
  readonly deadlineMs: number | undefined
  /** Messages per second and session; undefined: only the connection's limit. */
  readonly ratePerSecond: number | undefined
}

/** What a server tells others of its handlers, by `handler.method`. */
export type Contract = ReadonlyMap<string, RouteTraits>

/** Kept by the store under its own hash, so that servers of one build share it. */
export interface EncodedContract {
  readonly name: string
  readonly bytes: Uint8Array
}

const VERSION = 1
/** Bytes of a contract that is read. */
const MAX_BYTES = 512 * 1024
const MAX_DEADLINE_MS = 86_400_000

export function encodeContract (handlers: readonly CompiledHandler[]): EncodedContract {
  const routes = handlers.map(({ shortRoute, kind, concurrent, deadlineMs, ratePerSecond }) => {
    return [shortRoute, { kind, concurrent, deadlineMs, ratePerSecond }] as const
  })
  routes.sort(([a], [b]) => a < b ? -1 : 1)
  const bytes = Buffer.from(JSON.stringify({ version: VERSION, routes: Object.fromEntries(routes) }))
  return { name: createHash('sha256').update(bytes).digest('base64url').slice(0, 22), bytes }
}

/** What newer servers add is left out; of what is no contract, nothing is taken. */
export function decodeContract (bytes: Uint8Array): Contract {
  const contract = new Map<string, RouteTraits>()
  if (bytes.length > MAX_BYTES) return contract
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return contract
  }
  const routes = isRecord(parsed) && isRecord(parsed.routes) ? parsed.routes : {}
  for (const [route, traits] of Object.entries(routes)) {
    if (!isRecord(traits) || (traits.kind !== 'request' && traits.kind !== 'notify') || Buffer.byteLength(route) > 255) continue
    const { kind, concurrent, deadlineMs, ratePerSecond } = traits
    contract.set(route, {
      kind,
      concurrent: concurrent === true,
      deadlineMs: isBetween(deadlineMs, 1, MAX_DEADLINE_MS) ? Math.ceil(deadlineMs) : undefined,
      ratePerSecond: isBetween(ratePerSecond, Number.MIN_VALUE, Infinity) ? ratePerSecond : undefined
    })
  }
  return contract
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isBetween (value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && value >= min && value <= max
}

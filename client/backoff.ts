import type { ReconnectOptions } from './options.ts'

const MIN_MS = 1000
const MAX_MS = 30_000

/**
 * Whether a connection that ended with this code is made again: the server's codes 4000 to 4499, and those of WebSocket for a network or
 * a server that went away. All others are an end that was meant, or a fault that would come again.
 */
export function comesBack (code: number): boolean {
  return (code >= 4000 && code < 4500) || code === 1001 || code === 1005 || code === 1006 || (code >= 1011 && code <= 1014)
}

/** Milliseconds before the next attempt: spread over all of the time, since a server's clients are lost in the same moment. */
export function backoff (failures: number, retryAfterMs: number, { minMs = MIN_MS, maxMs = MAX_MS }: ReconnectOptions): number {
  return retryAfterMs + Math.random() * Math.min(maxMs, minMs * 2 ** failures)
}

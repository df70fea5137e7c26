import { createHash, timingSafeEqual } from 'node:crypto'
import type { onRequestHookHandler } from 'fastify'
import { createError } from '../../lib/errors.ts'

const WINDOW_MS = 60_000
const MAX_FAILURES = 5
const MAX_ADDRESSES = 10_000
/** A header can carry nothing else, so another token could never be given. */
const TOKEN = /^[\x21-\x7e]+$/
const CREDENTIALS = /^bearer ([\x21-\x7e]+)$/i

/**
 * Guards routes by a bearer token. After five failures of an address within a minute, its requests are answered 429 for the rest of it.
 * @param clock milliseconds, monotonic
 * @throws PIT_ERR_OPTIONS for a token that no header can carry
 */
export function bearerAuth (token: string, clock: () => number = () => performance.now()): onRequestHookHandler {
  if (!TOKEN.test(token)) throw createError('PIT_ERR_OPTIONS', ['admin.token must be printable ASCII without spaces'])
  const expected = sha256(token)
  const failures = new FailureCount(clock)
  return (request, reply, done) => {
    const waitMs = failures.waitMs(request.ip)
    if (waitMs > 0) {
      reply.header('retry-after', Math.ceil(waitMs / 1000))
      return done(createError('PIT_ERR_ADMIN_RATE'))
    }
    const given = CREDENTIALS.exec(request.headers.authorization ?? '')?.[1] ?? ''
    // Of equal length whatever was given, and compared in constant time.
    if (timingSafeEqual(sha256(given), expected)) return done()
    if (failures.add(request.ip)) request.log.warn({ audit: true, action: 'login', outcome: 'locked', remoteAddress: request.ip }, 'admin')
    reply.header('www-authenticate', 'Bearer')
    done(createError('PIT_ERR_ADMIN_AUTH'))
  }
}

/** Failures by address, in windows that begin with the first failure. Bounded: the oldest window makes room. */
class FailureCount {
  #clock: () => number
  #windows = new Map<string, { endsAt: number, count: number }>()

  constructor (clock: () => number) {
    this.#clock = clock
  }

  /** How long an address must wait; 0: not at all. */
  waitMs (address: string): number {
    const window = this.#windows.get(address)
    return window === undefined || window.count < MAX_FAILURES ? 0 : Math.max(0, window.endsAt - this.#clock())
  }

  /** @returns true for the failure that locks the address */
  add (address: string): boolean {
    const now = this.#clock()
    let window = this.#windows.get(address)
    if (window === undefined || window.endsAt <= now) {
      this.#windows.delete(address)
      if (this.#windows.size >= MAX_ADDRESSES) this.#windows.delete(this.#windows.keys().next().value!)
      window = { endsAt: now + WINDOW_MS, count: 0 }
      this.#windows.set(address, window)
    }
    return ++window.count === MAX_FAILURES
  }
}

function sha256 (text: string): Buffer { return createHash('sha256').update(text).digest() }

import { createError } from '../errors.ts'
import { encodeUtf8 } from './utf8.ts'

/** A route's parts. `serverType` is empty in the short form, which means the server's own type. */
export interface Route { serverType: string, service: string, method: string }

// Unicode's white space, as Go has it: String.trim() takes U+FEFF too and leaves U+0085.
const BLANK = /^\p{White_Space}*$/u
const OUTER_SPACE = /^\p{White_Space}+|\p{White_Space}+$/gu

/**
 * Takes a route apart at every point. Parts are not trimmed; case matters.
 *
 * ```
 * route = [serverType "."] service "." method
 * ```
 *
 * @throws PIT_ERR_ROUTE_EMPTY when a part is empty or white space, else PIT_ERR_ROUTE unless there are two or three
 */
export function parseRoute (text: string): Route {
  const parts = text.split('.')
  for (const part of parts) {
    if (BLANK.test(part)) throw createError('PIT_ERR_ROUTE_EMPTY')
  }
  const [first, second, third] = parts
  if (parts.length === 2) return { serverType: '', service: first!, method: second! }
  if (parts.length === 3) return { serverType: first!, service: second!, method: third! }
  throw createError('PIT_ERR_ROUTE')
}

/** Route texts and the 2-byte codes that stand for them on the wire. */
export class RouteDictionary {
  #codes = new Map<string, number>()
  #routes = new Map<number, string>()

  get size (): number { return this.#codes.size }

  /**
   * Adds routes, trimmed at both ends. Entries before one that fails stay.
   * @param routes route text to code, an integer from 0 to 65535
   * @throws PIT_ERR_DICTIONARY for a route or a code already known, or a code out of range
   */
  add (routes: Record<string, number>): void {
    for (const [text, code] of Object.entries(routes)) {
      const route = text.replace(OUTER_SPACE, '')
      if (!(Number.isInteger(code) && code >= 0 && code <= 0xffff)) {
        throw createError('PIT_ERR_DICTIONARY', [`code of ${route} must be an integer from 0 to 65535, got ${String(code)}`])
      }
      if (this.#codes.has(route) || this.#routes.has(code)) {
        throw createError('PIT_ERR_DICTIONARY', [`duplicated route(route: ${route}, code: ${code})`])
      }
      this.#codes.set(route, code)
      this.#routes.set(code, route)
    }
  }

  /** -1: no such route. */
  codeOf (route: string): number { return this.#codes.get(route) ?? -1 }

  routeOf (code: number): string | undefined { return this.#routes.get(code) }

  /** All routes with their codes in the order of their UTF-8 bytes, as Go sorts them. */
  entries (): Array<[route: string, code: number]> {
    return [...this.#codes].sort(([a], [b]) => compareBytes(encodeUtf8(a), encodeUtf8(b)))
  }

  toJSON (): Record<string, number> { return Object.fromEntries(this.entries()) }
}

function compareBytes (a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!
  }
  return a.length - b.length
}

interface IndexEntry<T> {
  readonly route: Uint8Array
  readonly hash: number
  value: T
  next: IndexEntry<T> | undefined
}

/** Finds what belongs to a route by the route's bytes as they lie in a packet, without making a string of them. */
export class RouteIndex<T> {
  #byText = new Map<string, IndexEntry<T>>()
  #buckets: Array<IndexEntry<T> | undefined> = [undefined]

  get size (): number { return this.#byText.size }

  /** Adds a route, or gives a known one another value. */
  set (route: string, value: T): void {
    const known = this.#byText.get(route)
    if (known !== undefined) {
      known.value = value
      return
    }
    const bytes = encodeUtf8(route)
    this.#byText.set(route, { route: bytes, hash: hashOf(bytes, 0, bytes.length), value, next: undefined })
    // Clients choose the bytes looked up, never those in the index, so a plain hash and short chains are enough.
    if (this.#byText.size * 2 > this.#buckets.length) this.#rebuild(this.#buckets.length * 4)
    else this.#link(this.#byText.get(route)!)
  }

  /** Undefined: no such route. Allocates nothing. */
  get (bytes: Uint8Array, start: number, end: number): T | undefined {
    const hash = hashOf(bytes, start, end)
    for (let entry = this.#buckets[hash & this.#buckets.length - 1]; entry !== undefined; entry = entry.next) {
      if (entry.hash === hash && isEqual(entry.route, bytes, start, end)) return entry.value
    }
    return undefined
  }

  getByText (route: string): T | undefined { return this.#byText.get(route)?.value }

  #rebuild (size: number): void {
    this.#buckets = new Array<IndexEntry<T> | undefined>(size).fill(undefined)
    for (const entry of this.#byText.values()) this.#link(entry)
  }

  #link (entry: IndexEntry<T>): void {
    const bucket = entry.hash & this.#buckets.length - 1
    entry.next = this.#buckets[bucket]
    this.#buckets[bucket] = entry
  }
}

function hashOf (bytes: Uint8Array, start: number, end: number): number {
  let hash = 0
  for (let i = start; i < end; i++) hash = Math.imul(hash, 31) + bytes[i]! | 0
  return hash
}

function isEqual (route: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (route.length !== end - start) return false
  for (let i = 0; i < route.length; i++) {
    if (route[i] !== bytes[start + i]) return false
  }
  return true
}

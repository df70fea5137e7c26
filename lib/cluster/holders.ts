import type { Logger } from '../handler/types.ts'
import { token } from './names.ts'
import type { Store } from './stores/store.ts'

/** Within which frontends a uid is unique: those of one server type, as in Pitaya, or all. */
export type BindScope = 'type' | 'cluster'

/** A session that has a uid, by its address; a frontend's lives are told apart by their incarnation. */
export interface Holder {
  readonly frontendId: string
  readonly incarnation: string
  readonly sessionId: number
}

/** Value of a uid's key; revision 0: there is no such key. */
export interface Held {
  readonly revision: number
  readonly holders: readonly Holder[]
}

export const NOBODY: Held = Object.freeze({ revision: 0, holders: Object.freeze([]) })

/** Sessions of one uid at most, in policy `allow`. */
export const MAX_HOLDERS = 1000

const VERSION = 1

/** First token of the keys of a scope. */
export function scopeName (scope: BindScope, frontendType: string): string {
  return scope === 'cluster' ? '_' : frontendType
}

export function bindingKey (scope: string, uid: string): string {
  return `${scope}.${token(uid)}`
}

/** Reads a uid's key. A value that cannot be read counts as nobody's: the next bind writes a good one over it. */
export async function readHolders (store: Store, key: string, log: Logger): Promise<Held> {
  const entry = await store.get(key)
  if (entry === undefined) return NOBODY
  const holders = decodeHolders(entry.value)
  if (holders === undefined) log.warn({ key, bytes: entry.value.length }, 'a binding in the store cannot be read')
  return { revision: entry.revision, holders: holders ?? NOBODY.holders }
}

/** @returns the new revision, 0 when the key is gone; undefined: somebody else has changed it */
export async function writeHolders (store: Store, key: string, held: Held, holders: readonly Holder[]): Promise<number | undefined> {
  if (holders.length > 0) {
    const value = encodeHolders(holders)
    return held.revision === 0 ? store.create(key, value) : store.update(key, value, held.revision)
  }
  return held.revision === 0 || await store.delete(key, held.revision) ? 0 : undefined
}

export function encodeHolders (holders: readonly Holder[]): Uint8Array {
  const sessions = holders.map(({ frontendId, incarnation, sessionId }) => [frontendId, incarnation, sessionId])
  return Buffer.from(JSON.stringify({ v: VERSION, sessions }))
}

/** @returns undefined: these bytes are none of ours, or of a version that is not known yet */
export function decodeHolders (bytes: Uint8Array): Holder[] | undefined {
  try {
    const { v, sessions } = JSON.parse(Buffer.from(bytes).toString()) as { v: unknown, sessions: unknown }
    if (v !== VERSION || !Array.isArray(sessions) || sessions.length > MAX_HOLDERS) return undefined
    const holders: Holder[] = []
    for (const [frontendId, incarnation, sessionId] of sessions as unknown[][]) {
      if (!isText(frontendId) || !isText(incarnation) || !Number.isSafeInteger(sessionId)) return undefined
      holders.push({ frontendId, incarnation, sessionId: sessionId as number })
    }
    return holders
  } catch {
    return undefined
  }
}

export function isSameHolder (one: Holder, other: Holder): boolean {
  return one.sessionId === other.sessionId && one.frontendId === other.frontendId && one.incarnation === other.incarnation
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 128
}

import { randomBytes } from 'node:crypto'
import { Deadline } from '../../deadline.ts'
import { createError, type PitayaError } from '../../errors.ts'
import type { TimerWheel } from '../../timer-wheel.ts'
import type { Entry, Store } from '../stores/store.ts'
import type { ServerInfo } from './discovery.ts'
import { decodeEntry, encodeEntry } from './entry.ts'
import { proofMs } from './server-list.ts'

/** Races for one key that are lost before the store is taken for broken. */
const MAX_TRIES = 5

export interface OwnLeaseOptions {
  readonly store: Store
  readonly wheel: TimerWheel
  readonly leaseMs: number
  /** Monotonic milliseconds: goes on while the process is stopped. */
  readonly clock: () => number
  readonly server: ServerInfo
}

/** What others reach this server by is open only while nobody else has its id. */
export interface AcquireHooks {
  /** The id seems to be free, and is taken when this resolves. */
  onFree?: () => Promise<void>
  /** Somebody was faster. */
  onTaken?: () => void
}

export type Changes = Partial<Pick<ServerInfo, 'load' | 'draining' | 'contract' | 'events' | 'sets'>>

/**
 * This server's key, held by compare-and-set. It counts as held until one lease after the last renewal was sent,
 * which is before anyone else could count it as lost. One call at a time.
 */
export class OwnLease {
  readonly #options: OwnLeaseOptions
  /** As it was last written. */
  server: ServerInfo
  #revision = 0
  #renewedAt = -Infinity
  /** A new incarnation that is being written: it may be in the store already, if only the answer was lost. */
  #candidate: string | undefined
  #isCancelled = false
  #holder: { readonly revision: number, readonly onSign: (sign: Sign) => void } | undefined

  constructor (options: OwnLeaseOptions) {
    this.#options = options
    this.server = options.server
  }

  get revision (): number { return this.#revision }
  get ageMs (): number { return this.#options.clock() - this.#renewedAt }
  get isHeld (): boolean { return this.ageMs <= this.#options.leaseMs }

  /**
   * Creates the key, or takes it over when its holder gives no sign of life for so long that it missed two renewals.
   * Rejects with PIT_ERR_SERVER_ID, PIT_ERR_STORE.
   */
  async acquire (changes: Changes, { onFree, onTaken }: AcquireHooks = {}): Promise<void> {
    const { store, clock } = this.#options
    const server = { ...this.server, ...changes }
    const { id } = server
    const value = this.#encode(server)
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const held = await store.get(id)
      if (held !== undefined) {
        const sign = await this.#listen(held)
        if (sign === 'deleted') continue
        if (sign === 'renewed') break
        if (sign === 'cancelled') throw createError('PIT_ERR_CLUSTER_START', ['stopped while it started'])
      }
      await onFree?.()
      const at = clock()
      const revision = held === undefined ? await store.create(id, value) : await store.update(id, value, held.revision)
      if (revision !== undefined) return this.#held(server, revision, at)
      onTaken?.()
    }
    throw this.#taken()
  }

  /**
   * Rejects with PIT_ERR_SERVER_ID when another process has the key, PIT_ERR_STORE.
   * @returns true: the lease had ended, and was taken again under a new incarnation
   */
  async renew (changes: Changes): Promise<boolean> {
    const { store, clock, leaseMs } = this.#options
    while (true) {
      if (!this.isHeld) this.#candidate ??= newIncarnation()
      const candidate = this.#candidate
      const server = { ...this.server, ...changes, incarnation: candidate ?? this.server.incarnation }
      const value = this.#encode(server)
      const at = clock()
      const revision = await store.update(server.id, value, this.#revision) ?? await this.#retake(value)
      this.#revision = revision
      // A lease that ended while the answer was under way was lost all the same: the old one, or already the new one.
      if ((candidate === undefined && !this.isHeld) || clock() - at > leaseMs) continue
      this.#held(server, revision, at)
      return candidate !== undefined
    }
  }

  /** Deletes the key, unless it is another's. Rejects with PIT_ERR_STORE. */
  async release (): Promise<void> {
    const { store } = this.#options
    const { id } = this.server
    this.#renewedAt = -Infinity
    if (await store.delete(id, this.#revision)) return
    const held = await store.get(id)
    if (held !== undefined && this.#isOwn(held)) await store.delete(id, held.revision)
  }

  /** What the watch tells of the key. @param revision undefined: it was deleted */
  told (revision: number | undefined): void {
    if (this.#holder === undefined || revision === this.#holder.revision) return
    this.#holder.onSign(revision === undefined ? 'deleted' : 'renewed')
  }

  /** Ends the wait of `acquire`, now or when it comes to it. */
  cancel (): void {
    this.#isCancelled = true
    this.#holder?.onSign('cancelled')
  }

  #encode (server: ServerInfo): Uint8Array {
    return encodeEntry({ server, leaseMs: this.#options.leaseMs })
  }

  #held (server: ServerInfo, revision: number, at: number): void {
    this.server = server
    this.#revision = revision
    this.#renewedAt = at
    this.#candidate = undefined
  }

  /** Waits for a sign of life of the key's holder; for none if it is no server. */
  async #listen ({ key, value, revision }: Entry): Promise<Sign> {
    const holder = decodeEntry(key, value)
    if (typeof holder === 'string' || holder.server.incarnation === this.server.incarnation) return 'silent'
    if (this.#isCancelled) return 'cancelled'
    let deadline: Deadline | undefined
    const sign = await new Promise<Sign>((resolve) => {
      this.#holder = { revision, onSign: resolve }
      deadline = new Deadline(this.#options.wheel, proofMs(holder.leaseMs), () => resolve('silent'))
    })
    deadline?.cancel()
    this.#holder = undefined
    return sign
  }

  /** The key has another revision: the store was wiped, or the answer to a write was lost. */
  async #retake (value: Uint8Array): Promise<number> {
    const { store } = this.#options
    const { id } = this.server
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const held = await store.get(id)
      if (held !== undefined && !this.#isOwn(held)) throw this.#taken()
      const revision = held === undefined ? await store.create(id, value) : await store.update(id, value, held.revision)
      if (revision !== undefined) return revision
    }
    throw createError('PIT_ERR_STORE')
  }

  /** True, too, for what is no server's entry. */
  #isOwn ({ key, value }: Entry): boolean {
    const entry = decodeEntry(key, value)
    if (typeof entry === 'string') return true
    const { incarnation } = entry.server
    return incarnation === this.server.incarnation || incarnation === this.#candidate
  }

  #taken (): PitayaError {
    return createError('PIT_ERR_SERVER_ID', [this.server.id])
  }
}

type Sign = 'renewed' | 'deleted' | 'silent' | 'cancelled'

/** Told apart from other lives of the same id; stands in subjects. */
export function newIncarnation (): string {
  return randomBytes(9).toString('base64url')
}

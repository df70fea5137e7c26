import type { Store } from '../cluster/stores/store.ts'
import { createError } from '../errors.ts'

const IN_FLIGHT = 64
const MAX_WAITING = 100_000
/** Of the queue's start, when so many are done. */
const COMPACT = 1024
const EMPTY = new Uint8Array(0)

/** Not in the store. */
const ABSENT = 0
/** A call failed, or the key is from an earlier life: the store is to be asked. */
const UNKNOWN = -1

interface OwnKey {
  readonly key: string
  isWanted: boolean
  /** Its revision in the store, ABSENT or UNKNOWN. */
  revision: number
  /** It waits in the queue, or a call for it is under way. */
  isBusy: boolean
  waiting: Waiting[]
}

interface Waiting { resolve (): void, reject (error: unknown): void }

/**
 * Keys that only this server writes: it says which it wants, and they are put and deleted in the background, 64 at once, each in the
 * order in which it was asked for. What fails is put right by `repair`.
 */
export class OwnKeys {
  readonly #store: Store
  readonly #onFailed: () => void
  #keys = new Map<string, OwnKey>()
  /** From `#first` on; a key stands in it once. Not a Set: taking the first of one that shrinks walks over all that were removed. */
  #queue: OwnKey[] = []
  #first = 0
  #running = 0
  #idle: Array<() => void> = []

  /** @param onFailed the store did not do what was asked: `repair` is due */
  constructor (store: Store, onFailed: () => void) {
    this.#store = store
    this.#onFailed = onFailed
  }

  /** Keys that are in the store or on their way. */
  get size (): number { return this.#keys.size }

  /** Of a key that is in the store; 0: it is on its way. */
  revisionOf (key: string): number { return Math.max(this.#keys.get(key)?.revision ?? ABSENT, ABSENT) }

  /** Resolves when the store has the key. Rejects with PIT_ERR_STORE, PIT_ERR_BUSY; the key stays wanted until it is deleted. */
  put (key: string): Promise<void> {
    if (this.#queue.length - this.#first >= MAX_WAITING) return Promise.reject(createError('PIT_ERR_BUSY'))
    return this.#want(key, true)
  }

  /** Resolves when the key is gone. Rejects with PIT_ERR_STORE. */
  delete (key: string): Promise<void> {
    return this.#want(key, false)
  }

  /**
   * Compares with what the store has under `filter`: puts what is missing, deletes what is not wanted.
   * @returns the keys it put, and those it deleted. Rejects with PIT_ERR_STORE.
   */
  async repair (filter: string): Promise<{ restored: string[], removed: string[] }> {
    const settled = [...this.#keys.values()].filter((own) => own.isWanted && !own.isBusy)
    const stored = new Set(await this.#store.keys(filter))
    const restored: string[] = []
    const removed: string[] = []
    const work: Array<Promise<void>> = []
    for (const own of settled) {
      if (!own.isWanted || own.isBusy || (stored.has(own.key) && own.revision !== UNKNOWN)) continue
      if (!stored.has(own.key)) restored.push(own.key)
      own.revision = ABSENT
      work.push(this.#want(own.key, true))
    }
    for (const key of stored) {
      if (this.#keys.has(key)) continue
      removed.push(key)
      work.push(this.#want(key, false))
    }
    await Promise.all(work)
    return { restored, removed }
  }

  /** Resolves when nothing waits for the store any more. */
  idle (): Promise<void> {
    return this.#running === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve))
  }

  #want (key: string, isWanted: boolean): Promise<void> {
    let own = this.#keys.get(key)
    if (own === undefined) {
      own = { key, isWanted, revision: isWanted ? ABSENT : UNKNOWN, isBusy: false, waiting: [] }
      this.#keys.set(key, own)
    }
    own.isWanted = isWanted
    const { waiting } = own
    if (!own.isBusy) {
      if (isSettled(own)) return Promise.resolve()
      own.isBusy = true
      this.#queue.push(own)
      this.#start()
    }
    return new Promise((resolve, reject) => { waiting.push({ resolve, reject }) })
  }

  #start (): void {
    while (this.#running < IN_FLIGHT && this.#first < this.#queue.length) {
      this.#running++
      this.#run(this.#queue[this.#first++]!)
    }
    if (this.#first === this.#queue.length || this.#first >= COMPACT) {
      this.#queue.splice(0, this.#first)
      this.#first = 0
    }
  }

  async #run (own: OwnKey): Promise<void> {
    let failure: { error: unknown } | undefined
    try {
      while (!isSettled(own)) own.revision = own.isWanted ? await this.#put(own.key) : await this.#delete(own)
    } catch (error) {
      failure = { error }
      own.revision = UNKNOWN
    }
    this.#running--
    own.isBusy = false
    // What could not be deleted is found again by `repair`.
    if (!own.isWanted) this.#keys.delete(own.key)
    const waiting = own.waiting.splice(0)
    for (const { resolve, reject } of waiting) {
      if (failure === undefined) resolve()
      else reject(failure.error)
    }
    if (failure !== undefined) this.#onFailed()
    this.#start()
    if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  /** A key that is there already is written anew: whoever deletes what an earlier life left behind then misses it. */
  async #put (key: string): Promise<number> {
    const revision = await this.#store.create(key, EMPTY)
    if (revision !== undefined) return revision
    const entry = await this.#store.get(key)
    if (entry === undefined) return ABSENT
    return await this.#store.update(key, EMPTY, entry.revision) ?? ABSENT
  }

  async #delete (own: OwnKey): Promise<number> {
    const revision = own.revision === UNKNOWN ? (await this.#store.get(own.key))?.revision : own.revision
    if (revision === undefined) return ABSENT
    return await this.#store.delete(own.key, revision) ? ABSENT : UNKNOWN
  }
}

function isSettled ({ isWanted, revision }: OwnKey): boolean {
  return isWanted ? revision > ABSENT : revision === ABSENT
}

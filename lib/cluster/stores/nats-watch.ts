import type { JetStreamManager, KV, KvEntry, QueuedIterator } from 'nats'
import { createError } from '../../errors.ts'
import { throwLater } from '../throw-later.ts'
import type { Watch, Watcher } from './store.ts'

/** So long without an entry, before all were told, is a failure. */
const STALL_MS = 2000
const RETRY_MS = 500

/** A bucket as one life of the connection found it. */
export interface Bucket {
  readonly kv: KV
  readonly jsm: JetStreamManager
  readonly stream: string
  /** Added to the stream's own numbers, which begin anew with each stream. */
  readonly base: number
}

export interface NatsWatchOptions {
  readonly filter: string
  readonly watcher: Omit<Watcher, 'onDelete'> & { onDelete (key: string, revision: number, madeAt: number): void }
  readonly headersOnly: boolean
  readonly run: <T>(operation: (bucket: Bucket) => Promise<T>) => Promise<T>
  readonly onStop: (watch: NatsWatch) => void
}

/**
 * Tells of keys in rounds: all that exist, then changes. A round ends with the connection, or when nats-server lost what it needs for it;
 * then the next one begins.
 */
export class NatsWatch implements Watch {
  readonly #options: NatsWatchOptions
  #iterator: QueuedIterator<KvEntry> | undefined
  #isTold = false
  #isStopped = false
  #wake = (): void => {}
  #abandon = (): void => {}

  constructor (options: NatsWatchOptions) {
    this.#options = options
  }

  /** Resolves when the first round told all. Rejects with PIT_ERR_STORE, and is stopped then. */
  async start (): Promise<void> {
    await new Promise<void>((resolve, reject) => { this.#follow(resolve, reject).catch(reject) })
  }

  stop (): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.onDown()
    this.#wake()
    this.#options.onStop(this)
  }

  onDown (): void {
    this.#abandon()
    this.#iterator?.stop()
  }

  onUp (): void { this.#wake() }

  async #follow (resolve: () => void, reject: (error: unknown) => void): Promise<void> {
    while (!this.#isStopped) {
      let cause: unknown
      try {
        await this.#round(resolve)
      } catch (error) { cause = error }
      if (!this.#isTold) {
        this.stop()
        reject(createError('PIT_ERR_STORE', [], { cause }))
      } else if (!this.#isStopped) await this.#pause()
    }
  }

  async #round (onFirst: () => void): Promise<void> {
    const { watcher, run } = this.#options
    let isCaughtUp = false
    /** Entries that are queued already when the client says that these are all. */
    let queued = -1
    const caughtUp = (): void => {
      if (isCaughtUp) return
      isCaughtUp = this.#isTold = true
      clearTimeout(stall)
      this.#guarded(() => watcher.onCaughtUp?.())
      onFirst()
    }
    const beginning = run(async (bucket) => await this.#begin(bucket, () => {
      if (this.#iterator === undefined) queued = 0
      else caughtUp()
    }))
    // A request that was on its way when the connection was lost would be waited for to its time-out.
    let isLost = false
    const lost = new Promise<void>((resolve) => {
      this.#abandon = () => {
        isLost = true
        resolve()
      }
    })
    await Promise.race([beginning, lost])
    if (isLost) {
      beginning.then(({ iterator }) => iterator.stop(), () => {})
      return
    }
    const { iterator, base } = await beginning
    const stall = setTimeout(() => iterator.stop(), STALL_MS)
    try {
      if (isLost) return
      this.#iterator = iterator
      if (queued === 0 && (queued = iterator.getPending()) === 0) caughtUp()
      for await (const entry of iterator) {
        if (this.#isStopped) return
        this.#guarded(() => this.#tell(entry, base))
        if (isCaughtUp) continue
        stall.refresh()
        if (entry.delta === 0 || --queued === 0) caughtUp()
      }
    } finally {
      this.#iterator = undefined
      clearTimeout(stall)
      iterator.stop()
    }
  }

  async #begin ({ kv, base }: Bucket, initializedFn: () => void): Promise<{ iterator: QueuedIterator<KvEntry>, base: number }> {
    const { filter, headersOnly } = this.#options
    return { iterator: await kv.watch({ key: filter, headers_only: headersOnly, initializedFn }), base }
  }

  #tell (entry: KvEntry, base: number): void {
    const { watcher } = this.#options
    const { key } = entry
    const revision = base + entry.revision
    if (entry.operation === 'PUT') watcher.onPut({ key, value: entry.value, revision })
    else watcher.onDelete(key, revision, entry.created.getTime())
  }

  #guarded (tell: () => void): void {
    try {
      tell()
    } catch (error) { throwLater(error) }
  }

  /** Till the connection is there again, or a moment. */
  async #pause (): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, RETRY_MS)
      timer.unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = () => {}
  }
}

import { isPitayaError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'

const AT_ONCE = 64
/** Items that wait while the work fails. */
const MAX_WAITING = 100_000
const AGAIN_MS = 1000

/** Work that nobody waits for, done for each item until it succeeds: 64 at once, and after a failure all again one to two seconds later. */
export class Upkeep<T> {
  #work: (item: T) => Promise<void>
  #log: Logger
  #waiting = new Set<T>()
  #running = 0
  #again: NodeJS.Timeout | undefined
  #onIdle: Array<() => void> = []
  #isClosed = false

  constructor (work: (item: T) => Promise<void>, log: Logger) {
    this.#work = work
    this.#log = log
  }

  has (item: T): boolean { return this.#waiting.has(item) }

  /** @returns false when too many wait already */
  add (item: T): boolean {
    if (this.#isClosed || this.#waiting.size >= MAX_WAITING) return false
    this.#waiting.add(item)
    if (this.#again === undefined) this.#start()
    return true
  }

  /** Does it for all these, and for what failed, now. */
  addAll (items: Iterable<T>): void {
    for (const item of items) this.#waiting.add(item)
    clearTimeout(this.#again)
    this.#again = undefined
    this.#start()
  }

  /** Resolves when nothing is being done: all is, or the rest waits for another try. */
  idle (): Promise<void> {
    if (this.#running === 0) return Promise.resolve()
    return new Promise((resolve) => { this.#onIdle.push(resolve) })
  }

  /** Gives up what waits. */
  close (): void {
    this.#isClosed = true
    clearTimeout(this.#again)
    this.#waiting.clear()
  }

  #start (): void {
    while (this.#running < AT_ONCE && this.#waiting.size > 0 && !this.#isClosed) this.#run()
  }

  async #run (): Promise<void> {
    this.#running++
    for (const item of this.#waiting) {
      this.#waiting.delete(item)
      try {
        await this.#work(item)
      } catch (error) {
        if (!isPitayaError(error)) logFailure(this.#log, error, 'keeping the store up to date failed')
        if (!this.#isClosed) this.#waiting.add(item)
        this.#startAgain()
        break
      }
    }
    if (--this.#running > 0) return
    const waiting = this.#onIdle
    this.#onIdle = []
    for (const resolve of waiting) resolve()
  }

  #startAgain (): void {
    if (this.#again !== undefined || this.#isClosed) return
    this.#again = setTimeout(() => {
      this.#again = undefined
      this.#start()
    }, AGAIN_MS * (1 + Math.random()))
    this.#again.unref()
  }
}

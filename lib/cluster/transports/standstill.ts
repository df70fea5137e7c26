const TICK_MS = 500
const LIMIT_MS = 1000
const RECENT_MS = 2000

/** Notices when this process stood still: no turn of its event loop for a second or more. */
export class Standstill {
  #timer: NodeJS.Timeout | undefined
  #tickedAt = 0
  #endedAt = -Infinity

  start (): void {
    this.#tickedAt = performance.now()
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
  }

  stop (): void { clearInterval(this.#timer) }

  /** True now and for two seconds after it. */
  get isRecent (): boolean {
    this.#tick()
    return performance.now() - this.#endedAt < RECENT_MS
  }

  #tick (): void {
    const now = performance.now()
    if (now - this.#tickedAt > TICK_MS + LIMIT_MS) this.#endedAt = now
    this.#tickedAt = now
  }
}

import type { Logger } from './handler/types.ts'

const LINES_PER_SECOND = 100

/** At most 100 log lines a second of one kind, so that no client can fill the disk; the rest is counted in one line. */
export class LineLimiter {
  #log: Logger
  #second = 0
  #lines = new Map<string, number>()

  constructor (log: Logger) {
    this.#log = log
  }

  /** True when one more line of this kind may be written. @param kind one of few, such as a close reason or a route */
  admits (kind: string, nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.flush()
    }
    const lines = (this.#lines.get(kind) ?? 0) + 1
    this.#lines.set(kind, lines)
    return lines <= LINES_PER_SECOND
  }

  /** Tells how many lines were left out. */
  flush (): void {
    for (const [kind, lines] of this.#lines) {
      if (lines > LINES_PER_SECOND) this.#log.info({ kind, suppressed: lines - LINES_PER_SECOND }, 'more log lines of this kind')
    }
    this.#lines.clear()
  }
}

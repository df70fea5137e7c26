import type { CloseReason } from '../errors.ts'
import type { Logger } from '../handler/types.ts'

const LINES_PER_SECOND = 100

/** One line per closed connection, at most 100 a second and reason; the rest is counted in one line. */
export class CloseLog {
  #log: Logger
  #second = 0
  #lines = new Map<string, number>()

  constructor (log: Logger) {
    this.#log = log
  }

  write (reason: CloseReason | 'peer', nowMs: number, line: Record<string, unknown>): void {
    const second = Math.floor(nowMs / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.flush()
    }
    const lines = (this.#lines.get(reason) ?? 0) + 1
    this.#lines.set(reason, lines)
    if (lines <= LINES_PER_SECOND) this.#log.info({ ...line, reason }, 'connection closed')
  }

  /** Tells how many lines were left out. */
  flush (): void {
    for (const [reason, lines] of this.#lines) {
      if (lines > LINES_PER_SECOND) this.#log.info({ reason, suppressed: lines - LINES_PER_SECOND }, 'more connections closed')
    }
    this.#lines.clear()
  }
}

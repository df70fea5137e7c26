import type { Dispatcher } from './dispatcher.ts'
import type { Job } from './job.ts'
import { Line } from './line.ts'

/** One session's calls: those that run and those that wait. Made when a session first needs it. */
export class Lane {
  isPaused = false
  /** Called once, when nothing runs and nothing waits. */
  onIdle: (() => void) | null = null
  waiting = 0
  waitingBytes = 0
  readonly running: Job[] = []
  /** Two lines, so that neither kind waits for the other: in order one at a time, concurrent routes up to a limit. */
  readonly ordered: Line
  #concurrent: Line | null = null
  #maxConcurrent: number
  #dispatcher: Dispatcher

  constructor (dispatcher: Dispatcher, maxConcurrent: number) {
    this.#dispatcher = dispatcher
    this.#maxConcurrent = maxConcurrent
    this.ordered = new Line(dispatcher, this, 1)
  }

  get isIdle (): boolean { return this.running.length === 0 && this.waiting === 0 }
  /** Null until the session first used a concurrent route. */
  get concurrent (): Line | null { return this.#concurrent }

  lineOf (call: Job): Line {
    if (!call.isConcurrent) return this.ordered
    this.#concurrent ??= new Line(this.#dispatcher, this, this.#maxConcurrent)
    return this.#concurrent
  }

  push (call: Job): void {
    this.lineOf(call).push(call)
    this.waiting++
    this.waitingBytes += call.end - call.start
  }

  /** Takes the first call out of a line. */
  shift (line: Line): Job {
    const call = line.shift()
    this.waiting--
    this.waitingBytes -= call.end - call.start
    return call
  }

  /** Takes all waiting calls out. */
  clear (): Job[] {
    this.waiting = 0
    this.waitingBytes = 0
    return this.#concurrent === null ? this.ordered.clear() : [...this.ordered.clear(), ...this.#concurrent.clear()]
  }

  started (call: Job): void {
    this.running.push(call)
    this.lineOf(call).running++
  }

  /** False: this call was not counted as running. */
  ended (call: Job): boolean {
    const at = this.running.indexOf(call)
    if (at === -1) return false
    this.running.splice(at, 1)
    this.lineOf(call).running--
    return true
  }
}

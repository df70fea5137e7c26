import type { TimerEntry } from '../timer-wheel.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Job } from './job.ts'
import type { Lane } from './lane.ts'

/** One session's calls of one kind, in order of arrival. While its first one waits for a place it stands in a queue, in one at a time. */
export class Line implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  readonly lane: Lane
  /** The queue it stands in, and its neighbours there. */
  queue: LineQueue | null = null
  ahead: Line | null = null
  behind: Line | null = null
  /** When its first call began to wait for a place, on the wheel. */
  since = 0
  /** The waiting calls, linked by their `next`. */
  head: Job | null = null
  running = 0
  #tail: Job | null = null
  #limit: number
  #dispatcher: Dispatcher

  /** @param limit calls at once */
  constructor (dispatcher: Dispatcher, lane: Lane, limit: number) {
    this.#dispatcher = dispatcher
    this.lane = lane
    this.#limit = limit
  }

  /** True when a new call may start as far as its session is concerned. */
  get admits (): boolean { return this.head === null && this.running < this.#limit }
  /** The waiting call that may start, if there is one. */
  get next (): Job | null { return this.running < this.#limit ? this.head : null }

  push (call: Job): void {
    if (this.#tail === null) this.head = call
    else this.#tail.next = call
    this.#tail = call
  }

  shift (): Job {
    const call = this.head!
    this.head = call.next
    if (this.head === null) this.#tail = null
    call.next = null
    return call
  }

  /** Takes all waiting calls out. */
  clear (): Job[] {
    const calls: Job[] = []
    while (this.head !== null) calls.push(this.shift())
    return calls
  }

  /** Its first call waited for a place until its deadline. */
  onTimer (): void { this.#dispatcher.waitedTooLong(this) }
}

/** Lines that wait for one thing, in order of arrival; anyone may leave. */
export class LineQueue {
  head: Line | null = null
  size = 0
  #tail: Line | null = null

  push (line: Line): void {
    line.queue = this
    line.ahead = this.#tail
    if (this.#tail === null) this.head = line
    else this.#tail.behind = line
    this.#tail = line
    this.size++
  }

  shift (): Line | null {
    const line = this.head
    if (line !== null) this.remove(line)
    return line
  }

  remove (line: Line): void {
    if (line.ahead === null) this.head = line.behind
    else line.ahead.behind = line.behind
    if (line.behind === null) this.#tail = line.ahead
    else line.behind.ahead = line.ahead
    line.queue = line.ahead = line.behind = null
    this.size--
  }
}

import { type TimerEntry } from '../timer-wheel.ts'
import { type Call } from './call.ts'
import { type Dispatcher } from './dispatcher.ts'

/** One session's calls: those that run and those that wait, in order of arrival. Made when a session first needs it. */
export class Lane implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  /** The next lane that waits for a place. */
  nextReady: Lane | null = null
  isReady = false
  isPaused = false
  waiting = 0
  waitingBytes = 0
  head: Call | null = null
  readonly running: Call[] = []
  #tail: Call | null = null
  #ordered = 0
  #dispatcher: Dispatcher

  constructor (dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher
  }

  /** True when this call may start as far as its session is concerned: in order one at a time, concurrent routes up to a limit. */
  admits (call: Call, maxConcurrent: number): boolean {
    return call.handler.concurrent ? this.running.length - this.#ordered < maxConcurrent : this.#ordered === 0
  }

  push (call: Call): void {
    if (this.#tail === null) this.head = call
    else this.#tail.next = call
    this.#tail = call
    this.waiting++
    this.waitingBytes += call.end - call.start
  }

  /** Takes the head out of the queue. */
  shift (): Call {
    const call = this.head!
    this.head = call.next
    if (this.head === null) this.#tail = null
    call.next = null
    this.waiting--
    this.waitingBytes -= call.end - call.start
    return call
  }

  started (call: Call): void {
    this.running.push(call)
    if (!call.handler.concurrent) this.#ordered++
  }

  /** False: this call was not counted as running. */
  ended (call: Call): boolean {
    const at = this.running.indexOf(call)
    if (at === -1) return false
    this.running.splice(at, 1)
    if (!call.handler.concurrent) this.#ordered--
    return true
  }

  /** The head waited for a place in the process until its deadline. */
  onTimer (): void { this.#dispatcher.waitedTooLong(this) }
}

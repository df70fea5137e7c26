import type { TimerEntry } from '../timer-wheel.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Job } from './job.ts'

/** One session's calls: those that run and those that wait, in order of arrival. Made when a session first needs it. */
export class Lane implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  /** The next lane that waits for a place. */
  nextReady: Lane | null = null
  /** It stands in the queue for a place: the dispatcher's, or a share's. */
  isReady = false
  /** On the wheel. */
  readySince = 0
  isPaused = false
  /** Called once, when nothing runs and nothing waits. */
  onIdle: (() => void) | null = null
  waiting = 0
  waitingBytes = 0
  readonly running: Job[] = []
  /** Two queues, so that neither kind waits for the other. */
  #ordered = new Queue()
  #concurrent = new Queue()
  #runningOrdered = 0
  #arrivals = 0
  #dispatcher: Dispatcher

  constructor (dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher
  }

  /** True when this new call may start as far as its session is concerned: in order one at a time, concurrent routes up to a limit. */
  admits (call: Job, maxConcurrent: number): boolean {
    return call.isConcurrent
      ? this.#concurrent.head === null && this.running.length - this.#runningOrdered < maxConcurrent
      : this.#ordered.head === null && this.#runningOrdered === 0
  }

  /** Of the waiting calls that may start, the one that came first. */
  next (maxConcurrent: number): Job | null {
    const ordered = this.#runningOrdered === 0 ? this.#ordered.head : null
    const concurrent = this.running.length - this.#runningOrdered < maxConcurrent ? this.#concurrent.head : null
    if (ordered === null || concurrent === null) return ordered ?? concurrent
    return ordered.arrival < concurrent.arrival ? ordered : concurrent
  }

  push (call: Job): void {
    call.arrival = this.#arrivals++
    this.#queueOf(call).push(call)
    this.waiting++
    this.waitingBytes += call.end - call.start
  }

  /** Takes a head, as `next` gave it, out of its queue. */
  take (call: Job): void {
    this.#queueOf(call).shift()
    this.waiting--
    this.waitingBytes -= call.end - call.start
  }

  /** Takes all waiting calls out. */
  clear (): Job[] {
    this.waiting = 0
    this.waitingBytes = 0
    return [...this.#ordered.clear(), ...this.#concurrent.clear()]
  }

  started (call: Job): void {
    this.running.push(call)
    if (!call.isConcurrent) this.#runningOrdered++
  }

  /** False: this call was not counted as running. */
  ended (call: Job): boolean {
    const at = this.running.indexOf(call)
    if (at === -1) return false
    this.running.splice(at, 1)
    if (!call.isConcurrent) this.#runningOrdered--
    return true
  }

  /** Its next call waited for a place in the process until its deadline. */
  onTimer (): void { this.#dispatcher.waitedTooLong(this) }

  #queueOf (call: Job): Queue { return call.isConcurrent ? this.#concurrent : this.#ordered }
}

/** Calls linked by their `next`. */
class Queue {
  head: Job | null = null
  #tail: Job | null = null

  push (call: Job): void {
    if (this.#tail === null) this.head = call
    else this.#tail.next = call
    this.#tail = call
  }

  shift (): void {
    const call = this.head!
    this.head = call.next
    if (this.head === null) this.#tail = null
    call.next = null
  }

  clear (): Job[] {
    const calls: Job[] = []
    for (let call = this.head; call !== null; call = call.next) calls.push(call)
    this.head = this.#tail = null
    return calls
  }
}

import { channels } from '../channels.ts'
import { createError } from '../errors.ts'
import { type Session } from '../session/session.ts'
import { type TimerWheel } from '../timer-wheel.ts'
import { CallState, type Call } from './call.ts'
import { Lane } from './lane.ts'

export interface DispatcherOptions {
  readonly serverId: string
  /** Handlers at once in the process. */
  readonly dispatch: number
  /** Concurrent-route handlers at once of one session. */
  readonly concurrentPerSession: number
  /** Waiting messages of one session, then its connection is not read. */
  readonly waitingPerSession: number
  /** Bytes waiting of one session, then it is closed. */
  readonly waitingBytes: number
  /** Waiting messages of all sessions, then requests are answered PIT-503. */
  readonly maxQueued: number
  /** Milliseconds a handler may take, unless its method says otherwise. */
  readonly handlerMs: number
  readonly wheel: TimerWheel
}

/**
 * Starts calls: one session's in order, one at a time; all sessions' fairly, in turn, up to a limit. A call that finishes in the tick it
 * started in passes through without a queue, a timer or a promise.
 */
export class Dispatcher {
  /** Handlers that run now. */
  running = 0
  /** Calls that wait. */
  waiting = 0
  #options: DispatcherOptions
  #readyHead: Lane | null = null
  #readyTail: Lane | null = null
  #onIdle: Array<() => void> = []

  constructor (options: DispatcherOptions) {
    this.#options = options
  }

  submit (call: Call): void {
    const lane = call.of.lane as Lane | null
    const isFirst = lane === null || (lane.head === null && lane.admits(call, this.#options.concurrentPerSession))
    if (isFirst && this.running < this.#options.dispatch) this.#start(call)
    else this.#enqueue(call)
  }

  /** A call finished or passed its deadline. */
  ended (call: Call): void {
    this.running--
    const lane = call.of.lane as Lane | null
    if (lane !== null && lane.ended(call)) {
      this.#options.wheel.cancel(call)
      this.#makeReady(lane)
      this.#startReady()
    }
    if (this.running === 0 && this.waiting === 0 && this.#onIdle.length > 0) for (const done of this.#onIdle.splice(0)) done()
  }

  /** Forgets what a closed session left waiting, and tells its running handlers. */
  drop (session: Session): void {
    const lane = session.lane as Lane | null
    if (lane === null) return
    while (lane.head !== null) this.#shift(lane).state = CallState.done
    for (const call of lane.running) call.abort()
  }

  /** A lane's head waited for a place in the process for as long as its handler may take. */
  waitedTooLong (lane: Lane): void {
    if (lane.head === null) return
    this.#shift(lane).reject(createError('PIT_ERR_BUSY'))
    this.#watch(lane)
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle (): Promise<void> {
    if (this.running > 0 || this.waiting > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  #start (call: Call): void {
    this.running++
    call.run()
    if (call.state !== CallState.running) return
    const lane = this.#laneOf(call.of)
    lane.started(call)
    this.#options.wheel.schedule(call, call.handler.deadlineMs ?? this.#options.handlerMs)
  }

  #enqueue (call: Call): void {
    const { maxQueued, waitingPerSession, waitingBytes, serverId } = this.#options
    if (this.waiting >= maxQueued) { call.reject(createError('PIT_ERR_BUSY')); return }
    const session = call.of
    const lane = this.#laneOf(session)
    lane.push(call)
    this.waiting++
    if (lane.waitingBytes > waitingBytes) { session.entity.close('overload'); return }
    if (lane.waiting >= waitingPerSession && !lane.isPaused) {
      lane.isPaused = true
      session.entity.pauseReading()
      if (channels.pause.hasSubscribers) channels.pause.publish({ serverId, sessionId: session.id, waiting: lane.waiting })
    }
    this.#makeReady(lane)
  }

  /** Puts a lane whose head may run behind the others that wait for a place. */
  #makeReady (lane: Lane): void {
    if (lane.isReady || lane.head === null || !lane.admits(lane.head, this.#options.concurrentPerSession)) return
    lane.isReady = true
    if (this.#readyTail === null) this.#readyHead = lane
    else this.#readyTail.nextReady = lane
    this.#readyTail = lane
    this.#watch(lane)
  }

  #startReady (): void {
    while (this.running < this.#options.dispatch && this.#readyHead !== null) {
      const lane = this.#readyHead
      this.#readyHead = lane.nextReady
      if (this.#readyHead === null) this.#readyTail = null
      lane.nextReady = null
      lane.isReady = false
      this.#options.wheel.cancel(lane)
      if (lane.head === null) continue
      this.#start(this.#shift(lane))
      this.#makeReady(lane)
    }
  }

  #watch (lane: Lane): void {
    if (lane.head !== null && this.running >= this.#options.dispatch) {
      this.#options.wheel.schedule(lane, lane.head.handler.deadlineMs ?? this.#options.handlerMs)
    }
  }

  #shift (lane: Lane): Call {
    const call = lane.shift()
    this.waiting--
    if (lane.isPaused && lane.waiting <= this.#options.waitingPerSession / 2) {
      lane.isPaused = false
      call.of.entity.resumeReading()
    }
    return call
  }

  #laneOf (session: Session): Lane {
    session.lane ??= new Lane(this)
    return session.lane as Lane
  }
}

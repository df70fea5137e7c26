import { channels } from '../channels.ts'
import { createError } from '../errors.ts'
import type { Session } from '../session/session.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import { JobState, type Job } from './job.ts'
import { Lane } from './lane.ts'
import type { Share } from './share.ts'

export interface DispatcherOptions {
  readonly serverId: string
  /** Handlers at once in the process. */
  readonly dispatch: number
  /** Concurrent-route handlers at once of one session. */
  readonly concurrentPerSession: number
  /** Waiting messages of one session, then its connection is not read. */
  readonly waitingPerSession: number
  /** Bytes waiting of one session: from half of them on its connection is not read, above it is closed. */
  readonly waitingBytes: number
  /** Waiting messages of all sessions, then requests are answered PIT-503. */
  readonly maxQueued: number
  /** Milliseconds a handler may take, unless its method says otherwise. */
  readonly handlerMs: number
  readonly wheel: TimerWheel
}

/**
 * Starts calls: one session's in order, one at a time; all sessions' fairly, in turn, up to a limit. A call that finishes in the tick it
 * started in passes through without a queue, a timer or a promise. A call to another server also needs a place in the shares of its target
 * and of all forwarded ones; a session whose next call waits for such a place stands aside, in the share's own queue.
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
  /** Calls that returned a promise or began to wait in this turn of the event loop. */
  #unsettled: Job[] = []
  /** Shares with places that were given back. */
  #freed: Share[] = []
  readonly #settle = (): void => this.#settleTurn()

  constructor (options: DispatcherOptions) {
    this.#options = options
  }

  submit (call: Job): void {
    const lane = call.of.lane as Lane | null
    const mayStart = lane === null || lane.admits(call, this.#options.concurrentPerSession)
    if (mayStart && this.running < this.#options.dispatch && fullShare(call) === null) this.#start(call)
    else this.#enqueue(call)
  }

  /** A call finished or passed its deadline. */
  ended (call: Job): void {
    this.running--
    for (let share = call.share; share !== null; share = share.parent) share.running--
    const lane = call.of.lane as Lane | null
    if (lane !== null && lane.ended(call)) {
      this.#options.wheel.cancel(call)
      this.#makeReady(lane)
      this.#startReady()
      if (lane.onIdle !== null && lane.running.length === 0 && lane.waiting === 0) {
        const done = lane.onIdle
        lane.onIdle = null
        done()
      }
    }
    for (let share = call.share; share !== null; share = share.parent) this.#wake(share)
    if (this.running === 0 && this.waiting === 0 && this.#onIdle.length > 0) for (const done of this.#onIdle.splice(0)) done()
  }

  /** Forgets what a closed session left waiting, and tells its running handlers. */
  drop (session: Session): void {
    const lane = session.lane as Lane | null
    if (lane === null) return
    for (const call of lane.clear()) {
      this.waiting--
      call.forget()
    }
    this.#options.wheel.cancel(lane)
    for (const call of lane.running) call.abort()
  }

  /** A lane's next call waited for a place in the process for as long as its handler may take: given up, with all that waited as long. */
  waitedTooLong (lane: Lane): void {
    const { concurrentPerSession, handlerMs, wheel } = this.#options
    let call = lane.next(concurrentPerSession)
    do {
      if (call === null) break
      this.#take(lane, call)
      call.reject(createError('PIT_ERR_BUSY'))
      call = lane.next(concurrentPerSession)
    } while (call !== null && wheel.now - call.waitingSince >= (call.deadlineMs ?? handlerMs))
    this.#makeReady(lane)
  }

  /** Calls back once the session has nothing running and nothing waiting; at once if so. */
  whenIdle (session: Session, done: () => void): void {
    const lane = session.lane as Lane | null
    if (lane === null || (lane.running.length === 0 && lane.waiting === 0)) done()
    else lane.onIdle = done
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle (): Promise<void> {
    if (this.running > 0 || this.waiting > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  /** A server is gone: what waits for a place in its share may go to another, or is answered. */
  dissolve (share: Share): void {
    for (let lane = share.next(); lane !== null; lane = share.next()) this.#putReady(lane)
    this.#startReady()
  }

  #start (call: Job): void {
    this.running++
    for (let share = call.share; share !== null; share = share.parent) share.running++
    call.run()
    if (call.state !== JobState.running) return
    const lane = this.#laneOf(call.of)
    lane.started(call)
    // Closed by its own first, synchronous part: `drop` could not know of it yet.
    if (call.of.isClosed) call.abort()
    this.#atTurnEnd(call)
  }

  #atTurnEnd (call: Job): void {
    if (this.#unsettled.push(call) === 1) setImmediate(this.#settle)
  }

  /** What is done within its turn, as many asynchronous handlers and those that wait for them are, needs neither deadline nor copy. */
  #settleTurn (): void {
    const { wheel, handlerMs } = this.#options
    for (const call of this.#unsettled) {
      if (call.state === JobState.waiting) {
        call.detach()
      } else if (call.state === JobState.running && call.timerTick === 0) {
        wheel.schedule(call, call.deadlineMs ?? handlerMs)
        call.detach()
      }
    }
    this.#unsettled.length = 0
  }

  #enqueue (call: Job): void {
    const { maxQueued, waitingPerSession, waitingBytes, serverId } = this.#options
    if (this.waiting >= maxQueued) { call.reject(createError('PIT_ERR_BUSY')); return }
    const session = call.of
    const lane = this.#laneOf(session)
    call.waitingSince = this.#options.wheel.now
    lane.push(call)
    this.#atTurnEnd(call)
    this.waiting++
    if (lane.waitingBytes > waitingBytes) { session.entity.close('overload'); return }
    if (!lane.isPaused && (lane.waiting >= waitingPerSession || lane.waitingBytes >= waitingBytes / 2)) {
      lane.isPaused = true
      session.entity.pauseReading()
      if (channels.pause.hasSubscribers) channels.pause.publish({ serverId, sessionId: session.id, waiting: lane.waiting })
    }
    this.#makeReady(lane)
  }

  /** Puts a lane with a call that may run behind the others that wait for a place, and gives that call its deadline. */
  #makeReady (lane: Lane, since = this.#options.wheel.now): void {
    const call = lane.next(this.#options.concurrentPerSession)
    if (call === null) return
    if (!lane.isReady) {
      const full = fullShare(call)
      lane.isReady = true
      lane.readySince = since
      if (full === null) this.#putReady(lane)
      else full.wait(lane)
    }
    // The first of them starts at once where there is a place, and needs no deadline.
    const startsNow = this.#readyHead === lane && this.running < this.#options.dispatch
    if (lane.timerTick === 0 && !startsNow) {
      const { wheel, handlerMs } = this.#options
      wheel.schedule(lane, Math.max(1, (call.deadlineMs ?? handlerMs) - (wheel.now - lane.readySince)))
    }
  }

  #startReady (): void {
    while (this.running < this.#options.dispatch && this.#readyHead !== null) {
      const lane = this.#readyHead
      this.#readyHead = lane.nextReady
      if (this.#readyHead === null) this.#readyTail = null
      lane.nextReady = null
      lane.isReady = false
      this.#options.wheel.cancel(lane)
      const call = lane.next(this.#options.concurrentPerSession)
      if (call === null) continue
      if (fullShare(call) !== null) {
        this.#makeReady(lane, lane.readySince)
        continue
      }
      this.#take(lane, call)
      this.#start(call)
      this.#makeReady(lane)
    }
  }

  /** Moves sessions on that wait for a place in this share: into it or, where they choose another one now, into that one's queue. */
  #wake (share: Share): void {
    // Calls may end within their start: what they free is looked at here, not ever deeper in the stack.
    if (this.#freed.push(share) > 1) return
    for (let freed = share; freed !== undefined; freed = this.#freed[0]!) {
      // Without a place in the process the first of them waits for that, and its end wakes the next.
      for (let isPlace = true; isPlace && freed.running < freed.limit;) {
        const lane = freed.next()
        if (lane === null) break
        this.#putReady(lane)
        this.#startReady()
        isPlace = this.running < this.#options.dispatch
      }
      this.#freed.shift()
    }
  }

  #putReady (lane: Lane): void {
    if (this.#readyTail === null) this.#readyHead = lane
    else this.#readyTail.nextReady = lane
    this.#readyTail = lane
  }

  #take (lane: Lane, call: Job): void {
    const { waitingPerSession, waitingBytes } = this.#options
    lane.take(call)
    this.waiting--
    if (lane.isPaused && lane.waiting <= waitingPerSession / 2 && lane.waitingBytes <= waitingBytes / 4) {
      lane.isPaused = false
      call.of.entity.resumeReading()
    }
  }

  #laneOf (session: Session): Lane {
    session.lane ??= new Lane(this)
    return session.lane as Lane
  }
}

/** The share without a place for this call, if there is one. */
function fullShare (call: Job): Share | null {
  for (let share = call.chooseShare(); share !== null; share = share.parent) if (share.running >= share.limit) return share
  return null
}

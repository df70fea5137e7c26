import { channels } from '../channels.ts'
import { createError } from '../errors.ts'
import type { Session } from '../session/session.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import { JobState, type Job } from './job.ts'
import { Lane } from './lane.ts'
import { LineQueue, type Line } from './line.ts'
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
 * and of all forwarded ones; a line whose next call waits for such a place stands aside, in the share's own queue. A line waits only for
 * what has no place: whoever gives one back sees to those that wait for it.
 */
export class Dispatcher {
  /** Handlers that run now. */
  running = 0
  /** Calls that wait. */
  waiting = 0
  #options: DispatcherOptions
  /** Lines that wait for a place in the process. */
  #ready = new LineQueue()
  /** Shares with a place, for those that wait for one. */
  #offered: Share[] = []
  #isSharesTurn = false
  #isStarting = false
  #onIdle: Array<() => void> = []
  /** Calls that returned a promise or began to wait in this turn of the event loop. */
  #unsettled: Job[] = []
  readonly #settle = (): void => this.#settleTurn()

  constructor (options: DispatcherOptions) {
    this.#options = options
  }

  submit (call: Job): void {
    const lane = call.of.lane as Lane | null
    const mayStart = lane === null || lane.lineOf(call).admits
    if (mayStart && this.running < this.#options.dispatch && fullShare(call) === null) this.#start(call)
    else this.#enqueue(call)
  }

  /** A call finished or passed its deadline. */
  ended (call: Job): void {
    this.running--
    for (let share = call.share; share !== null; share = share.parent) {
      share.running--
      this.#offer(share)
    }
    const lane = call.of.lane as Lane | null
    if (lane !== null && lane.ended(call)) {
      this.#options.wheel.cancel(call)
      this.#stand(lane.lineOf(call))
    }
    this.#startReady()
    if (lane !== null) tellIfIdle(lane)
    if (this.running === 0 && this.waiting === 0 && this.#onIdle.length > 0) for (const done of this.#onIdle.splice(0)) done()
  }

  /** A running call goes on in another share, be that full or not: it may not be executed where it was sent first. */
  moved (call: Job, from: Share | null): void {
    for (let share = from; share !== null; share = share.parent) share.running--
    for (let share = call.share; share !== null; share = share.parent) share.running++
    for (let share = from; share !== null; share = share.parent) this.#offer(share)
    this.#startReady()
  }

  /** Forgets what a closed session left waiting, and tells its running handlers. */
  drop (session: Session): void {
    const lane = session.lane as Lane | null
    if (lane === null) return
    this.#leave(lane.ordered)
    if (lane.concurrent !== null) this.#leave(lane.concurrent)
    for (const call of lane.clear()) {
      this.waiting--
      call.forget()
    }
    for (const call of lane.running) call.abort()
  }

  /** A line's next call waited for a place for as long as its handler may take: given up, with all that waited as long. */
  waitedTooLong (line: Line): void {
    const { handlerMs, wheel } = this.#options
    this.#leave(line)
    let call = line.next
    do {
      if (call === null) break
      this.#take(line)
      call.reject(createError('PIT_ERR_BUSY'))
      call = line.next
    } while (call !== null && wheel.now - call.waitingSince >= (call.deadlineMs ?? handlerMs))
    // The next one may be for another server.
    if (call !== null) this.#stand(line, call.waitingSince)
    this.#startReady()
    tellIfIdle(line.lane)
  }

  /** Calls back once the session has nothing running and nothing waiting; at once if so. */
  whenIdle (session: Session, done: () => void): void {
    const lane = session.lane as Lane | null
    if (lane === null || lane.isIdle) done()
    else lane.onIdle = done
  }

  /** True while a request of the session runs. */
  hasBegun (session: Session): boolean {
    const lane = session.lane as Lane | null
    return lane !== null && lane.running.some(({ isRequest }) => isRequest)
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle (): Promise<void> {
    if (this.running > 0 || this.waiting > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  /** A server is gone: what waits for a place in its share may go to another, or is answered. */
  dissolve (share: Share): void {
    for (let line = share.lines.shift(); line !== null; line = share.lines.shift()) this.#ready.push(line)
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
    if (lane.waitingBytes + call.end - call.start > waitingBytes) { this.#refuse(call); return }
    call.waitingSince = this.#options.wheel.now
    lane.push(call)
    this.#atTurnEnd(call)
    this.waiting++
    if (!lane.isPaused && (lane.waiting >= waitingPerSession || lane.waitingBytes >= waitingBytes / 2)) {
      lane.isPaused = true
      session.entity.pauseReading()
      if (channels.pause.hasSubscribers) channels.pause.publish({ serverId, sessionId: session.id, waiting: lane.waiting })
    }
    this.#stand(lane.lineOf(call))
  }

  /** More than a session may have waiting. */
  #refuse (call: Job): void {
    call.of.entity.close('overload')
    if (call.of.isClosed) call.forget()
    // The copy of another server's session: its client is not closed for being unlucky here.
    else call.reject(createError('PIT_ERR_BUSY'))
  }

  /** Puts a line with a call that may run behind the others that wait for what it waits for. */
  #stand (line: Line, since = this.#options.wheel.now): void {
    if (line.queue !== null) return
    const call = line.next
    if (call !== null) this.#wait(line, fullShare(call)?.lines ?? this.#ready, since)
  }

  /** Gives the line's first call its deadline too. */
  #wait (line: Line, queue: LineQueue, since: number): void {
    line.since = since
    queue.push(line)
    // The first of them starts at once where there is a place, and needs none.
    if (queue !== this.#ready || queue.head !== line || this.running >= this.#options.dispatch) this.#scheduleEnd(line)
  }

  #scheduleEnd (line: Line): void {
    const { wheel, handlerMs } = this.#options
    wheel.schedule(line, Math.max(1, (line.head!.deadlineMs ?? handlerMs) - (wheel.now - line.since)))
  }

  #leave (line: Line): void {
    line.queue?.remove(line)
    this.#options.wheel.cancel(line)
  }

  /** What ends within its own start may free places: that is looked at here, not ever deeper in the stack. */
  #startReady (): void {
    if (this.#isStarting || (this.#ready.head === null && this.#offered.length === 0)) return
    this.#isStarting = true
    try {
      while (this.running < this.#options.dispatch) {
        const line = this.#nextLine()
        if (line === null) break
        this.#tryLine(line)
      }
    } finally {
      this.#isStarting = false
    }
    const { head } = this.#ready
    if (head !== null && head.timerTick === 0) this.#scheduleEnd(head)
  }

  #tryLine (line: Line): void {
    this.#options.wheel.cancel(line)
    const call = line.next
    const full = call === null ? null : fullShare(call)
    // A routing function may have closed the session.
    if (call === null || line.next !== call) return
    if (full !== null) {
      this.#wait(line, full.lines, line.since)
      return
    }
    this.#take(line)
    this.#start(call)
    this.#stand(line)
  }

  /** Of the lines that wait for a place in the process, and of those whose share has a place again, in turn. */
  #nextLine (): Line | null {
    this.#isSharesTurn = !this.#isSharesTurn
    return this.#isSharesTurn ? this.#nextOfShares() ?? this.#ready.shift() : this.#ready.shift() ?? this.#nextOfShares()
  }

  #nextOfShares (): Line | null {
    for (let share = this.#offered.shift(); share !== undefined; share = this.#offered.shift()) {
      share.isOffered = false
      const line = share.isFull ? null : share.lines.shift()
      if (line === null) continue
      this.#offer(share)
      return line
    }
    return null
  }

  /** Its places are for those that wait for them, in its turn. */
  #offer (share: Share): void {
    if (share.isOffered || share.waiting === 0 || share.isFull) return
    share.isOffered = true
    this.#offered.push(share)
  }

  /** Takes the first call out of a line. */
  #take (line: Line): void {
    const { waitingPerSession, waitingBytes } = this.#options
    const { lane } = line
    const call = lane.shift(line)
    this.waiting--
    if (lane.isPaused && lane.waiting <= waitingPerSession / 2 && lane.waitingBytes <= waitingBytes / 4) {
      lane.isPaused = false
      call.of.entity.resumeReading()
    }
  }

  #laneOf (session: Session): Lane {
    session.lane ??= new Lane(this, this.#options.concurrentPerSession)
    return session.lane as Lane
  }
}

function tellIfIdle (lane: Lane): void {
  if (lane.onIdle === null || !lane.isIdle) return
  const done = lane.onIdle
  lane.onIdle = null
  done()
}

/** The share without a place for this call, if there is one. */
function fullShare (call: Job): Share | null {
  for (let share = call.chooseShare(); share !== null; share = share.parent) if (share.isFull) return share
  return null
}

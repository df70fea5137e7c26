/** Something with one deadline at a time. Agents and calls are entries themselves, so a deadline allocates nothing. */
export interface TimerEntry {
  timerNext: TimerEntry | null
  timerPrev: TimerEntry | null
  timerTick: number
  onTimer (): void
}

const SLOTS = 4096

/**
 * All deadlines of one server: a hashed wheel with one coarse, unref'ed interval, on a monotonic clock.
 * A tick that comes more than a second late (our own event loop was blocked) counts as one tick, so nobody is closed for our own lag.
 * Deadlines fire between `ms` and `ms` + two ticks.
 */
export class TimerWheel {
  readonly tickMs: number
  /** Milliseconds of wheel time, as of the last tick. */
  now = 0
  #slots: Array<TimerEntry | null> = new Array<TimerEntry | null>(SLOTS).fill(null)
  #tick = 0
  #last = 0
  #interval: NodeJS.Timeout | undefined
  #size = 0
  #clock: () => number

  constructor (tickMs = 25, clock: () => number = () => performance.now()) {
    this.tickMs = tickMs
    this.#clock = clock
  }

  get size (): number { return this.#size }

  /** Sets or moves the entry's deadline. */
  schedule (entry: TimerEntry, ms: number): void {
    if (entry.timerTick !== 0) this.cancel(entry)
    if (this.#interval === undefined) this.#start()
    // The current tick may be nearly over, hence one more; a turn that already runs for long is added, since `now` stands still in it.
    const behind = Math.max(0, this.#clock() - this.#last)
    entry.timerTick = this.#tick + 1 + Math.ceil((ms + behind) / this.tickMs)
    const slot = entry.timerTick % SLOTS
    const head = this.#slots[slot] ?? null
    entry.timerPrev = null
    entry.timerNext = head
    if (head !== null) head.timerPrev = entry
    this.#slots[slot] = entry
    this.#size++
  }

  /** Harmless when the entry has no deadline. */
  cancel (entry: TimerEntry): void {
    if (entry.timerTick === 0) return
    if (entry.timerPrev !== null) entry.timerPrev.timerNext = entry.timerNext
    else this.#slots[entry.timerTick % SLOTS] = entry.timerNext
    if (entry.timerNext !== null) entry.timerNext.timerPrev = entry.timerPrev
    entry.timerNext = null
    entry.timerPrev = null
    entry.timerTick = 0
    this.#size--
  }

  /** Moves wheel time on to the clock's. Called by the interval; tests call it with a clock of their own. */
  advance (): void {
    const now = this.#clock()
    const passed = now - this.#last
    const lagged = passed > this.tickMs + 1000
    const ticks = lagged ? 1 : Math.floor(passed / this.tickMs)
    this.#last = lagged ? now : this.#last + ticks * this.tickMs
    this.now += ticks * this.tickMs
    for (let i = 0; i < ticks; i++) this.#fire()
    if (this.#size === 0) this.stop()
  }

  /** Stops the interval; it starts again with the next deadline. */
  stop (): void {
    clearInterval(this.#interval)
    this.#interval = undefined
  }

  #start (): void {
    this.#last = this.#clock()
    this.#interval = setInterval(() => this.advance(), this.tickMs)
    this.#interval.unref()
  }

  #fire (): void {
    this.#tick++
    let entry = this.#slots[this.#tick % SLOTS] ?? null
    // A due entry is taken out before its call, which may schedule or cancel any entry: so start over after each.
    while (entry !== null) {
      if (entry.timerTick > this.#tick) { entry = entry.timerNext; continue }
      this.cancel(entry)
      entry.onTimer()
      entry = this.#slots[this.#tick % SLOTS] ?? null
    }
  }
}

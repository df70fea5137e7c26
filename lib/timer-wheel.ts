/** Something with one deadline at a time. Agents and calls are entries themselves, so a deadline allocates nothing. */
export interface TimerEntry {
  timerNext: TimerEntry | null
  timerPrev: TimerEntry | null
  timerTick: number
  onTimer (): void
}

const SLOTS = 4096
/** The list, after the slots, of entries whose tick has come. */
const DUE = SLOTS
const LAG_MS = 1000

/**
 * All deadlines of one server: a hashed wheel with one coarse, unref'ed interval, on a monotonic clock.
 * A tick that comes more than a second late (our own event loop was blocked) counts as one tick, so nobody is closed for our own lag.
 * Deadlines fire between `ms` and `ms` + two ticks.
 */
export class TimerWheel {
  readonly tickMs: number
  /** Milliseconds of wheel time, as of the last tick. */
  now = 0
  /** Called with the milliseconds of a lag, before what is due. */
  onLag: ((lagMs: number) => void) | undefined
  #slots: Array<TimerEntry | null> = new Array<TimerEntry | null>(SLOTS + 1).fill(null)
  #tick = 0
  /** Ticks that have passed and are still to be fired. */
  #behind = 0
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
    const late = Math.max(0, this.#clock() - this.#last)
    entry.timerTick = this.#tick + this.#behind + 1 + Math.ceil((ms + late) / this.tickMs)
    this.#insert(entry, entry.timerTick % SLOTS)
    this.#size++
  }

  /** Harmless when the entry has no deadline. */
  cancel (entry: TimerEntry): void {
    if (entry.timerTick === 0) return
    this.#remove(entry, entry.timerTick > this.#tick ? entry.timerTick % SLOTS : DUE)
    entry.timerTick = 0
    this.#size--
  }

  /** Moves wheel time on to the clock's. Called by the interval; tests call it with a clock of their own. */
  advance (): void {
    const now = this.#clock()
    const passed = now - this.#last
    const lagged = passed > this.tickMs + LAG_MS
    const ticks = lagged ? 1 : Math.floor(passed / this.tickMs)
    this.#last = lagged ? now : this.#last + ticks * this.tickMs
    this.now += ticks * this.tickMs
    if (lagged) this.onLag?.(passed - this.tickMs)
    for (this.#behind = ticks; this.#behind > 0;) {
      this.#behind--
      this.#fire()
    }
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

  /** Due entries are moved to a list of their own first: their calls may schedule or cancel any entry, themselves and each other too. */
  #fire (): void {
    const slot = ++this.#tick % SLOTS
    let entry = this.#slots[slot] ?? null
    while (entry !== null) {
      const next = entry.timerNext
      if (entry.timerTick <= this.#tick) {
        this.#remove(entry, slot)
        this.#insert(entry, DUE)
      }
      entry = next
    }
    for (let due = this.#slots[DUE] ?? null; due !== null; due = this.#slots[DUE] ?? null) {
      this.cancel(due)
      due.onTimer()
    }
  }

  #insert (entry: TimerEntry, slot: number): void {
    const head = this.#slots[slot] ?? null
    entry.timerPrev = null
    entry.timerNext = head
    if (head !== null) head.timerPrev = entry
    this.#slots[slot] = entry
  }

  #remove (entry: TimerEntry, slot: number): void {
    const { timerNext: next, timerPrev: prev } = entry
    if (prev === null) this.#slots[slot] = next
    else prev.timerNext = next
    if (next !== null) next.timerPrev = prev
    entry.timerNext = null
    entry.timerPrev = null
  }
}

import type { TimerEntry, TimerWheel } from './timer-wheel.ts'

/** One deadline with a callback, for what is rare enough to afford one. */
export class Deadline implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  #wheel: TimerWheel
  #callback: () => void

  constructor (wheel: TimerWheel, ms: number, callback: () => void) {
    this.#wheel = wheel
    this.#callback = callback
    wheel.schedule(this, ms)
  }

  cancel (): void { this.#wheel.cancel(this) }
  onTimer (): void { this.#callback() }
}

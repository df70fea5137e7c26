import { monitorEventLoopDelay } from 'node:perf_hooks'

const STEP_MS = 5

/**
 * How late the event loop of this process comes. A machine that is busy with something else makes everything late: limits in milliseconds
 * are extended by it.
 */
export class Lateness {
  #histogram = monitorEventLoopDelay({ resolution: STEP_MS })

  constructor (t?: { teardown (fn: () => unknown): void }) {
    this.#histogram.enable()
    t?.teardown(() => this.stop())
  }

  /** The worst since this or `takeSumMs` was last called. */
  takeMs (): number {
    const { max } = this.#histogram
    this.#histogram.reset()
    return Math.max(0, max / 1e6 - STEP_MS)
  }

  /** All of it together. */
  takeSumMs (): number {
    const { mean, count } = this.#histogram
    this.#histogram.reset()
    return count === 0 ? 0 : Math.max(0, (mean / 1e6 - STEP_MS) * count)
  }

  stop (): void { this.#histogram.disable() }
}

/** What this process has computed so far, in milliseconds: unlike to the time that passes, no other program adds to it. */
export function cpuMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

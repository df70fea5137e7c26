import { monitorEventLoopDelay } from 'node:perf_hooks'

const STEP_MS = 5

/** How late the event loop of this process comes. */
export class Lateness {
  #histogram = monitorEventLoopDelay({ resolution: STEP_MS })

  constructor () { this.#histogram.enable() }

  /** The worst since this was last called. */
  takeMs (): number {
    const { max } = this.#histogram
    this.#histogram.reset()
    return Math.max(0, max / 1e6 - STEP_MS)
  }

  stop (): void { this.#histogram.disable() }
}

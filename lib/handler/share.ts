import type { Lane } from './lane.ts'

/** A part of the dispatcher's places, and the sessions whose next call waits for one of them. */
export class Share {
  running = 0
  readonly limit: number
  readonly parent: Share | null
  #waiting: Lane[] = []
  #head = 0

  constructor (limit: number, parent: Share | null = null) {
    this.limit = limit
    this.parent = parent
  }

  get waiting (): number { return this.#waiting.length - this.#head }

  /** Behind the others. */
  wait (lane: Lane): void { this.#waiting.push(lane) }

  /** The session that has waited longest, of those that still wait. */
  next (): Lane | null {
    for (let lane = this.#shift(); lane !== undefined; lane = this.#shift()) {
      if (lane.waiting > 0) return lane
      lane.isReady = false
    }
    return null
  }

  #shift (): Lane | undefined {
    const lane = this.#waiting[this.#head++]
    if (this.#head > this.#waiting.length / 2) {
      this.#waiting.splice(0, this.#head)
      this.#head = 0
    }
    return lane
  }
}

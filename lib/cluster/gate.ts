/** Lets so many in at once, the others in the order they came. */
export class Gate {
  #free: number
  #waiting: Array<() => void> = []

  constructor (limit: number) {
    this.#free = limit
  }

  /** Whoever entered must leave. */
  enter (): Promise<void> | undefined {
    if (this.#free === 0) return new Promise((resolve) => { this.#waiting.push(resolve) })
    this.#free--
    return undefined
  }

  leave (): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}

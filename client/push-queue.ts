import type { PushIterator } from '../lib/handler/client-types.ts'

type Result<T> = IteratorResult<T, undefined>

/** Messages between a push and the loop over it. Full, it drops the oldest: of a stream the newest is what counts. */
export class PushQueue<T> implements PushIterator<T> {
  dropped = 0
  #messages: T[] = []
  #asking: Array<(result: Result<T>) => void> = []
  #limit: number
  #isEnded = false
  #stop = (): void => {}

  /** @param listen begins to listen; returns what ends that */
  constructor (limit: number, listen: (queue: PushQueue<T>) => () => void) {
    this.#limit = limit
    const stop = listen(this)
    if (this.#isEnded) stop()
    else this.#stop = stop
  }

  [Symbol.asyncIterator] (): this { return this }

  add (message: T): void {
    const resolve = this.#asking.shift()
    if (resolve !== undefined) resolve({ done: false, value: message })
    else if (this.#messages.push(message) > this.#limit) {
      this.#messages.shift()
      this.dropped++
    }
  }

  /** No more will come; what waits can still be had. */
  end (): void {
    this.#isEnded = true
    this.#stop()
    for (const resolve of this.#asking.splice(0)) resolve({ done: true, value: undefined })
  }

  async next (): Promise<Result<T>> {
    if (this.#messages.length > 0) return { done: false, value: this.#messages.shift()! }
    if (this.#isEnded) return { done: true, value: undefined }
    return await new Promise((resolve) => { this.#asking.push(resolve) })
  }

  return (): Promise<Result<T>> {
    this.#messages = []
    this.end()
    return this.next()
  }
}

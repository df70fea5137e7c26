/** Callbacks, in the order they came. One that throws stops neither the others nor the caller: its error is reported as uncaught. */
export class Listeners<T> {
  #callbacks = new Set<(value: T) => void>()

  get isEmpty (): boolean { return this.#callbacks.size === 0 }

  /** Returns the function that takes it away. */
  add (callback: (value: T) => void): () => void {
    this.#callbacks.add(callback)
    return () => { this.#callbacks.delete(callback) }
  }

  call (value: T): void {
    for (const callback of [...this.#callbacks]) {
      try {
        callback(value)
      } catch (error) {
        queueMicrotask(() => { throw error })
      }
    }
  }
}

import { createError } from '../lib/protocol/errors.ts'

/** What timers take; more fires at once. */
export const MAX_TIMER_MS = 0x7fffffff

interface Waiting {
  readonly route: string
  resolve (answer: unknown): void
  reject (error: unknown): void
  readonly timer: ReturnType<typeof setTimeout>
  readonly signal: AbortSignal | undefined
  readonly onAbort: (() => void) | undefined
}

/** Requests that wait for their answers, by id. Whatever ends one of them frees all that it held. */
export class PendingRequests {
  #waiting = new Map<number, Waiting>()

  /** Rejects after `timeoutMs` with PIT_ERR_CLIENT_TIMEOUT, and with the signal's reason when it aborts. */
  add (id: number, route: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.take(id)?.reject(createError('PIT_ERR_CLIENT_TIMEOUT', [timeoutMs])), Math.min(timeoutMs, MAX_TIMER_MS))
      const onAbort = signal && (() => this.take(id)?.reject(signal.reason))
      signal?.addEventListener('abort', onAbort!)
      this.#waiting.set(id, { route, resolve, reject, timer, signal, onAbort })
    })
  }

  /** The request of an answer; undefined when nobody waits for it any more. */
  take (id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    clearTimeout(waiting?.timer)
    waiting?.signal?.removeEventListener('abort', waiting.onAbort!)
    return waiting
  }

  /** Whether anybody waits for it still. */
  has (id: number): boolean { return this.#waiting.has(id) }

  rejectAll (error: Error): void {
    for (const id of this.#waiting.keys()) this.take(id)!.reject(error)
  }
}

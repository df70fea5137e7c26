/** An allowance: `burst` at once, `perSecond` in the long run. The caller brings the time, monotonic milliseconds. */
export class TokenBucket {
  #perSecond: number
  #burst: number
  #tokens: number
  #at: number

  constructor (perSecond: number, burst: number, now: number) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#tokens = burst
    this.#at = now
  }

  /** Takes one, or returns false. */
  take (now: number): boolean {
    if (now !== this.#at) {
      this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) * this.#perSecond / 1000)
      this.#at = now
    }
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

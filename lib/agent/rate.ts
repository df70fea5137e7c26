import { TokenBucket } from '../token-bucket.ts'
import type { AgentLimits } from './host.ts'

/** A client's allowance of packets, and for how long it has gone over it. */
export class PacketRate {
  #bucket: TokenBucket
  #violationMs: number
  #overSince = -1
  #overLast = 0

  constructor (limits: AgentLimits, now: number) {
    this.#bucket = new TokenBucket(limits.ratePerSecond, limits.rateBurst, now)
    this.#violationMs = limits.rateViolationMs
  }

  /** True when one more packet is within the rate. */
  take (now: number): boolean { return this.#bucket.take(now) }

  /** After a refusal: true when refusals have gone on, without a quiet second, for as long as the limit allows. */
  isViolated (now: number): boolean {
    if (this.#overSince === -1 || now - this.#overLast > 1000) this.#overSince = now
    this.#overLast = now
    return now - this.#overSince >= this.#violationMs
  }
}

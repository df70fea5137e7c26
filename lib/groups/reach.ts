import type { Transport } from '../cluster/transports/transport.ts'
import { createError } from '../errors.ts'

const KNOWN_MS = 1000
const MAX_KNOWN = 4096

/**
 * Publishes to groups without members here. Whether a group has members anywhere is told by the publish itself: where nobody listens, the
 * carrier says so before it answers a flush. A group that was heard is not asked again for a second.
 */
export class Reach {
  readonly #transport: Transport
  readonly #subject: string
  readonly #unsubscribe: () => void
  /** By subject: until when it counts as heard, in milliseconds of `performance.now()`. */
  #known = new Map<string, number>()
  /** Numbers of broadcasts in question; true: nobody listens. */
  #asked = new Map<number, boolean>()
  #next = 0

  /** @param subject of this server's own: where the carrier's word comes */
  constructor (transport: Transport, subject: string) {
    this.#transport = transport
    this.#subject = subject
    this.#unsubscribe = transport.subscribe(`${subject}.*`, (data, subject) => this.#onAnswer(data, subject))
  }

  /**
   * @returns true: on its way; or a promise of it, where false means that nobody listens.
   * Throws or rejects with PIT_ERR_CLUSTER_DOWN, PIT_ERR_RPC_SIZE.
   */
  publish (subject: string, data: Uint8Array): true | Promise<boolean> {
    const isKnown = (this.#known.get(subject) ?? 0) > performance.now()
    if (!isKnown) return this.#ask(subject, data)
    if (!this.#transport.publish(subject, data)) throw createError('PIT_ERR_CLUSTER_DOWN')
    return true
  }

  close (): void { this.#unsubscribe() }

  async #ask (subject: string, data: Uint8Array): Promise<boolean> {
    const number = this.#next++
    this.#asked.set(number, false)
    try {
      if (!this.#transport.publish(subject, data, `${this.#subject}.${number}`)) throw createError('PIT_ERR_CLUSTER_DOWN')
      await this.#transport.flush()
      if (this.#asked.get(number) === true) return false
    } finally {
      this.#asked.delete(number)
    }
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(subject, performance.now() + KNOWN_MS)
    return true
  }

  #onAnswer (data: Uint8Array | undefined, subject: string): void {
    const number = Number(subject.slice(this.#subject.length + 1))
    if (data === undefined && this.#asked.has(number)) this.#asked.set(number, true)
  }
}

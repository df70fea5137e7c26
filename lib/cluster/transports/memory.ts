import { createError } from '../../errors.ts'
import type { MemoryBus, MemoryMember } from '../memory-bus.ts'
import { guard } from './guard.ts'
import type { OnMessage, Transport, TransportEvents } from './transport.ts'

/** As nats-server allows unless told otherwise. */
export const MAX_BYTES = 1024 * 1024

/** Carries messages between servers of one process that were given the same bus. */
export class MemoryTransport implements Transport, MemoryMember {
  readonly name = 'memory'
  readonly maxBytes = MAX_BYTES
  readonly #bus: MemoryBus
  #events: TransportEvents | undefined
  #subscriptions = new Set<() => void>()

  constructor (bus: MemoryBus) {
    this.#bus = bus
  }

  get isUp (): boolean { return this.#bus.isLinked(this) }

  async open (events: TransportEvents): Promise<void> {
    this.#events = events
    this.#bus.join(this)
    if (this.isUp) return
    this.#bus.leave(this)
    throw createError('PIT_ERR_CLUSTER_START', ['the memory bus is disconnected'])
  }

  publish (subject: string, data: Uint8Array, reply = ''): boolean {
    if (data.length > this.maxBytes) throw createError('PIT_ERR_RPC_SIZE', [this.maxBytes])
    if (!this.isUp) return false
    this.#bus.publish(this, subject, data, reply)
    return true
  }

  subscribe (subject: string, onMessage: OnMessage, options?: { queue?: string }): () => void {
    const end = this.#bus.subscribe(this, subject, options?.queue, guard(onMessage, () => this.#events))
    this.#subscriptions.add(end)
    return () => {
      this.#subscriptions.delete(end)
      end()
    }
  }

  async flush (): Promise<void> {
    if (!this.isUp) throw createError('PIT_ERR_CLUSTER_DOWN')
    await new Promise<void>((resolve) => this.#bus.flush(resolve))
    if (!this.isUp) throw createError('PIT_ERR_CLUSTER_DOWN')
  }

  async close (): Promise<void> {
    if (this.isUp) await new Promise<void>((resolve) => this.#bus.flush(resolve))
    for (const end of this.#subscriptions) end()
    this.#subscriptions.clear()
    this.#bus.leave(this)
  }

  /** @internal */
  onLink (isUp: boolean): void {
    if (isUp) this.#events?.onUp()
    else this.#events?.onDown()
  }
}

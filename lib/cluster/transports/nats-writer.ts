import type { NatsConnection } from 'nats'

const CHUNK_BYTES = 65_536
/** Unsent bytes above which nothing more is taken: the network or nats-server stands still. Pings find it dead within half a minute. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024

/** What the client keeps to itself, of version 2, which is finished. Where it is missing, messages are published one by one. */
interface Inside {
  protocol?: { sendCommand?: (bytes: Uint8Array) => void, transport?: { socket?: { writableLength?: number } } }
}

/**
 * Writes what is published in one turn as one piece, in the protocol's own bytes. The client would make one write for each callback of the
 * turn: at 16 messages a turn one costs 0.7 µs instead of 1.5 handed over together and 8 one by one.
 */
export class NatsWriter {
  readonly #connection: NatsConnection
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #start = 0
  #end = 0
  #isScheduled = false
  #isFull = false

  constructor (connection: NatsConnection) {
    this.#connection = connection
  }

  /** @returns false: too much waits already */
  publish (subject: string, data: Uint8Array, reply: string): boolean {
    if (this.#isFull && !this.#hasRoom()) return false
    const bytes = data.length + 3 * (subject.length + reply.length) + 32
    if (bytes > this.#chunk.length - this.#end) {
      this.flush()
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, bytes))
      this.#start = this.#end = 0
    }
    const chunk = this.#chunk
    let end = this.#end
    end += chunk.write(reply === '' ? `PUB ${subject} ${data.length}\r\n` : `PUB ${subject} ${reply} ${data.length}\r\n`, end)
    chunk.set(data, end)
    end += data.length
    chunk[end++] = 0x0d
    chunk[end++] = 0x0a
    this.#end = end
    if (!this.#isScheduled) {
      this.#isScheduled = true
      setImmediate(this.#onTurnEnd)
    }
    return true
  }

  flush (): void {
    if (this.#end === this.#start) return
    const bytes = this.#chunk.subarray(this.#start, this.#end)
    this.#start = this.#end
    ;(this.#connection as Inside).protocol!.sendCommand!(bytes)
    this.#isFull = !this.#hasRoom()
  }

  /** Forgets what was not sent. */
  drop (): void {
    this.#start = this.#end
    this.#isFull = false
  }

  #hasRoom (): boolean {
    return ((this.#connection as Inside).protocol!.transport?.socket?.writableLength ?? 0) < MAX_UNSENT_BYTES
  }

  readonly #onTurnEnd = (): void => {
    this.#isScheduled = false
    this.flush()
  }
}

/** A writer, or undefined where the connection keeps its own out of reach. */
export function createNatsWriter (connection: NatsConnection): NatsWriter | undefined {
  return typeof (connection as Inside).protocol?.sendCommand === 'function' ? new NatsWriter(connection) : undefined
}

import { LINGER_MS, noHandler, type Connection, type ConnectionHandler } from './connection.ts'

export interface ConnectionPairOptions {
  /** What the server sees. Default `127.0.0.1`. */
  remoteAddress?: string
  /** Bytes on their way above which `write` returns false. Default 16 KiB, as a socket's. */
  highWaterMark?: number
}

/** The client's end of a pair in memory. */
export interface ClientEnd extends Pick<Connection, 'handler' | 'pendingBytes' | 'write' | 'pause' | 'resume' | 'close' | 'destroy'> {
  /** What the server closed with, before `onClose`; undefined if it didn't. */
  readonly closeCode: number | undefined
  readonly closeReason: string
}

/** Two ends of one byte stream without a socket: each end's bytes come to the other in a later turn of the event loop. */
export function createConnectionPair (options: ConnectionPairOptions = {}): { client: ClientEnd, server: Connection } {
  const { remoteAddress = '127.0.0.1', highWaterMark = 16384 } = options
  const client = new MemoryConnection(remoteAddress, highWaterMark)
  const server = new MemoryConnection(remoteAddress, highWaterMark)
  client.join(server)
  server.join(client)
  return { client, server }
}

class MemoryConnection implements Connection {
  readonly transport = 'memory'
  readonly remoteAddress: string
  readonly framing = undefined
  readonly wholePackets = false
  readonly packetPerWrite = false
  handler: ConnectionHandler = noHandler
  pendingBytes = 0
  closeCode: number | undefined
  closeReason = ''
  #peer: MemoryConnection = this
  #highWaterMark: number
  #outgoing: Uint8Array[] = []
  #isScheduled = false
  #isPaused = false
  #isBlocked = false
  #isClosing = false
  #isClosed = false

  constructor (remoteAddress: string, highWaterMark: number) {
    this.remoteAddress = remoteAddress
    this.#highWaterMark = highWaterMark
  }

  join (peer: MemoryConnection): void {
    this.#peer = peer
  }

  write (bytes: Uint8Array): boolean {
    if (this.#isClosing) return false
    this.#outgoing.push(bytes)
    this.pendingBytes += bytes.length
    this.#isBlocked = this.pendingBytes >= this.#highWaterMark
    this.#schedule()
    return !this.#isBlocked
  }

  pause (): void {
    this.#isPaused = true
  }

  resume (): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#peer.#schedule()
  }

  close (code: number, reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#peer.closeCode = code
    this.#peer.closeReason = reason
    this.#schedule()
    if (this.#peer.#isPaused) setTimeout(destroy, LINGER_MS, this).unref()
  }

  destroy (): void {
    if (this.#isClosed) return
    this.#outgoing = []
    this.pendingBytes = 0
    this.#end()
    this.#peer.#end()
  }

  #schedule (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(deliver, this)
  }

  /** Hands what was written to the other end; what its handler writes meanwhile waits for the next turn. */
  deliver (): void {
    this.#isScheduled = false
    const peer = this.#peer
    const batch = this.#outgoing
    const end = batch.length
    let next = 0
    while (next < end && !peer.#isPaused && !this.#isClosed) {
      const bytes = batch[next++] as Uint8Array
      this.pendingBytes -= bytes.length
      if (!peer.#isClosing) peer.handler.onData(bytes)
    }
    if (this.#isClosed) return
    if (next > 0) this.#outgoing = this.#outgoing.slice(next)
    if (this.#outgoing.length > 0) {
      if (!peer.#isPaused) this.#schedule()
    } else if (this.#isClosing) {
      this.destroy()
    } else if (this.#isBlocked) {
      this.#isBlocked = false
      this.handler.onDrain()
    }
  }

  #end (): void {
    if (this.#isClosed) return
    this.#isClosing = true
    this.#isClosed = true
    setImmediate(notifyClosed, this)
  }
}

function deliver (connection: MemoryConnection): void {
  connection.deliver()
}

function destroy (connection: MemoryConnection): void {
  connection.destroy()
}

function notifyClosed (connection: MemoryConnection): void {
  connection.handler.onClose()
}

import type { Duplex } from 'node:stream'
import { LINGER_MS, noHandler, type Connection, type ConnectionHandler } from './connection.ts'
import { pendingBytes } from './pending-bytes.ts'

const OPEN = 0
const ENDED = 1
const CLOSED = 2

const kConnection = Symbol('fastify-pitaya.connection')
type Owned = Duplex & { [kConnection]: StreamConnection }

/**
 * A Connection over any connected byte stream: TCP, TLS, a Unix socket. It takes the stream over, reading included, and
 * must be handed to `accept` in the same turn of the event loop. Listeners are shared by all connections, not closures of one.
 */
export class StreamConnection implements Connection {
  readonly transport: string
  readonly remoteAddress: string
  handler: ConnectionHandler = noHandler
  #stream: Duplex
  #state: number = OPEN
  #error: Error | undefined = undefined
  #linger: NodeJS.Timeout | undefined = undefined

  /**
   * @param transport bounded label for logs, such as `tcp`
   * @param remoteAddress the client's address without port, empty where there is none
   */
  constructor (stream: Duplex, transport: string, remoteAddress: string) {
    this.transport = transport
    this.remoteAddress = remoteAddress
    this.#stream = stream
    const owned = stream as Owned
    owned[kConnection] = this
    owned.on('data', StreamConnection.#onData)
    owned.on('drain', StreamConnection.#onDrain)
    owned.on('end', StreamConnection.#onEnd)
    owned.on('error', StreamConnection.#onError)
    owned.on('close', StreamConnection.#onClose)
    // A stream that was paused before (PROXY header) doesn't start by itself. Bytes come in a later turn either way.
    if (stream.isPaused()) stream.resume()
  }

  get framing (): undefined { return undefined }
  get wholePackets (): boolean { return false }
  get packetPerWrite (): boolean { return false }
  get pendingBytes (): number { return pendingBytes(this.#stream) }

  write (bytes: Uint8Array): boolean {
    return this.#state === OPEN && this.#stream.write(bytes)
  }

  pause (): void {
    if (this.#state !== CLOSED) this.#stream.pause()
  }

  resume (): void {
    this.#stream.resume()
  }

  close (): void {
    if (this.#state === CLOSED) return
    this.#state = CLOSED
    this.#stream.end()
    // Reads on, into nothing: a paused stream would never see the other side's end.
    this.#stream.resume()
    this.#linger = setTimeout(destroy, LINGER_MS, this.#stream).unref()
  }

  destroy (): void {
    this.#state = CLOSED
    this.#stream.destroy()
  }

  static #onData (this: Duplex, bytes: Uint8Array): void {
    const connection = (this as Owned)[kConnection]
    if (connection.#state !== CLOSED) connection.handler.onData(bytes)
  }

  static #onDrain (this: Duplex): void {
    const connection = (this as Owned)[kConnection]
    if (connection.#state === OPEN) connection.handler.onDrain()
  }

  /** The client sent its last byte: the stream ends our side by itself once it is flushed, and a write would only spoil that. */
  static #onEnd (this: Duplex): void {
    const connection = (this as Owned)[kConnection]
    if (connection.#state === OPEN) connection.#state = ENDED
  }

  static #onError (this: Duplex, error: Error): void {
    (this as Owned)[kConnection].#error ??= error
  }

  static #onClose (this: Duplex): void {
    const connection = (this as Owned)[kConnection]
    connection.#state = CLOSED
    // It would keep the closed stream: in a flood of short connections, thousands of them.
    clearTimeout(connection.#linger)
    connection.handler.onClose(connection.#error)
  }
}

function destroy (stream: Duplex): void {
  stream.destroy()
}

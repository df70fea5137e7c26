import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { LINGER_MS, noHandler, type Connection, type ConnectionHandler, type Framing } from './connection.ts'
import { pendingBytes } from './pending-bytes.ts'
import { websocketFraming } from './websocket-framing.ts'

const OPEN = 1
const MAX_REASON_BYTES = 123
const SEND_HIGH_WATER_MARK = 64 * 1024
const BINARY = { binary: true }

const kConnection = Symbol('fastify-pitaya.connection')
type Owned = { [kConnection]: WebSocketConnection }
type RawOwned = { [kConnection]: RawConnection }

/**
 * Makes a Connection of an open `ws` socket and takes over its errors. Must be handed to `accept` in the same turn of the event loop.
 * @param raw the socket below: frames are written to it directly, unless an extension was negotiated or it is not known
 */
export function createWebSocketConnection (socket: WebSocket, raw: Duplex | undefined, remoteAddress: string): Connection {
  return raw === undefined || socket.extensions !== ''
    ? new SendingConnection(socket, remoteAddress)
    : new RawConnection(socket, raw, remoteAddress)
}

/** True for a `ws` socket that has become a Connection. */
export function isOurs (socket: WebSocket): boolean {
  return kConnection in socket
}

/** Cuts a close reason to what a close frame holds. */
export function closeReason (reason: string): string {
  if (Buffer.byteLength(reason) <= MAX_REASON_BYTES) return reason
  // Three bytes less: a character cut in two becomes U+FFFD, which is three bytes long.
  return Buffer.from(reason).subarray(0, MAX_REASON_BYTES - 3).toString()
}

/** Listeners are shared by all connections, not closures of one. */
abstract class WebSocketConnection implements Connection {
  readonly remoteAddress: string
  handler: ConnectionHandler = noHandler
  protected readonly socket: WebSocket
  #isClosed = false
  #error: Error | undefined = undefined
  #linger: NodeJS.Timeout | undefined = undefined

  constructor (socket: WebSocket, remoteAddress: string) {
    this.remoteAddress = remoteAddress
    this.socket = socket
    ;(socket as WebSocket & Owned)[kConnection] = this
    // @fastify/websocket listens with a closure that would keep request and reply for as long as the connection lives.
    socket.removeAllListeners('error')
    socket.on('message', WebSocketConnection.#onMessage)
    socket.on('error', WebSocketConnection.#onError)
    socket.on('close', WebSocketConnection.#onClose)
  }

  get transport (): string { return 'websocket' }
  get wholePackets (): boolean { return true }
  abstract get framing (): Framing | undefined
  abstract get packetPerWrite (): boolean
  abstract get pendingBytes (): number
  abstract write (bytes: Uint8Array): boolean

  pause (): void {
    if (!this.#isClosed) this.socket.pause()
  }

  resume (): void {
    this.socket.resume()
  }

  close (code: number, reason: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    // A paused socket would never see the client's answer.
    this.socket.resume()
    this.socket.close(code, closeReason(reason))
    this.#terminateLater()
  }

  destroy (): void {
    this.#isClosed = true
    this.socket.terminate()
  }

  /** Text frames are read as binary too. */
  static #onMessage (this: WebSocket, bytes: unknown): void {
    const connection = (this as WebSocket & Owned)[kConnection]
    if (!connection.#isClosed) connection.handler.onData(bytes as Buffer)
  }

  /** A broken frame: `ws` has sent its close frame (1002, 1008, 1009) already and stops reading. */
  static #onError (this: WebSocket, error: Error): void {
    const connection = (this as WebSocket & Owned)[kConnection]
    connection.#error ??= error
    connection.#terminateLater()
  }

  static #onClose (this: WebSocket): void {
    const connection = (this as WebSocket & Owned)[kConnection]
    connection.#isClosed = true
    clearTimeout(connection.#linger)
    connection.handler.onClose(connection.#error)
  }

  #terminateLater (): void {
    this.#linger ??= setTimeout(terminate, LINGER_MS, this.socket).unref()
  }
}

/** No extension: our frames go straight to the raw socket, many at once. */
class RawConnection extends WebSocketConnection {
  #raw: Duplex

  constructor (socket: WebSocket, raw: Duplex, remoteAddress: string) {
    super(socket, remoteAddress)
    this.#raw = raw
    ;(raw as Duplex & RawOwned)[kConnection] = this
    raw.on('drain', RawConnection.#onDrain)
  }

  get framing (): Framing { return websocketFraming }
  get packetPerWrite (): boolean { return false }
  get pendingBytes (): number { return pendingBytes(this.#raw) }

  /** Not OPEN means that a close frame is on its way: nothing may follow it. */
  write (bytes: Uint8Array): boolean {
    return this.socket.readyState === OPEN && this.#raw.write(bytes)
  }

  static #onDrain (this: Duplex): void {
    const connection = (this as Duplex & RawOwned)[kConnection]
    if (connection.socket.readyState === OPEN) connection.handler.onDrain()
  }
}

/** An extension (compression) changes every frame, so `ws` must write them, one message each. */
class SendingConnection extends WebSocketConnection {
  #isBlocked = false
  readonly #onSent = (): void => {
    if (!this.#isBlocked || this.pendingBytes >= SEND_HIGH_WATER_MARK || this.socket.readyState !== OPEN) return
    this.#isBlocked = false
    this.handler.onDrain()
  }

  get framing (): undefined { return undefined }
  get packetPerWrite (): boolean { return true }
  get pendingBytes (): number { return this.socket.bufferedAmount }

  write (bytes: Uint8Array): boolean {
    if (this.socket.readyState !== OPEN) return false
    this.socket.send(bytes, BINARY, this.#onSent)
    if (this.pendingBytes >= SEND_HIGH_WATER_MARK) this.#isBlocked = true
    return !this.#isBlocked
  }
}

function terminate (socket: WebSocket): void {
  socket.terminate()
}

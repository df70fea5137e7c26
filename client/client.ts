import { createError, PitayaError } from '../lib/errors.ts'
import type { ClientOf, Structures } from '../lib/handler/client-types.ts'
import { parseHandshakeAnswer, type HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../lib/protocol/message.ts'
import { encodePacket, MAX_BODY_BYTES, PacketDecoder, PacketType, type PacketSink } from '../lib/protocol/packet.ts'
import type { ClientTransport } from './transport.ts'
import { openWebSocket, type WebSocketConstructor } from './websocket.ts'

export { PitayaError } from '../lib/errors.ts'
export { type ClientTransport, type ClientTransportHandler } from './transport.ts'
export { type WebSocketConstructor, type WebSocketLike } from './websocket.ts'
export type { ClientOf, Structures } from '../lib/handler/client-types.ts'

export interface ConnectOptions {
  /** The handshake's `user`: what the server's validators look at. */
  user?: unknown
  /** Milliseconds a request may wait for its answer. Default 10,000. */
  timeoutMs?: number
  /** Milliseconds the handshake may take. Default 10,000. */
  connectMs?: number
  /** Routes and pushes whose data are bytes (`raw` on the server): they come as Uint8Array, everything else is JSON. Default none. */
  raw?: readonly string[]
  /** Inflates zlib data, for servers that compress. Default: none, and compressed data closes the connection. */
  inflate?: (data: Uint8Array) => Uint8Array
  /** WebSocket constructor where the runtime has none (Node before 22): that of the `ws` package. */
  WebSocket?: WebSocketConstructor
}

/** Why a connection ended: the code (4000 to 4499: come back later, 4500 to 4999: don't) and the server's words. */
export interface CloseInfo { code: number, reason: string }

interface Pending {
  route: string
  resolve (answer: unknown): void
  reject (error: Error): void
  timer: ReturnType<typeof setTimeout>
}

const CONNECT_MS = 10_000
const REQUEST_MS = 10_000
/** The server beats at the same interval. */
const MAX_UNANSWERED = 2
const EMPTY = new Uint8Array(0)

/** A client that knows the routes of `T`; without `T`, one that takes any route. */
export type Connected<T extends Structures> = 0 extends 1 & T ? Client : Omit<Client, 'request' | 'notify' | 'on'> & ClientOf<T>

/** Connects to a WebSocket URL. Rejects with a PitayaError: the server's, when it refuses; a full one's has `metadata.retryAfterMs`. */
export async function connect<T extends Structures = any> (
  url: string, options: ConnectOptions = {}
): Promise<Connected<T>> {
  const WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket
  if (WebSocket === undefined) throw createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'this runtime has no WebSocket: pass the option WebSocket' })
  return await connectOver<T>(await openWebSocket(url, WebSocket), options)
}

/** Does the handshake over an open transport. */
export function connectOver<T extends Structures = any> (transport: ClientTransport, options: ConnectOptions = {}): Promise<Connected<T>> {
  return new Client(transport, options).ready() as unknown as Promise<Connected<T>>
}

/** One connection to a server, speaking JSON (protocol.md 1). */
export class Client implements PacketSink {
  /** The server's handshake answer. */
  answer: HandshakeAnswer | undefined
  #transport: ClientTransport
  #options: ConnectOptions
  #decoder = new PacketDecoder(MAX_BODY_BYTES)
  #view = createMessageView()
  #routes = new Map<number, string>()
  #pending = new Map<number, Pending>()
  #listeners = new Map<string, Set<(message: any) => void>>()
  #closeListeners = new Set<(info: CloseInfo) => void>()
  #nextId = 1
  #heartbeat: ReturnType<typeof setInterval> | undefined
  /** Heartbeats sent since anything came. Counted, not timed: a timer that comes late (a blocked page, a lid closed) is no silence. */
  #unanswered = 0
  #kicked: CloseInfo | undefined
  #closed: CloseInfo | undefined
  #ready: Promise<Client>
  #settle!: { resolve (client: Client): void, reject (error: Error): void }

  constructor (transport: ClientTransport, options: ConnectOptions) {
    this.#transport = transport
    this.#options = options
    this.#ready = new Promise<Client>((resolve, reject) => { this.#settle = { resolve, reject } })
    const { connectMs = CONNECT_MS } = options
    const timer = setTimeout(() => this.#fail(createError('PIT_ERR_CLIENT_TIMEOUT', [], { text: `no handshake answer within ${connectMs} ms` })), connectMs)
    this.#ready.then(() => clearTimeout(timer), () => clearTimeout(timer))
    transport.handler = { onData: (bytes) => this.#onData(bytes), onClose: (code, reason) => this.#onClose(code, reason) }
    const sys = { platform: 'js', libVersion: '0.1.0', clientBuildNumber: '1', clientVersion: '0.1.0', serializer: 'json', closeReason: true }
    this.#send(PacketType.handshake, encodeJson({ sys, user: options.user ?? {} }))
  }

  ready (): Promise<Client> { return this.#ready }

  /** Set once the connection ended. */
  get closed (): CloseInfo | undefined { return this.#closed }

  request (route: string, body?: unknown): Promise<any> {
    if (this.#closed !== undefined) return Promise.reject(createError('PIT_ERR_CLIENT_CLOSED'))
    const id = this.#nextId++
    const timeoutMs = this.#options.timeoutMs ?? REQUEST_MS
    return new Promise((resolve, reject) => {
      // First, since it may throw: a request that was never sent is not pending.
      const message = this.#encodeMessage(MessageType.request, id, route, body)
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(createError('PIT_ERR_CLIENT_TIMEOUT', [timeoutMs]))
      }, timeoutMs)
      this.#pending.set(id, { route, resolve, reject, timer })
      this.#send(PacketType.data, message)
    })
  }

  notify (route: string, body?: unknown): void {
    if (this.#closed !== undefined) throw createError('PIT_ERR_CLIENT_CLOSED')
    this.#send(PacketType.data, this.#encodeMessage(MessageType.notify, 0, route, body))
  }

  /** Calls `callback` with every such push. Returns the function that ends it. */
  on (push: string, callback: (message: any) => void): () => void {
    let listeners = this.#listeners.get(push)
    if (listeners === undefined) this.#listeners.set(push, listeners = new Set())
    listeners.add(callback)
    return () => { listeners.delete(callback) }
  }

  /** Calls `callback` when the connection ended; at once if it has. */
  onClose (callback: (info: CloseInfo) => void): () => void {
    if (this.#closed !== undefined) callback(this.#closed)
    else this.#closeListeners.add(callback)
    return () => { this.#closeListeners.delete(callback) }
  }

  close (): void {
    this.#transport.close()
  }

  onPacket (type: PacketType, bytes: Uint8Array, start: number, end: number): boolean {
    this.#unanswered = 0
    if (type === PacketType.handshake) this.#onHandshake(bytes.subarray(start, end))
    else if (type === PacketType.data) this.#onMessage(bytes, start, end)
    else if (type === PacketType.kick) this.#onKick(bytes.subarray(start, end))
    return this.#closed === undefined
  }

  #onData (bytes: Uint8Array): void {
    try {
      this.#decoder.push(bytes, this)
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #onHandshake (body: Uint8Array): void {
    const isZlib = body.length > 2 && body[0] === 0x78
    const answer = this.answer = parseHandshakeAnswer(decodeJson(isZlib ? this.#inflate(body) : body))
    if (answer.code !== 200) {
      const { code = `PIT-${answer.code}`, msg = 'the server refused the handshake', metadata } = answer.error ?? {}
      const { retryAfterMs } = answer
      this.#fail(new PitayaError(code, msg, retryAfterMs === undefined ? metadata : { ...metadata, retryAfterMs: String(retryAfterMs) }))
      return
    }
    for (const [route, code] of answer.dict) this.#routes.set(code, route)
    this.#send(PacketType.ack, EMPTY)
    if (answer.heartbeatSeconds > 0) this.#beat(answer.heartbeatSeconds * 1000)
    this.#settle.resolve(this)
  }

  #beat (intervalMs: number): void {
    this.#heartbeat = setInterval(() => {
      if (this.#unanswered++ === MAX_UNANSWERED) this.#fail(createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'the server is silent' }))
      else this.#send(PacketType.heartbeat, EMPTY)
    }, intervalMs)
    // In Node a connection alone, not its heartbeat, keeps the process.
    ;(this.#heartbeat as { unref?: () => void }).unref?.()
  }

  #onMessage (bytes: Uint8Array, start: number, end: number): void {
    const view = this.#view
    decodeMessage(bytes, start, end, view)
    const { type, id, isError, routeCode, routeStart, routeEnd } = view
    const raw = bytes.subarray(view.dataStart, view.dataEnd)
    const data = view.isCompressed ? this.#inflate(raw) : raw
    if (type === MessageType.response) { this.#onResponse(id, data, isError); return }
    if (type !== MessageType.push) return
    const route = routeCode === -1 ? decoder.decode(bytes.subarray(routeStart, routeEnd)) : this.#routes.get(routeCode)
    const listeners = route === undefined ? undefined : this.#listeners.get(route)
    if (listeners === undefined || listeners.size === 0) return
    const message = this.#decodeData(route as string, data)
    for (const listener of [...listeners]) callListener(listener, message)
  }

  #onResponse (id: number, data: Uint8Array, isError: boolean): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    clearTimeout(pending.timer)
    try {
      if (!isError) { pending.resolve(this.#decodeData(pending.route, data)); return }
      const { code = 'PIT-000', msg = '', metadata } = decodeJson(data) as { code?: string, msg?: string, metadata?: Record<string, string> }
      pending.reject(new PitayaError(code, msg, metadata))
    } catch (cause) {
      pending.reject(createError('PIT_ERR_BODY', [`the answer of ${pending.route} is not JSON: a raw route is named in the option raw`], { cause }))
    }
  }

  #onKick (body: Uint8Array): void {
    this.#kicked = body.length === 0 ? { code: 4504, reason: 'kicked' } : decodeJson(body) as CloseInfo
  }

  #decodeData (route: string, data: Uint8Array): unknown {
    if (this.#options.raw?.includes(route) === true) return new Uint8Array(data)
    return data.length === 0 ? undefined : decodeJson(data)
  }

  #inflate (data: Uint8Array): Uint8Array {
    if (this.#options.inflate === undefined) throw createError('PIT_ERR_INFLATE', [], { text: 'the server compresses: pass the option inflate' })
    return this.#options.inflate(data)
  }

  #encodeMessage (type: MessageType, id: number, route: string, body: unknown): Uint8Array {
    const routeCode = this.answer?.dict.get(route)
    const data = body === undefined ? EMPTY : body instanceof Uint8Array ? body : encodeJson(body)
    return encodeMessage({ type, id, route, routeCode, data })
  }

  #send (type: PacketType, body: Uint8Array): void {
    if (this.#closed === undefined) this.#transport.write(encodePacket(type, body))
  }

  #fail (error: Error): void {
    this.#settle.reject(error)
    this.#transport.close()
  }

  #onClose (code: number, reason: string): void {
    if (this.#closed !== undefined) return
    const info = this.#closed = this.#kicked ?? { code, reason }
    clearInterval(this.#heartbeat)
    const error = createError('PIT_ERR_CLIENT_CLOSED', [], { metadata: { code: String(info.code), reason: info.reason } })
    this.#settle.reject(error)
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#pending.clear()
    for (const listener of this.#closeListeners) callListener(listener, info)
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** A listener that throws is the application's error, reported as such: it must not cost the others their message, or the connection. */
function callListener<T> (listener: (value: T) => void, value: T): void {
  try {
    listener(value)
  } catch (error) {
    queueMicrotask(() => { throw error })
  }
}

function encodeJson (value: unknown): Uint8Array { return encoder.encode(JSON.stringify(value)) }
function decodeJson (data: Uint8Array): unknown { return JSON.parse(decoder.decode(data)) }

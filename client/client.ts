import type { ClientOf, PushIterator, ClientRequestOptions, Structures } from '../lib/handler/client-types.ts'
import { PitayaError } from '../lib/pitaya-error.ts'
import type { WireError } from '../lib/errors.ts'
import { createError } from '../lib/protocol/errors.ts'
import type { HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'
import { MessageType } from '../lib/protocol/message.ts'
import type { ClientSerializer } from './codec.ts'
import type { Connection } from './connection.ts'
import { createJsonSerializer } from './json.ts'
import { Link } from './link.ts'
import { Listeners } from './listeners.ts'
import type { ClientState, CloseInfo, ConnectOptions } from './options.ts'
import { PendingRequests } from './pending.ts'
import { PushQueue } from './push-queue.ts'
import type { ClientTransport, TransportOpener } from './transport.ts'
import { openWebSocket, type WebSocketConstructor } from './websocket.ts'

export { PitayaError } from '../lib/pitaya-error.ts'
export type { ClientOf, ClientRequestOptions, ErrorsOf, PushIterator, Structures } from '../lib/handler/client-types.ts'
export type { HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'
export type { ClientCodec, ClientSerializer, CodecHost } from './codec.ts'
export type { ClientState, CloseInfo, ConnectOptions, ContractFile, ReconnectOptions, SchemaStorage } from './options.ts'
export type { ClientTransport, ClientTransportHandler, TransportOpener } from './transport.ts'
export type { WebSocketConstructor, WebSocketLike } from './websocket.ts'

const REQUEST_MS = 10_000
const QUEUED_PUSHES = 1000

/** A client that knows the routes of `T`; without `T`, one that takes any route. */
export type Connected<T extends Structures> = 0 extends 1 & T ? Client : Omit<Client, 'request' | 'notify' | 'on' | 'pushes'> & ClientOf<T>

/**
 * Connects to a WebSocket URL. Tried once: rejects with a PitayaError, the server's when it refuses (a full one's has
 * `metadata.retryAfterMs`), PIT_ERR_CLIENT_CLOSED or PIT_ERR_CLIENT_TIMEOUT; or with the reason of `signal`.
 */
export async function connect<T extends Structures = any> (url: string, options: ConnectOptions = {}): Promise<Connected<T>> {
  const WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket
  if (WebSocket === undefined) throw createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'no WebSocket here: pass the option WebSocket' })
  return await connectOver<T>((signal) => openWebSocket(url, WebSocket, signal), options, url)
}

/**
 * Connects over a transport of one's own: one that is open, or a function that opens one and is called again to reconnect.
 * @param address names the server: clients of one server share the schemas that it gives
 */
export async function connectOver<T extends Structures = any> (
  transport: ClientTransport | TransportOpener, options: ConnectOptions = {}, address?: string
): Promise<Connected<T>> {
  const { serializer, contract } = options
  const isAvro = contract !== undefined || serializer === 'avro'
  // Who speaks JSON need not load it.
  const asked = isAvro ? (await import('./avro/serializer.ts')).createAvroSerializer(options, address) : serializer
  const json = createJsonSerializer(options.raw)
  const serializers = typeof asked === 'object' ? [asked, json] : [json]
  const isOpener = typeof transport === 'function'
  const client = new Client(isOpener ? transport : () => transport, isOpener ? options : { ...options, reconnect: false }, serializers)
  await client.ready()
  return client as unknown as Connected<T>
}

/** A client over one connection after the other. While there is none, nothing is sent, and nothing is kept to be sent later. */
export class Client {
  #link: Link
  #timeoutMs: number
  #pending = new PendingRequests()
  #pushes = new Map<string, Listeners<any>>()
  #nextId = 1

  /** Use `connect` or `connectOver`. */
  constructor (open: TransportOpener, options: ConnectOptions, serializers: readonly ClientSerializer[]) {
    this.#timeoutMs = options.timeoutMs ?? REQUEST_MS
    this.#link = new Link(open, options, serializers, {
      onResponse: (id, data, isError) => this.#onResponse(id, data, isError),
      onPush: (route, data) => this.#onPush(route, data),
      onLost: (error) => this.#pending.rejectAll(error)
    })
  }

  /** The server's latest handshake answer. */
  get answer (): HandshakeAnswer | undefined { return this.#link.connection?.answer }

  get state (): ClientState { return this.#link.state }

  /** Set once the client ended for good. */
  get closed (): CloseInfo | undefined { return this.#link.closed }

  /** Resolves when there is a connection: at once, or when the next one is made. Rejects once the client ended. */
  ready (): Promise<void> { return this.#link.ready() }

  /**
   * Resolves with the answer. Rejects with the PitayaError the server answered; PIT_ERR_CLIENT_TIMEOUT; PIT_ERR_CLIENT_CLOSED when the
   * connection is lost first or there is none, `metadata.executed` is `no` where the server did not begin; or the reason of the signal.
   */
  request (route: string, body?: unknown, options: ClientRequestOptions = {}): Promise<any> {
    const { timeoutMs = this.#timeoutMs, signal } = options
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    try {
      const connection = this.#connection()
      const lack = connection.codec.ready?.(route)
      const id = this.#nextId++
      // First, since it may throw: a request that was never sent is not pending.
      const message = lack === undefined ? connection.encode(MessageType.request, id, route, body) : undefined
      const answer = this.#pending.add(id, route, timeoutMs, signal)
      if (message !== undefined) connection.send(message)
      else {
        lack!.then(() => { if (this.#pending.has(id)) connection.send(connection.encode(MessageType.request, id, route, body)) })
          .catch((error: unknown) => this.#pending.take(id)?.reject(error))
      }
      return answer
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * With `serializer: 'avro'` the first one of its route may have to wait for its schema; what does not fit is an unhandled rejection then.
   * @throws PIT_ERR_CLIENT_CLOSED while there is no connection, PIT_ERR_BODY for what does not fit
   */
  notify (route: string, body?: unknown): void {
    const connection = this.#connection()
    const lack = connection.codec.ready?.(route)
    if (lack === undefined) connection.send(connection.encode(MessageType.notify, 0, route, body))
    // What is thrown later nobody can catch: it is reported as unhandled.
    else lack.then(() => connection.send(connection.encode(MessageType.notify, 0, route, body)), (error: unknown) => connection.fail(error))
  }

  /** Calls `callback` with every such push, over all connections. Returns the function that ends it. */
  on (push: string, callback: (message: any) => void): () => void {
    let listeners = this.#pushes.get(push)
    if (listeners === undefined) this.#pushes.set(push, listeners = new Listeners())
    return listeners.add(callback)
  }

  /**
   * The push as a stream, over all connections, until the loop over it or the client ends. `limit` messages wait for a slow loop
   * (default 1,000), then the oldest are dropped.
   */
  pushes (push: string, { limit = QUEUED_PUSHES }: { limit?: number } = {}): PushIterator<any> {
    return new PushQueue<any>(limit, (queue) => {
      const stops = [this.on(push, (message) => queue.add(message)), this.onClose(() => queue.end())]
      return () => { for (const stop of stops) stop() }
    })
  }

  /** Calls `callback` with every new state. Returns the function that ends it. */
  onStateChange (callback: (state: ClientState) => void): () => void { return this.#link.states.add(callback) }

  /** Calls `callback` when the client ended for good; at once if it has. */
  onClose (callback: (info: CloseInfo) => void): () => void {
    const { closed } = this
    if (closed !== undefined) callback(closed)
    return this.#link.closes.add(callback)
  }

  /** Ends the client for good. What was sent goes out; who waits for an answer gets PIT_ERR_CLIENT_CLOSED. */
  close (): void { this.#link.close() }

  #connection (): Connection {
    if (this.state.name === 'open') return this.#link.connection!
    throw createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'not connected: nothing was sent', metadata: { executed: 'no' } })
  }

  #onResponse (id: number, data: Uint8Array, isError: boolean): void {
    const request = this.#pending.take(id)
    if (request === undefined) return
    const { codec } = this.#link.connection!
    try {
      if (!isError) { request.resolve(codec.decode(request.route, 'response', data)); return }
      const { code = 'PIT-000', msg, metadata } = codec.decode(request.route, 'error', data) as Partial<WireError>
      request.reject(new PitayaError(code, msg, metadata))
    } catch (cause) {
      request.reject(createError('PIT_ERR_BODY', [`cannot read the answer of ${request.route}`], { cause }))
    }
  }

  #onPush (route: string, data: Uint8Array): void {
    const listeners = this.#pushes.get(route)
    if (listeners !== undefined && !listeners.isEmpty) listeners.call(this.#link.connection!.codec.decode(route, 'push', data))
  }
}

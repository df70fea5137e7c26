import { channels } from '../channels.ts'
import { createError, isPitayaError, toWireError, type PitayaError, type WireError } from '../errors.ts'
import { Call } from '../handler/call.ts'
import type { HandlerService } from '../handler/service.ts'
import type { Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import { LineLimiter } from '../line-limiter.ts'
import type { PinnedSets } from '../contract/pinned-sets.ts'
import type { RemoteService } from '../remote/service.ts'
import type { SessionPool } from '../session/pool.ts'
import { RpcType, type Envelope, type RequestEnvelope } from './envelopes/envelope.ts'
import { RemoteSession, type SessionHome } from './remote-session.ts'
import type { Transport } from './transports/transport.ts'

export interface RpcServerOptions {
  readonly transport: Transport
  readonly envelope: Envelope
  /** Where this server's requests come. */
  readonly subject: string
  readonly service: HandlerService
  readonly remotes: RemoteService
  readonly sessions: SessionPool
  readonly home: SessionHome
  readonly pinned: PinnedSets
  /** Milliseconds that a handler may take where it says nothing else. */
  readonly handlerMs: number
  readonly log: Logger
}

const EMPTY = new Uint8Array(0)
/** Of a message that cannot be read, this much is logged. */
const LOGGED_BYTES = 64

/** Requests of other servers: clients' messages (Sys) to the handlers, calls (User) to the remotes. Each is answered exactly once. */
export class RpcServer {
  #options: RpcServerOptions
  #lines: LineLimiter
  #unsubscribe: (() => void) | undefined

  constructor (options: RpcServerOptions) {
    this.#options = options
    this.#lines = new LineLimiter(options.log)
  }

  open (): void {
    const { transport, subject } = this.#options
    this.#unsubscribe ??= transport.subscribe(subject, (data, _, reply) => { if (data !== undefined) this.#onMessage(data, reply) })
  }

  close (): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
  }

  /** An answer that a handler made, or with `type` user a remote. */
  respond (reply: string, payload: Uint8Array, isError: boolean, type: RpcType = RpcType.sys, error?: WireError): void {
    const { transport, envelope, log } = this.#options
    if (reply === '') return
    try {
      // Not connected: the caller has given up already.
      transport.publish(reply, envelope.encodeResponse(payload, isError, error))
    } catch (cause) {
      if (!isPitayaError(cause)) throw cause
      log.warn({ code: cause.code }, 'an answer to another server could not be sent')
      const told = type === RpcType.user ? cause : createError('PIT_ERR_RESPONSE')
      transport.publish(reply, envelope.encodeResponse(EMPTY, true, toWireError(told)))
    }
  }

  #onMessage (data: Uint8Array, reply: string): void {
    let type: RpcType = RpcType.sys
    try {
      const request = this.#options.envelope.decodeRequest(data)
      type = request.type
      if (type === RpcType.sys) this.#onSys(request, reply)
      else this.#onUser(request, reply)
    } catch (error) {
      this.respond(reply, EMPTY, true, type, toWireError(this.#refusal(error, type, data)))
    }
  }

  #onSys (request: RequestEnvelope, reply: string): void {
    const { service, sessions, home, pinned, handlerMs } = this.#options
    const { session: part, route, isNotify, remainingMs, frontend } = request
    if (part === undefined || frontend === '') throw createError('PIT_ERR_RPC', ['a forwarded message without its session'])
    const handler = service.find(route)
    if (handler === undefined) throw service.notFound(route.slice(route.indexOf('.') + 1))
    if (!isNotify && handler.kind === 'notify') throw createError('PIT_ERR_NOTIFY_ROUTE')
    const serializerIndex = service.serializerIndex(part.serializer)
    if (serializerIndex === -1) { this.#loadFirst(request, part.serializer, reply); return }
    const session = new RemoteSession(home, sessions, frontend, part, serializerIndex, reply)
    const version = pinned.at(serializerIndex)
    if (version !== undefined) session.pin(version)
    const call = new Call(service, handler, session, isNotify ? -1 : 0, request.data, 0, request.data.length, false)
    call.deadlineMs = Math.min(remainingMs, handler.deadlineMs ?? handlerMs)
    if (request.context !== undefined) call.propagated = request.context
    service.dispatcher.submit(call)
  }

  /** The client is pinned to a contract that is not known here: the message waits for it. */
  #loadFirst (request: RequestEnvelope, serializer: string, reply: string): void {
    const loaded = this.#options.pinned.load(serializer, request.frontend)
    if (loaded === undefined) throw createError('PIT_ERR_RPC', [`this server does not offer the serializer "${serializer}"`])
    const kept = { ...request, data: new Uint8Array(request.data) }
    loaded.then(() => this.#onSys(kept, reply)).catch((error: unknown) => {
      this.respond(reply, EMPTY, true, RpcType.sys, toWireError(this.#refusal(error, RpcType.sys, EMPTY)))
    })
  }

  #onUser ({ route, data, caller, remainingMs, context }: RequestEnvelope, reply: string): void {
    this.#options.remotes.call(route, data, { callerId: caller, remainingMs, context }, (data, error) => {
      this.respond(reply, data, error !== undefined, RpcType.user, error)
    })
  }

  /** What the caller is told. A client's message is answered to the client: how servers write to each other is nothing that it can help. */
  #refusal (error: unknown, type: RpcType, data: Uint8Array): PitayaError {
    if (!isPitayaError(error)) {
      if (this.#lines.admits('failed', performance.now())) logFailure(this.#options.log, error, 'a request of another server failed')
      return createError('PIT_ERR_INTERNAL')
    }
    if (error.code !== 'PIT_ERR_RPC') return error
    this.#unreadable(error, data)
    return type === RpcType.user ? error : createError('PIT_ERR_INTERNAL')
  }

  #unreadable (error: PitayaError, data: Uint8Array): void {
    const { service, log } = this.#options
    if (channels.decodeError.hasSubscribers) channels.decodeError.publish({ serverId: service.serverId, code: error.code })
    if (!this.#lines.admits('rpc', performance.now())) return
    const hex = Buffer.from(data.subarray(0, LOGGED_BYTES)).toString('hex')
    log.warn({ code: error.code, hex }, 'a request of another server could not be read')
  }
}

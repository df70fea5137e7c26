import { channels } from '../channels.ts'
import { createError, isPitayaError, type PitayaError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import { LineLimiter } from '../line-limiter.ts'
import { RpcType, type Envelope, type RequestFields, type ResponseEnvelope } from './envelopes/envelope.ts'
import type { Subjects } from './names.ts'
import type { Transport } from './transports/transport.ts'

/** Who waits for an answer. Exactly one of the two is called, exactly once, unless the call is cancelled before. They must not throw. */
export interface PendingCall {
  onReply (response: ResponseEnvelope): void
  /**
   * PIT_ERR_CLUSTER_DOWN, PIT_ERR_RPC_PENDING, PIT_ERR_RPC_SIZE: not sent. PIT_ERR_SERVER_UNKNOWN: nobody listens there, so surely not
   * executed. PIT_ERR_SERVER_LOST: outcome unknown. PIT_ERR_RPC: not sent, or the answer could not be read.
   */
  onFail (error: PitayaError): void
}

/** A request without what is the same for all of this server's. */
export interface RpcRequest {
  type: RpcType
  route: string
  /** A client's notify; it is answered too, by nothing. */
  isNotify: boolean
  remainingMs: number
  frontend: string
  session: Uint8Array | undefined
  context: Readonly<Record<string, string>> | undefined
}

export interface RpcClientOptions {
  transport: Transport
  envelope: Envelope
  subjects: Subjects
  serverId: string
  incarnation: string
  /** Calls in flight at most, default 10,000. */
  maxPending?: number
  log: Logger
}

interface Waiting { readonly target: string, readonly call: PendingCall }

const DEFAULT_MAX_PENDING = 10_000
/** Of a message that cannot be read, this much is logged. */
const LOGGED_BYTES = 64

/** Calls other servers: one inbox for all answers, and a table of those who wait. Deadlines are the callers' business: they cancel. */
export class RpcClient {
  readonly #transport: Transport
  readonly #envelope: Envelope
  readonly #subjects: Subjects
  readonly #serverId: string
  readonly #inbox: string
  readonly #maxPending: number
  readonly #log: Logger
  readonly #lines: LineLimiter
  readonly #waiting = new Map<number, Waiting>()
  /** Filled anew for every request. */
  readonly #fields: RequestFields
  /** Numbers are never used again, so an answer that comes late meets nobody else's call. */
  #last = 0
  #unsubscribe: (() => void) | undefined

  constructor ({ transport, envelope, subjects, serverId, incarnation, maxPending = DEFAULT_MAX_PENDING, log }: RpcClientOptions) {
    this.#transport = transport
    this.#envelope = envelope
    this.#subjects = subjects
    this.#serverId = serverId
    this.#inbox = subjects.inbox(serverId, incarnation)
    this.#maxPending = maxPending
    this.#log = log
    this.#lines = new LineLimiter(log)
    this.#fields = {
      type: RpcType.sys,
      route: '',
      isNotify: false,
      remainingMs: 0,
      caller: serverId,
      callerIncarnation: incarnation,
      frontend: '',
      session: undefined,
      context: undefined
    }
  }

  /** Calls in flight. */
  get pending (): number { return this.#waiting.size }

  /** Listens for answers. Flush the transport before the first call. */
  open (): void {
    this.#unsubscribe ??= this.#transport.subscribe(`${this.#inbox}.*`, (data, subject) => this.#onMessage(data, subject))
  }

  /**
   * Sends the bytes from `start` to `end` and waits for the answer.
   * @param target server id
   * @returns the call's number, for `cancel`; -1: refused, `onFail` was called already
   */
  call (target: string, request: Readonly<RpcRequest>, data: Uint8Array, start: number, end: number, call: PendingCall): number {
    if (this.#waiting.size >= this.#maxPending) return refuse(call, createError('PIT_ERR_RPC_PENDING'))
    const id = this.#last + 1
    try {
      if (!this.#send(target, request, data, start, end, `${this.#inbox}.${id}`)) return refuse(call, createError('PIT_ERR_CLUSTER_DOWN'))
    } catch (error) {
      if (!isPitayaError(error)) throw error
      return refuse(call, error)
    }
    this.#last = id
    this.#waiting.set(id, { target, call })
    return id
  }

  /**
   * Sends without waiting for anything.
   * @returns false: not connected, not sent
   * @throws PIT_ERR_RPC, PIT_ERR_RPC_SIZE
   */
  notify (target: string, request: Readonly<RpcRequest>, data: Uint8Array, start: number, end: number): boolean {
    return this.#send(target, request, data, start, end)
  }

  /** Forgets a call. Its answer, if it comes, is dropped and counted. Harmless for a call that has ended. */
  cancel (id: number): void {
    this.#waiting.delete(id)
  }

  /** A server is gone, or another life of it has begun: calls in flight to it fail with PIT_ERR_SERVER_LOST. */
  failPeer (serverId: string): void {
    this.#fail(serverId, this.#last)
  }

  /** The connection is lost: all calls in flight fail with PIT_ERR_SERVER_LOST. */
  failAll (): void {
    this.#fail(undefined, this.#last)
  }

  /** Fails what is in flight and refuses what follows. */
  close (): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.failAll()
  }

  #send (target: string, request: Readonly<RpcRequest>, data: Uint8Array, start: number, end: number, reply?: string): boolean {
    if (this.#unsubscribe === undefined || !this.#transport.isUp) return false
    const subject = this.#subjects.rpc(target)
    const fields = this.#fields
    fields.type = request.type
    fields.route = request.route
    fields.isNotify = request.isNotify
    fields.remainingMs = request.remainingMs
    fields.frontend = request.frontend
    fields.session = request.session
    fields.context = request.context
    return this.#transport.publish(subject, this.#envelope.encodeRequest(fields, data, start, end), reply)
  }

  #onMessage (data: Uint8Array | undefined, subject: string): void {
    const id = numberAt(subject, this.#inbox.length + 1)
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) {
      if (channels.rpcLate.hasSubscribers) channels.rpcLate.publish({ serverId: this.#serverId })
      return
    }
    this.#waiting.delete(id)
    if (data === undefined) {
      waiting.call.onFail(createError('PIT_ERR_SERVER_UNKNOWN'))
      // Its connection is gone: what was sent before reached it and is lost with it. What was sent after is refused like this one.
      this.#fail(waiting.target, id - 1)
      return
    }
    let response
    try {
      response = this.#envelope.decodeResponse(data)
    } catch (error) {
      return this.#onUnreadable(waiting, error as PitayaError, data)
    }
    waiting.call.onReply(response)
  }

  #onUnreadable ({ target, call }: Waiting, error: PitayaError, data: Uint8Array): void {
    if (channels.decodeError.hasSubscribers) channels.decodeError.publish({ serverId: this.#serverId, code: error.code })
    if (this.#lines.admits('rpc', performance.now())) {
      const hex = Buffer.from(data.subarray(0, LOGGED_BYTES)).toString('hex')
      this.#log.warn({ peer: target, code: error.code, hex }, 'an answer could not be read')
    }
    call.onFail(error)
  }

  /** Callers may cancel others and call anew while they are told: those gone by then are not told, those new are not touched. */
  #fail (target: string | undefined, last: number): void {
    let error
    for (const [id, waiting] of this.#waiting) {
      if (id > last) break
      if (target !== undefined && waiting.target !== target) continue
      this.#waiting.delete(id)
      waiting.call.onFail(error ??= createError('PIT_ERR_SERVER_LOST'))
    }
  }
}

function refuse (call: PendingCall, error: PitayaError): -1 {
  call.onFail(error)
  return -1
}

/** The number that ends the text, written as we write numbers; else 0, which is no call's. */
function numberAt (text: string, start: number): number {
  const { length } = text
  if (length === start || length - start > 16 || text.charCodeAt(start) === 0x30) return 0
  let number = 0
  for (let i = start; i < length; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit > 9) return 0
    number = number * 10 + digit
  }
  return number
}

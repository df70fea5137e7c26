import { PitayaError } from '../lib/pitaya-error.ts'
import { createError } from '../lib/protocol/errors.ts'
import { parseHandshakeAnswer, type HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'
import { encodeMessage, type MessageType } from '../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../lib/protocol/packet.ts'
import type { ClientCodec, ClientSerializer, CodecHost } from './codec.ts'
import { Inbox, type InboxOwner, type MessageSink } from './inbox.ts'
import { decodeJson, EMPTY, encodeJson } from './json.ts'
import type { CloseInfo, ConnectOptions } from './options.ts'
import { MAX_TIMER_MS } from './pending.ts'
import type { ClientTransport, TransportOpener } from './transport.ts'

/** Intervals of silence after which a server is taken for dead. */
const MAX_UNANSWERED = 2
const CONNECT_MS = 10_000
const KICKED: CloseInfo = { code: 4504, reason: 'kicked' }

export interface ConnectionOwner {
  onOpen (): void
  /** Once. `error` says more where the connection was never open, or was ended by us. */
  onEnd (info: CloseInfo, error: unknown, retryAfterMs: number): void
}

/** One connection, from being opened to its end. */
export class Connection implements InboxOwner, CodecHost {
  answer: HandshakeAnswer | undefined
  /** Set when the server accepted it. */
  codec!: ClientCodec
  isEnded = false
  readonly inbox: Inbox
  #options: ConnectOptions
  #serializers: readonly ClientSerializer[]
  #owner: ConnectionOwner
  #transport: ClientTransport | undefined
  #opening = new AbortController()
  #deadline: ReturnType<typeof setTimeout> | undefined
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #kicked: CloseInfo | undefined

  constructor (options: ConnectOptions, serializers: readonly ClientSerializer[], owner: ConnectionOwner, sink: MessageSink) {
    this.#options = options
    this.#serializers = serializers
    this.#owner = owner
    this.inbox = new Inbox(this, sink, options)
  }

  /** Asks for the user, opens the transport and greets; whatever of that fails, or takes too long, ends it. */
  start (open: TransportOpener): void {
    const { connectMs = CONNECT_MS, user } = this.#options
    this.#deadline = setTimeout(
      () => this.fail(createError('PIT_ERR_CLIENT_TIMEOUT', [connectMs])), Math.min(connectMs, MAX_TIMER_MS))
    const fail = (error: unknown): void => this.fail(error)
    try {
      after(typeof user === 'function' ? user() : user, fail, (user) => {
        if (!this.isEnded) after(open(this.#opening.signal), fail, (transport) => this.#greet(transport, user))
      })
    } catch (error) {
      fail(error)
    }
  }

  /** @throws what the codec or the route's length is to blame for; nothing was sent then */
  encode (type: MessageType, id: number, route: string, body: unknown): Uint8Array {
    return encodeMessage({ type, id, route, routeCode: this.answer!.dict.get(route), data: this.codec.encode(route, 'body', body) })
  }

  send (message: Uint8Array): void { this.#write(PacketType.data, message) }

  /** Ends it now: whoever waits for the other side's goodbye waits for one that may be gone. */
  end (info: CloseInfo, error?: unknown, retryAfterMs = 0): void {
    if (this.isEnded) return
    this.isEnded = true
    clearTimeout(this.#deadline)
    clearInterval(this.#heartbeat)
    this.#opening.abort()
    this.#transport?.close()
    this.codec?.close?.()
    this.#owner.onEnd(this.#kicked ?? info, error, retryAfterMs)
  }

  onHandshake (body: Uint8Array): void {
    if (this.answer !== undefined) throw createError('PIT_ERR_STATE')
    const answer = this.answer = parseHandshakeAnswer(decodeJson(body))
    const { code, dict, heartbeatSeconds, serializer } = answer
    if (code !== 200) { this.#refused(answer); return }
    const member = this.#serializers.find(({ name }) => name === serializer)
    if (member === undefined) throw createError('PIT_ERR_HANDSHAKE', [`the server speaks ${serializer}`])
    this.codec = member.codec(answer, this)
    for (const [route, code] of dict) this.inbox.routes.set(code, route)
    this.#write(PacketType.ack, EMPTY)
    if (heartbeatSeconds > 0) this.#beat(heartbeatSeconds * 1000)
    if (this.codec.open?.() !== true) this.opened()
  }

  opened (): void {
    clearTimeout(this.#deadline)
    if (!this.isEnded) this.#owner.onOpen()
  }

  onKick (body: Uint8Array): void {
    const { code, reason } = body.length === 0 ? KICKED : decodeJson(body) as CloseInfo
    this.#kicked = { code: +code, reason: `${reason}` }
  }

  onUnreadable (error: unknown): void {
    this.end({ code: 4500, reason: error instanceof Error ? error.message : 'bad packet' }, error)
  }

  #greet (transport: ClientTransport, user: unknown): void {
    if (this.isEnded) { transport.close(); return }
    this.#transport = transport
    transport.handler = {
      onData: (bytes) => { if (!this.isEnded) this.inbox.read(bytes) },
      onClose: (code, reason) => this.inbox.afterAll(() => this.end({ code, reason }))
    }
    const serializer = this.#serializers[0]!.name
    const more = this.#serializers[0]!.sys?.()
    const sys = { platform: 'js', libVersion: '0.1.0', serializer, closeReason: true, ...more }
    this.#write(PacketType.handshake, encodeJson({ sys, user: user ?? {} }))
  }

  #refused ({ code, error, retryAfterMs }: HandshakeAnswer): void {
    const { code: name = `PIT-${code}`, msg = 'refused', metadata } = error ?? {}
    const more = retryAfterMs === undefined ? metadata : { ...metadata, retryAfterMs: String(retryAfterMs) }
    const refusal = new PitayaError(name, msg, more)
    this.end({ code: code === 503 ? 4008 : 4503, reason: msg, error: refusal }, refusal, retryAfterMs)
  }

  #beat (intervalMs: number): void {
    let unanswered = 0
    this.#heartbeat = setInterval(() => {
      // Counted, not timed: a timer that comes late (a blocked page, a lid closed) is no silence.
      unanswered = this.inbox.packets === 0 ? unanswered + 1 : 0
      this.inbox.packets = 0
      if (unanswered === MAX_UNANSWERED) this.fail(createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'the server is silent' }))
      else this.#write(PacketType.heartbeat, EMPTY)
    }, Math.min(intervalMs, MAX_TIMER_MS))
    // In Node a connection alone, not its heartbeat, keeps the process.
    ;(this.#heartbeat as { unref?: () => void }).unref?.()
  }

  /** Ends it as a loss. */
  fail (error: unknown): void {
    this.end({ code: 1006, reason: error instanceof Error ? error.message : String(error) }, error)
  }

  #write (type: PacketType, body: Uint8Array): void {
    if (!this.isEnded) this.#transport!.write(encodePacket(type, body))
  }
}

/** Goes on at once where there is nothing to wait for. */
function after<T> (value: T | Promise<T>, fail: (error: unknown) => void, next: (value: T) => void): void {
  if (typeof (value as Promise<T> | undefined)?.then === 'function') (value as Promise<T>).then(next).catch(fail)
  else next(value as T)
}

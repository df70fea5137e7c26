import { channels } from '../channels.ts'
import { Deadline } from '../deadline.ts'
import { closes, createError, isPitayaError, toWireError, type CloseReason, type PitayaError } from '../errors.ts'
import { frameMessage } from '../frame.ts'
import type { LineLimiter } from '../line-limiter.ts'
import { COMPRESSED_BIT, decodeMessage, MessageType, responseHeadSize, writeResponseHead } from '../protocol/message.ts'
import { HEADER_BYTES, MAX_BODY_BYTES, PacketDecoder, PacketType, writePacketHeader, type PacketSink } from '../protocol/packet.ts'
import type { Entity, Session, SharedPush } from '../session/session.ts'
import type { TimerEntry } from '../timer-wheel.ts'
import { deflateIfSmaller } from './compression.ts'
import type { Connection, ConnectionHandler } from './connection.ts'
import type { AgentHost, Greeting } from './host.ts'
import { Outbox } from './outbox.ts'
import { PacketRate } from './rate.ts'
import { Action, State, transitions } from './states.ts'

const EMPTY = new Uint8Array(0)
/** How long a client over its rate is not read. */
const THROTTLE_MS = 50
/** Pushes kept for a client in its handshake. */
const MAX_EARLY = 64
/** Beyond two intervals of silence: the client's own timer may be late. */
const HEARTBEAT_GRACE_MS = 500

/**
 * One client on its frontend: the only reader and the only writer of its connection. Bytes in become packets, packets go through the
 * state table, data packets become messages for the host; answers and pushes leave through the outbox.
 */
export class Agent implements ConnectionHandler, PacketSink, Entity, TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  readonly session: Session
  #host: AgentHost
  #closeLines: LineLimiter
  /** Code of the error that ends the connection, for the log. */
  #error: string | undefined
  #connection: Connection
  #decoder: PacketDecoder
  #outbox: Outbox
  #state: State = State.start
  #rate: PacketRate | null
  #request: unknown
  /** Bytes that came while the handshake was being checked. */
  #held: Uint8Array[] | null = null
  #deadline: Deadline | null
  #pause: Deadline | null = null
  /** While a client over its rate is not read. */
  #throttle: Deadline | null = null
  /** Pushes of the login, whole packets, until the client may get them. */
  #early: Uint8Array[] | null = null
  #lastSeen: number
  #nextBeat: number
  #bytesIn = 0
  #isFinishing = false

  constructor (host: AgentHost, closeLines: LineLimiter, connection: Connection, request: unknown) {
    this.#host = host
    this.#closeLines = closeLines
    this.#connection = connection
    this.#request = request
    this.#decoder = new PacketDecoder(host.limits.handshakeBytes)
    this.#outbox = new Outbox(host.outboxes, connection, this)
    const { now } = host.wheel
    this.#lastSeen = now
    this.#nextBeat = now + host.limits.heartbeatMs
    this.#rate = host.limits.ratePerSecond > 0 ? new PacketRate(host.limits, now) : null
    this.session = host.sessions.create(this, now)
    this.#deadline = new Deadline(host.wheel, host.limits.handshakeMs, () => this.#fail(createError('PIT_ERR_HANDSHAKE_TIMEOUT')))
    host.wheel.schedule(this, host.limits.heartbeatMs)
    connection.handler = this
    if (channels.open.hasSubscribers) {
      channels.open.publish({ serverId: host.serverId, transport: connection.transport, sessionId: this.session.id })
    }
  }

  get remoteAddress (): string { return this.#connection.remoteAddress }
  get transport (): string { return this.#connection.transport }
  get ageMs (): number { return this.#host.wheel.now - this.session.openedAt }
  get isClosed (): boolean { return this.#state === State.closed }

  onData (bytes: Uint8Array): void {
    if (this.#state === State.closed || this.#isFinishing) return
    this.#bytesIn += bytes.length
    if (this.#state === State.checking) { this.#hold(bytes); return }
    if (bytes.length === 0 && this.#connection.wholePackets) { this.#fail(createError('PIT_ERR_PACKET_HEADER')); return }
    this.#read(bytes)
  }

  onDrain (): void { this.#outbox.drained() }

  onClose (error?: Error & { code?: unknown }): void {
    if (this.#state !== State.closed) {
      // Frames that `ws` could not read: it has closed the connection itself.
      const isBadFrame = typeof error?.code === 'string' && error.code.startsWith('WS_ERR_')
      if (isBadFrame) this.#publishDecodeError(error.code as string)
      this.#end(isBadFrame ? 'badPacket' : 'peer')
    }
    this.#host.wheel.cancel(this)
    this.#host.onGone(this)
  }

  /** @returns false to stop the decoder: the rest waits until the handshake is checked, or is dropped with the connection */
  onPacket (type: PacketType, bytes: Uint8Array, start: number, end: number): boolean {
    this.#lastSeen = this.#host.wheel.now
    switch (transitions[this.#state]![type]) {
      case Action.data: this.#onMessage(bytes, start, end); break
      case Action.count:
        if (this.#rate !== null && !this.#rate.take(this.#host.wheel.now)) this.#overRate()
        break
      case Action.handshake: this.#onHandshake(bytes.subarray(start, end)); break
      case Action.ack: this.#onAck(); break
      default: throw createError('PIT_ERR_STATE')
    }
    return this.#state !== State.checking && this.#state !== State.closed
  }

  respond (id: number, payload: Uint8Array, isError: boolean): void {
    if (this.#state === State.closed) return
    const smaller = deflateIfSmaller(payload, this.#host.compressFrom)
    const data = smaller ?? payload
    const at = this.#startPacket(PacketType.data, responseHeadSize(id) + data.length)
    const chunk = this.#outbox.chunk()
    chunk.set(data, writeResponseHead(chunk, at, id, isError, smaller !== undefined))
  }

  push (head: Uint8Array, payload: Uint8Array): boolean {
    if (this.#state !== State.working) return this.#keep(() => frameMessage(this.#connection.framing, head, payload))
    const smaller = deflateIfSmaller(payload, this.#host.compressFrom)
    const data = smaller ?? payload
    const at = this.#startPacket(PacketType.data, head.length + data.length)
    const chunk = this.#outbox.chunk()
    chunk.set(head, at)
    if (smaller !== undefined) chunk[at]! |= COMPRESSED_BIT
    chunk.set(data, at + head.length)
    return true
  }

  send (broadcast: SharedPush): boolean {
    if (this.#state !== State.working) return this.#keep(() => broadcast.frame(this.#connection.framing))
    this.#outbox.append(broadcast.frame(this.#connection.framing))
    return true
  }

  /** A push while the client is in its handshake, by a validator or a bind hook, is sent right after the ack. */
  #keep (frame: () => Uint8Array): boolean {
    if (this.#state === State.closed || (this.#early?.length ?? 0) >= MAX_EARLY) return false
    this.#early ??= []
    this.#early.push(frame())
    return true
  }

  settled (): void {}

  kick (reason: CloseReason, text?: string): void {
    if (this.#state === State.working) this.#writeKick(reason, text)
    this.#closeWith(reason, text)
  }

  /** Ends the connection with this reason: what waits is sent first. Harmless when already closed. */
  close (reason: CloseReason): void {
    if (this.#state === State.working && this.session.sys.closeReason === true) this.#writeKick(reason)
    this.#closeWith(reason)
  }

  /** Reads no more; what is in hand is finished and answered, then the connection closes. What was not answered was not begun. */
  finish (reason: CloseReason): void {
    if (this.#state !== State.working) { this.close(reason); return }
    if (this.#isFinishing) return
    this.#isFinishing = true
    this.#connection.pause()
    this.#host.whenIdle(this.session, () => this.close(reason))
  }

  /** Closes now, whatever is in hand: a client whose request was begun is told that nobody knows what became of it. */
  shutDown (): void { this.close(this.#host.hasBegun(this.session) ? 'unfinished' : 'shutdown') }

  /** Ends at once, without a word. */
  destroy (): void { this.#connection.destroy() }

  pauseReading (): void {
    if (this.#pause !== null || this.#state === State.closed) return
    this.#pause = new Deadline(this.#host.wheel, this.#host.limits.pauseMs, () => { this.close('overload'); this.#connection.destroy() })
    this.#connection.pause()
  }

  resumeReading (): void {
    if (this.#pause === null || this.#state === State.closed) return
    this.#pause.cancel()
    this.#pause = null
    this.#lastSeen = this.#host.wheel.now
    this.#readOn()
  }

  /** The heartbeat's timer; after the close, the end of the client's time to say goodbye. */
  onTimer (): void {
    if (this.#state === State.closed) { this.#connection.destroy(); return }
    const { wheel, limits } = this.#host
    const { now } = wheel
    // While we do not read, the client cannot be heard.
    if (this.#pause !== null || this.#isFinishing || this.#state === State.checking) this.#lastSeen = now
    const silentAt = this.#lastSeen + 2 * limits.heartbeatMs + Math.min(HEARTBEAT_GRACE_MS, limits.heartbeatMs / 2)
    if (now >= silentAt) { this.close('heartbeat'); return }
    if (now >= this.#nextBeat) {
      this.#startPacket(PacketType.heartbeat, 0)
      this.#nextBeat = now + limits.heartbeatMs
    }
    wheel.schedule(this, Math.max(1, Math.min(this.#nextBeat, silentAt) - now))
  }

  /** The client does not drain, or owes more than it may. */
  onSlow (): void { this.#closeWith('slow') }

  #read (bytes: Uint8Array): void {
    try {
      const consumed = this.#decoder.push(bytes, this)
      if (this.#state === State.checking) {
        if (consumed < bytes.length) this.#hold(bytes.subarray(consumed))
      } else if (this.#connection.wholePackets && this.#state !== State.closed && !this.#decoder.isBetweenPackets) {
        this.#fail(createError(bytes.length < HEADER_BYTES ? 'PIT_ERR_PACKET_HEADER' : 'PIT_ERR_PACKET_TRUNCATED'))
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  #hold (bytes: Uint8Array): void {
    if (this.#held === null) this.#held = [bytes]
    else this.#held.push(bytes)
    let length = 0
    for (const part of this.#held) length += part.length
    if (length > this.#host.limits.packetBytes * 2 || this.#held.length > 1024) this.#fail(createError('PIT_ERR_PACKET_SIZE'))
  }

  #onHandshake (body: Uint8Array): void {
    const full = this.#host.fullReason(this.remoteAddress)
    if (full !== undefined) { this.#refuse(503, createError('PIT_ERR_FULL'), full); return }
    this.#state = State.checking
    let greeting
    try {
      greeting = this.#host.greet(this.session, body, this.#request)
    } catch (error) {
      this.#refuse(400, error)
      return
    }
    if (!(greeting instanceof Promise)) { this.#welcome(greeting); return }
    this.#connection.pause()
    greeting.then(
      (greeting) => {
        if (this.#state !== State.checking) return
        this.#welcome(greeting)
        this.#release()
      },
      (error: unknown) => { if (this.#state === State.checking) this.#refuse(400, error) }
    )
  }

  #welcome (greeting: Greeting): void {
    this.session.sys = greeting.sys
    this.session.user = greeting.user
    this.#request = undefined
    this.#state = State.greeted
    this.#writeHandshake(this.#host.answers.accept(greeting.serializerName, greeting.extraSys))
  }

  /** Reads what came meanwhile, then goes on reading. */
  #release (): void {
    const held = this.#held
    this.#held = null
    if (held !== null) for (const bytes of held) if (!this.isClosed) this.#read(bytes)
    this.#readOn()
  }

  #refuse (code: 400 | 503, cause: unknown, extra?: { retryAfterMs: number }): void {
    const { log, serverId } = this.#host
    let error = cause
    if (!isPitayaError(error)) {
      log.error({ err: cause, sessionId: this.session.id }, 'a handshake validator failed')
      error = createError('PIT_ERR_INTERNAL')
    }
    const refusal = error as PitayaError
    this.#error = refusal.code
    if (channels.refuse.hasSubscribers) channels.refuse.publish({ serverId, reason: code === 503 ? 'full' : 'handshake' })
    this.#writeHandshake(this.#host.answers.refuse(code, this.#host.defaultSerializer, toWireError(refusal), extra))
    this.#closeWith(code === 503 ? 'overload' : 'handshakeRejected')
  }

  #onAck (): void {
    this.#state = State.working
    const { awaited } = this.session
    if (awaited === null) this.#inTime()
    else awaited.onSettled = () => this.#inTime()
    this.#decoder.maxBodyBytes = this.#host.limits.packetBytes
    const early = this.#early
    this.#early = null
    if (early !== null) for (const packet of early) this.#outbox.append(packet)
  }

  #inTime (): void {
    this.#deadline?.cancel()
    this.#deadline = null
  }

  #onMessage (bytes: Uint8Array, start: number, end: number): void {
    const host = this.#host
    const { view } = host
    decodeMessage(bytes, start, end, view)
    if (view.type === MessageType.push) throw createError('PIT_ERR_MESSAGE_TYPE')
    const isOverRate = this.#rate !== null && !this.#rate.take(host.wheel.now)
    host.onMessage(this.session, view, bytes, isOverRate)
    if (isOverRate) this.#overRate()
  }

  /** The client is not read for a moment, so that one that floods takes no more of the event loop than what is read of it already. */
  #overRate (): void {
    if (this.#rate!.isViolated(this.#host.wheel.now)) { this.close('rate'); return }
    if (this.#throttle !== null || this.#state === State.closed) return
    this.#throttle = new Deadline(this.#host.wheel, THROTTLE_MS, () => {
      this.#throttle = null
      this.#readOn()
    })
    this.#connection.pause()
  }

  /** Goes on reading, unless something else is in the way. */
  #readOn (): void {
    const isHeld = this.#state === State.checking || this.#state === State.closed
    if (!isHeld && !this.#isFinishing && this.#pause === null && this.#throttle === null) this.#connection.resume()
  }

  #fail (error: unknown): void {
    if (this.#state === State.closed) return
    const reason = isPitayaError(error) ? error.close : undefined
    if (reason === undefined) this.#host.log.error({ err: error, sessionId: this.session.id }, 'reading from a client failed')
    if (reason === 'badPacket') this.#publishDecodeError((error as PitayaError).code)
    this.close(reason ?? 'internal')
  }

  refuseBytes (error: unknown): void { this.#fail(error) }

  #publishDecodeError (code: string): void {
    this.#error = code
    if (channels.decodeError.hasSubscribers) channels.decodeError.publish({ serverId: this.#host.serverId, code })
  }

  #closeWith (reason: CloseReason, text: string = closes[reason].text): void {
    if (this.#state === State.closed) return
    this.#outbox.finish()
    this.#end(reason)
    this.#host.wheel.schedule(this, this.#host.limits.closeMs)
    this.#connection.close(closes[reason].code, text)
  }

  #end (reason: CloseReason | 'peer'): void {
    const { wheel, serverId } = this.#host
    const { session } = this
    this.#state = State.closed
    this.#held = null
    this.#request = undefined
    this.#deadline?.cancel()
    this.#pause?.cancel()
    this.#throttle?.cancel()
    this.#early = null
    wheel.cancel(this)
    this.#outbox.close()
    const { transport, remoteAddress } = this.#connection
    const code = reason === 'peer' ? 1000 : closes[reason].code
    const ageMs = Math.round(wheel.now - session.openedAt)
    const line = { transport, sessionId: session.id, code, ageMs, bytesIn: this.#bytesIn, bytesOut: this.#outbox.writtenBytes }
    if (this.#closeLines.admits(reason, wheel.now)) {
      const { uid } = session
      this.#host.log.info({ ...line, remoteAddress, reason, error: this.#error, uid: uid === '' ? undefined : uid }, 'connection closed')
    }
    if (channels.close.hasSubscribers) channels.close.publish({ serverId, ...line, reason })
    session.ended()
  }

  #writeHandshake (text: string): void {
    let body: Uint8Array = Buffer.from(text)
    if (this.#host.compressFrom !== Infinity) body = deflateIfSmaller(body, 0) ?? body
    this.#writePacket(PacketType.handshake, body)
  }

  /** Empty for stock clients; `{code, reason}` for those that asked for it. */
  #writeKick (reason: CloseReason, text: string = closes[reason].text): void {
    const isTold = this.session.sys.closeReason === true
    this.#writePacket(PacketType.kick, isTold ? Buffer.from(JSON.stringify({ code: closes[reason].code, reason: text })) : EMPTY)
  }

  #writePacket (type: PacketType, body: Uint8Array): void {
    const at = this.#startPacket(type, body.length)
    this.#outbox.chunk().set(body, at)
  }

  /** Reserves a packet and writes its headers; returns where its body begins. Throws before anything is reserved when it is too large. */
  #startPacket (type: PacketType, bodyLength: number): number {
    if (bodyLength > MAX_BODY_BYTES) throw createError('PIT_ERR_PACKET_SIZE')
    const { framing } = this.#connection
    const length = HEADER_BYTES + bodyLength
    const frameHead = framing === undefined ? 0 : framing.size(length)
    const at = this.#outbox.reserve(frameHead + length)
    const chunk = this.#outbox.chunk()
    if (framing !== undefined) framing.write(chunk, at, length)
    writePacketHeader(chunk, at + frameHead, type, bodyLength)
    return at + frameHead + HEADER_BYTES
  }
}

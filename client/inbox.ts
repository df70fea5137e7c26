import { createMessageView, decodeMessage, MessageType } from '../lib/protocol/message.ts'
import { PacketDecoder, PacketType, type PacketSink } from '../lib/protocol/packet.ts'
import { decodeUtf8 } from '../lib/protocol/utf8.ts'
import { inflateStream } from './inflate-stream.ts'

/** What compressed data may inflate to, in packets of the largest size. */
const MAX_RATIO = 10
/** First byte of all zlib data with the usual window; JSON never begins with it. */
const ZLIB = 0x78

/** Told what came, in order. Bytes are valid only during the call. */
export interface InboxOwner {
  readonly isEnded: boolean
  onHandshake (body: Uint8Array): void
  /** @param code of the route, -1 where it came as text */
  onPush (route: string, code: number, data: Uint8Array): void
  onResponse (id: number, data: Uint8Array, isError: boolean): void
  onKick (body: Uint8Array): void
  /** What came cannot be read; nothing more is read. */
  onUnreadable (error: unknown): void
}

export interface InboxOptions {
  packetBytes: number
  inflate: ((data: Uint8Array, maxBytes: number) => Uint8Array) | undefined
}

/** Reads a server's bytes. Inflating may take a while: what comes after waits for it, and order is kept. */
export class Inbox implements PacketSink {
  /** Packets read since it was set to 0. */
  packets = 0
  #owner: InboxOwner
  #options: InboxOptions
  #decoder: PacketDecoder
  #view = createMessageView()
  /** Of what waits; undefined while nothing does, and then nothing is put off. */
  #tail: Promise<void> | undefined

  constructor (owner: InboxOwner, options: InboxOptions) {
    this.#owner = owner
    this.#options = options
    this.#decoder = new PacketDecoder(options.packetBytes)
  }

  read (bytes: Uint8Array): void {
    try {
      this.#decoder.push(bytes, this)
    } catch (error) {
      this.#owner.onUnreadable(error)
    }
  }

  /** Calls `step` after all that came before. */
  afterAll (step: () => void): void {
    if (this.#tail === undefined) step()
    else this.#wait(this.#tail.then(step))
  }

  onPacket (type: PacketType, bytes: Uint8Array, start: number, end: number): boolean {
    this.packets++
    if (type === PacketType.heartbeat) return true
    if (this.#tail === undefined) {
      const more = this.#take(type, bytes, start, end)
      if (more !== undefined) this.#wait(more)
    } else {
      const body = bytes.slice(start, end)
      this.#wait(this.#tail.then(() => this.#take(type, body, 0, body.length)))
    }
    return !this.#owner.isEnded
  }

  #wait (step: Promise<void>): void {
    const tail = step
      .catch((error: unknown) => this.#owner.onUnreadable(error))
      .then(() => { if (this.#tail === tail) this.#tail = undefined })
    this.#tail = tail
  }

  #take (type: PacketType, bytes: Uint8Array, start: number, end: number): Promise<void> | undefined {
    const owner = this.#owner
    if (owner.isEnded) return
    if (type === PacketType.data) return this.#takeMessage(bytes, start, end)
    const body = bytes.subarray(start, end)
    if (type === PacketType.kick) owner.onKick(body)
    else if (type === PacketType.handshake) {
      if (body[0] === ZLIB) return this.#inflate(body, (plain) => owner.onHandshake(plain))
      owner.onHandshake(body)
    }
  }

  #takeMessage (bytes: Uint8Array, start: number, end: number): Promise<void> | undefined {
    const view = this.#view
    decodeMessage(bytes, start, end, view)
    const { type, id, isError, routeCode } = view
    const data = bytes.subarray(view.dataStart, view.dataEnd)
    if (type === MessageType.response) {
      if (view.isCompressed) return this.#inflate(data, (plain) => this.#owner.onResponse(id, plain, isError))
      this.#owner.onResponse(id, data, isError)
    } else if (type === MessageType.push) {
      const route = routeCode === -1 ? decodeUtf8(bytes, view.routeStart, view.routeEnd) : ''
      if (view.isCompressed) return this.#inflate(data, (plain) => this.#owner.onPush(route, routeCode, plain))
      this.#owner.onPush(route, routeCode, data)
    }
  }

  #inflate (data: Uint8Array, next: (plain: Uint8Array) => void): Promise<void> | undefined {
    const { inflate, packetBytes } = this.#options
    const maxBytes = MAX_RATIO * packetBytes
    if (inflate === undefined) return inflateStream(data.slice(), maxBytes).then((plain) => { if (!this.#owner.isEnded) next(plain) })
    next(inflate(data, maxBytes))
  }
}

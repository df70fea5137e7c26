import { createMessageView, decodeMessage, MessageType } from '../lib/protocol/message.ts'
import { PacketDecoder, PacketType, type PacketSink } from '../lib/protocol/packet.ts'
import { decodeUtf8 } from '../lib/protocol/utf8.ts'
import type { ConnectOptions } from './options.ts'

const PACKET_BYTES = 1 << 20
/** What compressed data may inflate to, in packets of the largest size. */
const MAX_RATIO = 10
/** First byte of all zlib data with the usual window; JSON never begins with it. */
const ZLIB = 0x78

/** Gets what the server sends, in order. Bytes are valid only during the call. */
export interface MessageSink {
  onResponse (id: number, data: Uint8Array, isError: boolean): void
  onPush (route: string, data: Uint8Array): void
}

/** Gets what concerns the connection. */
export interface InboxOwner {
  readonly isEnded: boolean
  onHandshake (body: Uint8Array): void
  onKick (body: Uint8Array): void
  /** What came cannot be read; nothing more is read. */
  onUnreadable (error: unknown): void
}

/** Reads a server's bytes. Inflating may take a while: what comes after waits for it, and order is kept. */
export class Inbox implements PacketSink {
  /** Packets read since it was set to 0. */
  packets = 0
  /** Routes by their code, once the handshake told them. */
  routes = new Map<number, string>()
  /** A codec may put itself before it. */
  sink: MessageSink
  #owner: InboxOwner
  #inflate: ConnectOptions['inflate']
  #maxBytes: number
  #decoder: PacketDecoder
  #view = createMessageView()
  /** Of what waits; undefined while nothing does, and then nothing is put off. */
  #tail: Promise<void> | undefined

  constructor (owner: InboxOwner, sink: MessageSink, { packetBytes = PACKET_BYTES, inflate }: ConnectOptions) {
    this.#owner = owner
    this.sink = sink
    this.#inflate = inflate
    this.#maxBytes = MAX_RATIO * packetBytes
    this.#decoder = new PacketDecoder(packetBytes)
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
    else if (type === PacketType.handshake) return this.#inflated(body[0] === ZLIB, body, (plain) => owner.onHandshake(plain))
  }

  #takeMessage (bytes: Uint8Array, start: number, end: number): Promise<void> | undefined {
    const view = this.#view
    decodeMessage(bytes, start, end, view)
    const { type, id, isError, routeCode } = view
    const data = bytes.subarray(view.dataStart, view.dataEnd)
    const { sink } = this
    if (type === MessageType.response) return this.#inflated(view.isCompressed, data, (plain) => sink.onResponse(id, plain, isError))
    if (type !== MessageType.push) return
    const route = routeCode === -1 ? decodeUtf8(bytes, view.routeStart, view.routeEnd) : this.routes.get(routeCode)
    if (route !== undefined) return this.#inflated(view.isCompressed, data, (plain) => sink.onPush(route, plain))
  }

  #inflated (isCompressed: boolean, data: Uint8Array, next: (plain: Uint8Array) => void): Promise<void> | undefined {
    if (!isCompressed) next(data)
    else if (this.#inflate !== undefined) next(this.#inflate(data, this.#maxBytes))
    else {
      const copy = data.slice()
      // Most servers never compress.
      return import('./inflate-stream.ts').then(({ inflateStream }) => inflateStream(copy, this.#maxBytes))
        .then((plain) => { if (!this.#owner.isEnded) next(plain) })
    }
  }
}

import { createError } from './errors.ts'

export const PacketType = { handshake: 1, ack: 2, heartbeat: 3, data: 4, kick: 5 } as const
export type PacketType = typeof PacketType[keyof typeof PacketType]

/** Bytes before a packet's body. */
export const HEADER_BYTES = 4
/** The longest body that three bytes can announce: 16 MiB less one byte. */
export const MAX_BODY_BYTES = 0xffffff

const LAST_TYPE = PacketType.kick
/** First size of the buffer that gathers a body arriving in small pieces. */
const FIRST_GATHER_BYTES = 64

/** Takes what a decoder finds. */
export interface PacketSink {
  /**
   * One whole packet: its body is `bytes` from `start` to `end`, valid only during the call.
   * False stops the decoder, which returns at once; this packet counts as taken. Must not throw.
   */
  onPacket (type: PacketType, bytes: Uint8Array, start: number, end: number): boolean
}

// What the decoder waits for; 1 to 3: a byte of the length.
const TYPE = 0
const BODY = 4

/**
 * Reads packets from a byte stream that may be cut anywhere.
 *
 * A packet that is whole inside a chunk is handed on where it lies. One that spans chunks is gathered in a buffer that
 * grows with what has arrived: an announced length alone allocates nothing.
 */
export class PacketDecoder {
  /** The longest body let through, in bytes. May be changed between packets, also by the sink. */
  maxBodyBytes: number
  #state = TYPE
  #type = 0
  #length = 0
  #filled = 0
  #body: Uint8Array | undefined

  constructor (maxBodyBytes: number) {
    this.maxBodyBytes = maxBodyBytes
  }

  /** True when no packet is half read. */
  get isBetweenPackets (): boolean { return this.#state === TYPE }

  /**
   * Reads a chunk, which the decoder does not keep.
   *
   * ```
   * stream = *packet
   * packet = type length body
   * type   = 1 byte: 1 handshake, 2 ack, 3 heartbeat, 4 data, 5 kick
   * length = 3 bytes, big-endian
   * body   = length bytes
   * ```
   *
   * @returns bytes read: all of them unless the sink stopped it. The caller keeps the rest and gives it again later.
   * @throws PIT_ERR_PACKET_TYPE as soon as the type is seen, PIT_ERR_PACKET_SIZE as soon as the length is, before any byte
   * of the body is stored. The stream is out of step then: this decoder must not be used again.
   */
  push (chunk: Uint8Array, sink: PacketSink): number {
    const end = chunk.length
    let at = 0
    if (this.#state !== TYPE) {
      at = this.#continue(chunk, 0)
      if (this.#state !== TYPE) return at
      if (!this.#handOn(sink)) return at
    }
    while (end - at >= HEADER_BYTES) {
      const type = checkType(chunk[at]!)
      const length = chunk[at + 1]! << 16 | chunk[at + 2]! << 8 | chunk[at + 3]!
      if (length > this.maxBodyBytes) throw createError('PIT_ERR_PACKET_SIZE')
      const start = at + HEADER_BYTES
      if (length > end - start) break
      at = start + length
      if (!sink.onPacket(type, chunk, start, at)) return at
    }
    return at === end ? at : this.#continue(chunk, at)
  }

  /** Reads on in a packet that is not whole in this chunk; the state is TYPE afterwards if it ended here. */
  #continue (chunk: Uint8Array, from: number): number {
    let at = from
    while (this.#state < BODY) {
      if (at === chunk.length) return at
      const byte = chunk[at++]!
      if (this.#state === TYPE) {
        this.#type = checkType(byte)
        this.#length = 0
      } else {
        this.#length = this.#length << 8 | byte
      }
      this.#state++
      if (this.#state === BODY && this.#length > this.maxBodyBytes) throw createError('PIT_ERR_PACKET_SIZE')
    }
    const missing = this.#length - this.#filled
    const taken = Math.min(missing, chunk.length - at)
    if (taken > 0) this.#gather(chunk, at, taken)
    if (taken === missing) this.#state = TYPE
    return at + taken
  }

  #gather (chunk: Uint8Array, at: number, count: number): void {
    const needed = this.#filled + count
    let body = this.#body
    if (body === undefined || body.length < needed) {
      const size = Math.max(needed, body === undefined ? FIRST_GATHER_BYTES : body.length * 2)
      const larger = new Uint8Array(Math.min(size, this.#length))
      if (body !== undefined) larger.set(body.subarray(0, this.#filled))
      this.#body = body = larger
    }
    body.set(chunk.subarray(at, at + count), this.#filled)
    this.#filled = needed
  }

  #handOn (sink: PacketSink): boolean {
    const body = this.#body ?? EMPTY
    this.#body = undefined
    this.#filled = 0
    return sink.onPacket(this.#type as PacketType, body, 0, this.#length)
  }
}

const EMPTY = new Uint8Array(0)

function checkType (byte: number): PacketType {
  if (byte === 0 || byte > LAST_TYPE) throw createError('PIT_ERR_PACKET_TYPE')
  return byte as PacketType
}

/**
 * A packet of its own: `type(1) length(3, big-endian) body`.
 * @throws PIT_ERR_PACKET_TYPE, PIT_ERR_PACKET_SIZE above MAX_BODY_BYTES
 */
export function encodePacket (type: PacketType, body: Uint8Array): Uint8Array {
  checkSize(body.length)
  const packet = new Uint8Array(HEADER_BYTES + body.length)
  writePacketHeader(packet, 0, type, body.length)
  packet.set(body, HEADER_BYTES)
  return packet
}

/**
 * Writes `type(1) length(3, big-endian)` at `at`; the body is the caller's to write.
 * @throws PIT_ERR_PACKET_TYPE, PIT_ERR_PACKET_SIZE above MAX_BODY_BYTES
 */
export function writePacketHeader (target: Uint8Array, at: number, type: PacketType, bodyLength: number): void {
  checkType(type)
  checkSize(bodyLength)
  target[at] = type
  target[at + 1] = bodyLength >>> 16
  target[at + 2] = bodyLength >>> 8
  target[at + 3] = bodyLength
}

function checkSize (bodyLength: number): void {
  if (bodyLength > MAX_BODY_BYTES) throw createError('PIT_ERR_PACKET_SIZE')
}

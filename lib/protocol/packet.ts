import { createError } from './errors.ts'

export const PacketType = { handshake: 1, ack: 2, heartbeat: 3, data: 4, kick: 5 } as const
export type PacketType = typeof PacketType[keyof typeof PacketType]

/** Bytes before a packet's body. */
export const HEADER_BYTES = 4
/** The longest body that three bytes can announce: 16 MiB less one byte. */
export const MAX_BODY_BYTES = 0xffffff

/** Read for every packet: a constant is faster than a property. */
const LAST_TYPE = PacketType.kick
const EMPTY = new Uint8Array(0)
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

/**
 * Reads packets from a byte stream that may be cut anywhere.
 *
 * A packet that is whole inside a chunk is handed on where it lies. One that spans chunks is gathered in a buffer that
 * grows with what has arrived: an announced length alone allocates nothing.
 */
export class PacketDecoder {
  /** The longest body let through, in bytes. May be changed between packets, also by the sink. */
  maxBodyBytes: number
  #type = 0
  #length = 0
  /** Bytes had of a packet that is not whole, its header's included. */
  #had = 0
  #body = EMPTY

  constructor (maxBodyBytes: number) {
    this.maxBodyBytes = maxBodyBytes
  }

  /** True when no packet is half read. */
  get isBetweenPackets (): boolean { return this.#had === 0 }

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
    while (at < end) {
      if (this.#had === 0 && end - at >= HEADER_BYTES) {
        const type = chunk[at]!
        const length = chunk[at + 1]! << 16 | chunk[at + 2]! << 8 | chunk[at + 3]!
        checkHeader(type, length, this.maxBodyBytes)
        const start = at + HEADER_BYTES
        if (length <= end - start) {
          at = start + length
          if (!sink.onPacket(type, chunk, start, at)) break
          continue
        }
      }
      at = this.#gather(chunk, at)
      const body = this.#body
      const length = this.#length
      if (this.#had < HEADER_BYTES + length) break
      this.#body = EMPTY
      this.#had = this.#length = 0
      if (!sink.onPacket(this.#type as PacketType, body, 0, length)) break
    }
    return at
  }

  /** Takes what the chunk has of a packet that is not whole in it; returns the place after that. */
  #gather (chunk: Uint8Array, from: number): number {
    let at = from
    for (; this.#had < HEADER_BYTES; this.#had++) {
      if (at === chunk.length) return at
      const byte = chunk[at++]!
      if (this.#had === 0) this.#type = byte
      else this.#length = this.#length << 8 | byte
      checkHeader(this.#type, this.#length, this.maxBodyBytes)
    }
    const filled = this.#had - HEADER_BYTES
    const part = chunk.subarray(at, at + this.#length - filled)
    const needed = filled + part.length
    if (needed > this.#body.length) {
      const larger = new Uint8Array(Math.min(this.#length, Math.max(needed, FIRST_GATHER_BYTES, 2 * this.#body.length)))
      larger.set(this.#body)
      this.#body = larger
    }
    this.#body.set(part, filled)
    this.#had += part.length
    return at + part.length
  }
}

/** Of half a header, the length is what there is of it: no more than all of it will be. */
function checkHeader (type: number, length: number, maxBytes: number): asserts type is PacketType {
  if (type === 0 || type > LAST_TYPE) throw createError('PIT_ERR_PACKET_TYPE')
  if (length > maxBytes) throw createError('PIT_ERR_PACKET_SIZE')
}

/**
 * A packet of its own: `type(1) length(3, big-endian) body`.
 * @throws PIT_ERR_PACKET_TYPE, PIT_ERR_PACKET_SIZE above MAX_BODY_BYTES
 */
export function encodePacket (type: PacketType, body: Uint8Array): Uint8Array {
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
  checkHeader(type, bodyLength, MAX_BODY_BYTES)
  target[at] = type
  target[at + 1] = bodyLength >>> 16
  target[at + 2] = bodyLength >>> 8
  target[at + 3] = bodyLength
}

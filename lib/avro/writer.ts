import { createError } from '../protocol/errors.ts'
import { MAX_BODY_BYTES } from '../protocol/packet.ts'

const FIRST_BYTES = 1024
/** A buffer that one large value made grow is given up by the next value. */
const KEPT_BYTES = 256 * 1024

const encoder = new TextEncoder()
const surrogate = /\p{Surrogate}/u

/** Writes one value of Avro binary after another into one buffer, which grows as needed. All codecs of a client may share one. */
export class Writer {
  #bytes = new Uint8Array(FIRST_BYTES)
  #view = new DataView(this.#bytes.buffer)
  #at = 0
  depth = 0

  begin (): void {
    this.#at = this.depth = 0
    if (this.#bytes.length > KEPT_BYTES) this.#resize(FIRST_BYTES)
  }

  /** What was written, valid until the next `begin`. */
  end (): Uint8Array { return this.#bytes.subarray(0, this.#at) }

  boolean (value: boolean): void {
    this.#reserve(1)
    this.#bytes[this.#at++] = value ? 1 : 0
  }

  /** @param value an integer within 2^53 */
  long (value: number): void {
    this.#reserve(10)
    this.#at = this.#varint(value, this.#at)
  }

  float (value: number): void {
    this.#reserve(4)
    this.#view.setFloat32(this.#at, value, true)
    this.#at += 4
  }

  double (value: number): void {
    this.#reserve(8)
    this.#view.setFloat64(this.#at, value, true)
    this.#at += 8
  }

  bytes (bytes: Uint8Array): void {
    this.long(bytes.length)
    this.fixed(bytes)
  }

  fixed (bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /** False, with nothing of use written, for text with half of a surrogate pair. */
  string (text: string): boolean {
    const { length } = text
    if (length < 64 && this.#ascii(text, length)) return true
    this.#reserve(length + 4)
    // The length stands before the text and is known after it: the room for it is that of ASCII, and mostly right.
    const from = this.#varint(length, this.#at)
    let { read, written } = encoder.encodeInto(text, this.#bytes.subarray(from))
    while (read < length) {
      this.#reserve(this.#bytes.length - this.#at + 1)
      ;({ read, written } = encoder.encodeInto(text, this.#bytes.subarray(from)))
    }
    if (written === length) {
      this.#at = from + length
      return true
    }
    const header = written < 0x40 ? 1 : written < 0x2000 ? 2 : written < 0x100000 ? 3 : 4
    this.#reserve(header + written)
    this.#bytes.copyWithin(this.#at + header, from, from + written)
    this.#at = this.#varint(written, this.#at) + written
    return !surrogate.test(text)
  }

  /** Short texts are mostly ASCII, and a loop in JavaScript beats a native call. */
  #ascii (text: string, length: number): boolean {
    this.#reserve(length + 1)
    const bytes = this.#bytes
    let at = this.#at
    bytes[at++] = length * 2
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) return false
      bytes[at++] = code
    }
    this.#at = at
    return true
  }

  /** Writes zigzag where there is room, and gives where it ended. */
  #varint (value: number, at: number): number {
    const bytes = this.#bytes
    let bits = ((value << 1) ^ (value >> 31)) >>> 0
    if (value !== (value | 0)) {
      // Of the half, since the whole would lose its last bit above 2^53.
      let half = value < 0 ? -value - 1 : value
      bytes[at++] = (half % 64) * 2 + (value < 0 ? 1 : 0) | 0x80
      for (half = Math.floor(half / 64); half > 0x7fffffff; half = Math.floor(half / 128)) bytes[at++] = half % 128 | 0x80
      bits = half
    }
    while (bits > 0x7f) {
      bytes[at++] = bits & 0x7f | 0x80
      bits >>>= 7
    }
    bytes[at++] = bits
    return at
  }

  #reserve (bytes: number): void {
    const wanted = this.#at + bytes
    if (wanted <= this.#bytes.length) return
    if (wanted > MAX_BODY_BYTES) throw createError('PIT_ERR_PACKET_SIZE')
    this.#resize(Math.min(MAX_BODY_BYTES, Math.max(wanted, 2 * this.#bytes.length)))
  }

  #resize (bytes: number): void {
    const old = this.#bytes.subarray(0, bytes)
    this.#bytes = new Uint8Array(bytes)
    this.#view = new DataView(this.#bytes.buffer)
    this.#bytes.set(old)
  }
}

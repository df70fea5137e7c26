import { isWellFormed } from '../well-formed.ts'
import { Output } from './output.ts'
import { readUtf8 } from './text.ts'

/**
 * The two ends that avsc's types read from and write to, in place of avsc's own `Tap`. That one reads past the end, never bounds a varint,
 * takes any byte for a boolean and U+FFFD for bad text; these throw instead. What they throw is caught by the codec.
 */
export const MAX_DEPTH = 64
export const MAX_ITEMS = 10_000

const { readFloatLE, readDoubleLE } = Buffer.prototype
const NOTHING = new Uint8Array(0)

/** Reads one message, from `pos` to `end`. */
export class ReadTap {
  buf: Uint8Array = NOTHING
  pos = 0
  end = 0
  depth = 0

  begin (bytes: Uint8Array, start: number, end: number): void {
    this.buf = bytes
    this.pos = start
    this.end = end
    this.depth = 0
  }

  /** Lets go of the message's memory. */
  release (): void { this.buf = NOTHING }

  enter (): void {
    if (++this.depth > MAX_DEPTH) throw new RangeError('too deep')
  }

  leave (): void { this.depth-- }

  readInt (): number {
    const value = this.readLong()
    if (value !== (value | 0)) throw new RangeError('int out of range')
    return value
  }

  /** A zigzag varint of at most ten bytes, within 2^53. */
  readLong (): number {
    let byte = this.#next()
    let bits = byte & 0x7f
    let shift = 7
    while (byte >= 0x80 && shift < 28) {
      byte = this.#next()
      bits |= (byte & 0x7f) << shift
      shift += 7
    }
    if (byte < 0x80) return (bits >>> 1) ^ -(bits & 1)
    // Beyond 28 bits a float, of the half: the whole would lose its last bit, the sign, above 2^53.
    let half = bits >>> 1
    for (let factor = 2 ** 27; byte >= 0x80; factor *= 128, shift += 7) {
      if (shift >= 70) throw new RangeError('varint too long')
      byte = this.#next()
      half += (byte & 0x7f) * factor
    }
    const value = (bits & 1) === 0 ? half : -half - 1
    if (!Number.isSafeInteger(value)) throw new RangeError('long out of range')
    return value
  }

  readBoolean (): boolean {
    const byte = this.#next()
    if (byte > 1) throw new RangeError('neither true nor false')
    return byte === 1
  }

  readFloat (): number { return readFloatLE.call(this.buf, this.#take(4)) }
  readDouble (): number { return readDoubleLE.call(this.buf, this.#take(8)) }
  readBytes (): Uint8Array { return this.readFixed(this.readLong()) }

  readFixed (length: number): Uint8Array {
    const from = this.#take(length)
    const copy = new Uint8Array(length)
    copy.set(this.buf.subarray(from, this.pos))
    return copy
  }

  readString (): string {
    const from = this.#take(this.readLong())
    if (from === this.pos) return ''
    const text = readUtf8(this.buf, from, this.pos)
    if (text === undefined) throw new TypeError('invalid UTF-8')
    return text
  }

  /**
   * The count of an array's or map's next block; 0 ends it.
   * @param minBytes what an item takes at least
   * @param had items read before
   */
  readCount (minBytes: number, had: number): number {
    let count = this.readLong()
    if (count < 0) {
      count = -count
      if (this.readLong() < 0) throw new RangeError('negative block size')
    }
    if (count * minBytes > this.end - this.pos) throw new RangeError('truncated')
    if (count + had > MAX_ITEMS) throw new RangeError('too many items')
    return count
  }

  #next (): number {
    if (this.pos >= this.end) throw new RangeError('truncated')
    return this.buf[this.pos++]!
  }

  /** Moves on by `length` and gives where that began. */
  #take (length: number): number {
    const from = this.pos
    if (length < 0 || length > this.end - from) throw new RangeError('truncated')
    this.pos = from + length
    return from
  }
}

/** Writes one message; grows as needed. */
export class WriteTap extends Output {
  writeInt (value: number): void { this.writeLong(value) }

  writeLong (value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError('no integer within 2^53')
    this.reserve(10)
    const { buf } = this
    if (value >= -1073741824 && value < 1073741824) {
      let bits = (value << 1) ^ (value >> 31)
      while (bits > 0x7f) {
        buf[this.pos++] = bits & 0x7f | 0x80
        bits >>>= 7
      }
      buf[this.pos++] = bits
      return
    }
    let bits = value >= 0 ? BigInt(value) * 2n : BigInt(value) * -2n - 1n
    while (bits > 0x7fn) {
      buf[this.pos++] = Number(bits & 0x7fn) | 0x80
      bits >>= 7n
    }
    buf[this.pos++] = Number(bits)
  }

  writeBoolean (value: boolean): void {
    this.reserve(1)
    this.buf[this.pos++] = value ? 1 : 0
  }

  writeFloat (value: number): void {
    this.reserve(4)
    this.pos = this.buf.writeFloatLE(value, this.pos)
  }

  writeDouble (value: number): void {
    this.reserve(8)
    this.pos = this.buf.writeDoubleLE(value, this.pos)
  }

  writeFixed (bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.buf.set(bytes, this.pos)
    this.pos += bytes.length
  }

  writeBytes (bytes: Uint8Array): void {
    this.writeLong(bytes.length)
    this.writeFixed(bytes)
  }

  /** Bytes that avsc prepared as Latin-1 text: the default of a field. */
  writeBinary (bytes: string): void { this.writeFixed(Buffer.from(bytes, 'latin1')) }

  writeString (text: string): void {
    const { length } = text
    if (length < 64 && this.#writeAscii(text, length)) return
    const bytes = Buffer.byteLength(text)
    if (bytes !== length && !isWellFormed(text)) throw new TypeError('text is not well-formed')
    this.writeLong(bytes)
    this.reserve(bytes)
    this.pos += this.buf.utf8Write(text, this.pos, bytes)
  }

  /** Short texts are mostly ASCII, and a loop in JavaScript beats two native calls. */
  #writeAscii (text: string, length: number): boolean {
    this.reserve(length + 1)
    const { buf } = this
    let at = this.pos
    buf[at++] = length * 2
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) return false
      buf[at++] = code
    }
    this.pos = at
    return true
  }
}

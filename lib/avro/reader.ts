/** The most levels of records, arrays and maps in one value, and items in one array or map: the server's limits. */
export const MAX_DEPTH = 64
export const MAX_ITEMS = 10_000

/** Shorter texts are read in JavaScript: a call of the decoder costs more. */
const SHORT_TEXT = 24
const NOTHING = new Uint8Array(0)

// A byte order mark is text like any other.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads one value of Avro binary from bytes that may be hostile: never beyond the end, never more work than the bytes are worth.
 * Throws what the codec gives its code.
 */
export class Reader {
  #bytes: Uint8Array = NOTHING
  #at = 0
  #end = 0
  #depth = 0
  #fieldsLeft = 0
  readonly #float = new DataView(new ArrayBuffer(8))

  begin (bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    this.#depth = 0
    // A field takes a byte, except null and empty records: nested in each other, those double with every level.
    this.#fieldsLeft = 2 * (end - start) + MAX_ITEMS
  }

  /** Refuses bytes that are left. */
  finish (): void {
    if (this.#at !== this.#end) malformed()
  }

  /** Lets go of the message's memory. */
  release (): void { this.#bytes = NOTHING }

  /** Goes down one level, into a record of so many fields. */
  enter (fields: number): void {
    if (++this.#depth > MAX_DEPTH) malformed()
    if ((this.#fieldsLeft -= fields) < 0) malformed()
  }

  leave (): void { this.#depth-- }

  int (): number {
    const value = this.long()
    if (value !== (value | 0)) malformed()
    return value
  }

  /** A zigzag varint of at most ten bytes, within 2^53. */
  long (): number {
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
      if (shift >= 70) malformed()
      byte = this.#next()
      half += (byte & 0x7f) * factor
    }
    const value = (bits & 1) === 0 ? half : -half - 1
    if (!Number.isSafeInteger(value)) malformed()
    return value
  }

  boolean (): boolean {
    const byte = this.#next()
    if (byte > 1) malformed()
    return byte === 1
  }

  float (): number { return this.#copied(4).getFloat32(0, true) }
  double (): number { return this.#copied(8).getFloat64(0, true) }
  bytes (): Uint8Array { return this.fixed(this.long()) }

  fixed (length: number): Uint8Array {
    const from = this.#take(length)
    // Not slice(): a Buffer's shares its memory.
    const copy = new Uint8Array(length)
    copy.set(this.#bytes.subarray(from, this.#at))
    return copy
  }

  string (): string {
    const length = this.long()
    const from = this.#take(length)
    const bytes = this.#bytes
    if (length <= SHORT_TEXT) {
      let text = ''
      let i = from
      for (; i < this.#at && bytes[i]! < 0x80; i++) text += String.fromCharCode(bytes[i]!)
      if (i === this.#at) return text
    }
    return decoder.decode(bytes.subarray(from, this.#at))
  }

  /**
   * The count of an array's or map's next block; 0 ends it.
   * @param minBytes what an item takes at least
   * @param had items read before
   */
  count (minBytes: number, had: number): number {
    let count = this.long()
    if (count < 0) {
      count = -count
      if (this.long() < 0) malformed()
    }
    if (count * minBytes > this.#end - this.#at) malformed()
    if (count + had > MAX_ITEMS) malformed()
    return count
  }

  #next (): number {
    if (this.#at >= this.#end) malformed()
    return this.#bytes[this.#at++]!
  }

  /** Moves on by `length` and gives where that began. */
  #take (length: number): number {
    const from = this.#at
    if (length < 0 || length > this.#end - from) malformed()
    this.#at = from + length
    return from
  }

  /** A view of the message for each number would cost more than its bytes. */
  #copied (length: number): DataView {
    const from = this.#take(length)
    for (let i = 0; i < length; i++) this.#float.setUint8(i, this.#bytes[from + i]!)
    return this.#float
  }
}

/** Ends the reading of bytes that are no value: there is one text for all. */
export function malformed (): never { throw new RangeError() }

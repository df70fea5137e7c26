import { inflateError } from '../lib/protocol/inflate-errors.ts'

const MAX_BITS = 15
/** First length (or distance) of each symbol, and how many bits are added to it: RFC 1951, 3.2.5. */
const LENGTHS = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
const DISTANCES = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
  8193, 12289, 16385, 24577
]
const DISTANCE_BITS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13]
const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

/** A canonical Huffman code: how many codes there are of each length, and the symbols in the order of their codes. */
interface Huffman { readonly counts: Uint16Array, readonly symbols: Uint16Array }

/**
 * Inflates zlib data (RFC 1950), for runtimes that have no DecompressionStream: the option `inflate`. Small rather than fast.
 * Throws PIT_ERR_INFLATE, PIT_ERR_INFLATE_SIZE.
 * @param maxBytes of the result, default 16 MiB
 */
export function inflate (data: Uint8Array, maxBytes = 0x1000000): Uint8Array {
  const [method = 0, flags = 0] = data
  const isZlib = data.length >= 6 && (method & 15) === 8 && method >> 4 <= 7 && (method * 256 + flags) % 31 === 0 && (flags & 32) === 0
  if (!isZlib) throw inflateError('PIT_ERR_INFLATE')
  const inflater = new Inflater(data, maxBytes)
  const output = inflater.run()
  if (adler32(output) !== inflater.checksum()) throw inflateError('PIT_ERR_INFLATE')
  return output
}

class Inflater {
  #data: Uint8Array
  #at = 2
  #bitAt = 0
  #output: Uint8Array
  #length = 0
  #maxBytes: number

  constructor (data: Uint8Array, maxBytes: number) {
    this.#data = data
    this.#maxBytes = maxBytes
    this.#output = new Uint8Array(Math.min(maxBytes, 4 * data.length))
  }

  run (): Uint8Array {
    for (let isLast = false; !isLast;) {
      isLast = this.#bits(1) === 1
      const type = this.#bits(2)
      if (type === 0) this.#stored()
      else if (type === 1) this.#compressed(huffman(fixedLengths(), 0, 288), huffman(new Uint8Array(32).fill(5), 0, 32))
      else if (type === 2) this.#dynamic()
      else throw inflateError('PIT_ERR_INFLATE')
    }
    return this.#output.subarray(0, this.#length)
  }

  /** The four bytes that follow, of which the first is the highest. */
  checksum (): number {
    this.#toByte()
    let sum = 0
    for (let i = 0; i < 4; i++) sum = (sum << 8 | this.#bits(8)) >>> 0
    return sum
  }

  #bits (count: number): number {
    let value = 0
    for (let i = 0; i < count; i++) {
      if (this.#at >= this.#data.length) throw inflateError('PIT_ERR_INFLATE')
      value |= (this.#data[this.#at]! >> this.#bitAt & 1) << i
      if (++this.#bitAt === 8) { this.#bitAt = 0; this.#at++ }
    }
    return value
  }

  #toByte (): void {
    if (this.#bitAt > 0) { this.#bitAt = 0; this.#at++ }
  }

  #put (byte: number): void {
    if (this.#length === this.#output.length) {
      if (this.#length >= this.#maxBytes) throw inflateError('PIT_ERR_INFLATE_SIZE')
      const larger = new Uint8Array(Math.min(this.#maxBytes, 2 * this.#length + 64))
      larger.set(this.#output)
      this.#output = larger
    }
    this.#output[this.#length++] = byte
  }

  #stored (): void {
    this.#toByte()
    const length = this.#bits(16)
    if ((this.#bits(16) ^ 0xffff) !== length) throw inflateError('PIT_ERR_INFLATE')
    for (let i = 0; i < length; i++) this.#put(this.#bits(8))
  }

  #dynamic (): void {
    const literals = this.#bits(5) + 257
    const distances = this.#bits(5) + 1
    const codes = this.#bits(4) + 4
    if (literals > 286 || distances > 30) throw inflateError('PIT_ERR_INFLATE')
    const codeLengths = new Uint8Array(19)
    for (let i = 0; i < codes; i++) codeLengths[CODE_LENGTH_ORDER[i]!] = this.#bits(3)
    const lengths = this.#codeLengths(huffman(codeLengths, 0, 19), literals + distances)
    if (lengths[256] === 0) throw inflateError('PIT_ERR_INFLATE')
    this.#compressed(huffman(lengths, 0, literals), huffman(lengths, literals, distances))
  }

  #codeLengths (code: Huffman, count: number): Uint8Array {
    const lengths = new Uint8Array(count)
    for (let at = 0; at < count;) {
      const symbol = this.#symbol(code)
      if (symbol < 16) { lengths[at++] = symbol; continue }
      if (symbol === 16 && at === 0) throw inflateError('PIT_ERR_INFLATE')
      const length = symbol === 16 ? lengths[at - 1]! : 0
      const repeat = symbol === 16 ? 3 + this.#bits(2) : symbol === 17 ? 3 + this.#bits(3) : 11 + this.#bits(7)
      if (at + repeat > count) throw inflateError('PIT_ERR_INFLATE')
      lengths.fill(length, at, at += repeat)
    }
    return lengths
  }

  #compressed (literals: Huffman, distances: Huffman): void {
    for (;;) {
      const symbol = this.#symbol(literals)
      if (symbol === 256) return
      if (symbol < 256) { this.#put(symbol); continue }
      const first = LENGTHS[symbol - 257]
      if (first === undefined) throw inflateError('PIT_ERR_INFLATE')
      const length = first + this.#bits(LENGTH_BITS[symbol - 257]!)
      const distanceSymbol = this.#symbol(distances)
      const nearest = DISTANCES[distanceSymbol]
      if (nearest === undefined) throw inflateError('PIT_ERR_INFLATE')
      const distance = nearest + this.#bits(DISTANCE_BITS[distanceSymbol]!)
      if (distance > this.#length) throw inflateError('PIT_ERR_INFLATE')
      for (let i = 0; i < length; i++) this.#put(this.#output[this.#length - distance]!)
    }
  }

  #symbol ({ counts, symbols }: Huffman): number {
    let code = 0
    let first = 0
    let index = 0
    for (let length = 1; length <= MAX_BITS; length++) {
      code |= this.#bits(1)
      const count = counts[length]!
      if (code - count < first) return symbols[index + code - first]!
      index += count
      first = first + count << 1
      code <<= 1
    }
    throw inflateError('PIT_ERR_INFLATE')
  }
}

/** Throws PIT_ERR_INFLATE for more codes than their lengths allow, and for too few, unless it is a single one (RFC 1951, 3.2.7). */
function huffman (lengths: Uint8Array, from: number, size: number): Huffman {
  const counts = new Uint16Array(MAX_BITS + 1)
  const symbols = new Uint16Array(size)
  for (let i = 0; i < size; i++) counts[lengths[from + i]!]!++
  const isSingle = size - counts[0]! === counts[1]! && counts[1]! <= 1
  let left = 1
  const starts = new Uint16Array(MAX_BITS + 2)
  for (let length = 1; length <= MAX_BITS; length++) {
    left = 2 * left - counts[length]!
    if (left < 0) throw inflateError('PIT_ERR_INFLATE')
    starts[length + 1] = starts[length]! + counts[length]!
  }
  if (left > 0 && !isSingle) throw inflateError('PIT_ERR_INFLATE')
  for (let i = 0; i < size; i++) {
    const length = lengths[from + i]!
    if (length !== 0) symbols[starts[length]!++] = i
  }
  return { counts, symbols }
}

function fixedLengths (): Uint8Array {
  return new Uint8Array(288).fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280, 288)
}

function adler32 (bytes: Uint8Array): number {
  let a = 1
  let b = 0
  for (let i = 0; i < bytes.length; i++) {
    a = (a + bytes[i]!) % 65521
    b = (b + a) % 65521
  }
  return (b << 16 | a) >>> 0
}

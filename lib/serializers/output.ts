import { MAX_BODY_BYTES } from '../protocol/packet.ts'

/** What a serializer writes into: one buffer, given back as a view that is valid until the next write. */
const FIRST_BYTES = 16 * 1024
/** A buffer that one large value made grow is given up by the next value. */
const KEPT_BYTES = 256 * 1024

interface NativeBuffer { utf8Write (text: string, offset: number, length: number): number }

export class Output {
  buf: Buffer & NativeBuffer = allocate(FIRST_BYTES)
  pos = 0

  begin (): void {
    this.pos = 0
    if (this.buf.length > KEPT_BYTES) this.buf = allocate(FIRST_BYTES)
  }

  /** Makes room for `bytes` more. @throws RangeError above 16 MiB */
  reserve (bytes: number): void {
    const wanted = this.pos + bytes
    if (wanted <= this.buf.length) return
    if (wanted > MAX_BODY_BYTES) throw new RangeError('the encoded value is larger than a packet can be')
    const grown = allocate(Math.min(MAX_BODY_BYTES, Math.max(wanted, this.buf.length * 2)))
    this.buf.copy(grown, 0, 0, this.pos)
    this.buf = grown
  }

  writeText (text: string): void {
    if (this.pos + text.length * 3 > this.buf.length) this.reserve(Buffer.byteLength(text))
    this.pos += this.buf.utf8Write(text, this.pos, this.buf.length - this.pos)
  }

  end (): Uint8Array {
    return this.buf.subarray(0, this.pos)
  }
}

// Not from Node's shared pool: a view of it would hold the memory of others.
function allocate (bytes: number): Buffer & NativeBuffer {
  return Buffer.allocUnsafeSlow(bytes) as Buffer & NativeBuffer
}

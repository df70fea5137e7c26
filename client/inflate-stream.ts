import { createError } from '../lib/protocol/errors.ts'

/** As browsers and Node have them; DOM types are not loaded. */
interface Decompressor {
  readonly writable: { getWriter (): { write (data: Uint8Array): Promise<void>, close (): Promise<void> } }
  readonly readable: { getReader (): { read (): Promise<{ done: boolean, value?: Uint8Array }>, cancel (): Promise<void> } }
}

declare const Blob: new (parts: Uint8Array[]) => { arrayBuffer (): Promise<ArrayBuffer> }

/** Inflates zlib data by the runtime's DecompressionStream. Rejects with PIT_ERR_INFLATE, PIT_ERR_INFLATE_SIZE above `maxBytes`. */
export async function inflateStream (data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const { DecompressionStream } = globalThis as { DecompressionStream?: new (format: 'deflate') => Decompressor }
  if (DecompressionStream === undefined) throw createError('PIT_ERR_INFLATE', [], { text: 'this runtime cannot inflate: pass the option inflate' })
  const stream = new DecompressionStream('deflate')
  const writer = stream.writable.getWriter()
  const reader = stream.readable.getReader()
  // What goes wrong here is told by the reader too.
  writer.write(data).catch(ignore)
  writer.close().catch(ignore)
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      length += value!.length
      if (length > maxBytes) break
      chunks.push(value!)
    }
  } catch (cause) {
    throw createError('PIT_ERR_INFLATE', [], { cause })
  }
  if (length > maxBytes) {
    reader.cancel().catch(ignore)
    throw createError('PIT_ERR_INFLATE_SIZE')
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer())
}

function ignore (): void {}

import { inflateError } from '../lib/protocol/inflate-errors.ts'

/** As browsers and Node have them; DOM types are not loaded. */
interface ByteStream {
  pipeThrough (inflater: object): ByteStream
  getReader (): { read (): Promise<{ done: boolean, value?: Uint8Array }>, cancel (): Promise<void> }
}
declare const Blob: new (parts: Uint8Array[]) => { stream (): ByteStream, arrayBuffer (): Promise<ArrayBuffer> }

/** Inflates zlib data by the runtime's DecompressionStream. Rejects with PIT_ERR_INFLATE, PIT_ERR_INFLATE_SIZE above `maxBytes`. */
export async function inflateStream (data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const { DecompressionStream } = globalThis as { DecompressionStream?: new (format: 'deflate') => object }
  if (DecompressionStream === undefined) throw inflateError('PIT_ERR_INFLATE', { text: 'this runtime cannot inflate: pass the option inflate' })
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream('deflate')).getReader()
  const chunks: Uint8Array[] = []
  let rest = maxBytes
  for (;;) {
    const { done, value } = await reader.read().catch((cause: unknown) => { throw inflateError('PIT_ERR_INFLATE', { cause }) })
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer())
    rest -= value!.length
    if (rest < 0) {
      reader.cancel().catch(() => {})
      throw inflateError('PIT_ERR_INFLATE_SIZE')
    }
    chunks.push(value!)
  }
}

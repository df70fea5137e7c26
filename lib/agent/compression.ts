import { deflateSync, inflate, inflateSync, type ZlibOptions } from 'node:zlib'
import { createError, type PitayaError } from '../errors.ts'

/** Inputs up to this size are inflated at once; for larger ones the thread pool costs less than a blocked event loop. */
const SYNC_BYTES = 16 * 1024
/** As many as Node's thread pool has threads: more would only wait there, without our bound. */
const MAX_JOBS = 4
/** Waiting inputs are packets held in memory, so there is an end. */
const MAX_WAITING = 256

/**
 * True when bytes look compressed. There is no flag in a handshake answer, so this is the rule all readers use (protocol.md 1.4):
 * more than two bytes that begin with a zlib header of any level, or with gzip's (which is recognised but never inflated).
 */
export function isZlib (bytes: Uint8Array): boolean {
  if (bytes.length <= 2) return false
  const [first, second] = bytes
  if (first === 0x1f) return second === 0x8b
  return first === 0x78 && (second === 0x9c || second === 0x01 || second === 0xda || second === 0x5e)
}

interface Job {
  bytes: Uint8Array
  maxBytes: number
  resolve (inflated: Uint8Array): void
  reject (error: PitayaError): void
}

/** Inflates what clients send. One per server: it bounds how many inputs are worked on at the same time. */
export class Inflater {
  #running = 0
  #waiting: Job[] = []

  /**
   * Inflates zlib data (RFC 1950; not gzip, not raw deflate), `bytes` from `start` to `end`. What follows the zlib stream is ignored.
   * Up to 16 KiB of input the result comes at once; above, `bytes` must stay unchanged until the promise settles.
   * @param maxBytes limit of the result, at least 1
   * @throws (or rejects with) PIT_ERR_INFLATE, PIT_ERR_INFLATE_SIZE; throws PIT_ERR_BUSY when 256 inputs wait already
   */
  inflate (bytes: Uint8Array, start: number, end: number, maxBytes: number): Uint8Array | Promise<Uint8Array> {
    const input = bytes.subarray(start, end)
    if (input.length <= SYNC_BYTES) {
      try {
        return inflateSync(input, optionsFor(input, maxBytes))
      } catch (error) { throw toCoded(error) }
    }
    if (this.#running === MAX_JOBS && this.#waiting.length === MAX_WAITING) throw createError('PIT_ERR_BUSY')
    return new Promise((resolve, reject) => {
      const job = { bytes: input, maxBytes, resolve, reject }
      if (this.#running < MAX_JOBS) this.#run(job)
      else this.#waiting.push(job)
    })
  }

  #run (job: Job): void {
    this.#running++
    inflate(job.bytes, optionsFor(job.bytes, job.maxBytes), (error, inflated) => {
      this.#running--
      const next = this.#waiting.shift()
      if (next !== undefined) this.#run(next)
      if (error === null) job.resolve(inflated)
      else job.reject(toCoded(error))
    })
  }
}

// zlib's results lie in whole chunks of 16 KiB by default: too much for a short message that may wait in a queue.
function optionsFor (input: Uint8Array, maxBytes: number): ZlibOptions {
  return { maxOutputLength: maxBytes, chunkSize: Math.min(Math.max(1024, input.length * 4), 16 * 1024) }
}

function toCoded (error: unknown): PitayaError {
  const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
  return createError(isTooLarge ? 'PIT_ERR_INFLATE_SIZE' : 'PIT_ERR_INFLATE', [], { cause: error })
}

/**
 * The zlib form of `bytes`, or undefined when they are fewer than `minBytes` or would not get strictly shorter.
 * Encoders differ near that border: compare what comes out inflated, never byte for byte.
 */
export function deflateIfSmaller (bytes: Uint8Array, minBytes: number): Uint8Array | undefined {
  if (bytes.length < minBytes) return undefined
  const deflated = deflateSync(bytes)
  return deflated.length < bytes.length ? deflated : undefined
}

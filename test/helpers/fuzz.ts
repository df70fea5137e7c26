import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { isPitayaError } from '../../lib/errors.ts'
import { fromHex, toHex } from './vectors.ts'

/** Inputs per decoder: env FUZZ, else 1,000,000 in CI, else 20,000; divided by `divisor` (10 for zlib). */
export function fuzzRuns (divisor = 1): number {
  const wanted = process.env.FUZZ ?? (process.env.CI === 'true' ? 1_000_000 : 20_000)
  return Math.ceil(Number(wanted) / divisor)
}

/** Runs of a fast-check property: a tenth of the fuzz count, so 100,000 in CI. */
export function propertyRuns (): number { return fuzzRuns(10) }

/** For `t.setTimeout` in files that fuzz: tap's own limit of 30 s a file is short for a million runs. */
export const FUZZ_TIMEOUT_MS = 280_000

/** Env SEED, else a new one. Whoever uses it prints it. */
export function fuzzSeed (): number {
  return process.env.SEED === undefined ? Math.floor(Math.random() * 0x7fffffff) : Number(process.env.SEED) | 0
}

/** Small seeded generator (xorshift32): the same seed gives the same inputs on every machine. */
export class Random {
  #state: number

  constructor (seed: number) { this.#state = seed | 0 || 1 }

  /** An integer from 0 to `limit` - 1. */
  int (limit: number): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return (this.#state >>> 0) % limit
  }

  pick<T> (list: readonly T[]): T { return list[this.int(list.length)]! }

  bytes (length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i++) bytes[i] = this.int(256)
    return bytes
  }
}

/** Bytes on which decoders of this protocol have an edge: headers, lengths, flags, varints, zlib and text. */
export const interestingBytes: readonly Uint8Array[] = [
  '00', '01', '7f', '80', 'ff', '8001', '808001', 'ffffffffffffff0f', '80808080808080808001', 'ffffffffffffffffff01',
  '0000', 'ffff', '000000', 'ffffff', '00000000', 'ffffffff', '7fffffff', '01000000', '02000000', '03000000', '04000000', '05000000',
  '04ffffff', '0400012c', '789c', '7801', '78da', '1f8b08', '0000ffff', '10', '20', '30', '34', 'c0', '2e', '22', '5c', '7b', '7d',
  'c080', 'eda080', 'f09f8eae', 'fffe', 'efbbbf'
].map(fromHex).concat(['__proto__', 'constructor', 'prototype', '"sys"', 'null', '1e999', '[[[[', '{"a":'].map((text) => new TextEncoder().encode(text)))

/** Makes inputs that are nearly right: one of the corpus, changed in one to eight places. */
export class Mutator {
  readonly random: Random
  readonly #corpus: readonly Uint8Array[]
  readonly #dictionary: readonly Uint8Array[]
  readonly #maxBytes: number

  constructor (random: Random, corpus: readonly Uint8Array[], options: { dictionary?: readonly Uint8Array[], maxBytes?: number } = {}) {
    this.random = random
    this.#corpus = corpus
    this.#dictionary = options.dictionary ?? interestingBytes
    this.#maxBytes = options.maxBytes ?? 4096
  }

  next (): Uint8Array {
    if (this.random.int(16) === 0) return this.random.bytes(this.random.int(64))
    // Not slice(): a Buffer's shares its memory with the corpus.
    let input: Uint8Array = new Uint8Array(this.random.pick(this.#corpus))
    for (let changes = 1 + this.random.int(8); changes > 0; changes--) input = this.#change(input)
    return input.length > this.#maxBytes ? input.subarray(0, this.#maxBytes) : input
  }

  #change (input: Uint8Array): Uint8Array {
    const random = this.random
    const at = random.int(input.length + 1)
    const until = Math.min(input.length, at + random.int(16))
    switch (random.int(8)) {
      case 0: return replaced(input, at, until, NOTHING)
      case 1: return input.subarray(0, at)
      case 2: return replaced(input, at, at, random.pick(this.#dictionary))
      case 3: return replaced(input, at, at, input.subarray(at, until))
      case 4: return replaced(input, at, at, random.pick(this.#corpus))
      case 5: {
        const bytes = random.pick(this.#dictionary)
        return replaced(input, at, Math.min(input.length, at + bytes.length), bytes)
      }
      case 6: return flipped(input, at, 1 << random.int(8))
      default: return flipped(input, at, 1 + random.int(255))
    }
  }
}

const NOTHING = new Uint8Array(0)

function replaced (input: Uint8Array, from: number, until: number, by: Uint8Array): Uint8Array {
  const result = new Uint8Array(input.length - (until - from) + by.length)
  result.set(input.subarray(0, from))
  result.set(by, from)
  result.set(input.subarray(until), from + by.length)
  return result
}

function flipped (input: Uint8Array, at: number, mask: number): Uint8Array {
  if (at < input.length) input[at]! ^= mask
  return input
}

export interface FuzzOptions {
  corpus: readonly Uint8Array[]
  dictionary?: readonly Uint8Array[]
  /** Longest input, default 4,096 bytes. */
  maxBytes?: number
  /** Default `fuzzRuns()`. */
  runs?: number
  /** Takes one input. May fail with a PitayaError; anything else ends the run. A random source is given for choices of its own. */
  target (input: Uint8Array, random: Random): unknown
}

export interface FuzzReport {
  runs: number
  seed: number
  /** Inputs that the target took without an error. */
  accepted: number
  /** The slowest input's time, the best of four runs of it, so that a pause of the machine does not count. */
  slowestMs: number
  slowestHex: string
  /** What the heap and its buffers grew by, after garbage collection. */
  grownBytes: number
}

/** Inputs between two turns of the event loop, in which streams and timers of the target get their due. */
const INPUTS_PER_TURN = 500

/**
 * Feeds a decoder with mutated inputs. Rejects, with seed and input, when it fails with anything but a PitayaError.
 * @example `checkFuzz(t, await fuzz({ corpus, target }))`
 */
export async function fuzz (options: FuzzOptions): Promise<FuzzReport> {
  const { target, runs = fuzzRuns() } = options
  const seed = fuzzSeed()
  const mutator = new Mutator(new Random(seed), options.corpus, options)
  const before = heapBytes()
  let accepted = 0
  let slowestMs = 0
  let slowest: Uint8Array = NOTHING
  for (let run = 0; run < runs; run++) {
    if (run % INPUTS_PER_TURN === 0) await setImmediate()
    const input = mutator.next()
    const start = performance.now()
    try {
      const done = target(input, mutator.random)
      if (done instanceof Promise) await done
      accepted++
    } catch (error) {
      if (!isPitayaError(error)) throw new Error(`SEED=${seed} run ${run} input ${toHex(input)}`, { cause: error })
    }
    const ms = performance.now() - start
    if (ms > slowestMs) {
      slowestMs = ms
      slowest = input
    }
  }
  slowestMs = await timeAgain(options, slowest, slowestMs)
  await setImmediate()
  return { runs, seed, accepted, slowestMs, slowestHex: toHex(slowest), grownBytes: heapBytes() - before }
}

async function timeAgain ({ target }: FuzzOptions, input: Uint8Array, firstMs: number): Promise<number> {
  let best = firstMs
  for (let again = 0; again < 3; again++) {
    const start = performance.now()
    try { await target(input, new Random(again + 1)) } catch {}
    best = Math.min(best, performance.now() - start)
  }
  return best
}

/** The part of a test that is needed here. */
interface Asserts { ok (value: unknown, message: string): unknown }

/**
 * Asserts what every decoder promises: no input takes 50 ms, and none stays in memory. Prints the seed.
 * @param maxGrownBytes for decoders that leave large buffers to the collector
 */
export function checkFuzz (t: Asserts, report: FuzzReport, maxGrownBytes = 16 * 1024 * 1024): void {
  const { runs, seed, accepted, slowestMs, slowestHex, grownBytes } = report
  t.ok(slowestMs < 50, `SEED=${seed}: ${runs} inputs, ${accepted} accepted, slowest ${slowestMs.toFixed(3)} ms: ${slowestHex.slice(0, 80)}`)
  t.ok(grownBytes < maxGrownBytes, `memory grew by ${grownBytes} bytes`)
}

/** Runs a fast-check property, sync or async, with our seed. Prints the seed, and the smallest counterexample if there is one. */
export async function checkProperty<Ts> (t: Asserts, property: fc.IRawProperty<Ts>, numRuns = propertyRuns()): Promise<void> {
  const seed = fuzzSeed()
  const result = await fc.check(property, { seed, numRuns })
  t.ok(!result.failed, fc.defaultReportMessage(result) ?? `SEED=${seed}: ${result.numRuns} runs`)
}

/** Bytes in use, buffers included, after a full garbage collection. */
export function heapBytes (): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

function collectGarbage (): void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
}

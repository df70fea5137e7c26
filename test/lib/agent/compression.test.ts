import { deflateRawSync, deflateSync, gzipSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { deflateIfSmaller, Inflater, isZlib } from '../../../lib/agent/compression.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS, fuzzRuns, heapBytes, Random } from '../../helpers/fuzz.ts'
import { fromHex, readVectors, toHex } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const { compressionDetection } = readVectors<{ compressionDetection: Array<{ hex: string, compressed: boolean }> }>('handshakes.json')
const messages = readVectors<{ vectors: Array<{ name: string, hex: string, decoded: { dataHex: string, dataCompressed: boolean } }> }>('messages.json')
const invalid = readVectors<{ messages: Array<{ name: string, hex: string }> }>('invalid.json')
const LIMIT = 640 * 1024

/** Bytes that hardly get shorter, so that the input is larger than what is inflated at once. */
const large = new Random(1).bytes(40_000)
const text = (length: number) => new Uint8Array(length).fill(0x61)

async function inflate (bytes: Uint8Array, maxBytes = LIMIT): Promise<string> {
  return toHex(await new Inflater().inflate(bytes, 0, bytes.length, maxBytes))
}

t.test('compressed bytes are told by the recorded rule', async (t) => {
  for (const { hex, compressed } of compressionDetection) t.equal(isZlib(fromHex(hex)), compressed, hex)
})

t.test('recorded compressed data inflates to what was recorded', async (t) => {
  for (const { name, hex, decoded } of messages.vectors) {
    if (!decoded.dataCompressed) continue
    const bytes = fromHex(hex)
    const start = hex.indexOf(hex.includes('789c') ? '789c' : '7801') / 2
    t.equal(toHex(await new Inflater().inflate(bytes, start, bytes.length, LIMIT)), decoded.dataHex, name)
  }
})

t.test('data that Go cannot inflate is refused', async (t) => {
  for (const { name, hex } of invalid.messages) {
    if (!name.startsWith('gzip-flag')) continue
    await t.rejects(inflate(fromHex(hex).subarray(2)), { code: 'PIT_ERR_INFLATE', close: 'badPacket' }, name)
  }
})

t.test('small inputs are inflated at once, large ones in the thread pool, with the same result and the same errors', async (t) => {
  const inflater = new Inflater()
  const small = deflateSync(text(1000))
  t.ok(inflater.inflate(small, 0, small.length, 1000) instanceof Uint8Array)
  const big = deflateSync(large)
  const promise = inflater.inflate(big, 0, big.length, large.length)
  t.ok(promise instanceof Promise)
  t.equal(toHex(await promise), toHex(large))
  for (const content of [text(1000), large]) {
    const good = deflateSync(content)
    const flawed = new Uint8Array(good)
    flawed[flawed.length - 1]! ^= 1
    await t.rejects(inflate(good.subarray(0, good.length - 1)), { code: 'PIT_ERR_INFLATE' })
    await t.rejects(inflate(flawed), { code: 'PIT_ERR_INFLATE' })
    await t.rejects(inflate(gzipSync(content)), { code: 'PIT_ERR_INFLATE' })
    await t.rejects(inflate(deflateRawSync(content)), { code: 'PIT_ERR_INFLATE' })
    await t.rejects(inflate(deflateSync(content, { dictionary: Buffer.from('aaaa') })), { code: 'PIT_ERR_INFLATE' })
    await t.rejects(inflate(good, content.length - 1), { code: 'PIT_ERR_INFLATE_SIZE', close: 'badPacket' })
    t.equal(await inflate(good, content.length), toHex(content))
    t.equal(await inflate(Buffer.concat([good, Buffer.from('behind')])), toHex(content), 'what follows the stream is ignored, as in Go')
  }
  await t.rejects(inflate(new Uint8Array(0)), { code: 'PIT_ERR_INFLATE' })
})

t.test('bombs end at the limit, and leave no memory behind', async (t) => {
  const bomb = deflateSync(text(16 * 1024 * 1024 - 1))
  const inflater = new Inflater()
  t.ok(bomb.length <= 16 * 1024)
  const before = heapBytes()
  for (let i = 0; i < 200; i++) t.throws(() => inflater.inflate(bomb, 0, bomb.length, LIMIT), { code: 'PIT_ERR_INFLATE_SIZE' })
  const grown = heapBytes() - before
  t.ok(grown < 16 * 1024 * 1024, `${grown} bytes`)
})

t.test('large inputs queue behind four, up to a bound; then they are refused, and work goes on', async (t) => {
  const inflater = new Inflater()
  const input = deflateSync(large)
  const pending = Array.from({ length: 4 + 256 }, () => inflater.inflate(input, 0, input.length, LIMIT))
  t.throws(() => inflater.inflate(input, 0, input.length, LIMIT), { code: 'PIT_ERR_BUSY' })
  for (const result of await Promise.all(pending)) t.equal(result.length, large.length)
  t.equal((await inflater.inflate(input, 0, input.length, LIMIT)).length, large.length)
})

t.test('failed inputs make room for those that wait', async (t) => {
  const inflater = new Inflater()
  const bad = new Uint8Array(20_000)
  const good = deflateSync(large)
  const results = await Promise.allSettled(Array.from({ length: 40 }, (_, i) => {
    const input = i % 2 === 0 ? bad : good
    return inflater.inflate(input, 0, input.length, LIMIT)
  }))
  t.strictSame(results.map(({ status }) => status === 'fulfilled'), results.map((_, i) => i % 2 === 1))
})

t.test('data is compressed only when it is long enough and gets strictly shorter', async (t) => {
  t.equal(deflateIfSmaller(text(1023), 1024), undefined)
  const deflated = deflateIfSmaller(text(1024), 1024)
  t.ok(deflated !== undefined && deflated.length < 1024)
  t.equal(toHex(deflated!.subarray(0, 2)), '789c')
  t.equal(toHex(inflateSync(deflated!)), toHex(text(1024)))
  t.equal(deflateIfSmaller(large, 1), undefined)
  t.equal(deflateIfSmaller(new Uint8Array(0), 0), undefined)
})

t.test('any data comes back from compression as it was', async (t) => {
  await checkProperty(t, fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.nat(3000).map(text)), async (data) => {
    const deflated = deflateIfSmaller(data, 0)
    return deflated === undefined || (isZlib(deflated) && await inflate(deflated) === toHex(data))
  }), fuzzRuns(100))
})

const corpus = [deflateSync(text(1000)), deflateSync(large.subarray(0, 500)), fromHex('7801010300fcff616263024d0127'), deflateSync(text(200_000))]

t.test('mutated zlib data inflates within the limit or ends in a coded error', async (t) => {
  const inflater = new Inflater()
  checkFuzz(t, await fuzz({
    corpus,
    runs: fuzzRuns(10),
    target (input) {
      const inflated = inflater.inflate(input, 0, input.length, 10_000)
      if (inflated instanceof Promise || inflated.length > 10_000) throw new Error('not within the limit')
    }
  }))
})

t.test('mutated large zlib data inflates within the limit or ends in a coded error', async (t) => {
  const inflater = new Inflater()
  checkFuzz(t, await fuzz({
    corpus: [deflateSync(large)],
    maxBytes: 100_000,
    runs: fuzzRuns(100),
    async target (input) {
      const inflated = await inflater.inflate(input, 0, input.length, 50_000)
      if (inflated.length > 50_000) throw new Error('not within the limit')
    }
  }), 64 * 1024 * 1024)
})

import { constants, deflateSync, inflateSync } from 'node:zlib'
import t from 'tap'
import { inflate } from '../../client/inflate.ts'
import { isPitayaError } from '../../lib/errors.ts'
import { FUZZ_TIMEOUT_MS, fuzzRuns, fuzzSeed, Mutator, Random } from '../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const seed = fuzzSeed()
const texts = ['', 'a', 'aaaa'.repeat(500), JSON.stringify({ members: Array.from({ length: 200 }, (_, i) => `user-${i}`) }), 'grüße 🎮 '.repeat(40)]
const samples = [...texts.map((text) => Buffer.from(text)), Buffer.from(new Random(seed).bytes(3000))]
const settings = [
  { level: 0 }, { level: 1 }, { level: 9 },
  { strategy: constants.Z_FIXED }, { strategy: constants.Z_HUFFMAN_ONLY }, { strategy: constants.Z_RLE }
]

t.test('what zlib deflates comes out as it was, whatever the settings', async (t) => {
  for (const sample of samples) {
    for (const setting of settings) t.ok(Buffer.from(inflate(deflateSync(sample, setting))).equals(sample), `${sample.length} bytes, ${JSON.stringify(setting)}`)
  }
})

t.test('the size of the result is limited', async (t) => {
  const bomb = deflateSync(Buffer.alloc(1_000_000))
  t.throws(() => inflate(bomb, 65_536), { code: 'PIT_ERR_INFLATE_SIZE' })
  t.equal(inflate(bomb, 1_000_000).length, 1_000_000)
})

t.test('a window larger than zlib has is refused', async (t) => {
  t.throws(() => inflate(Buffer.from('f800030000000001', 'hex')), { code: 'PIT_ERR_INFLATE' })
})

t.test('broken data is a coded error, and accepted only where zlib accepts it', async (t) => {
  const runs = fuzzRuns(10)
  t.comment(`${runs} inputs, SEED=${seed}`)
  const mutator = new Mutator(new Random(seed), samples.flatMap((sample) => settings.map((setting) => deflateSync(sample, setting))))
  let accepted = 0
  for (let i = 0; i < runs; i++) {
    const input = mutator.next()
    let output: Uint8Array | undefined
    try {
      output = inflate(input, 100_000)
    } catch (error) {
      if (!isPitayaError(error)) { t.fail(`${String(error)} for ${Buffer.from(input).toString('hex')}`); return }
    }
    let expected: Buffer | undefined
    try { expected = inflateSync(input, { maxOutputLength: 100_000 }) } catch {}
    const isSame = output === undefined ? expected === undefined : expected?.equals(output) === true
    if (!isSame) { t.fail(`zlib differs for ${Buffer.from(input).toString('hex')}`); return }
    if (output !== undefined) accepted++
  }
  t.ok(accepted > 0, 'some inputs are still good')
})

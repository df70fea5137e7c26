import { deflateSync, inflateSync } from 'node:zlib'
import t from 'tap'
import { connectOver, type ConnectOptions } from '../../client/client.ts'
import { inflate } from '../../client/inflate.ts'
import { inflateStream } from '../../client/inflate-stream.ts'
import { isPitayaError } from '../../lib/errors.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { FUZZ_TIMEOUT_MS, fuzzRuns, fuzzSeed, Mutator, Random } from '../helpers/fuzz.ts'
import { fromHex, readVectors } from '../helpers/vectors.ts'
import { closeOf, connected, FakeTransport } from './fake-transport.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

interface Answer { bodyCompressed: boolean, bodyText: string, packetHex: string }
interface Message {
  name: string
  hex: string
  decoded: { type: number, id: string, route?: string, err: boolean, dataCompressed: boolean, dataHex: string }
}
const { responses } = readVectors<{ responses: Array<{ name: string, ok: Answer, error: Answer }> }>('handshakes.json')
const { dictionary, vectors } = readVectors<{ dictionary: Record<string, number>, vectors: Message[] }>('messages.json')
const welcome = `{"code":200,"sys":{"heartbeat":0,"dict":${JSON.stringify(dictionary)}}}`

t.test('handshakes as Go writes them, deflated or not, are understood', async (t) => {
  for (const { name, ok, error } of responses.filter(({ name }) => !name.startsWith('protobuf'))) {
    const transport = new FakeTransport()
    const ready = connectOver(transport)
    transport.handler.onData(fromHex(ok.packetHex))
    const client = await ready
    t.strictSame(Object.fromEntries(client.answer!.dict), JSON.parse(ok.bodyText).sys.dict, name)
    client.close()
    const other = new FakeTransport()
    const refused = connectOver(other)
    other.handler.onData(fromHex(error.packetHex))
    await t.rejects(refused, { code: 'PIT-400' })
  }
  t.ok(responses.some(({ ok }) => ok.bodyCompressed))
})

for (const [how, options] of [['by the runtime', {}], ['by the option', { inflate }]] satisfies Array<[string, ConnectOptions]>) {
  t.test(`messages as Go writes them come in order, inflated ${how}`, async (t) => {
    const pushes = vectors.filter(({ decoded }) => decoded.type === 3 && decoded.dataHex !== '')
    const raw = [...new Set(pushes.map(({ decoded }) => decoded.route!))]
    const transport = new FakeTransport()
    const ready = connectOver(transport, { ...options, raw: [...raw, 'a.b'] })
    transport.answer(PacketType.handshake, deflateSync(welcome))
    const client = await ready
    const seen: string[] = []
    for (const route of raw) client.on(route, (data) => seen.push(Buffer.from(data).toString('hex')))
    const all = Buffer.concat(pushes.map(({ hex }) => encodePacket(PacketType.data, fromHex(hex))))
    const asked = client.request('a.b')
    transport.handler.onData(all)
    transport.reply(1, 'last')
    t.equal(Buffer.from(await asked).toString(), 'last')
    t.strictSame(seen, pushes.map(({ decoded }) => decoded.dataHex))
    client.close()
  })

  t.test(`responses and errors as Go writes them, inflated ${how}`, async (t) => {
    const recorded = vectors.filter(({ decoded }) => decoded.type === 2 && decoded.dataCompressed)
    t.ok(recorded.length >= 3)
    for (const { name, hex, decoded } of recorded) {
      const { transport, client } = await connected({ ...options, raw: ['a.b'] })
      // The next id is the one of the vector.
      const id = Number(decoded.id)
      const asked = Array.from({ length: Math.min(id, 300) }, () => client.request('a.b'))
      if (id > 300) continue
      for (const other of asked) other.catch(() => {})
      transport.answer(PacketType.data, fromHex(hex))
      const answer = await asked[id - 1]!.catch((error) => error)
      const text = Buffer.from(decoded.dataHex, 'hex').toString()
      if (decoded.err) t.match(answer, { code: JSON.parse(text).code, message: JSON.parse(text).msg }, name)
      else t.equal(Buffer.from(answer).toString(), text, name)
      client.close()
    }
  })
}

t.test('what comes after a compressed message waits for it, the close too', async (t) => {
  const { transport, client } = await connected()
  const seen: unknown[] = []
  client.on('onText', (text) => seen.push(text.length))
  client.onClose(({ code, reason }) => seen.push(`${code} ${reason}`))
  const long = JSON.stringify('x'.repeat(200_000))
  transport.push('onText', deflateSync(long), true)
  transport.push('onText', '"plain"')
  transport.push('onText', deflateSync('"deflated"'), true)
  transport.answer(PacketType.kick, '{"code":4504,"reason":"enough"}')
  const asked = client.request('a.b')
  transport.reply(1, '"answered"')
  transport.handler.onClose(1006, '')
  t.strictSame(seen, [], 'nothing overtakes')
  t.equal(await asked, 'answered')
  await closeOf(client)
  t.strictSame(seen, [200_000, 5, 8, '4504 enough'])
})

t.test('compressed data may be ten packets large, and no larger; what is broken ends the connection', async (t) => {
  const text = JSON.stringify('x'.repeat(10_000))
  for (const [data, limit, code] of [
    [deflateSync(text), 1001, undefined],
    [deflateSync(text), 1000, 'compressed data inflates beyond the limit'],
    [deflateSync(text).subarray(0, 20), 1001, 'compressed data cannot be inflated'],
    [Buffer.from('no zlib'), 1001, 'compressed data cannot be inflated']
  ] as const) {
    const { transport, client } = await connected({ packetBytes: limit })
    const pushed = new Promise<string>((resolve) => { client.on('onText', (text) => resolve(`${text.length}`)) })
    transport.push('onText', data, true)
    const outcome = await Promise.race([pushed, closeOf(client).then(({ code, reason }) => `${code} ${reason}`)])
    t.equal(outcome, code === undefined ? '10000' : `4500 ${code}`)
    client.close()
  }
})

t.test('a packet above the limit ends the connection when its length is read', async (t) => {
  const { transport, client } = await connected({ packetBytes: 100 })
  transport.handler.onData(Uint8Array.of(4, 0, 0, 101))
  t.strictSame(client.closed, { code: 4500, reason: 'packet size exceed' })
})

t.test('the runtime inflates what zlib inflates; all else is a coded error', async (t) => {
  const seed = fuzzSeed()
  const runs = Math.min(fuzzRuns(10), 20_000)
  t.comment(`${runs} inputs, SEED=${seed}`)
  const samples = ['', 'a', 'aaaa'.repeat(500), 'grüße 🎮 '.repeat(40)].map((text) => deflateSync(text))
  const mutator = new Mutator(new Random(seed), samples)
  let accepted = 0
  for (let i = 0; i < runs; i++) {
    const input = i < samples.length ? samples[i]! : mutator.next()
    const output = await inflateStream(input, 10_000).catch((error) => {
      if (!isPitayaError(error)) throw error
    })
    if (output === undefined) continue
    accepted++
    if (!inflateSync(input).equals(output)) { t.fail(`zlib differs for ${Buffer.from(input).toString('hex')}`); return }
  }
  t.ok(accepted >= samples.length)
})

t.test('a runtime that cannot inflate says so', async (t) => {
  const runtime = globalThis as { DecompressionStream?: unknown }
  const { DecompressionStream } = runtime
  t.teardown(() => { runtime.DecompressionStream = DecompressionStream })
  runtime.DecompressionStream = undefined
  await t.rejects(inflateStream(deflateSync('a'), 10), { code: 'PIT_ERR_INFLATE', message: /pass the option inflate/ })
})

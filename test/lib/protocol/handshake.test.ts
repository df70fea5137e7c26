import { inflateSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { isZlib } from '../../../lib/agent/compression.ts'
import { createError, isPitayaError, toWireError } from '../../../lib/errors.ts'
import { HandshakeAnswers, normalizeHandshake, parseHandshakeAnswer } from '../../../lib/protocol/handshake.ts'
import { encodePacket, PacketType } from '../../../lib/protocol/packet.ts'
import { RouteDictionary } from '../../../lib/protocol/route.ts'
import { decodeUtf8, encodeUtf8 } from '../../../lib/protocol/utf8.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS, type Random } from '../../helpers/fuzz.ts'
import { byteByByte, concat, readPackets } from '../../helpers/packets.ts'
import { fromHex, readVectors, toHex } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

interface Parsed { sys: Record<string, string>, user?: unknown }
interface Answer { packetHex: string, bodyCompressed: boolean, bodyText: string, byteExact: boolean }
interface RequestVector { name: string, packetHex: string, bodyText: string, parsed: Parsed }
interface ResponseVector {
  name: string
  config: { dictionary: Record<string, number> | null, heartbeatSeconds: number, serializer: string }
  ok: Answer
  error: Answer
  kickPacketHex: string
}
const recorded = readVectors<{ requests: RequestVector[], responses: ResponseVector[] }>('handshakes.json')
const { handshakeBodies } = readVectors<{ handshakeBodies: Array<{ bodyHex: string, body: string, accepted: boolean, parsed?: Parsed }> }>('invalid.json')
const errors = readVectors<{ vectors: Array<{ name: string, code: string, msg: string, metadata: Record<string, string>, jsonText: string }> }>('errors.json')

/** As Go tells it: an absent text is empty, an empty user is absent. */
function told ({ sys, user }: ReturnType<typeof normalizeHandshake>): Parsed {
  const { platform = '', libVersion = '', clientBuildNumber = '', clientVersion = '' } = sys
  const parsed: Parsed = { sys: { platform, libVersion, clientBuildNumber, clientVersion } }
  return user === undefined || Object.keys(user as object).length === 0 ? parsed : { ...parsed, user }
}

function answersFor ({ config }: ResponseVector): HandshakeAnswers {
  const dictionary = new RouteDictionary()
  dictionary.add(config.dictionary ?? {})
  return new HandshakeAnswers({ dictionary, heartbeatSeconds: config.heartbeatSeconds })
}

function bodyOf (packetHex: string): string {
  const [packet] = readPackets([fromHex(packetHex)])
  return decodeUtf8(isZlib(packet!.body) ? inflateSync(packet!.body) : packet!.body)
}

t.test('recorded handshakes are read whole, byte by byte and glued to an ack', async (t) => {
  for (const { name, packetHex, bodyText, parsed } of recorded.requests) {
    const bytes = fromHex(packetHex)
    for (const chunks of [[bytes], byteByByte(bytes), [concat(bytes, fromHex('02000000'))]]) {
      const [packet] = readPackets(chunks)
      t.equal(packet?.type, PacketType.handshake)
      t.equal(decodeUtf8(packet!.body), bodyText, name)
      t.strictSame(told(normalizeHandshake(JSON.parse(decodeUtf8(packet!.body)))), parsed, name)
    }
    t.equal(toHex(encodePacket(PacketType.handshake, encodeUtf8(bodyText))), packetHex, name)
  }
})

t.test('bodies that Go takes or refuses are taken or refused', async (t) => {
  for (const { body, bodyHex, accepted, parsed } of handshakeBodies) {
    const read = () => told(normalizeHandshake(JSON.parse(decodeUtf8(fromHex(bodyHex)))))
    if (accepted) t.strictSame(read(), parsed, body)
    else t.throws(read, body)
  }
})

t.test('a refused field is named by its path, and nothing that the client sent is repeated', async (t) => {
  const cases: Array<[unknown, string]> = [
    [[], 'body'], ['secret', 'body'], [1, 'body'], [true, 'body'],
    [{ sys: 'secret' }, 'sys'], [{ SYS: [] }, 'sys'], [{ user: 'secret' }, 'user'], [{ User: 7 }, 'user'],
    [{ sys: { PLATFORM: { secret: 1 } } }, 'sys.platform'], [{ sys: { clientversion: 2.1 } }, 'sys.clientVersion'],
    [{ sys: { libVersion: 'x'.repeat(257) } }, 'sys.libVersion'], [{ sys: { serializer: 'x'.repeat(65) } }, 'sys.serializer'],
    [{ sys: { closeReason: 'true' } }, 'sys.closeReason']
  ]
  for (const [value, path] of cases) {
    t.throws(() => normalizeHandshake(value), {
      code: 'PIT_ERR_HANDSHAKE', message: `handshake: ${path}`, metadata: { field: path }, close: 'handshakeRejected'
    }, path)
  }
})

t.test('names match without regard to case, the last wins, null is absent, unknown fields are dropped', async (t) => {
  t.strictSame(normalizeHandshake(null), { sys: {}, user: undefined })
  t.strictSame(normalizeHandshake({ sys: null, user: null, other: 1 }), { sys: {}, user: undefined })
  t.strictSame(normalizeHandshake({ sys: { platform: 'a', PLATFORM: 'b', platForm: null, type: 'js', rsa: {} } }), { sys: { platform: 'b' }, user: undefined })
  t.strictSame(normalizeHandshake({ SYS: { libVersion: '1' }, sys: { SERIALIZER: 'avro', closereason: true } }),
    { sys: { serializer: 'avro', closeReason: true }, user: undefined })
  t.strictSame(normalizeHandshake({ user: { a: 1 }, USER: { b: [2] } }).user, { b: [2] })
  const longest = 'x'.repeat(256)
  t.strictSame(normalizeHandshake({ sys: { platform: longest } }).sys, { platform: longest })
})

t.test('names of the prototype are plain unknown fields', async (t) => {
  const hostile = JSON.parse('{"__proto__":{"sys":{"platform":"x"}},"sys":{"__proto__":{"platform":"x"},"constructor":{"prototype":1}}}') as unknown
  t.strictSame(normalizeHandshake(hostile), { sys: {}, user: undefined })
  t.equal(({} as Record<string, unknown>).platform, undefined)
})

t.test('answers are the recorded ones, byte for byte where they are not compressed', async (t) => {
  for (const vector of recorded.responses) {
    const answers = answersFor(vector)
    const { serializer } = vector.config
    const ok = answers.accept(serializer)
    t.equal(ok, vector.ok.bodyText, vector.name)
    // Our refusal is Go's with the reason added behind, which no stock client reads.
    const refusal = answers.refuse(400, serializer, { code: 'PIT-400', msg: 'no' })
    t.equal(refusal, vector.error.bodyText.slice(0, -1) + ',"error":{"code":"PIT-400","msg":"no"}}', vector.name)
    t.equal(bodyOf(vector.ok.packetHex), vector.ok.bodyText, vector.name)
    t.equal(bodyOf(vector.error.packetHex), vector.error.bodyText, vector.name)
    if (vector.ok.byteExact) t.equal(toHex(encodePacket(PacketType.handshake, encodeUtf8(ok))), vector.ok.packetHex, vector.name)
    t.equal(toHex(encodePacket(PacketType.kick, new Uint8Array(0))), vector.kickPacketHex)
  }
})

t.test('the error of a refusal has the recorded form of error payloads', async (t) => {
  const answers = new HandshakeAnswers({ dictionary: new RouteDictionary(), heartbeatSeconds: 30 })
  for (const { name, code, msg, metadata, jsonText } of errors.vectors) {
    const text = answers.refuse(400, 'json', { code, msg, metadata })
    t.equal(text, `{"code":400,"sys":{"dict":{},"heartbeat":30,"serializer":"json"},"error":${jsonText}}`, name)
  }
})

t.test('a refusal may say when to come back, and an answer may carry more of sys', async (t) => {
  const answers = new HandshakeAnswers({ dictionary: new RouteDictionary(), heartbeatSeconds: 1.5 })
  t.equal(answers.refuse(503, 'json', toWireError(createError('PIT_ERR_FULL')), { retryAfterMs: 2000 }),
    '{"code":503,"sys":{"dict":{},"heartbeat":1.5,"serializer":"json"},"error":{"code":"PIT-503","msg":"server is full"},"retryAfterMs":2000}')
  t.equal(answers.accept('avro', '"need":["x"]'), '{"code":200,"sys":{"dict":{},"heartbeat":1.5,"serializer":"avro","need":["x"]}}')
  t.equal(answers.accept('avro', ''), answers.accept('avro'))
})

t.test('text that would end a script or a line is escaped as Go does', async (t) => {
  const answers = new HandshakeAnswers({ dictionary: new RouteDictionary(), heartbeatSeconds: 30 })
  const text = answers.refuse(400, '<&>', { code: 'A', msg: '\u2028"\u2029\n', metadata: { 'b>': '&', 'a<': '' } })
  t.equal(text, '{"code":400,"sys":{"dict":{},"heartbeat":30,"serializer":"\\u003c\\u0026\\u003e"},"error":' +
    '{"code":"A","msg":"\\u2028\\"\\u2029\\n","metadata":{"a\\u003c":"","b\\u003e":"\\u0026"}}}')
})

t.test('a client reads every answer', async (t) => {
  for (const vector of recorded.responses) {
    const answer = parseHandshakeAnswer(JSON.parse(bodyOf(vector.ok.packetHex)))
    t.equal(answer.code, 200)
    t.equal(answer.heartbeatSeconds, vector.config.heartbeatSeconds)
    t.equal(answer.serializer, vector.config.serializer)
    t.strictSame([...answer.dict], Object.entries(vector.config.dictionary ?? {}), vector.name)
    t.equal(answer.error, undefined)
    t.equal(parseHandshakeAnswer(JSON.parse(bodyOf(vector.error.packetHex))).code, 400)
    const refusal = answersFor(vector).refuse(503, 'json', { code: 'C', msg: 'm', metadata: { k: 'v' } }, { retryAfterMs: 5 })
    const { error, retryAfterMs } = parseHandshakeAnswer(JSON.parse(refusal))
    t.strictSame({ error, retryAfterMs }, { error: { code: 'C', msg: 'm', metadata: { k: 'v' } }, retryAfterMs: 5 })
  }
  t.strictSame(parseHandshakeAnswer({ code: 200 }), {
    code: 200, dict: new Map(), heartbeatSeconds: 0, serializer: 'json', error: undefined, retryAfterMs: undefined, sys: {}
  })
  const wrong: Array<[unknown, string]> = [
    [null, 'answer'], [[], 'answer'], [{}, 'code'], [{ code: 200, sys: 1 }, 'sys'], [{ code: 200, sys: { dict: [] } }, 'sys.dict'],
    [{ code: 200, sys: { dict: { a: 65536 } } }, 'sys.dict'], [{ code: 200, sys: { heartbeat: -1 } }, 'sys.heartbeat'],
    [{ code: 200, sys: { serializer: 1 } }, 'sys.serializer']
  ]
  for (const [value, field] of wrong) t.throws(() => parseHandshakeAnswer(value), { code: 'PIT_ERR_HANDSHAKE', metadata: { field } }, field)
})

t.test('any JSON value is taken or refused with a coded error, by server and client', async (t) => {
  const members = { sys: fc.jsonValue(), user: fc.jsonValue(), code: fc.jsonValue() }
  const json = fc.oneof(fc.jsonValue(), fc.record(members, { requiredKeys: [] }))
  await checkProperty(t, fc.property(json, (value) => {
    for (const read of [normalizeHandshake, parseHandshakeAnswer]) {
      try { read(value) } catch (error) { if (!isPitayaError(error)) throw error }
    }
  }))
})

t.test('mutated handshakes are taken or end in a coded error, and leave the prototype alone', async (t) => {
  const bodies = recorded.requests.map(({ bodyText }) => bodyText).concat(handshakeBodies.map(({ body }) => body))
  checkFuzz(t, await fuzz({
    corpus: bodies.map(encodeUtf8),
    target (bytes) {
      let value: unknown
      try { value = JSON.parse(decodeUtf8(bytes)) } catch { throw createError('PIT_ERR_HANDSHAKE', ['body']) }
      normalizeHandshake(value)
    }
  }))
  t.strictSame(Object.keys(Object.prototype), [])
})

t.test('handshakes of any names and values, in any case, are taken or end in a coded error', async (t) => {
  const names = ['sys', 'SYS', 'user', 'User', 'platform', 'PLATFORM', 'libVersion', 'clientBuildNumber', 'clientversion', 'serializer',
    'closeReason', '__proto__', 'constructor', '', '\u212a', 'x'.repeat(300)]
  const deep = JSON.parse('['.repeat(5000) + ']'.repeat(5000)) as unknown
  const manyKeys = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`Key${i}`, i]))
  const leaves = [null, undefined, true, 0, Infinity, '', '\ud800', 'x'.repeat(256), 'x'.repeat(257), [], deep, manyKeys]
  const anyValue = (random: Random, depth: number): unknown => {
    if (depth === 0 || random.int(3) === 0) return random.pick(leaves)
    return Object.fromEntries(Array.from({ length: random.int(5) }, () => [random.pick(names), anyValue(random, depth - 1)]))
  }
  checkFuzz(t, await fuzz({
    corpus: [new Uint8Array(0)],
    target (_, random) {
      const { sys } = normalizeHandshake(anyValue(random, 3))
      for (const text of [sys.platform, sys.libVersion, sys.clientBuildNumber, sys.clientVersion]) {
        if (text !== undefined && !(typeof text === 'string' && text.length <= 256)) throw new Error('not checked')
      }
    }
  }))
})

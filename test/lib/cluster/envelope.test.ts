import { isDeepStrictEqual } from 'node:util'
import avsc from 'avsc'
import fc from 'fast-check'
import t from 'tap'
import { createAvroEnvelope, envelopeSchemas } from '../../../lib/cluster/envelopes/avro.ts'
import {
  MAX_REMAINING_MS, MAX_TARGETS, PushKind, RpcType,
  type PushEnvelope, type RequestEnvelope, type RequestFields, type ResponseEnvelope, type SessionPart
} from '../../../lib/cluster/envelopes/envelope.ts'
import { createError, toWireError } from '../../../lib/errors.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'
import { fromHex, readVectors, toHex } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

type Kind = 'request' | 'response' | 'push'
interface Golden { name: string, version: number, message: Kind, hex: string, fields: any }

const { envelopes: golden } = readVectors<{ envelopes: Golden[] }>('envelopes.json')
const envelope = createAvroEnvelope()
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

const session: SessionPart = {
  id: 7,
  uid: 'ana',
  revision: 3,
  data: '{"room":"lobby"}',
  sys: '{"platform":"web"}',
  user: '',
  serializer: 'json',
  remoteAddress: '203.0.113.7',
  contract: ''
}
const request: RequestEnvelope = {
  type: RpcType.sys,
  route: 'chat.room.message',
  isNotify: false,
  remainingMs: 5000,
  caller: 'connector-1',
  callerIncarnation: 'k3J_9x-Q',
  frontend: 'connector-1',
  session,
  context: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tenant: 'münchen' },
  data: bytes('{"content":"hi"}')
}
const push: PushEnvelope = {
  kind: PushKind.push,
  caller: 'chat-1',
  hops: 1,
  route: 'onMessage',
  sessions: [1, 2 ** 40],
  uids: ['ana', 'b\u00e9a'],
  group: 'lobby',
  payloads: [{ serializer: 'json', data: bytes('{}') }, { serializer: '', data: new Uint8Array(0) }],
  reason: 'replaced'
}

function encodeRequest (fields: RequestEnvelope): Uint8Array {
  const { session, data, ...head } = fields
  const fieldsOut: RequestFields = { ...head, session: session === undefined ? undefined : envelope.encodeSession(session) }
  return new Uint8Array(envelope.encodeRequest(fieldsOut, data, 0, data.length))
}
function encodeResponse ({ data, isError, error }: ResponseEnvelope): Uint8Array {
  return new Uint8Array(envelope.encodeResponse(data, isError, error))
}
function encodePush (fields: PushEnvelope): Uint8Array {
  return new Uint8Array(envelope.encodePush(fields))
}

const encode: Record<Kind, (fields: any) => Uint8Array> = { request: encodeRequest, response: encodeResponse, push: encodePush }
const decode: Record<Kind, (bytes: Uint8Array) => any> = {
  request: (bytes) => envelope.decodeRequest(bytes),
  response: (bytes) => envelope.decodeResponse(bytes),
  push: (bytes) => envelope.decodePush(bytes)
}
const kinds = Object.keys(encode) as Kind[]

/** As the golden file has it: bytes as `{ hex }`, nothing for undefined. */
function toJson (fields: unknown): unknown {
  return JSON.parse(JSON.stringify(fields, (_, value) => value instanceof Uint8Array ? { hex: toHex(value) } : value))
}
function fromJson (fields: unknown): any {
  return JSON.parse(JSON.stringify(fields), (_, value) => typeof value?.hex === 'string' ? fromHex(value.hex) : value)
}

t.test('golden envelopes of every version are read, and those of this one are written byte for byte', async (t) => {
  for (const { name, version, message, hex, fields } of golden) {
    t.strictSame(toJson(decode[message](fromHex(hex))), fields, name)
    if (version === envelope.version) t.equal(toHex(encode[message](fromJson(fields))), hex, name)
  }
  for (const kind of kinds) t.ok(golden.some(({ message, version }) => message === kind && version === envelope.version), kind)
})

t.test('what is written comes back, with the data a view of the message', async (t) => {
  const written = encodeRequest(request)
  const read = envelope.decodeRequest(written)
  t.strictSame(toJson(read), toJson(request))
  t.equal(read.data.buffer, written.buffer)
  t.strictSame(toJson(envelope.decodePush(encodePush(push))), toJson(push))

  const bare = { ...request, type: RpcType.user, frontend: '', session: undefined, context: undefined, data: new Uint8Array(0) }
  t.strictSame(toJson(envelope.decodeRequest(encodeRequest(bare))), toJson(bare))
  t.equal(envelope.decodeRequest(encodeRequest({ ...request, context: {} })).context, undefined, 'an empty context is none')

  const part = envelope.decodeRequest(envelope.encodeRequest({ ...request, session: undefined }, bytes('abcdef'), 2, 4))
  t.equal(Buffer.from(part.data).toString(), 'cd', 'only the part that was asked for')
})

t.test('a session is encoded into bytes of its own', async (t) => {
  const first = envelope.encodeSession(session)
  const before = toHex(first)
  envelope.encodeSession({ ...session, uid: 'someone else altogether' })
  encodeRequest(request)
  t.equal(toHex(first), before)
})

t.test('errors arrive with code, text and metadata, whatever the application put there', async (t) => {
  const wire = toWireError(createError('PIT_ERR_BODY', ['bad'], { metadata: { field: 'name' } }))
  t.strictSame(envelope.decodeResponse(encodeResponse({ data: bytes(''), isError: true, error: wire })).error, wire)
  const odd = { code: '\ud800', msg: 'x\udfff', metadata: JSON.parse('{"__proto__":"p","n":1,"\\ud800":"k"}') }
  t.strictSame(envelope.decodeResponse(encodeResponse({ data: bytes(''), isError: true, error: odd })).error,
    { code: '\ufffd', msg: 'x\ufffd', metadata: { n: '1', '\ufffd': 'k' } })
  t.equal(envelope.decodeResponse(encodeResponse({ data: bytes(''), isError: true, error: { ...wire, metadata: {} } })).error?.metadata, undefined)
})

const text = fc.string({ unit: 'binary', maxLength: 80 })
const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/)
const blob = fc.uint8Array({ maxLength: 300 })
const natural = fc.oneof(fc.nat({ max: 200 }), fc.maxSafeNat().map((n) => Math.max(0, n - 1))) // avsc stops one short of 2^53 - 1
const map = fc.dictionary(text.filter((key) => key !== '__proto__'), text, { minKeys: 1, maxKeys: 8, noNullPrototype: true })
const option = <T> (of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined })
const sessionOf = fc.record<SessionPart>({
  id: natural, uid: text, revision: natural, data: text, sys: text, user: text, serializer: text, remoteAddress: text, contract: text
})
const fieldsOf: Record<Kind, fc.Arbitrary<any>> = {
  request: fc.record<RequestEnvelope>({
    type: fc.constantFrom(RpcType.sys, RpcType.user),
    route: text,
    isNotify: fc.boolean(),
    remainingMs: fc.integer({ min: 1, max: MAX_REMAINING_MS }),
    caller: id,
    callerIncarnation: id,
    frontend: fc.oneof(fc.constant(''), id),
    session: option(sessionOf),
    context: option(map),
    data: blob
  }),
  response: fc.record<ResponseEnvelope>({
    isError: fc.boolean(), data: blob, error: option(fc.record({ code: text, msg: text, metadata: option(map) }))
  }),
  push: fc.record<PushEnvelope>({
    kind: fc.constantFrom(PushKind.push, PushKind.kick, PushKind.close),
    caller: id,
    hops: fc.nat({ max: 2 ** 31 - 1 }),
    route: text,
    sessions: fc.array(natural, { maxLength: 20 }),
    uids: fc.array(text, { maxLength: 20 }),
    group: text,
    payloads: fc.array(fc.record({ serializer: text, data: blob }), { maxLength: 4 }),
    reason: text
  })
}

const typeOf = (schema: unknown): avsc.Type => avsc.Type.forSchema(schema as avsc.Schema)
const sessionType = typeOf(envelopeSchemas.session)
const types: Record<Kind, avsc.Type> = {
  request: typeOf(envelopeSchemas.request), response: typeOf(envelopeSchemas.response), push: typeOf(envelopeSchemas.push)
}

/** What avsc takes for the same message. */
const records: Record<Kind, (fields: any) => object> = {
  request: ({ session, context, data, ...head }) => ({
    ...head,
    version: 1,
    session: session === undefined ? Buffer.alloc(0) : sessionType.toBuffer(session),
    context: context ?? {},
    data: Buffer.from(data)
  }),
  response: ({ isError, data, error }) => ({
    version: 1, isError, data: Buffer.from(data), error: error === undefined ? null : { ...error, metadata: error.metadata ?? {} }
  }),
  push: (fields) => ({
    ...fields, version: 1, payloads: fields.payloads.map((payload: any) => ({ ...payload, data: Buffer.from(payload.data) }))
  })
}

for (const kind of kinds) {
  t.test(`a ${kind} is Avro by its schema: avsc writes the same bytes, and takes what is written`, async (t) => {
    const type = types[kind]
    await checkProperty(t, fc.property(fieldsOf[kind], (fields) => {
      const written = Buffer.from(encode[kind](fields))
      return type.toBuffer(records[kind](fields)).equals(written) && type.toBuffer(type.fromBuffer(written)).equals(written)
    }))
  })

  t.test(`a ${kind} that was written comes back as it was`, async (t) => {
    const comesBack = (fields: unknown): boolean => isDeepStrictEqual(toJson(decode[kind](encode[kind](fields))), toJson(fields))
    await checkProperty(t, fc.property(fieldsOf[kind], comesBack))
  })

  t.test(`a ${kind} of a newer version is read as far as it is known`, async (t) => {
    const { hex, fields } = golden.find(({ message }) => message === kind)!
    const newer = Uint8Array.of(4, ...fromHex(hex).subarray(1), ...Buffer.from('what version 2 has besides'))
    t.strictSame(toJson(decode[kind](newer)), fields)
  })

  t.test(`no bytes make the decoder of a ${kind} do anything but decode or refuse`, async (t) => {
    const recorded = golden.filter(({ message }) => message === kind).map(({ hex }) => fromHex(hex))
    const corpus = [...recorded, ...fc.sample(fieldsOf[kind], { numRuns: 30, seed: 1 }).map(encode[kind])]
    checkFuzz(t, await fuzz({
      corpus,
      maxBytes: 1500,
      target: (input) => {
        const fields = toJson(decode[kind](input))
        if (!isDeepStrictEqual(toJson(decode[kind](encode[kind](fromJson(fields)))), fields)) throw new Error('came back otherwise')
      }
    }))
  })
}

t.test('a newer session is read as far as it is known', async (t) => {
  const newer = new Uint8Array([...envelope.encodeSession(session), 2, 0x78])
  const written = envelope.encodeRequest({ ...request, session: newer }, request.data, 0, request.data.length)
  t.strictSame(toJson(envelope.decodeRequest(new Uint8Array(written))), toJson(request))
})

t.test('what is no envelope is refused with one code, and never echoed', async (t) => {
  // version 1, sys, route a, no notify, 1 ms, caller a, incarnation a; what follows: frontend, session, context, data
  const head = '02000261000202610261'
  const bad: Array<[name: string, kind: Kind, hex: string, text: string]> = [
    ['nothing', 'request', '', 'truncated'],
    ['version 0', 'request', '00', 'unknown version'],
    ['a negative version', 'response', '01', 'unknown version'],
    ['version 1001', 'push', 'd20f', 'unknown version'],
    ['a type that is none', 'request', '0204026100020261026100000000', 'unknown kind'],
    ['a negative type', 'request', '0201026100020261026100000000', 'unknown kind'],
    ['no time left', 'request', '0200026100000261026100000000', 'deadline out of range'],
    ['more than a day', 'request', '020002610082f0b252026102610000000000', 'deadline out of range'],
    ['no caller', 'request', '020002610002000261000000', 'illegal id'],
    ['a wildcard for a caller', 'request', '020002610002062e2e3e026100000000', 'illegal id'],
    ['an id of 65 characters', 'request', `02000261000202618201${'61'.repeat(65)}00000000`, 'illegal id'],
    ['a frontend with a dot', 'request', `${head}022e000000`, 'illegal id'],
    ['a session beyond the message', 'request', `${head}007e`, 'truncated'],
    ['a session of negative length', 'request', `${head}0001`, 'truncated'],
    ['half a session', 'request', `${head}000402020000`, 'truncated'],
    ['a session that takes of what follows', 'request', `${head}000a0202610202000000000000`, 'truncated'],
    ['no end of the context', 'request', `${head}00000202610261`, 'truncated'],
    ['context key __proto__', 'request', `${head}00000212${toHex(bytes('__proto__'))}000000`, 'key __proto__'],
    ['2^31 - 1 context entries announced', 'request', `${head}0000feffffff0f`, 'truncated'],
    ['data beyond the message', 'request', `${head}00000004ff`, 'truncated'],
    ['text that is not UTF-8', 'request', '020002ff', 'invalid UTF-8'],
    ['neither error nor none', 'response', '02000004', 'unknown kind'],
    ['a negative branch', 'response', '02000001', 'unknown kind'],
    ['an error without its end', 'response', '02010002026102610202', 'truncated'],
    ['a kind that is none', 'push', '0206', 'unknown kind'],
    ['a negative session id', 'push', '020002610002610201000000000000', 'negative number'],
    ['2^31 - 1 uids announced', 'push', '020002610002610000feffffff0f', 'truncated'],
    ['one session too many', 'push', `0200026100026100a29c01${'00'.repeat(10_001)}`, 'too many items']
  ]
  for (const [name, kind, hex, text] of bad) {
    t.throws(() => decode[kind](fromHex(hex)), { code: 'PIT_ERR_RPC', message: `message between servers: ${text}` }, name)
  }
  t.strictSame(envelope.decodeRequest(fromHex(`${head}00000000`)).caller, 'a', 'the head itself is in order')
})

t.test('a context is at most 32 entries and 4 KiB, on both sides', async (t) => {
  const entries = (count: number): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']))
  const refused = { code: 'PIT_ERR_RPC', message: /context of more than 32 entries or 4096 bytes/ }
  t.equal(Object.keys(envelope.decodeRequest(encodeRequest({ ...request, context: entries(32) })).context!).length, 32)
  t.throws(() => encodeRequest({ ...request, context: entries(33) }), refused)
  const fits = 'x'.repeat(4096 - 6)
  t.equal(envelope.decodeRequest(encodeRequest({ ...request, context: { k: fits } })).context!.k, fits)
  t.throws(() => encodeRequest({ ...request, context: { k: `${fits}x` } }), refused)

  const forged = (context: object): Uint8Array => types.request.toBuffer(records.request({ ...request, context }))
  t.throws(() => envelope.decodeRequest(forged(entries(33))), refused)
  t.throws(() => envelope.decodeRequest(forged({ k: `${fits}x` })), refused)
})

t.test('a push reaches ten thousand targets and no more', async (t) => {
  const many = Array.from({ length: MAX_TARGETS }, (_, i) => i)
  t.equal(envelope.decodePush(encodePush({ ...push, sessions: many })).sessions.length, MAX_TARGETS)
  t.throws(() => encodePush({ ...push, sessions: [...many, 1] }), { code: 'PIT_ERR_RPC' })
})

t.test('what cannot be carried is refused when written', async (t) => {
  t.throws(() => encodeRequest({ ...request, route: '\ud800' }), { code: 'PIT_ERR_RPC' })
  t.throws(() => encodeRequest({ ...request, remainingMs: NaN }), { code: 'PIT_ERR_RPC' })
  t.throws(() => encodeRequest({ ...request, data: new Uint8Array(16 * 1024 * 1024) }), { code: 'PIT_ERR_RPC_SIZE' })
  t.throws(() => encodeResponse({ data: new Uint8Array(16 * 1024 * 1024), isError: false, error: undefined }), { code: 'PIT_ERR_RPC_SIZE' })
  t.equal(envelope.decodeRequest(encodeRequest({ ...request, remainingMs: 0.2 })).remainingMs, 1, 'a deadline is rounded up')
  t.equal(envelope.decodeRequest(encodeRequest({ ...request, remainingMs: -5 })).remainingMs, 1)
  t.equal(envelope.decodeRequest(encodeRequest({ ...request, remainingMs: Infinity })).remainingMs, MAX_REMAINING_MS)
  t.ok(isDeepStrictEqual(toJson(envelope.decodeRequest(encodeRequest(request))), toJson(request)), 'and the next is written as ever')
})

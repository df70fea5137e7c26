import { deflateSync, inflateSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { isPitayaError } from '../../../lib/errors.ts'
import {
  createMessageView, decodeMessage, encodeMessage, MessageType, responseHeadSize, writeResponseHead, type MessageFields, type MessageView
} from '../../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../../lib/protocol/packet.ts'
import { RouteDictionary } from '../../../lib/protocol/route.ts'
import { decodeUtf8, encodeUtf8 } from '../../../lib/protocol/utf8.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'
import { byteByByte, concat, readPackets } from '../../helpers/packets.ts'
import { fromHex, readVectors, toHex } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

interface Decoded {
  type: MessageType
  id: string
  route: string
  routeCompressed: boolean
  routeCode?: number
  err: boolean
  dataCompressed: boolean
  dataHex: string
}
interface MessageVector { name: string, hex: string, byteExact: boolean, decodeOnly?: boolean, decoded: Decoded }

const recorded = readVectors<{ dictionary: Record<string, number>, vectors: MessageVector[] }>('messages.json')
const invalid = readVectors<{ messages: Array<{ name: string, hex: string, goError?: string, goPanic?: string }> }>('invalid.json')
const dictionary = new RouteDictionary()
dictionary.add(recorded.dictionary)

/** Where this codec refuses what Go's reads. All of it is ids that a JavaScript number, or any sane writer, would not hold. */
const refusedHere: Record<string, string> = {
  'request-id-9007199254740992': 'PIT_ERR_MESSAGE_ID',
  'response-id-9007199254740992': 'PIT_ERR_MESSAGE_ID',
  'request-id-9223372036854775808': 'PIT_ERR_MESSAGE_ID',
  'response-id-9223372036854775808': 'PIT_ERR_MESSAGE_ID',
  'request-id-18446744073709551615': 'PIT_ERR_MESSAGE_ID',
  'response-id-18446744073709551615': 'PIT_ERR_MESSAGE_ID',
  'decode-overlong-varint-zero': 'PIT_ERR_MESSAGE_ID',
  'decode-overlong-varint-11-bytes': 'PIT_ERR_MESSAGE_ID',
  'decode-varint-10-bytes-overflow': 'PIT_ERR_MESSAGE_ID',
  'decode-unterminated-varint-response': 'PIT_ERR_MESSAGE_ID'
}
/** Where both refuse, but with another text. */
const otherText: Record<string, string> = {
  'request-unterminated-varint': 'PIT_ERR_MESSAGE_ID',
  'request-unterminated-varint-long': 'PIT_ERR_MESSAGE_ID',
  'request-ends-after-id': 'PIT_ERR_MESSAGE',
  'request-ends-after-id-2-bytes': 'PIT_ERR_MESSAGE'
}
const accepted = recorded.vectors.filter(({ name }) => refusedHere[name] === undefined)

/** The message as the vectors tell it. */
function describe (bytes: Uint8Array, view: MessageView): Decoded {
  const data = bytes.subarray(view.dataStart, view.dataEnd)
  const told: Decoded = {
    type: view.type,
    id: String(view.id),
    route: view.routeCode === -1 ? decodeUtf8(bytes, view.routeStart, view.routeEnd) : dictionary.routeOf(view.routeCode) ?? '',
    routeCompressed: view.routeCode !== -1,
    err: view.isError,
    dataCompressed: view.isCompressed,
    dataHex: toHex(view.isCompressed ? inflateSync(data) : data)
  }
  return view.routeCode === -1 ? told : { ...told, routeCode: view.routeCode }
}

function decode (bytes: Uint8Array): Decoded {
  const view = createMessageView()
  decodeMessage(bytes, 0, bytes.length, view)
  return describe(bytes, view)
}

function pick (decoded: Decoded): Decoded {
  const { type, id, route, routeCompressed, routeCode, err, dataCompressed, dataHex } = decoded
  const told = { type, id, route, routeCompressed, err, dataCompressed, dataHex }
  return routeCode === undefined ? told : { ...told, routeCode }
}

t.test('recorded messages are read, whole, byte by byte and glued to their neighbour, with one view for all', async (t) => {
  const view = createMessageView()
  accepted.forEach((vector, i) => {
    const bytes = fromHex(vector.hex)
    t.strictSame(decode(bytes), pick(vector.decoded), vector.name)

    const packet = encodePacket(PacketType.data, bytes)
    const [slow] = readPackets(byteByByte(packet))
    t.strictSame(decode(slow!.body), pick(vector.decoded), `${vector.name}, byte by byte`)

    const neighbour = accepted[(i + 1) % accepted.length]!
    const stream = concat(packet, encodePacket(PacketType.data, fromHex(neighbour.hex)))
    decodeMessage(stream, 4, packet.length, view)
    t.strictSame(describe(stream, view), pick(vector.decoded), `${vector.name}, glued before`)
    decodeMessage(stream, packet.length + 4, stream.length, view)
    t.strictSame(describe(stream, view), pick(neighbour.decoded), `${vector.name}, glued behind`)
  })
})

t.test('the ids that Go reads and we refuse are exactly these', async (t) => {
  for (const [name, code] of Object.entries(refusedHere)) {
    const vector = recorded.vectors.find((vector) => vector.name === name)
    t.throws(() => decode(fromHex(vector!.hex)), { code, close: 'badPacket' }, name)
  }
})

t.test('recorded messages are written byte for byte, compressed ones so that they inflate to the same', async (t) => {
  for (const { name, hex, byteExact, decoded } of accepted) {
    const data = fromHex(decoded.dataHex)
    const written = encodeMessage({
      type: decoded.type,
      id: Number(decoded.id),
      route: decoded.route,
      routeCode: decoded.routeCode,
      data: decoded.dataCompressed ? deflateSync(data) : data,
      isCompressed: decoded.dataCompressed,
      isError: decoded.err
    })
    if (byteExact) t.equal(toHex(written), hex, name)
    // A replacement character stands for what was no UTF-8, so that route cannot be written again.
    else if (name !== 'decode-notify-invalid-utf8-route') t.strictSame(decode(written), pick(decoded), name)
  }
})

t.test('what Go refuses is refused with its text, what crashes it is refused too', async (t) => {
  for (const { name, hex, goError, goPanic } of invalid.messages) {
    const bytes = fromHex(hex)
    const view = createMessageView()
    if (goError === 'route info not found in dictionary') {
      decodeMessage(bytes, 0, bytes.length, view)
      t.equal(dictionary.routeOf(view.routeCode), undefined, name)
    } else if (name.startsWith('gzip-flag')) {
      decodeMessage(bytes, 0, bytes.length, view)
      t.ok(view.isCompressed, `${name}: left to the inflater`)
    } else if (otherText[name] !== undefined) {
      t.throws(() => decode(bytes), { code: otherText[name] }, name)
    } else {
      t.equal(goPanic, undefined)
      t.throws(() => decode(bytes), { message: goError!, close: 'badPacket' }, name)
    }
  }
})

t.test('every recorded message cut short is read or refused, never read past its end', async (t) => {
  for (const { hex } of accepted) {
    const bytes = fromHex(hex)
    // What lies behind the end would be a valid continuation.
    for (let end = 0; end < bytes.length; end++) {
      const view = createMessageView()
      try {
        decodeMessage(bytes, 0, end, view)
        t.ok(view.routeEnd <= end && view.dataStart <= view.dataEnd && view.dataEnd === end)
      } catch (error) { t.ok(isPitayaError(error)) }
    }
  }
})

t.test('the encoder refuses what it could not write so that it reads the same', async (t) => {
  const data = new Uint8Array(0)
  t.throws(() => encodeMessage({ type: 4 as MessageType, data }), { code: 'PIT_ERR_MESSAGE_TYPE', message: 'wrong message type' })
  t.throws(() => encodeMessage({ type: MessageType.push, route: 'r'.repeat(256), data }), { code: 'PIT_ERR_ROUTE_SIZE' })
  t.throws(() => encodeMessage({ type: MessageType.push, route: 'é'.repeat(128), data }), { code: 'PIT_ERR_ROUTE_SIZE' })
  t.equal(encodeMessage({ type: MessageType.push, route: 'é'.repeat(127), data }).length, 2 + 254)
  for (const id of [-1, 1.5, NaN, 2 ** 53]) {
    t.throws(() => encodeMessage({ type: MessageType.request, id, route: 'a.b', data }), { code: 'PIT_ERR_MESSAGE_ID' })
  }
  for (const routeCode of [-1, 65536, 0.5]) {
    t.throws(() => encodeMessage({ type: MessageType.notify, routeCode, data }), { code: 'PIT_ERR_ROUTE_CODE' })
  }
})

t.test('a response head is the head that encodeMessage writes', async (t) => {
  const data = Uint8Array.of(1, 2, 3)
  for (const id of [0, 1, 127, 128, 16383, 16384, 2 ** 31, 2 ** 32, 2 ** 35, Number.MAX_SAFE_INTEGER]) {
    for (const [isError, isCompressed] of [[false, false], [true, false], [false, true], [true, true]] as const) {
      const target = new Uint8Array(2 + responseHeadSize(id) + data.length)
      const at = writeResponseHead(target, 2, id, isError, isCompressed)
      target.set(data, at)
      t.equal(toHex(target.subarray(2)), toHex(encodeMessage({ type: MessageType.response, id, data, isError, isCompressed })))
    }
  }
})

t.test('text keeps its byte order mark, and what is no UTF-8 is replaced', async (t) => {
  t.equal(decodeUtf8(encodeUtf8('\ufeffa')), '\ufeffa')
  t.equal(decodeUtf8(fromHex('61ff62')), 'a\ufffdb')
  t.equal(toHex(encodeUtf8('\ud800')), 'efbfbd')
})

const anyMessage: fc.Arbitrary<MessageFields> = fc.record({
  type: fc.constantFrom(...Object.values(MessageType)),
  id: fc.oneof(fc.maxSafeNat(), fc.nat(300)),
  route: fc.string({ unit: 'grapheme', maxLength: 20 }),
  routeCode: fc.option(fc.integer({ min: 0, max: 65535 }), { nil: undefined }),
  data: fc.uint8Array({ maxLength: 50 }),
  isCompressed: fc.boolean(),
  isError: fc.boolean()
})

t.test('any message is read as it was written', async (t) => {
  const view = createMessageView()
  await checkProperty(t, fc.property(anyMessage, (message) => {
    const bytes = encodeMessage(message)
    decodeMessage(bytes, 0, bytes.length, view)
    const hasId = message.type === MessageType.request || message.type === MessageType.response
    const hasRoute = message.type !== MessageType.response
    const hasCode = hasRoute && message.routeCode !== undefined
    return view.type === message.type && view.id === (hasId ? message.id : 0) &&
      view.routeCode === (hasCode ? message.routeCode : -1) &&
      decodeUtf8(bytes, view.routeStart, view.routeEnd) === (hasRoute && !hasCode ? message.route : '') &&
      toHex(bytes.subarray(view.dataStart, view.dataEnd)) === toHex(message.data) &&
      view.isCompressed === message.isCompressed && view.isError === message.isError
  }))
})

t.test('mutated messages are read within their bounds, and what is read is written again the same, or end in a coded error', async (t) => {
  const view = createMessageView()
  checkFuzz(t, await fuzz({
    corpus: recorded.vectors.map(({ hex }) => fromHex(hex)),
    target (bytes) {
      decodeMessage(bytes, 0, bytes.length, view)
      const { type, id, routeCode, routeStart, routeEnd, dataStart, dataEnd, isCompressed, isError } = view
      const isOrdered = routeStart <= routeEnd && routeEnd <= dataStart && dataStart <= dataEnd && dataEnd === bytes.length
      if (!isOrdered) throw new Error('parts overlap or end outside')
      const headBytes = routeStart - (routeCode >= 0 ? 2 : type === MessageType.response ? 0 : 1)
      const head = encodeMessage({ type, id, routeCode: Math.max(routeCode, 0), data: new Uint8Array(0), isCompressed, isError })
      const idBytes = head.length - 1 - (type === MessageType.response ? 0 : 2)
      if (headBytes !== 1 + idBytes) throw new Error('the id was not in its shortest form')
    }
  }))
})

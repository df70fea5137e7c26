import fc from 'fast-check'
import t from 'tap'
import { encodePacket, HEADER_BYTES, MAX_BODY_BYTES, PacketDecoder, PacketType, writePacketHeader } from '../../../lib/protocol/packet.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS, heapBytes } from '../../helpers/fuzz.ts'
import { byteByByte, concat, readPackets } from '../../helpers/packets.ts'
import { fromHex, readVectors, toHex } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

interface PacketVector {
  name: string
  hex: string
  byteExact: boolean
  droppedTailHex: string
  packets: Array<{ type: PacketType, length: number, bodyHex: string }>
}
interface InvalidVector { name: string, hex: string, goError: string }

const { vectors, headers } = readVectors<{ vectors: PacketVector[], headers: Array<{ hex: string, type: PacketType, length: number }> }>('packets.json')
const invalid = readVectors<{ packets: InvalidVector[], packetHeaders: InvalidVector[], encoders: Array<{ name: string }> }>('invalid.json')

const summary = (packets: ReturnType<typeof readPackets>) => packets.map(({ type, body }) => ({ type, bodyHex: toHex(body) }))
const expected = (vector: PacketVector) => vector.packets.map(({ type, bodyHex }) => ({ type, bodyHex }))

t.test('recorded packets are read whole, byte by byte and glued to their neighbour', async (t) => {
  vectors.forEach((vector, i) => {
    const bytes = fromHex(vector.hex)
    for (const chunks of [[bytes], byteByByte(bytes)]) {
      const decoder = new PacketDecoder(MAX_BODY_BYTES)
      t.strictSame(summary(readPackets(chunks, decoder)), expected(vector), vector.name)
      // Go's buffer decoder drops an incomplete tail; a stream waits for the rest of it.
      t.equal(decoder.isBetweenPackets, vector.droppedTailHex === '', `${vector.name}: tail`)
    }
    if (vector.droppedTailHex !== '') return
    const neighbour = vectors[(i + 1) % vectors.length]!
    t.strictSame(summary(readPackets([concat(bytes, fromHex(neighbour.hex))])), [...expected(vector), ...expected(neighbour)], `${vector.name}, glued`)
  })
})

t.test('recorded packets are written byte for byte', async (t) => {
  for (const vector of vectors) {
    const written = concat(...vector.packets.map(({ type, bodyHex }) => encodePacket(type, fromHex(bodyHex))))
    t.equal(toHex(written) + vector.droppedTailHex, vector.hex, vector.name)
  }
})

t.test('recorded headers are read and written', async (t) => {
  for (const { hex, type, length } of headers) {
    const target = new Uint8Array(HEADER_BYTES + 2)
    writePacketHeader(target, 1, type, length)
    t.equal(toHex(target), `00${hex}00`)
    const [packet] = readPackets([fromHex(hex), new Uint8Array(length)])
    t.equal(packet?.type, type)
    t.equal(packet?.body.length, length)
  }
})

t.test('what Go refuses is refused with its text', async (t) => {
  for (const { name, hex, goError } of invalid.packets) {
    for (const chunks of [[fromHex(hex)], byteByByte(fromHex(hex))]) {
      t.throws(() => readPackets(chunks), { code: 'PIT_ERR_PACKET_TYPE', message: goError, close: 'badPacket' }, name)
    }
  }
  // Go's header parser takes exactly four bytes; a stream waits for a cut header and takes the fifth for the next packet.
  const outcomes: Record<string, 'nothing' | 'waits' | 'refused'> = {
    'header-empty': 'nothing', 'header-3-bytes': 'waits', 'header-5-bytes': 'refused', 'header-type-0': 'refused', 'header-type-6': 'refused'
  }
  for (const { name, hex } of invalid.packetHeaders) {
    const decoder = new PacketDecoder(MAX_BODY_BYTES)
    if (outcomes[name] === 'refused') {
      t.throws(() => readPackets([fromHex(hex)], decoder), { code: 'PIT_ERR_PACKET_TYPE' }, name)
    } else {
      t.strictSame(readPackets([fromHex(hex)], decoder), [], name)
      t.equal(decoder.isBetweenPackets, outcomes[name] === 'nothing', name)
    }
  }
})

t.test('the encoder refuses wrong types and bodies that three bytes cannot announce', async (t) => {
  const encoders: Record<string, () => unknown> = {
    'encode-packet-type-0': () => encodePacket(0 as PacketType, new Uint8Array(0)),
    'encode-packet-type-6': () => encodePacket(6 as PacketType, new Uint8Array(0)),
    'encode-packet-type-255': () => encodePacket(255 as PacketType, new Uint8Array(0)),
    'encode-packet-body-2^24-plus-1': () => encodePacket(PacketType.data, new Uint8Array(2 ** 24 + 1)),
    // Go accepts this one and writes a length of 0.
    'encode-packet-body-2^24': () => encodePacket(PacketType.data, new Uint8Array(2 ** 24))
  }
  const named = invalid.encoders.map(({ name }) => name).filter((name) => name.startsWith('encode-packet'))
  t.strictSame(named, Object.keys(encoders))
  for (const [name, encode] of Object.entries(encoders)) {
    t.throws(encode, { code: name.includes('type') ? 'PIT_ERR_PACKET_TYPE' : 'PIT_ERR_PACKET_SIZE' }, name)
  }
  t.throws(() => writePacketHeader(new Uint8Array(4), 0, PacketType.data, 2 ** 24), { code: 'PIT_ERR_PACKET_SIZE' })
})

t.test('a packet inside a chunk is handed on where it lies; one over several chunks in a buffer of its own', async (t) => {
  const chunk = concat(fromHex('0400000161'), fromHex('04000002'))
  const seen: unknown[] = []
  const decoder = new PacketDecoder(10)
  const sink = {
    onPacket (_: PacketType, bytes: Uint8Array, start: number, end: number) {
      seen.push([bytes === chunk, start, end])
      return true
    }
  }
  t.equal(decoder.push(chunk, sink), chunk.length)
  t.equal(decoder.push(fromHex('6263'), sink), 2)
  t.strictSame(seen, [[true, 4, 5], [false, 0, 2]])
})

t.test('a sink that says stop gets no further packet, and reading goes on from there', async (t) => {
  const stream = concat(fromHex('04000001aa'), fromHex('03000000'), fromHex('04000001bb'))
  for (let cut = 0; cut <= stream.length; cut++) {
    const decoder = new PacketDecoder(10)
    const types: number[] = []
    const sink = { onPacket: (type: PacketType) => types.push(type) < 0 }
    for (const chunk of [stream.subarray(0, cut), stream.subarray(cut)]) {
      let at = 0
      while (at < chunk.length) {
        const before = types.length
        at += decoder.push(chunk.subarray(at), sink)
        t.ok(types.length - before <= 1, 'one packet a push')
      }
    }
    t.strictSame(types, [4, 3, 4])
    t.ok(decoder.isBetweenPackets)
  }
})

t.test('the size limit may be changed by the sink between two packets', async (t) => {
  const decoder = new PacketDecoder(2)
  const bodies: string[] = []
  const sink = {
    onPacket (_: PacketType, bytes: Uint8Array, start: number, end: number) {
      bodies.push(toHex(bytes.subarray(start, end)))
      decoder.maxBodyBytes = 3
      return true
    }
  }
  decoder.push(fromHex('010000020102' + '04000003010203'), sink)
  t.strictSame(bodies, ['0102', '010203'])
  t.throws(() => decoder.push(fromHex('04000004'), sink), { code: 'PIT_ERR_PACKET_SIZE', close: 'badPacket' })
})

t.test('a length above the limit is refused with the header, a bad type with its first byte', async (t) => {
  for (const chunks of [['04000009'], ['0400', '0009'], ['04', '00', '00', '09'], ['04000009ffff']]) {
    t.throws(() => readPackets(chunks.map(fromHex), new PacketDecoder(8)), { code: 'PIT_ERR_PACKET_SIZE' })
  }
  for (let type = 0; type < 256; type++) {
    if (type >= 1 && type <= 5) continue
    t.throws(() => readPackets([Uint8Array.of(type)]), { code: 'PIT_ERR_PACKET_TYPE' })
    t.throws(() => readPackets([Uint8Array.of(type, 0, 0, 0)]), { code: 'PIT_ERR_PACKET_TYPE' })
  }
})

t.test('HTTP and TLS on the packet port are refused at once', async (t) => {
  for (const hello of [new TextEncoder().encode('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), fromHex('16030100f8010000f40303')]) {
    t.throws(() => readPackets([hello]), { code: 'PIT_ERR_PACKET_TYPE' })
  }
})

t.test('1,000 packets in one segment, or cut into single bytes, are the same 1,000 packets', async (t) => {
  const packets = Array.from({ length: 1000 }, (_, i) => encodePacket(PacketType.data, new Uint8Array(i % 20).fill(i)))
  const stream = concat(...packets)
  const whole = readPackets([stream])
  t.equal(whole.length, 1000)
  t.strictSame(readPackets(byteByByte(stream)), whole)
})

t.test('1,000 clients that announce 16 MiB and send three bytes cost next to nothing', async (t) => {
  const sink = { onPacket: () => true }
  const before = heapBytes()
  const decoders = Array.from({ length: 1000 }, () => {
    const decoder = new PacketDecoder(MAX_BODY_BYTES)
    decoder.push(fromHex('04ffffff010203'), sink)
    return decoder
  })
  const grown = heapBytes() - before
  t.ok(grown <= 8 * 1024 * 1024, `${grown} bytes for ${decoders.length} decoders`)
})

t.test('a packet in many pieces is gathered in memory of its own size', async (t) => {
  const body = new Uint8Array(100_000).map((_, i) => i)
  const stream = encodePacket(PacketType.data, body)
  const chunks = Array.from({ length: Math.ceil(stream.length / 77) }, (_, i) => stream.subarray(i * 77, i * 77 + 77))
  const decoder = new PacketDecoder(MAX_BODY_BYTES)
  let capacity = 0
  const sink = {
    onPacket (_: PacketType, bytes: Uint8Array, start: number, end: number) {
      capacity = bytes.buffer.byteLength
      t.strictSame(toHex(bytes.subarray(start, end)), toHex(body))
      return true
    }
  }
  for (const chunk of chunks) decoder.push(chunk, sink)
  t.equal(capacity, body.length)
})

const anyPacket = fc.record({ type: fc.integer({ min: 1, max: 5 }), body: fc.uint8Array({ maxLength: 300 }) })
const toBytes = ({ type, body }: { type: number, body: Uint8Array }) => encodePacket(type as PacketType, body)

t.test('any chunking of any packets reads as the whole', async (t) => {
  const anyCuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 })
  await checkProperty(t, fc.property(fc.array(anyPacket, { maxLength: 8 }), anyCuts, (packets, cuts) => {
    const stream = concat(...packets.map(toBytes))
    const chunks: Uint8Array[] = []
    for (let at = 0, i = 0; at < stream.length; i++) {
      const size = cuts[i % cuts.length]!
      chunks.push(stream.subarray(at, at + size))
      at += size
    }
    const decoder = new PacketDecoder(MAX_BODY_BYTES)
    const read = readPackets(chunks, decoder)
    return decoder.isBetweenPackets && read.length === packets.length &&
      read.every(({ type, body }, i) => type === packets[i]!.type && toHex(body) === toHex(packets[i]!.body))
  }))
})

t.test('mutated streams, cut anywhere, end in packets or in a coded error', async (t) => {
  checkFuzz(t, await fuzz({
    corpus: vectors.map(({ hex }) => fromHex(hex)),
    target (input, random) {
      const decoder = new PacketDecoder(1 + random.int(1000))
      const cut = random.int(input.length + 1)
      readPackets([input.subarray(0, cut), input.subarray(cut)], decoder)
    }
  }))
})

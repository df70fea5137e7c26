/** Micro-benchmarks of the codecs, in a process of their own: `node codec.js ROUNDS` prints `CodecRow[]` as JSON. */
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../../out/lib/protocol/message.js'
import { encodePacket, PacketDecoder, PacketType } from '../../out/lib/protocol/packet.js'
import { resolveSerializers } from '../../out/lib/serializers/index.js'
import { Message } from './echo.ts'
import type { CodecRow } from './job.ts'
import { payloads } from './messages.ts'

interface Operation {
  name: string
  bytes: number
  /** What one call does so many times. Default 1. */
  times?: number
  call: () => unknown
}

const ROUND_MS = 100
const PIPELINED = 16

const value = payloads.chat
const text = Buffer.from(JSON.stringify(value))
const operations = [...packetOperations(), ...await serializerOperations()]
process.stdout.write(JSON.stringify(measure(operations, Number(process.argv[2] ?? 4))))

function packetOperations (): Operation[] {
  const fields = { type: MessageType.request, id: 200, route: 'room.echo', data: text }
  const message = encodeMessage(fields)
  const packet = encodePacket(PacketType.data, message)
  const chunk = Buffer.concat(Array.from({ length: PIPELINED }, () => packet))
  const [head, tail] = [packet.subarray(0, packet.length >> 1), packet.subarray(packet.length >> 1)]
  const decoder = new PacketDecoder(65_536)
  const sink = { onPacket: () => true }
  const view = createMessageView()
  return [
    { name: `packet decode, ${PIPELINED} in a chunk`, bytes: packet.length, times: PIPELINED, call: () => decoder.push(chunk, sink) },
    {
      name: 'packet decode, cut in two',
      bytes: packet.length,
      call: () => {
        decoder.push(head, sink)
        return decoder.push(tail, sink)
      }
    },
    { name: 'packet encode', bytes: packet.length, call: () => encodePacket(PacketType.data, message) },
    {
      name: 'message decode',
      bytes: message.length,
      call: () => {
        decodeMessage(message, 0, message.length, view)
        return view.dataStart
      }
    },
    { name: 'message encode', bytes: message.length, call: () => encodeMessage(fields) }
  ]
}

async function serializerOperations (): Promise<Operation[]> {
  const plain: Operation[] = [
    { name: 'JSON.stringify and Buffer.from, no schema', bytes: text.length, call: () => Buffer.from(JSON.stringify(value)) },
    { name: 'JSON.parse of toString, no schema', bytes: text.length, call: () => JSON.parse(text.toString()) as unknown }
  ]
  const checked = (await resolveSerializers(['json', 'avro'])).flatMap((serializer): Operation[] => {
    const { name } = serializer
    const codec = serializer.compile(Message, 'bench.echo.body')
    const bytes = Buffer.from(codec.encode(value))
    return [
      { name: `${name} encode`, bytes: bytes.length, call: () => codec.encode(value) },
      { name: `${name} decode`, bytes: bytes.length, call: () => codec.decode(bytes, 0, bytes.length) }
    ]
  })
  return [...plain, ...checked]
}

/** Interleaved like everything here; a first round, not kept, warms up and finds how many calls fill a round. */
function measure (operations: Operation[], rounds: number): CodecRow[] {
  const rows = operations.map(({ name, bytes }): CodecRow => ({ name, bytes, ns: [] }))
  const calls = operations.map(({ call }) => {
    let count = 1024
    for (let spent = 0; spent < ROUND_MS; count *= 2) spent = time(call, count)
    return count
  })
  for (let round = 0; round < rounds; round++) {
    for (const [index, { call, times = 1 }] of operations.entries()) {
      const count = calls[index] as number
      rows[index]?.ns.push(time(call, count) * 1e6 / count / times)
    }
  }
  return rows
}

/** Milliseconds of so many calls. What they return is looked at, or the compiler would leave them out. */
function time (call: () => unknown, count: number): number {
  let used = 0
  const start = performance.now()
  for (let i = 0; i < count; i++) if (call() !== undefined) used++
  const spent = performance.now() - start
  if (used !== count) throw new Error('an operation returned nothing')
  return spent
}

/** Frames written by hand, after the groups of the Autobahn test suite: what `ws` and we make of them, by close code. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import Fastify from 'fastify'
import acceptorWs from '../../plugins/acceptor-ws.ts'
import { connectStream, StubAgents, turns, type Recorder, type StreamClient } from '../helpers/acceptors.ts'

const FIN = 0x80
const RSV1 = 0x40
const RSV2 = 0x20
const RSV3 = 0x10
const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

interface FrameOptions { mask?: boolean, length?: 7 | 16 | 64, announced?: number }

function frame (first: number, payload: Uint8Array | string = '', { mask = true, length, announced }: FrameOptions = {}): Buffer {
  const body = Buffer.from(payload as string)
  const size = announced ?? body.length
  const form = length ?? (size < 126 ? 7 : size < 65536 ? 16 : 64)
  const header = Buffer.alloc(form === 7 ? 2 : form === 16 ? 4 : 10)
  header[0] = first
  header[1] = (mask ? 0x80 : 0) | (form === 7 ? size : form === 16 ? 126 : 127)
  if (form === 16) header.writeUInt16BE(size, 2)
  if (form === 64) header.writeBigUInt64BE(BigInt(size), 2)
  if (!mask) return Buffer.concat([header, body])
  const key = randomBytes(4)
  for (let i = 0; i < body.length; i++) body[i] = (body[i] as number) ^ (key[i & 3] as number)
  return Buffer.concat([header, key, body])
}

function close (code: number, reason: Uint8Array | string = ''): Buffer {
  return frame(FIN | CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason as string)]))
}

interface Received { opcode: number, payload: Buffer }

/** Server frames: never masked. */
function parse (bytes: Buffer): Received[] {
  const frames: Received[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const short = bytes.readUInt8(at + 1)
    const header = short < 126 ? 2 : short === 126 ? 4 : 10
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2))
    frames.push({ opcode: bytes.readUInt8(at) & 0x0f, payload: bytes.subarray(at + header, at + header + length) })
    at += header + length
  }
  return frames
}

const HEAD_END = '\r\n\r\n'
const framesOf = (client: StreamClient): Received[] => parse(client.data.subarray(client.data.indexOf(HEAD_END) + HEAD_END.length))
const closeOf = (client: StreamClient): Received | undefined => framesOf(client).find(({ opcode }) => opcode === CLOSE)

const UPGRADE = Buffer.from(['GET /pitaya HTTP/1.1', 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket',
  'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', ''].join('\r\n'))

async function start (t: Test): Promise<() => Promise<{ client: StreamClient, recorder: Recorder }>> {
  const app = Fastify()
  const agents = new StubAgents()
  app.register(agents.plugin)
  app.register(acceptorWs)
  t.teardown(() => app.close())
  const { port } = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  return async () => {
    const client = await connectStream({ port: Number(port), host: '127.0.0.1' }, UPGRADE)
    await client.until(() => client.data.includes(HEAD_END), 'the upgrade')
    return { client, recorder: await agents.next() }
  }
}

const data = frame(FIN | BINARY, 'hi')
const protocolError = 1002

const broken: Array<[name: string, bytes: Buffer | Buffer[], code: number]> = [
  ...([['RSV1', RSV1], ['RSV2', RSV2], ['RSV3', RSV3], ['all three', RSV1 | RSV2 | RSV3]] as const).flatMap(([name, bits]) =>
    ([['binary', BINARY], ['text', TEXT], ['ping', PING], ['close', CLOSE], ['a continuation', CONTINUATION]] as const).map(([kind, opcode]) =>
      [`${name} on ${kind}`, frame(FIN | bits | opcode, opcode === CLOSE ? Buffer.from([3, 232]) : 'x'), protocolError] as [string, Buffer, number])),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(opcode => [`reserved opcode ${opcode}`, frame(FIN | opcode, 'x'), protocolError] as [string, Buffer, number]),
  ...([['binary', BINARY], ['text', TEXT], ['ping', PING], ['pong', PONG], ['close', CLOSE]] as const).map(([kind, opcode]) =>
    [`${kind} without a mask`, frame(FIN | opcode, opcode === CLOSE ? Buffer.from([3, 232]) : 'x', { mask: false }), protocolError] as [string, Buffer, number]),
  ...([['ping', PING], ['pong', PONG], ['close', CLOSE]] as const).flatMap(([kind, opcode]): Array<[string, Buffer, number]> => [
    [`a fragmented ${kind}`, frame(opcode, 'x'), protocolError],
    [`a ${kind} of 126 bytes`, frame(FIN | opcode, Buffer.alloc(126)), protocolError],
    [`a ${kind} of 65,536 bytes`, frame(FIN | opcode, Buffer.alloc(65536)), protocolError]
  ]),
  ['a close of one byte', frame(FIN | CLOSE, 'x'), protocolError],
  ...[0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map(code =>
    [`close code ${code}`, close(code), protocolError] as [string, Buffer, number]),
  ['a continuation of nothing', frame(FIN | CONTINUATION, 'x'), protocolError],
  ['a continuation after a whole message', [data, frame(CONTINUATION, 'x')], protocolError],
  ['binary inside a fragmented message', [frame(BINARY, 'a'), data], protocolError],
  ['text inside a fragmented message', [frame(TEXT, 'a'), frame(FIN | TEXT, 'b')], protocolError],
  ['a message above the limit', frame(FIN | BINARY, Buffer.alloc(65541)), 1009],
  ['a message announced above the limit, without a byte of it', frame(FIN | BINARY, '', { announced: 65541, length: 64 }), 1009],
  ['a message of 2^53 bytes', frame(FIN | BINARY, '', { announced: 2 ** 53, length: 64 }), 1009],
  ['fragments that add up above the limit', [frame(BINARY, Buffer.alloc(40000)), frame(FIN | CONTINUATION, Buffer.alloc(40000))], 1009],
  ['65 fragments', [frame(BINARY, 'x'), ...Array.from({ length: 64 }, () => frame(CONTINUATION, 'x'))], 1008],
  ['empty fragments without end', [frame(BINARY), ...Array.from({ length: 2000 }, () => frame(CONTINUATION))], 1008]
]

t.test('a broken frame closes its connection by the right code, with one error and one close', async t => {
  const connect = await start(t)
  for (const [name, bytes, code] of broken) {
    const { client, recorder } = await connect()
    client.send(Array.isArray(bytes) ? Buffer.concat(bytes) : bytes)
    await client.until(() => closeOf(client) !== undefined || client.isClosed, `${name}: a close frame`)
    t.equal(closeOf(client)?.payload.readUInt16BE(0), code, name)
    t.equal(recorder.send(Buffer.from('late')), false, 'nothing is written after the close frame')
    client.end()
    await recorder.closed()
    t.ok(recorder.error !== undefined && recorder.closes === 1, `${name}: the agent hears of it once`)
  }
})

const fine: Array<[name: string, bytes: Buffer[], messages: string[], pongs?: string[]]> = [
  ['an empty message', [frame(FIN | BINARY)], ['']],
  ['a text frame, read as binary', [frame(FIN | TEXT, 'text')], ['text']],
  ['text that is not UTF-8', [frame(FIN | TEXT, Buffer.from([0x80, 0xff]))], ['\x80\xff']],
  ['lengths written longer than needed', [frame(FIN | BINARY, 'a', { length: 16 }), frame(FIN | BINARY, 'b', { length: 64 })], ['a', 'b']],
  ['64 fragments', [frame(BINARY, 'x'), ...Array.from({ length: 62 }, () => frame(CONTINUATION, 'x')), frame(FIN | CONTINUATION, 'x')],
    ['x'.repeat(64)]],
  ['a ping inside a fragmented message', [frame(BINARY, 'a'), frame(FIN | PING, 'p'), frame(FIN | CONTINUATION, 'b')], ['ab'], ['p']],
  ['pings up to 125 bytes', [frame(FIN | PING), frame(FIN | PING, 'p'.repeat(125)), data], ['hi'], ['', 'p'.repeat(125)]],
  ['a pong nobody asked for', [frame(FIN | PONG, 'x'), data], ['hi']],
  ['the largest message', [frame(FIN | BINARY, Buffer.alloc(65540, 'z'))], ['z'.repeat(65540)]],
  ['ten messages at once', Array.from({ length: 10 }, (_, i) => frame(FIN | BINARY, String(i))), [...'0123456789']]
]

t.test('a sound message arrives, whole or byte by byte', async t => {
  const connect = await start(t)
  for (const [name, bytes, messages, pongs = []] of fine) {
    for (const isSliced of [false, true]) {
      const all = Buffer.concat(bytes)
      if (isSliced && all.length > 1000) continue
      const { client, recorder } = await connect()
      if (!isSliced) client.send(all)
      else for (const byte of all) { client.send(Buffer.from([byte])); await turns(1) }
      await recorder.until(() => recorder.messages.length === messages.length, name)
      t.strictSame(recorder.messages.map(message => message.toString('latin1')), messages, name)
      const isPong = ({ opcode }: Received): boolean => opcode === PONG
      await client.until(() => framesOf(client).filter(isPong).length === pongs.length, `${name}: pongs`)
      t.strictSame(framesOf(client).filter(isPong).map(({ payload }) => payload.toString()), pongs, name)
      recorder.connection.destroy()
    }
  }
})

t.test('a close is answered by its own code, and nothing after it is read', async t => {
  const connect = await start(t)
  for (const code of [1000, 1001, 1002, 1003, 1007, 1009, 1011, 3000, 3999, 4000, 4999]) {
    const { client, recorder } = await connect()
    client.send(Buffer.concat([close(code, 'because'), data, frame(FIN | PING, 'x')]))
    await client.closed()
    await recorder.closed()
    t.equal(closeOf(client)?.payload.readUInt16BE(0), code)
    t.equal(recorder.bytes, 0)
    t.equal(recorder.error, undefined)
  }
})

t.test('the close reason is what the agent said, cut to what a frame holds', async t => {
  const connect = await start(t)
  for (const reason of ['server is shutting down', 'x'.repeat(200), 'ü'.repeat(100), '']) {
    const { client, recorder } = await connect()
    recorder.connection.close(4001, reason)
    await client.until(() => closeOf(client) !== undefined, 'a close frame')
    const payload = closeOf(client)?.payload ?? Buffer.alloc(0)
    t.equal(payload.readUInt16BE(0), 4001)
    t.ok(payload.length <= 125)
    t.ok(reason.startsWith(payload.subarray(2).toString().replace(/\ufffd$/, '')))
    client.reset()
  }
})

t.test('a client that does not answer a close is cut off after two seconds', async t => {
  const connect = await start(t)
  const { client, recorder } = await connect()
  const broken = await connect()
  const began = performance.now()
  recorder.connection.close(4001, 'server is shutting down')
  broken.client.send(frame(FIN | RSV1 | BINARY))
  await recorder.closed()
  await broken.recorder.closed()
  await client.closed()
  const took = performance.now() - began
  t.ok(took > 1900 && took < 10_000, `${Math.round(took)} ms`)
})

t.test('a message in a million pieces is refused before it fills memory', async t => {
  const connect = await start(t)
  const { client, recorder } = await connect()
  const before = process.memoryUsage().heapUsed
  client.send(frame(BINARY, 'x'))
  const pieces = Buffer.concat(Array.from({ length: 1000 }, () => frame(CONTINUATION, 'x')))
  for (let i = 0; i < 1000 && closeOf(client) === undefined && !client.isClosed; i++) {
    client.send(pieces)
    await turns(1)
  }
  await client.until(() => closeOf(client) !== undefined || client.isClosed, 'the end')
  client.end()
  await recorder.closed()
  t.match(recorder.error, { code: 'WS_ERR_TOO_MANY_BUFFERED_PARTS' })
  t.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024)
})

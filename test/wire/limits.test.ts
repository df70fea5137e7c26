import t from 'tap'
import { randomBytes } from 'node:crypto'
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { Type } from '@sinclair/typebox'
import { defaults, resolveOptions } from '../../lib/options.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import { eventually, type RawClient } from '../helpers/app.ts'
import { heapBytes } from '../helpers/fuzz.ts'
import { cpuMs } from '../helpers/lateness.ts'
import { acked, carriers, serve, tcpClient } from '../helpers/wire.ts'

const KIB = 1024
const Length = Type.Object({ length: Type.Integer() })

const room = defineHandlers('room', {
  length: request({ body: raw, response: Length }, ({ length }) => ({ length })),
  bytes: request({ body: Length, response: raw }, ({ length }) => Buffer.alloc(length))
})

t.test('every limit has the documented default', (t) => {
  t.strictSame(defaults.limits, {
    packetBytes: 64 * KIB,
    handshakeBytes: 8 * KIB,
    handshakeMs: 5000,
    inflateRatio: 10,
    ratePerSecond: 200,
    rateBurst: 400,
    rateViolationMs: 5000,
    connections: 50_000,
    connectionsPerAddress: Number.MAX_SAFE_INTEGER,
    connectionsPerSecond: 2000,
    waitingPerSession: 64,
    waitingBytes: 256 * KIB,
    concurrentPerSession: 8,
    maxQueued: 10_000,
    pauseMs: 60_000,
    handlerMs: 5000,
    outboxBytes: KIB * KIB,
    outboxTotalBytes: 256 * KIB * KIB,
    drainMs: 10_000,
    groups: 100_000,
    rpcPending: 10_000,
    remotes: 1024
  })
  const { waitingBytes } = resolveOptions({ acceptors: false, limits: { packetBytes: KIB * KIB } }).limits
  t.equal(waitingBytes, 2 * (KIB * KIB + 64 * KIB), 'large packets have room to wait')
  t.equal(defaults.concurrency.handler.dispatch, 1024)
  t.equal(defaults.heartbeatSeconds, 30)
  t.equal(defaults.compression, false)
  t.end()
})

function compressed (client: RawClient, id: number, data: Uint8Array): void {
  client.packet(PacketType.data, encodeMessage({ type: MessageType.request, id, route: 'room.length', data, isCompressed: true }))
}

t.test('a packet holds 64 KiB unless an option says otherwise; over it the connection closes before the body is read', async (t) => {
  for (const packetBytes of [undefined, 1000]) {
    const served = await serve(t, { handlers: [room], limits: packetBytes === undefined ? {} : { packetBytes } })
    const limit = packetBytes ?? 64 * KIB
    for (const [carrier, connect] of carriers) {
      const head = encodeMessage({ type: MessageType.request, id: 1, route: 'room.length', data: new Uint8Array(0) }).length
      const client = await connect(served)
      await client.greet()
      client.request(1, 'room.length', Buffer.alloc(limit - head))
      t.strictSame(await client.answer(1), { length: limit - head }, `${carrier}: a packet of ${limit} bytes`)
      client.request(2, 'room.length', Buffer.alloc(limit - head + 1))
      const { code } = await client.closed()
      if (carrier === 'WebSocket') t.equal(code, 1009, 'ws refuses it')
      t.strictSame(client.packets, [])
    }
    const announcing = await tcpClient(served)
    await announcing.greet()
    await acked(announcing)
    announcing.writeHex(`04${(limit + 1).toString(16).padStart(6, '0')}`)
    await announcing.closed()
    t.strictSame(served.closed.map(({ code, transport }) => `${transport} ${code}`), ['tcp 4500', 'websocket 4500', 'tcp 4500'])
  }
})

t.test('compressed input inflates to ten packets at most; bombs, torn zlib, gzip and raw deflate close the connection', async (t) => {
  const served = await serve(t, { handlers: [room] })
  const limit = 640 * KIB
  const fits = await tcpClient(served)
  await fits.greet()
  compressed(fits, 1, deflateSync(Buffer.alloc(limit)))
  t.strictSame(await fits.answer(1), { length: limit })
  // Above 16 KiB of input the work is done by zlib's threads.
  compressed(fits, 2, deflateSync(randomBytes(40 * KIB)))
  t.strictSame(await fits.answer(2), { length: 40 * KIB })
  const sound = deflateSync(Buffer.from('hello'))
  const bad: Array<readonly [what: string, data: Uint8Array]> = [
    ['one byte too many', deflateSync(Buffer.alloc(limit + 1))],
    ['a thousand to one', deflateSync(Buffer.alloc(60 * KIB * 1000))],
    ['too much, from a large input', deflateSync(Buffer.concat([randomBytes(20 * KIB), Buffer.alloc(limit)]))],
    ['cut short', sound.subarray(0, -1)],
    ['wrong checksum', Buffer.concat([sound.subarray(0, -1), Buffer.of(sound.at(-1)! ^ 1)])],
    ['nothing at all', new Uint8Array(0)],
    ['gzip', gzipSync(Buffer.from('hello'))],
    ['raw deflate', deflateRawSync(Buffer.from('hello'))]
  ]
  for (const [what, data] of bad) {
    for (const [carrier, connect] of carriers) {
      const client = await connect(served)
      await client.greet()
      compressed(client, 1, data)
      const { code } = await client.closed()
      t.strictSame(client.packets, [], `${carrier}: ${what}`)
      if (carrier === 'WebSocket') t.equal(code, 4500)
    }
  }
  t.strictSame([...new Set(served.closed.map(({ code }) => code))], [4500])
  fits.close()
})

/** Bytes in use. Buffers are given back in turns after the one in which the collector found them unused. */
async function settledBytes (): Promise<number> {
  for (let i = 0; i < 3; i++) {
    heapBytes()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return heapBytes()
}

t.test('a flood of bombs leaves the server small and quick for others', async (t) => {
  const served = await serve(t, { handlers: [room], limits: { connectionsPerSecond: 100_000 } })
  const bombs = process.env.CI === 'true' ? 10_000 : 500
  const bomb = deflateSync(Buffer.alloc(15 * KIB * 1000))
  const healthy = await tcpClient(served)
  await healthy.greet()
  const done = new AbortController()
  let slowest = 0
  const ask = async (): Promise<void> => {
    for (let id = 1; !done.signal.aborted; id++) {
      const start = cpuMs()
      healthy.request(id, 'room.length', 'hello')
      if ((await healthy.answer(id)).length !== 5) t.fail('a wrong answer')
      slowest = Math.max(slowest, cpuMs() - start)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  const asking = ask()
  const before = await settledBytes()
  const rssBefore = process.memoryUsage().rss
  let peak = 0
  for (let i = 0; i < bombs; i += 10) {
    await Promise.all(Array.from({ length: 10 }, async () => {
      const client = await tcpClient(served)
      await client.greet()
      compressed(client, 1, bomb)
      await client.closed()
    }))
    peak = Math.max(peak, process.memoryUsage().rss - rssBefore)
  }
  done.abort()
  await asking
  const grown = await settledBytes() - before
  t.ok(grown < 4 * KIB * KIB, `${Math.round(grown / KIB)} KiB stay in use`)
  // Clients and garbage included, hence generous: without the cap this many bombs at once would be far beyond it.
  t.ok(peak < 256 * KIB * KIB, `the process grew by ${Math.round(peak / KIB / KIB)} MiB on the way`)
  // Of computing: other programs do not count.
  t.ok(slowest < 2000, `others waited ${Math.round(slowest)} ms at most`)
  healthy.close()
  await eventually(() => served.app.pitaya.stats.connections === 0, 'no connection left')
})

t.test('an answer larger than a packet is an error answer, and the session goes on', async (t) => {
  const served = await serve(t, { handlers: [room], limits: { outboxBytes: 64 * KIB * KIB } })
  for (const [carrier, connect] of carriers) {
    const client = await connect(served)
    await client.greet()
    client.request(1, 'room.bytes', { length: 0xffffff - 2 })
    t.equal((await client.message()).data.length, 0xffffff - 2, `${carrier}: the largest`)
    client.request(2, 'room.bytes', { length: 0xffffff - 1 })
    t.match(await client.answer(2), { code: /^PIT-/ })
    client.request(3, 'room.length', 'still here')
    t.strictSame(await client.answer(3), { length: 10 })
    client.close()
  }
})

import t from 'tap'
import { PacketType } from '../../lib/protocol/packet.ts'
import { type RawClient, eventually } from '../helpers/app.ts'
import { Lateness } from '../helpers/lateness.ts'
import { acked, carriers, serve, tcpClient, webSocketClient } from '../helpers/wire.ts'

const SOCKETS = process.env.CI === 'true' ? 2000 : 200

t.test(`the handshake's deadline: ${SOCKETS} clients that stop on the way are all closed 4502 in time`, async (t) => {
  const handshakeMs = 1000
  const served = await serve(t, { limits: { handshakeMs } })
  // What each client does before it falls silent, and whether it goes on with heartbeats.
  const ways: Array<readonly [hex: string, beats: boolean]> = [
    ['', false], ['01', false], ['010000', false], ['01001000 7b', false], ['01000002 7b7d', false],
    ['', true], ['05000000', true], ['01000002 7b7d 05000000', true]
  ]
  const beating: RawClient[] = []
  const late = new Lateness(t)
  const clients: RawClient[] = []
  const ages: number[] = []
  const drip = setInterval(() => { for (const client of beating) if (!client.isClosed) client.packet(PacketType.heartbeat) }, 200)
  t.teardown(() => clearInterval(drip))
  for (let i = 0; i < SOCKETS; i++) {
    // The server's deadline begins while the client connects.
    const start = performance.now()
    const client = await tcpClient(served)
    client.on('change', () => { if (client.isClosed) ages.push(performance.now() - start) })
    const [hex, beats] = ways[i % ways.length]!
    client.writeHex(hex)
    if (beats) beating.push(client)
    clients.push(client)
  }
  await Promise.all(clients.map((client) => client.closed()))
  t.strictSame([...new Set(served.closed.map(({ code }) => code))], [4502])
  t.equal(served.closed.length, SOCKETS)
  const [youngest, oldest] = [Math.round(Math.min(...ages)), Math.round(Math.max(...ages))]
  t.ok(youngest >= handshakeMs * 0.9 && oldest < handshakeMs + 3000 + late.takeSumMs(), `closed after ${youngest} to ${oldest} ms`)
  await eventually(() => served.app.pitaya.stats.connections === 0, 'no connection left')
})

t.test('a byte now and then does not extend the deadline', async (t) => {
  const served = await serve(t, { limits: { handshakeMs: 300 } })
  const client = await tcpClient(served)
  client.writeHex('01001000')
  const drip = setInterval(() => client.writeHex('20'), 20)
  await client.closed()
  clearInterval(drip)
  t.strictSame(client.packets, [])
  t.strictSame(served.closed.map(({ code }) => code), [4502])
})

t.test('before the ack a packet holds 8 KiB at most, refused as soon as its length is seen; afterwards 64 KiB', async (t) => {
  const served = await serve(t)
  const body = (length: number): string => '{}'.padEnd(length, ' ')
  for (const [carrier, connect] of carriers) {
    const client = await connect(served)
    client.packet(PacketType.handshake, body(8192))
    t.equal(JSON.parse((await client.next(PacketType.handshake)).body.toString()).code, 200, `${carrier}: 8,192 bytes are taken`)
    client.packet(PacketType.ack)
    client.packet(PacketType.heartbeat, body(65536))
    await acked(client)
    client.packet(PacketType.heartbeat, body(65537))
    await client.closed()

    const large = await connect(served)
    large.packet(PacketType.handshake, body(8193))
    await large.closed()
    t.strictSame(large.packets, [], `${carrier}: 8,193 bytes get no answer`)

    const greeted = await connect(served)
    greeted.packet(PacketType.handshake, '{}')
    await greeted.next(PacketType.handshake)
    greeted.packet(PacketType.heartbeat, body(8193))
    await greeted.closed()
  }
  const announced = await tcpClient(served)
  announced.writeHex('01002001')
  await announced.closed()
  // A WebSocket message beyond 64 KiB and a packet header is refused by ws itself, which tells the client 1009.
  t.strictSame(served.closed.map(({ transport, code }) => `${transport} ${code}`), [
    'tcp 4500', 'tcp 4500', 'tcp 4500', 'websocket 4500', 'websocket 4500', 'websocket 4500', 'tcp 4500'
  ])
})

t.test('a full server says so in the handshake: 503 with retryAfterMs, closed 4008; a place that gets free is given away', async (t) => {
  const served = await serve(t, { limits: { connections: 2 } })
  const first = await tcpClient(served)
  await first.greet()
  const second = await webSocketClient(served)
  await second.greet()
  for (const [carrier, connect] of carriers) {
    const third = await connect(served)
    const answer = await third.greet({ sys: { closeReason: true } })
    t.strictSame([answer.code, answer.error, answer.retryAfterMs], [503, { code: 'PIT-503', msg: 'server is full' }, 1000], carrier)
    const { code } = await third.closed()
    t.strictSame(third.packets, [], 'no Kick before the ack')
    if (carrier === 'WebSocket') t.equal(code, 4008)
    await eventually(() => served.app.pitaya.stats.connections === 2, 'the third is gone')
  }
  t.strictSame(served.closed.map(({ code }) => code), [4008, 4008])
  first.close()
  await eventually(() => served.app.pitaya.stats.connections === 1, 'a place is free')
  const next = await tcpClient(served)
  t.equal((await next.greet()).code, 200)
  next.close()
  second.close()
})

t.test('clients of one address are limited where an option says so', async (t) => {
  const served = await serve(t, { limits: { connectionsPerAddress: 2 } })
  const clients = [await tcpClient(served), await webSocketClient(served)]
  for (const client of clients) t.equal((await client.greet()).code, 200)
  const third = await tcpClient(served)
  t.equal((await third.greet()).code, 503)
  await third.closed()
  clients[0]!.close()
  await eventually(() => served.app.pitaya.stats.connections === 1, 'a place is free')
  const next = await tcpClient(served)
  t.equal((await next.greet()).code, 200)
  next.close()
  clients[1]!.close()
})

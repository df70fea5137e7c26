import t from 'tap'
import { Type } from '@sinclair/typebox'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { eventually, RawClient } from '../helpers/app.ts'
import { Lateness } from '../helpers/lateness.ts'
import { startProxy } from '../helpers/proxy.ts'
import { acked, carriers, serve, tcpClient, tcpEnd } from '../helpers/wire.ts'

const Delay = Type.Object({ n: Type.Integer() })
const held: Array<() => void> = []

const room = defineHandlers('room', {
  hold: request({ body: Delay, response: Delay }, async ({ n }) => {
    await new Promise<void>((resolve) => { held.push(resolve) })
    return { n }
  }),
  wait: request({ body: Delay, response: Delay }, async ({ n }) => {
    await new Promise((resolve) => setTimeout(resolve, n))
    return { n }
  })
})

// Intervals and deadlines of the tests are longer than what counts as a lag of the server's own: less than that may pass at any moment on a
// busy machine, and is no fault of a client.

/** Stops this process's event loop, without work for the processor. */
function block (ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

t.test('any packet keeps a client alive; silence for two intervals closes it, and it alone', async (t) => {
  const served = await serve(t, { heartbeatSeconds: 0.5, limits: { handshakeMs: 60_000 } })
  const talk: Array<(client: RawClient) => void> = [
    (client) => client.packet(PacketType.heartbeat),
    (client) => client.packet(PacketType.heartbeat, 'with a body'),
    (client) => client.notify('room.nobody'),
    (client) => client.packet(PacketType.ack),
    (client) => client.packet(PacketType.kick)
  ]
  const talking: RawClient[] = []
  const silent: RawClient[] = []
  const timer = setInterval(() => { for (const [at, client] of talking.entries()) talk[at % talk.length]!(client) }, 100)
  t.teardown(() => clearInterval(timer))
  for (const [, connect] of carriers) {
    for (let i = 0; i < talk.length; i++) {
      const client = await connect(served)
      await client.greet()
      talking.push(client)
    }
    const quiet = await connect(served)
    await quiet.greet()
    silent.push(quiet)
    silent.push(await connect(served)) // before the handshake too
  }
  await Promise.all(silent.map((client) => client.closed()))
  await Promise.all(talking.map((client) => client.until(() => client.heartbeats >= 5 || client.isClosed, 'five beats')))
  for (const client of talking) t.notOk(client.isClosed)
  t.strictSame(served.closed.map(({ code }) => code), [4003, 4003, 4003, 4003])
  for (const client of talking) client.close()
})

t.test('a half-open connection, of which nobody is told, is closed after two intervals and its resources are freed', async (t) => {
  const served = await serve(t, { heartbeatSeconds: 0.5 })
  const proxy = await startProxy(t, served.tcpPort)
  const client = new RawClient(await tcpEnd(proxy.port))
  await client.greet()
  await acked(client)
  proxy.swallow()
  const late = new Lateness(t)
  const start = performance.now()
  await eventually(() => served.closed.length > 0, 'closed')
  const ms = performance.now() - start
  t.equal(served.closed[0]?.code, 4003)
  t.ok(ms > 400 && ms < 3000 + late.takeSumMs(), `closed after ${Math.round(ms)} ms`)
  await eventually(() => served.app.pitaya.stats.connections === 0, 'the socket is given up, though the other side never closes')
  t.notOk(client.isClosed, 'the client still believes')
  client.end.destroy()
})

t.test('an event loop that stands still for long closes nobody and times no handler out', async (t) => {
  const served = await serve(t, { handlers: [room], heartbeatSeconds: 0.5, limits: { handlerMs: 1500, handshakeMs: 1500 } })
  const clients: RawClient[] = []
  const beat = setInterval(() => { for (const client of clients) client.packet(PacketType.heartbeat) }, 200)
  t.teardown(() => clearInterval(beat))
  for (let i = 0; i < 20; i++) {
    const client = await carriers[i % 2]![1](served)
    await client.greet()
    await acked(client)
    clients.push(client)
  }
  const late = await tcpClient(served)
  await eventually(() => served.app.pitaya.stats.connections === 21, 'the one that has not shaken hands is there')
  for (const client of clients) client.request(2, 'room.hold', { n: 50 })
  await eventually(() => served.app.pitaya.stats.running === 20, 'handlers run')
  block(2500)
  // What is due by the server's clock comes first.
  setImmediate(() => { for (const letGo of held.splice(0)) letGo() })
  for (const client of clients) t.strictSame(await client.answer(2), { n: 50 })
  t.equal((await late.greet()).code, 200, 'the handshake had time')
  for (const client of clients) {
    client.request(3, 'room.wait', { n: 1 })
    t.strictSame(await client.answer(3), { n: 1 })
  }
  t.strictSame(served.closed, [])
  for (const client of [...clients, late]) client.close()
})

t.test('a clock that jumps by a year, both ways, changes nothing', async (t) => {
  const served = await serve(t, { handlers: [room], heartbeatSeconds: 0.5, limits: { rateBurst: 1200, ratePerSecond: 1 } })
  const year = 365 * 24 * 3600 * 1000
  const real = Date.now
  t.teardown(() => { Date.now = real })
  const clients: RawClient[] = []
  for (const [, connect] of carriers) {
    const client = await connect(served)
    await client.greet()
    clients.push(client)
  }
  for (let i = 1; i <= 300; i++) {
    Date.now = () => real() + (i % 2 === 0 ? year : i % 3 === 0 ? -real() : -year)
    for (const client of clients) client.request(i, 'room.wait', { n: 0 })
    for (const client of clients) if ((await client.answer(i)).n !== 0) t.fail(`request ${i} is not answered`)
  }
  Date.now = () => real() + year
  const beats = clients.map(({ heartbeats }) => heartbeats)
  const timer = setInterval(() => { for (const client of clients) client.packet(PacketType.heartbeat) }, 100)
  t.teardown(() => clearInterval(timer))
  for (const [at, client] of clients.entries()) {
    await client.until(() => client.isClosed || client.heartbeats >= beats[at]! + 3, 'beats go on')
  }
  for (const client of clients) client.request(999, 'room.wait', { n: 1 })
  for (const client of clients) t.strictSame(await client.answer(999), { n: 1 }, 'the allowance of packets is what it was')
  t.strictSame(served.closed, [])
  for (const client of clients) client.close()
})

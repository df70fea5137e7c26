import t from 'tap'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, notify, raw, request } from '../../lib/handler/define.ts'
import { eventually, type RawClient } from '../helpers/app.ts'
import { carriers, serve, tcpClient, webSocketClient } from '../helpers/wire.ts'

let notified = 0
const room = defineHandlers('room', {
  echo: request({ body: raw, response: raw }, (body) => body),
  rare: request({ body: raw, response: raw, ratePerSecond: 2 }, (body) => body),
  told: notify(() => { notified++ })
})

/** Answers to the requests `from` to `to`, in their order: `ok` or the error's code. */
async function answers (client: RawClient, from: number, to: number): Promise<string[]> {
  const codes: string[] = []
  for (let id = from; id <= to; id++) {
    const message = await client.message()
    if (message.id !== id) throw new Error(`answer ${message.id} instead of ${id}`)
    codes.push(message.isError ? JSON.parse(message.data.toString()).code : 'ok')
  }
  return codes
}

const count = (codes: string[], code: string): number => codes.filter((one) => one === code).length

for (const [carrier, connect] of carriers) {
  t.test(`${carrier}: by default a client may send 400 packets at once; what is beyond is answered PIT-429, each one`, async (t) => {
    const served = await serve(t, { handlers: [room] })
    const client = await connect(served)
    await client.greet()
    for (let id = 1; id <= 600; id++) client.request(id, 'room.echo', 'x')
    const codes = await answers(client, 1, 600)
    t.strictSame([...new Set(codes.slice(0, 400))], ['ok'])
    t.ok(count(codes, 'PIT-429') > 0 && count(codes, 'ok') + count(codes, 'PIT-429') === 600, `${count(codes, 'ok')} of 600 within the rate`)
    await eventually(() => served.drops.length === count(codes, 'PIT-429'), 'each is counted')
    t.strictSame(served.drops[0], { what: 'request', why: 'rate', route: 'lobby.room.echo' })
    client.close()
  })

  t.test(`${carrier}: packets of every kind count, an unknown route is answered PIT-429 too, a notify is dropped and counted`, async (t) => {
    const served = await serve(t, { handlers: [room], limits: { rateBurst: 10, ratePerSecond: 1 } })
    const client = await connect(served)
    await client.greet()
    for (let i = 0; i < 4; i++) client.packet(PacketType.heartbeat)
    notified = 0
    for (let i = 0; i < 8; i++) client.notify('room.told')
    client.request(1, 'room.nope')
    client.request(2, 'room.echo')
    t.strictSame(await answers(client, 1, 2), ['PIT-429', 'PIT-429'])
    t.equal(notified, 6, 'four beats and six notifies were within the rate')
    t.strictSame(served.drops.slice(0, 2), Array(2).fill({ what: 'notify', why: 'rate', route: 'lobby.room.told' }))
    client.close()
  })

  t.test(`${carrier}: the allowance comes back with time`, async (t) => {
    const served = await serve(t, { handlers: [room], limits: { rateBurst: 5, ratePerSecond: 50 } })
    const client = await connect(served)
    await client.greet()
    for (let id = 1; id <= 20; id++) client.request(id, 'room.echo')
    const first = await answers(client, 1, 20)
    t.ok(count(first, 'ok') >= 5 && count(first, 'PIT-429') > 0)
    await new Promise((resolve) => setTimeout(resolve, 200))
    for (let id = 21; id <= 25; id++) client.request(id, 'room.echo')
    t.strictSame(await answers(client, 21, 25), Array(5).fill('ok'))
    client.close()
  })

  t.test(`${carrier}: a client that goes on over the rate is closed with 4013; one that stops in time is not`, async (t) => {
    const served = await serve(t, { handlers: [room], limits: { rateBurst: 5, ratePerSecond: 5, rateViolationMs: 600 } })
    const stubborn = await connect(served)
    const wise = await connect(served)
    for (const client of [stubborn, wise]) await client.greet()
    for (let id = 1; id <= 20; id++) wise.request(id, 'room.echo')
    const start = performance.now()
    const flood = setInterval(() => { for (let i = 0; i < 10; i++) stubborn.notify('room.told') }, 20)
    t.teardown(() => clearInterval(flood))
    const { code } = await stubborn.closed()
    clearInterval(flood)
    if (carrier === 'WebSocket') t.equal(code, 4013)
    t.ok(performance.now() - start >= 500)
    await answers(wise, 1, 20)
    await new Promise((resolve) => setTimeout(resolve, 1200))
    for (let id = 21; id <= 40; id++) wise.request(id, 'room.echo')
    t.ok(count(await answers(wise, 21, 40), 'PIT-429') > 0)
    t.strictSame(served.closed.map(({ code }) => code), [4013])
    wise.close()
  })
}

t.test('a route may have a rate of its own; other routes of the session and other sessions are not concerned', async (t) => {
  const served = await serve(t, { handlers: [room] })
  const [client, other] = [await tcpClient(served), await webSocketClient(served)]
  for (const one of [client, other]) await one.greet()
  for (let id = 1; id <= 8; id++) client.request(id, 'room.rare')
  const codes = await answers(client, 1, 8)
  t.strictSame(codes.slice(0, 4), Array(4).fill('ok'), 'twice the rate at once')
  t.ok(count(codes, 'PIT-429') >= 3)
  client.request(9, 'room.echo')
  other.request(1, 'room.rare')
  t.strictSame([...await answers(client, 9, 9), ...await answers(other, 1, 1)], ['ok', 'ok'])
  for (const one of [client, other]) one.close()
})

t.test('over the rate of new connections a TCP client is closed and an upgrade is answered 503 with Retry-After', async (t) => {
  const served = await serve(t, { limits: { connectionsPerSecond: 4 } })
  /** The status of an upgrade: 101, or what it was refused with. */
  const upgrade = async (): Promise<unknown> => {
    const socket = new WebSocket(served.url)
    socket.on('error', () => {})
    const refused = once(socket, 'unexpected-response').then(([, response]) => [response.statusCode, response.headers['retry-after']])
    const status = await Promise.race([refused, once(socket, 'open').then(() => [101])])
    socket.terminate()
    return status
  }
  const clients = await Promise.all(Array.from({ length: 20 }, () => tcpClient(served)))
  const greeted = await Promise.all(clients.map(async (client) => client.greet().then(({ code }) => code, () => 'closed')))
  t.ok(count(greeted, 'closed') >= 10, `${count(greeted, 'closed')} of 20 were closed`)
  t.ok(greeted.length - count(greeted, 'closed') >= 4)
  const upgrades = await Promise.all(Array.from({ length: 20 }, upgrade))
  t.strictSame(upgrades.find((status) => (status as unknown[])[0] !== 101), [503, '1'])
  await new Promise((resolve) => setTimeout(resolve, 600))
  const next = await webSocketClient(served)
  t.equal((await next.greet()).code, 200, 'a moment later there is room')
  for (const client of [...clients, next]) client.end.destroy()
})

import t from 'tap'
import { Type } from '@sinclair/typebox'
import { channels } from '../../lib/channels.ts'
import { defineHandlers, notify, raw, request } from '../../lib/handler/define.ts'
import type { PitayaOptions } from '../../plugins/pitaya.ts'
import { eventually, type RawClient } from '../helpers/app.ts'
import { acked, carriers, serve, type Served } from '../helpers/wire.ts'

const KIB = 1024
const Count = Type.Object({ n: Type.Integer() })

interface Gated extends Served { open: () => void, handled: () => number }

/** A server whose handlers wait until they are let through. */
async function gated (t: Parameters<typeof serve>[0], options: PitayaOptions = {}): Promise<Gated> {
  let letThrough = (): void => {}
  const gate = new Promise<void>((resolve) => { letThrough = resolve })
  let handled = 0
  const room = defineHandlers('room', {
    wait: request({ body: raw, response: Count }, async () => {
      await gate
      return { n: ++handled }
    }),
    told: notify({ body: raw }, async () => {
      await gate
      handled++
    }),
    together: request({ response: Count, concurrent: true }, async () => {
      await gate
      return { n: ++handled }
    })
  })
  const limits = { ratePerSecond: 0, ...options.limits }
  const served = await serve(t, { handlers: [room], ...options, limits })
  return { ...served, open: letThrough, handled: () => handled }
}

async function working (served: Served, connect: (served: Served) => Promise<RawClient>): Promise<RawClient> {
  const client = await connect(served)
  await client.greet()
  await acked(client)
  return client
}

for (const [carrier, connect] of carriers) {
  t.test(`${carrier}: over 64 waiting messages a session is not read; it goes on when they are done, with nothing lost`, async (t) => {
    const served = await gated(t)
    const { stats } = served.app.pitaya
    const pauses: number[] = []
    const onPause = ({ serverId, waiting }: { serverId: string, waiting: number }): void => {
      if (serverId === served.app.pitaya.serverId) pauses.push(waiting)
    }
    channels.pause.subscribe(onPause)
    t.teardown(() => channels.pause.unsubscribe(onPause))
    t.equal(stats.waiting, 0)
    const client = await working(served, connect)
    const SENT = 10_000
    const body = Buffer.alloc(KIB)
    for (let id = 1; id <= SENT; id++) client.request(id, 'room.wait', body)
    await eventually(() => pauses.length > 0, 'the session is paused')
    t.equal(pauses[0], 64)
    let most = 0
    for (let i = 0; i < 100; i++) {
      await new Promise((resolve) => setTimeout(resolve, 2))
      most = Math.max(most, served.app.pitaya.stats.waiting)
    }
    t.ok(most <= 64 + 64 + 64, `${most} wait at most: 64, and what was read with them`)
    t.ok(client.end.pendingBytes > 0, 'the rest is still with the client')
    served.open()
    for (let id = 1; id <= SENT; id++) if ((await client.answer(id)).n !== id) t.fail(`answer ${id} is out of order`)
    t.strictSame(served.closed, [])
    client.close()
  })

  t.test(`${carrier}: a few large messages behind a slow one are waited for, not punished`, async (t) => {
    const served = await gated(t)
    const client = await working(served, connect)
    const SENT = 60
    for (let id = 1; id <= SENT; id++) client.request(id, 'room.wait', Buffer.alloc(63 * KIB))
    await eventually(() => served.app.pitaya.stats.waiting > 0, 'some wait')
    let most = 0
    for (let i = 0; i < 50; i++) {
      await new Promise((resolve) => setTimeout(resolve, 2))
      most = Math.max(most, served.app.pitaya.stats.waiting)
    }
    t.ok(most <= 4, `${most} wait at most: 256 KiB`)
    served.open()
    for (let id = 1; id <= SENT; id++) if ((await client.answer(id)).n !== id) t.fail(`answer ${id} is out of order`)
    t.strictSame(served.closed, [])
    client.close()
  })

  t.test(`${carrier}: what was read beyond the bound in bytes closes the session with 4008`, async (t) => {
    const served = await gated(t, { limits: { waitingBytes: 2000 } })
    const client = await working(served, connect)
    for (let id = 1; id <= 4; id++) client.request(id, 'room.wait', Buffer.alloc(900))
    const { code } = await client.closed()
    if (carrier === 'WebSocket') t.equal(code, 4008)
    t.strictSame(served.closed.map(({ reason }) => reason), ['overload'])
    t.equal(served.app.pitaya.stats.waiting, 0, 'what waited is forgotten')
    served.open()
    await eventually(() => served.app.pitaya.stats.running === 0, 'nothing runs')
  })

  t.test(`${carrier}: a session that stays paused for too long is closed with 4008`, async (t) => {
    // A client that is read would be closed for its silence after 1250 ms.
    const served = await gated(t, { heartbeatSeconds: 0.5, limits: { waitingPerSession: 2, pauseMs: 2500 } })
    const client = await working(served, connect)
    const start = performance.now()
    for (let id = 1; id <= 4; id++) client.request(id, 'room.wait', 'x')
    await client.closed()
    t.strictSame(served.closed.map(({ code }) => code), [4008], 'not for its silence: while we do not read, it cannot be heard')
    t.ok(performance.now() - start >= 2400)
    served.open()
    await eventually(() => served.app.pitaya.stats.running === 0 && served.app.pitaya.stats.connections === 0, 'nothing is left')
  })
}

t.test('over maxQueued waiting messages of all sessions a request is answered PIT-503 and a notify is dropped and counted', async (t) => {
  const served = await gated(t, { limits: { maxQueued: 4 } })
  const [first, second] = [await working(served, carriers[0][1]), await working(served, carriers[1][1])]
  for (let id = 1; id <= 3; id++) first.request(id, 'room.wait')
  await eventually(() => served.app.pitaya.stats.waiting === 2, 'two of the first wait')
  for (let id = 1; id <= 3; id++) second.request(id, 'room.wait')
  await eventually(() => served.app.pitaya.stats.waiting === 4, 'four wait')
  second.request(4, 'room.wait')
  second.notify('room.told')
  first.request(5, 'room.wait')
  t.strictSame(await second.answer(4), { code: 'PIT-503', msg: 'server is busy' })
  t.strictSame(await first.answer(5), { code: 'PIT-503', msg: 'server is busy' })
  await eventually(() => served.drops.some(({ what }) => what === 'notify'), 'the notify is counted')
  t.strictSame(served.drops.filter(({ what }) => what === 'notify'), [{ what: 'notify', why: 'busy', route: 'lobby.room.told' }])
  served.open()
  for (const client of [first, second]) for (let id = 1; id <= 3; id++) t.ok((await client.answer(id)).n)
  t.equal(served.handled(), 6)
  for (const client of [first, second]) client.close()
})

t.test('handlers beyond the places of the process wait for one, and are answered PIT-503 at their deadline', async (t) => {
  const served = await gated(t, { concurrency: { handler: { dispatch: 2 } }, limits: { handlerMs: 1500 } })
  const clients: RawClient[] = []
  for (let i = 0; i < 3; i++) clients.push(await working(served, carriers[i % 2]![1]))
  for (const client of clients) client.request(2, 'room.wait')
  await eventually(() => served.app.pitaya.stats.running === 2 && served.app.pitaya.stats.waiting === 1, 'two run, one waits')
  const codes = await Promise.all(clients.map(async (client) => (await client.answer(2)).code))
  t.strictSame(codes.sort(), ['PIT-503', 'PIT-504', 'PIT-504'])
  served.open()
  await eventually(() => served.app.pitaya.stats.abandoned === 0, 'the abandoned ones end')
  for (const client of clients) {
    client.request(3, 'room.wait')
    t.ok((await client.answer(3)).n)
    client.close()
  }
})

t.test('messages of concurrent routes run together, eight of a session at most; its other messages one at a time', async (t) => {
  const served = await gated(t)
  const client = await working(served, carriers[0][1])
  for (let id = 1; id <= 12; id++) client.request(id, 'room.together')
  for (let id = 13; id <= 14; id++) client.request(id, 'room.wait')
  await eventually(() => served.app.pitaya.stats.running === 9 && served.app.pitaya.stats.waiting === 5, 'eight and one run, four and one wait')
  served.open()
  await client.until(() => client.packets.length === 14, 'all are answered')
  t.equal(served.app.pitaya.stats.waiting, 0)
  client.close()
})

import t from 'tap'
import { Type } from '@sinclair/typebox'
import { closes } from '../../lib/errors.ts'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import type { Session } from '../../lib/session/session.ts'
import { eventually, RawClient, sessionPool } from '../helpers/app.ts'
import { startProxy } from '../helpers/proxy.ts'
import { carriers, serve, tcpEnd, type Served } from '../helpers/wire.ts'

const KIB = 1024
const MIB = KIB * KIB
const MAX_MS = 30_000

const room = defineHandlers('room', { pushes: { onBytes: raw } }, {
  echo: request({ body: raw, response: raw }, (body) => body),
  id: request({ response: Type.Integer() }, (_, { session }) => session.id)
})
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A client that is through its handshake, and its session. */
async function working (served: Served, client: RawClient): Promise<Session> {
  await client.greet()
  client.request(1, 'room.id')
  return sessionPool(served.app).get(await client.answer(1))!
}

/** Pushes to a session until it is closed or so many bytes are pushed. */
async function flood (session: Session, bytes = Infinity): Promise<number> {
  const block = Buffer.alloc(64 * KIB)
  let pushed = 0
  while (!session.isClosed && pushed < bytes) {
    session.push('onBytes', block)
    pushed += block.length
    await turn()
  }
  return pushed
}

for (const [carrier, connect] of carriers) {
  t.test(`${carrier}: a client that reads nothing is closed with 4002 when 1 MiB waits for it, without a Kick in the middle`, async (t) => {
    const served = await serve(t, { handlers: [room] })
    const client = await connect(served)
    const session = await working(served, client)
    client.end.pause()
    const pushed = await flood(session)
    t.ok(pushed > MIB && pushed < 32 * MIB, `${Math.round(pushed / KIB)} KiB pushed, what the network swallowed included`)
    t.strictSame(served.closed.map(({ code }) => code), [4002])
    t.equal(session.push('onBytes', Buffer.alloc(1)), false, 'nothing more can be pushed')
    await eventually(() => served.app.pitaya.stats.connections === 0, 'the socket is given up, though the client never answers')
    client.end.destroy()
  })

  t.test(`${carrier}: a client that drains nothing of a little is closed with 4002 at the drain deadline`, async (t) => {
    const served = await serve(t, { handlers: [room], limits: { drainMs: 1500, outboxBytes: 64 * MIB } })
    const client = await connect(served)
    const session = await working(served, client)
    client.end.pause()
    const start = performance.now()
    t.equal(await flood(session, 12 * MIB), 12 * MIB, 'all of it is taken')
    await eventually(() => session.isClosed, 'closed')
    t.ok(performance.now() - start > 1400, 'not before the deadline')
    t.strictSame(served.closed.map(({ reason }) => reason), ['slow'])
    client.end.destroy()
  })

  t.test(`${carrier}: what a reading client gets in one turn may be far more than 1 MiB`, async (t) => {
    const served = await serve(t, { handlers: [room], limits: { outboxBytes: MIB } })
    const client = await connect(served)
    const session = await working(served, client)
    for (let i = 0; i < 3; i++) {
      for (let i = 0; i < 20; i++) session.push('onBytes', Buffer.alloc(40 * KIB))
      for (let i = 0; i < 20; i++) await client.message()
    }
    t.strictSame(served.closed, [])
    client.close()
  })
}

t.test('over the limit of the whole process the client that is owed most is given up, and nobody else', async (t) => {
  const served = await serve(t, { handlers: [room], limits: { outboxBytes: 64 * MIB, outboxTotalBytes: 3 * MIB } })
  const clients: RawClient[] = []
  const sessions: Session[] = []
  for (let i = 0; i < 3; i++) {
    const client = await carriers[i % 2]![1](served)
    sessions.push(await working(served, client))
    clients.push(client)
  }
  const [large, small, reading] = sessions as [Session, Session, Session]
  for (const client of clients.slice(0, 2)) client.end.pause()
  // The network swallows some megabytes first; only what it does not take waits here.
  await flood(small, 2 * MIB)
  await flood(large)
  t.strictSame([large, small, reading].map(({ isClosed }) => isClosed), [true, false, false])
  t.strictSame(served.closed.map(({ reason }) => reason), ['slow'])
  t.ok(reading.push('onBytes', Buffer.alloc(10)))
  t.equal((await clients[2]!.message()).data.length, 10)
  for (const client of clients) client.end.destroy()
})

t.test('frozen clients are closed, slow ones are served on, good ones notice nothing', async (t) => {
  const outboxBytes = 2 * MIB
  const [FROZEN, SLOW, GOOD] = process.env.CI === 'true' ? [50, 20, 200] : [10, 10, 50]
  const served = await serve(t, { handlers: [room], limits: { outboxBytes } })
  const slowly = await startProxy(t, served.tcpPort, 512 * KIB)
  const groups: Record<'frozen' | 'slow' | 'good', Array<{ client: RawClient, session: Session }>> = { frozen: [], slow: [], good: [] }
  const join = async (group: keyof typeof groups, client: RawClient): Promise<void> => {
    groups[group].push({ client, session: await working(served, client) })
  }
  for (let i = 0; i < FROZEN; i++) await join('frozen', await carriers[i % 2]![1](served))
  for (let i = 0; i < SLOW; i++) await join('slow', new RawClient(await tcpEnd(slowly.port)))
  for (let i = 0; i < GOOD; i++) await join('good', await carriers[i % 2]![1](served))
  for (const { client } of groups.frozen) client.end.pause()
  // More than the network holds: from the start some waits in the outbox.
  for (const { session } of groups.slow) await flood(session, 4.5 * MIB)

  const before = process.memoryUsage().rss
  let peak = before
  const block = Buffer.alloc(64 * KIB)
  const small = Buffer.alloc(2 * KIB)
  const start = performance.now()
  let slowest = 0
  // Frozen ones are closed by what they do not read, on a busy machine later.
  const isOver = (): boolean => {
    const ms = performance.now() - start
    return ms > MAX_MS || (ms > 5000 && groups.frozen.every(({ session }) => session.isClosed))
  }
  while (!isOver()) {
    for (const { session } of groups.frozen) session.push('onBytes', block)
    for (const { session } of [...groups.slow, ...groups.good]) session.push('onBytes', small)
    const askedAt = performance.now()
    for (const [at, { client }] of groups.good.entries()) if (at % 10 === 0) client.request(7, 'room.echo', 'x')
    await Promise.all(groups.good.filter((_, at) => at % 10 === 0).map(async ({ client }) => {
      while ((await client.message()).id !== 7);
    }))
    slowest = Math.max(slowest, performance.now() - askedAt)
    for (const { client } of groups.good) client.packets.length = 0
    peak = Math.max(peak, process.memoryUsage().rss)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.ok(groups.frozen.every(({ session }) => session.isClosed), 'every frozen one is closed')
  t.strictSame(served.closed.map(({ code }) => code), Array(FROZEN).fill(closes.slow.code), 'and nobody else')
  t.ok(slowest < 5000, `an answer took ${Math.round(slowest)} ms at most`)
  t.ok(peak - before < (FROZEN + SLOW) * outboxBytes + 48 * MIB, `memory grew by ${Math.round((peak - before) / MIB)} MiB`)
  for (const { client } of [...groups.frozen, ...groups.slow, ...groups.good]) client.end.destroy()
  await eventually(() => served.app.pitaya.stats.connections === 0, 'nothing is left')
})

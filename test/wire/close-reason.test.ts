import t from 'tap'
import { Type } from '@sinclair/typebox'
import { type CloseReason, closes } from '../../lib/errors.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, notify, raw, request } from '../../lib/handler/define.ts'
import { eventually, type BuildOptions, type RawClient } from '../helpers/app.ts'
import { acked, carriers, serve, type Served } from '../helpers/wire.ts'

const room = defineHandlers('room', {
  bind: request({ body: raw, response: Type.Null() }, async (uid, { session }) => {
    await session.bind(Buffer.from(uid).toString())
    return null
  }),
  kick: notify((_, { session }) => session.kick('cheater')),
  close: notify((_, { session }) => session.close()),
  stall: notify({ body: raw }, async (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', resolve)))
})

type Connect = (served: Served) => Promise<RawClient>

interface Ending {
  reason: CloseReason
  text?: string
  options?: BuildOptions
  provoke: (client: RawClient, served: Served, connect: Connect) => unknown
}

const endings: Ending[] = [
  { reason: 'kicked', text: 'cheater', provoke: (client) => client.notify('room.kick') },
  { reason: 'normal', provoke: (client) => client.notify('room.close') },
  {
    reason: 'replaced',
    provoke: async (client, served, connect) => {
      client.request(1, 'room.bind', 'ana')
      await client.answer(1)
      const other = await connect(served)
      await other.greet()
      other.request(1, 'room.bind', 'ana')
      await other.answer(1)
    }
  },
  { reason: 'badPacket', provoke: (client) => client.writeHex('04000002 0001') },
  { reason: 'heartbeat', options: { heartbeatSeconds: 0.5 }, provoke: () => {} },
  {
    reason: 'rate',
    options: { limits: { rateBurst: 1, ratePerSecond: 1, rateViolationMs: 1 } },
    provoke: async (client) => {
      while (!client.isClosed) {
        client.packet(PacketType.heartbeat)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
  },
  {
    reason: 'overload',
    options: { limits: { waitingBytes: 100 } },
    provoke: (client) => { for (let i = 0; i < 4; i++) client.notify('room.stall', 'x'.repeat(60)) }
  },
  { reason: 'shutdown', provoke: (_, { app }) => { app.pitaya.drain({ timeoutMs: 3000 }) } }
]

for (const { reason, text = closes[reason].text, options, provoke } of endings) {
  const { code } = closes[reason]
  t.test(`${code} ${reason}: told before the close to clients that ask for reasons, a plain close to stock ones`, async (t) => {
    const each = async ([carrier, connect]: typeof carriers[number], closeReason: true | undefined): Promise<void> => {
      const served = await serve(t, { handlers: [room], ...options })
      const client = await connect(served)
      await client.greet({ sys: { closeReason } })
      await acked(client)
      await provoke(client, served, connect)
      const closed = await client.closed()
      const kicks = client.packets.map(({ type, body }) => [type, body.toString()])
      const isKick = reason === 'kicked' || reason === 'replaced'
      const told = [[PacketType.kick, JSON.stringify({ code, reason: text })]]
      t.strictSame(kicks, closeReason === true ? told : isKick ? [[PacketType.kick, '']] : [], `${carrier}, closeReason ${closeReason}`)
      if (carrier === 'WebSocket') t.strictSame(closed, { code, reason: text })
      t.strictSame(served.closed[0], { sessionId: 1, code, reason, transport: carrier.toLowerCase() })
    }
    await Promise.all(carriers.flatMap((carrier) => [each(carrier, true), each(carrier, undefined)]))
  })
}

const early: Array<{ reason: CloseReason, options?: BuildOptions, provoke: (client: RawClient, served: Served) => unknown }> = [
  { reason: 'badPacket', provoke: (client) => client.writeHex('04000000') },
  { reason: 'handshakeTimeout', options: { limits: { handshakeMs: 1200 } }, provoke: () => {} },
  { reason: 'kicked', provoke: (_, { app }) => app.pitaya.kick('ana', 'cheater') },
  { reason: 'shutdown', provoke: (_, { app }) => { app.pitaya.drain({ timeoutMs: 3000 }) } }
]

for (const { reason, options, provoke } of early) {
  t.test(`${closes[reason].code} ${reason} before the ack: never a Kick packet, not even to clients that ask for reasons`, async (t) => {
    for (const [carrier, connect] of carriers) {
      const served = await serve(t, { handlers: [room], handshake: { validators: { who: () => ({ uid: 'ana' }) } }, ...options })
      const client = await connect(served)
      client.packet(PacketType.handshake, JSON.stringify({ sys: { closeReason: true } }))
      await client.next(PacketType.handshake)
      await provoke(client, served)
      const { code } = await client.closed()
      t.strictSame(client.packets, [], carrier)
      if (carrier === 'WebSocket') t.equal(code, closes[reason].code)
      t.equal(served.closed[0]!.reason, reason)
      await eventually(() => served.app.pitaya.stats.sessions === 0, 'no session')
    }
  })
}

t.test('closing is idempotent: a session kicked, closed and kicked again ends once, with the first reason', async (t) => {
  const served = await serve(t, { handlers: [room] })
  for (const [, connect] of carriers) {
    const client = await connect(served)
    await client.greet({ sys: { closeReason: true } })
    await acked(client)
    let ends = 0
    for (const session of served.app.pitaya.sessions) {
      session.onClose(() => { ends++ })
      session.kick('first')
      session.close()
      session.kick('second')
      session.onClose(() => { ends++ })
    }
    await client.closed()
    t.strictSame(client.packets.map(({ body }) => body.toString()), ['{"code":4504,"reason":"first"}'])
    t.equal(ends, 2)
  }
  t.strictSame(served.closed.map(({ code }) => code), [4504, 4504])
  await eventually(() => served.app.pitaya.stats.connections === 0, 'no connection')
})

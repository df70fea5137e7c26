import t from 'tap'
import type { FastifyRequest } from 'fastify'
import { Type } from '@sinclair/typebox'
import type { HandshakeValidator } from '../../lib/agent/greeter.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, PitayaError, request } from '../../lib/handler/define.ts'
import { eventually, rawClient, sessionPool, type RawClient } from '../helpers/app.ts'
import { carriers, serve, tcpClient, webSocketClient, type Served } from '../helpers/wire.ts'

const Me = Type.Object({ uid: Type.String(), data: Type.String() })
const room = defineHandlers('room', { me: request({ response: Me }, (_, { session: { uid, data } }) => ({ uid, data: JSON.stringify(data) })) })
const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))
const never = (): Promise<never> => new Promise(() => {})

const everyCarrier = [...carriers, ['memory', async (served: Served): Promise<RawClient> => rawClient(served.app)]] as const

t.test('validators run one after the other in the order they were given, and the first that throws refuses', async (t) => {
  const calls: string[] = []
  const validators: Record<string, HandshakeValidator> = {
    slow: async () => { calls.push('slow in'); await later(); calls.push('slow out') },
    quick: () => { calls.push('quick') },
    guard: ({ sys }) => {
      calls.push('guard')
      if (sys.platform === 'old') throw new PitayaError('GAME-426', 'please update', { url: 'https://game.example' })
    },
    last: async () => { calls.push('last') }
  }
  const served = await serve(t, { handshake: { validators } })
  const client = await tcpClient(served)
  t.equal((await client.greet({ sys: { platform: 'mac' } })).code, 200)
  t.strictSame(calls.splice(0), ['slow in', 'slow out', 'quick', 'guard', 'last'])
  const old = await webSocketClient(served)
  const answer = await old.greet({ sys: { platform: 'old' } })
  t.strictSame(answer.error, { code: 'GAME-426', msg: 'please update', metadata: { url: 'https://game.example' } })
  t.strictSame(await old.closed(), { code: 4503, reason: 'handshake rejected' })
  t.strictSame(calls, ['slow in', 'slow out', 'quick', 'guard'])
  client.close()
})

const failing: Array<readonly [how: string, validator: HandshakeValidator, error: object]> = [
  ['throws an Error', () => { throw new Error('secret') }, { code: 'PIT-401', msg: 'refused by handshake validator "check"' }],
  ['rejects with an Error', async () => { await later(); throw new TypeError('secret') }, { code: 'PIT-401', msg: 'refused by handshake validator "check"' }],
  ['throws nothing', () => { throw undefined }, { code: 'PIT-401', msg: 'refused by handshake validator "check"' }], // eslint-disable-line no-throw-literal
  ['rejects with a PitayaError', async () => { throw new PitayaError('GAME-401', 'who are you') }, { code: 'GAME-401', msg: 'who are you' }],
  ['gives a uid that is none', () => ({ uid: '' }), { code: 'PIT-400', msg: 'illegal uid' }],
  ['gives too much data', async () => ({ data: { text: 'x'.repeat(5000) } }), { code: 'PIT-413', msg: 'session data is larger than 4096 bytes' }]
]

for (const [how, validator, error] of failing) {
  t.test(`a validator that ${how} refuses: 400 with an error that tells nothing private, then 4503`, async (t) => {
    const served = await serve(t, { handshake: { validators: { check: validator } } })
    for (const [carrier, connect] of everyCarrier) {
      const client = await connect(served)
      const answer = await client.greet()
      t.strictSame([answer.code, answer.error], [400, error], carrier)
      await client.closed()
      t.strictSame(client.packets, [], 'nothing after it, no Kick')
    }
    await eventually(() => served.closed.length === everyCarrier.length, 'the server sees the closes')
    for (const { code } of served.closed) t.equal(code, 4503)
    t.equal(sessionPool(served.app).boundUids, 0)
  })
}

t.test('a validator that never ends: closed 4502 without an answer', async (t) => {
  const served = await serve(t, { handshake: { validators: { never } }, limits: { handshakeMs: 150 } })
  for (const [, connect] of everyCarrier) {
    const client = await connect(served)
    client.packet(PacketType.handshake, '{}')
    await client.closed()
    t.strictSame(client.packets, [])
  }
  t.strictSame(served.closed.map(({ code }) => code), [4502, 4502, 4502])
  await eventually(() => served.app.pitaya.stats.sessions === 0, 'no session')
})

t.test('what a validator gives is bound before the answer is sent, after its bind hooks', async (t) => {
  const calls: string[] = []
  const served = await serve(t, {
    handlers: [room],
    handshake: { validators: { who: async () => ({ uid: 'ana', data: { level: 3 } }), more: () => ({ data: { vip: true } }) } },
    session: { onBind: async () => { await later(); calls.push('hook') } }
  })
  const client = await webSocketClient(served)
  client.packet(PacketType.handshake, '{}')
  await client.next(PacketType.handshake)
  t.strictSame(calls, ['hook'])
  t.strictSame(await served.app.pitaya.push('ana', 'nothing', {}).catch(({ code }) => code), 'PIT_ERR_PUSH_UNKNOWN')
  t.ok(served.app.pitaya.sessions.isConnected('ana'))
  client.packet(PacketType.ack)
  client.request(1, 'room.me')
  t.strictSame(await client.answer(1), { uid: 'ana', data: '{"level":3,"vip":true}' })
  client.close()
})

t.test('handshake, ack and requests in one write are served in order, also while validators take their time', async (t) => {
  const who = async (): Promise<{ data: Record<string, number> }> => {
    await later()
    return { data: { a: 1 } }
  }
  const served = await serve(t, { handlers: [room], handshake: { validators: { who } } })
  const hello = (route: string, id: number): Uint8Array =>
    encodePacket(PacketType.data, encodeMessage({ type: MessageType.request, id, route, data: Buffer.from('{}') }))
  const all = Buffer.concat([
    encodePacket(PacketType.handshake, Buffer.from('{}')), encodePacket(PacketType.ack, new Uint8Array(0)),
    hello('room.me', 1), hello('room.nope', 2), hello('room.me', 3)
  ])
  for (const [carrier, connect] of everyCarrier) {
    for (const cut of carrier === 'WebSocket' ? [all.length] : [all.length, 1, 7, 45, all.length - 1]) {
      const client = await connect(served)
      client.write(all.subarray(0, cut))
      if (cut < all.length) client.write(all.subarray(cut))
      t.equal(JSON.parse((await client.next(PacketType.handshake)).body.toString()).code, 200)
      t.strictSame(await client.answer(1), { uid: '', data: '{"a":1}' }, `${carrier}, cut at ${cut}`)
      t.match(await client.answer(2), { code: 'PIT-404' })
      t.ok(await client.answer(3))
      client.close()
    }
  }
})

t.test('a client that leaves while its validator runs is not bound afterwards', async (t) => {
  let isAsked = false
  let letGo = (): void => {}
  const who = async (): Promise<{ uid: string }> => {
    isAsked = true
    await new Promise<void>((resolve) => { letGo = resolve })
    return { uid: 'ana' }
  }
  const served = await serve(t, { handshake: { validators: { who } } })
  for (const [, connect] of everyCarrier) {
    isAsked = false
    const client = await connect(served)
    client.packet(PacketType.handshake, '{}')
    await eventually(() => isAsked, 'the validator runs')
    for (const session of served.app.pitaya.sessions) session.close()
    await client.closed()
    letGo()
    await later()
    t.strictSame([sessionPool(served.app).boundUids, served.app.pitaya.stats.sessions], [0, 0])
  }
})

t.test('a validator sees the upgrade where there is one, and the address', async (t) => {
  const seen: unknown[] = []
  const look: HandshakeValidator<unknown, FastifyRequest> = ({ request, remoteAddress }) => { seen.push([request?.url, remoteAddress]) }
  const served = await serve(t, { handshake: { validators: { look } } })
  for (const [, connect] of everyCarrier) {
    const client = await connect(served)
    await client.greet()
    client.close()
  }
  t.strictSame(seen, [[undefined, '127.0.0.1'], ['/pitaya', '127.0.0.1'], [undefined, '127.0.0.1']])
})

import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { build, rawClient, workingClient } from '../helpers/app.ts'
import { logSink } from '../helpers/log.ts'

const Note = Type.Object({ text: Type.String() })
const room = defineHandlers('room', { pushes: { onNote: Note } }, {
  wrong: request((_, { session }) => { session.push('onNote', { text: 1 } as never) }),
  user: request({ response: Type.Unsafe<object>({}) }, (_, { session }) => session.handshake.user as object)
})

t.test('what is pushed while a client logs in comes right after its ack', async (t) => {
  const app = await build(t, {
    serializers: ['json'],
    handlers: [room],
    handshake: { validators: { login: () => ({ uid: 'ana' }) } },
    session: { afterBind: (session) => { session.push('onNote', { text: 'from the hook' }) } }
  })
  const client = rawClient(app)
  client.packet(PacketType.handshake, '{}')
  await client.next(PacketType.handshake)
  t.strictSame(await app.pitaya.push('ana', 'onNote', { text: 'to the uid' }), { delivered: ['ana'], notConnected: [], unknown: [] })
  t.strictSame(client.packets, [], 'nothing before the ack')
  client.packet(PacketType.ack)
  t.strictSame([await client.message(), await client.message()].map(({ route, data }) => [route, JSON.parse(data.toString())]), [
    ['onNote', { text: 'from the hook' }],
    ['onNote', { text: 'to the uid' }]
  ])
})

t.test('at most 64 pushes are kept for a client that has not sent its ack', async (t) => {
  const app = await build(t, { serializers: ['json'], handlers: [room], handshake: { validators: { login: () => ({ uid: 'ana' }) } } })
  const client = rawClient(app)
  client.packet(PacketType.handshake, '{}')
  await client.next(PacketType.handshake)
  for (let i = 0; i < 64; i++) await app.pitaya.push('ana', 'onNote', { text: String(i) })
  t.strictSame((await app.pitaya.push('ana', 'onNote', { text: '64' })).notConnected, ['ana'])
  client.packet(PacketType.ack)
  for (let i = 0; i < 64; i++) t.equal(JSON.parse((await client.message()).data.toString()).text, String(i))
})

t.test('a validator that returns anything but nothing or a result refuses', async (t) => {
  for (const result of [false, true, 0, 'ana', { uid: undefined }, { uid: 7 }]) {
    const app = await build(t, { handlers: [], handshake: { validators: { slip: () => result as never } } })
    const client = rawClient(app)
    client.packet(PacketType.handshake, '{}')
    t.match(JSON.parse((await client.next(PacketType.handshake)).body.toString()), { code: 400, error: { code: 'PIT-401' } })
    t.equal((await client.closed()).code, 4503)
  }
})

t.test('no validator runs for a client that has gone', async (t) => {
  let entered: () => void = () => {}
  let leave: () => void = () => {}
  const inside = new Promise<void>((resolve) => { entered = resolve })
  const outside = new Promise<void>((resolve) => { leave = resolve })
  let ran = false
  const closed = new Promise<void>((resolve) => {
    build(t, {
      handshake: { validators: { slow: async () => { entered(); await outside }, next: () => { ran = true } } },
      session: { onClose: () => resolve() }
    }).then((app) => {
      const client = rawClient(app)
      client.packet(PacketType.handshake, '{}')
      inside.then(() => client.close())
    })
  })
  await closed
  leave()
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(ran, false)
})

t.test('only declared properties of the handshake\'s user reach handlers', async (t) => {
  const app = await build(t, { serializers: ['json'], handlers: [room], handshake: { user: Type.Object({ name: Type.String() }) } })
  const client = await workingClient(app, { user: { name: 'ana', admin: true } })
  client.request(1, 'room.user')
  t.strictSame(await client.answer(1), { name: 'ana' })
})

t.test('a user schema that is none is a start error', async (t) => {
  await t.rejects(build(t, { handshake: { user: { type: 'object' } as never } }), { code: 'PIT_ERR_SCHEMA' })
})

t.test('texts for the server\'s developers stay in its log', async (t) => {
  const { logger, lines } = logSink()
  const app = await build(t, { serializers: ['json'], fastify: { logger }, handlers: [room] })
  const client = await workingClient(app)
  client.request(1, 'room.wrong')
  t.strictSame(await client.answer(1), { code: 'PIT-500', msg: 'internal error' })
  t.ok(lines.some(({ msg }) => String(msg).startsWith('push "onNote" could not be encoded')))
})

import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { build, clusterIn, eventually, rawClient, workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const admin = { token: 'correct-horse-battery' }
const get = { url: '/admin/contract', headers: { authorization: `Bearer ${admin.token}` } }
const Text = Type.Object({ text: Type.String() })
const room = defineHandlers('room', { pushes: { onText: Text, onBytes: raw } }, {
  say: request({ body: Text, response: raw, errors: ['SAY-002', 'SAY-001'] }, () => Buffer.alloc(0))
})
const errors = ['SAY-001', 'SAY-002']
const record = { type: 'record', name: 'T0', fields: [{ name: 'text', type: 'string' }] }

t.test('the contract file has the schemas of this server and of those behind it', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: [room] })
  const app = await frontend({ admin, handlers: [defineHandlers('gate', { open: request(() => {}) })] })
  await eventually(() => clusterIn(app).parts.schemas.set.pushes.onText !== undefined, 'the backend is known')
  const response = await app.inject(get)
  t.equal(response.statusCode, 200)
  const { fingerprint, ...rest } = response.json()
  t.match(fingerprint, /^[\w-]{16}$/)
  t.strictSame(rest, {
    version: 1,
    serverType: 'connector',
    routes: { 'chat.room.say': { kind: 'request', body: record, response: 'raw', errors }, 'gate.open': { kind: 'request' } },
    pushes: { onBytes: 'raw', onText: record }
  })
  t.equal(response.body, clusterIn(app).parts.schemas.text)
  t.equal((await app.inject('/admin/contract')).statusCode, 401)
})

t.test('schemas are transferred once: a client that has them connects for the bytes of their fingerprint', async (t) => {
  const app = await build(t, { handlers: [room] })
  const connect = async (sys: object): Promise<{ bytes: number, schemas: any }> => {
    const client = rawClient(app)
    client.packet(PacketType.handshake, JSON.stringify({ sys: { serializer: 'avro', ...sys } }))
    const { body } = await client.next(PacketType.handshake)
    return { bytes: body.length, schemas: JSON.parse(body.toString()).sys.schemas }
  }
  const stock = await connect({})
  const first = await connect({ schemas: '' })
  const second = await connect({ schemas: first.schemas.fingerprint })
  t.strictSame([stock.schemas, second.schemas], [undefined, { fingerprint: first.schemas.fingerprint }])
  t.equal(first.schemas.set.routes['room.say'].response, 'raw')
  t.equal(second.bytes - stock.bytes, ',"schemas":{"fingerprint":""}'.length + 16)
  t.ok(first.bytes > second.bytes + 200)
})

t.test('sys.schemas is answered in JSON, whatever the serializer, and errors are the serializer\'s', async (t) => {
  const app = await build(t, { handlers: [room] })
  for (const serializer of ['avro', 'json']) {
    const client = await workingClient(app, { sys: { serializer } })
    client.request(1, 'sys.schemas', { pushes: ['onText', 'onBytes', 'onNone'], routes: ['lobby.room.say'] })
    const { pushes, routes } = await client.answer(1)
    t.strictSame(pushes, { onText: record, onBytes: 'raw', onNone: null })
    t.strictSame(routes, { 'lobby.room.say': { kind: 'request', body: record, response: 'raw', errors } })
    client.request(2, 'sys.schemas', 'nonsense')
    const { isError, data } = await client.message()
    t.ok(isError)
    t.match(data.toString(), /PIT-400/)
  }
})

t.test('the server\'s own handlers are in no list, and their name is taken', async (t) => {
  const app = await build(t, { handlers: [room], admin, dictionary: 'auto' })
  const { routes } = (await app.inject(get)).json()
  t.strictSame(Object.keys(routes), ['room.say'])
  const listing = (await app.inject({ ...get, url: '/admin/handlers' })).json()
  t.strictSame(listing.handlers.map(({ route }: { route: string }) => route), ['lobby.room.say'])
  const { sys } = await rawClient(app).greet()
  t.strictSame(Object.keys(sys.dict), ['lobby.room.say', 'onBytes', 'onText', 'room.say'])
  const clash = defineHandlers('sys', { schemas: request(() => {}) })
  await t.rejects(build(t, { handlers: [clash] }), { code: 'PIT_ERR_HANDLER', message: /"sys"/ })
})

t.test('hooks of the application are not asked for the server\'s own handlers', async (t) => {
  const app = await build(t, { handlers: [room], setUp: (app) => { app.pitaya.before(() => { throw new Error('no') }) } })
  const client = await workingClient(app)
  client.request(1, 'sys.schemas', {})
  t.strictSame((await client.answer(1)).names.routes, ['room.say'])
})

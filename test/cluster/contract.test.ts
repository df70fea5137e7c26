import { Type } from '@sinclair/typebox'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { compileCodec } from '../../lib/avro/codec.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { defineRemotes } from '../../lib/remote/define.ts'
import { clusterIn, eventually, rawClient, type RawClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { logSink } from '../helpers/log.ts'

const admin = { token: 'correct-horse-battery' }
const Text = Type.Object({ text: Type.String() })
const handlers = (body = Text as any) => [defineHandlers('room', { pushes: { onText: Text } }, { say: request({ body }, () => {}) })]

async function schemasOf (client: RawClient, has = ''): Promise<any> {
  const { sys } = await client.greet({ sys: { serializer: 'avro', schemas: has } })
  return sys.schemas
}

async function breaks (app: FastifyInstance): Promise<any> {
  const response = await app.inject({ url: '/admin/servers', headers: { authorization: `Bearer ${admin.token}` } })
  return Object.fromEntries(response.json().servers.map(({ id, contract }: any) => [id, contract.breaks]))
}

t.test('a frontend gives its clients the schemas of the servers behind it, also of one that comes later', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: handlers() })
  const front = await frontend()
  const { fingerprint, set } = await schemasOf(rawClient(front))
  t.strictSame([Object.keys(set.routes), Object.keys(set.pushes), set.serverType], [['chat.room.say'], ['onText'], 'connector'])
  await backend({ serverType: 'game', handlers: [defineHandlers('match', { join: request({ response: Type.Integer() }, () => 1) })] })
  await eventually(() => clusterIn(front).parts.schemas.set.fingerprint !== fingerprint, 'the frontend knows of it')
  const client = rawClient(front)
  const later = await schemasOf(client, fingerprint)
  t.strictSame(later.set.routes, { ...set.routes, 'game.match.join': { kind: 'request', response: 'long' } })
  client.request(1, 'sys.schemas', { routes: ['game.match.join', 'game.match.nope'] })
  const { routes } = await client.answer(1)
  t.strictSame(routes, { 'game.match.join': { kind: 'request', response: 'long' }, 'game.match.nope': null })
  t.strictSame(await schemasOf(rawClient(front), later.fingerprint), { fingerprint: later.fingerprint })
})

t.test('an unpinned Avro client calls a server behind its frontend with the schemas it was given', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: [defineHandlers('room', { echo: request({ body: Text, response: Text }, (body) => body) })] })
  const client = rawClient(await frontend())
  const { set } = await schemasOf(client)
  const { body, response } = set.routes['chat.room.echo']
  client.request(1, 'chat.room.echo', compileCodec(body).encode({ text: 'hi' }))
  const { data } = await client.message()
  t.strictSame(compileCodec(response).decode(data, 0, data.length), { text: 'hi' })
})

t.test('a server that breaks what another of its type offers is told of at once, on both, and listed', async (t) => {
  const { backend } = clusterOf(t)
  const [old, next] = [logSink(), logSink()]
  const a = await backend({ serverId: 'a', handlers: handlers(), admin, fastify: { logger: old.logger } })
  const again = await backend({ serverId: 'b', handlers: handlers(), admin })
  t.strictSame(await breaks(again), { a: [], b: [] })
  const c = await backend({ serverId: 'c', handlers: handlers(Type.Object({ text: Type.String(), to: Type.String() })), admin, fastify: { logger: next.logger } })
  const line = next.lines.find(({ msg }) => msg === 'this server breaks what another server of its type offers')
  t.match(line, { level: 40, breaks: ['room.say: the body cannot be read: /to'] })
  t.match(line?.peer, /^[ab]$/)
  t.equal(next.lines.filter(({ msg }) => msg === line?.msg).length, 1, 'once for servers of one build')
  const why = 'the body cannot be read: /to'
  const expected = { a: [], b: [], c: [{ server: 'a', route: 'room.say', why }, { server: 'b', route: 'room.say', why }] }
  t.strictSame(await breaks(c), expected)
  await eventually(() => clusterIn(a).discovery.all().length === 3, 'a sees c')
  await eventually(() => clusterIn(a).parts.contracts.breaksOf(clusterIn(a).discovery.get('c')!).length === 2, 'a knows the contract of c')
  t.strictSame(await breaks(a), expected)
  t.equal(old.lines.find(({ msg }) => msg === line?.msg), undefined, 'what the old one offers, the new one\'s clients can use')
})

t.test('a server that does not serve what another one calls is told of at once, and listed', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const sink = logSink()
  const before = defineRemotes('match', { create: { body: Text, response: Type.Integer() }, end: { body: Text }, list: {} })
  const after = defineRemotes('match', { create: { body: Type.Object({ text: Type.String(), to: Type.Optional(Type.String()) }), response: Type.Integer() }, end: { body: Text } })
  await frontend({ serverId: 'caller', setUp: (app) => { app.pitaya.remote('game', before) } })
  await frontend({ serverId: 'other', setUp: (app) => { app.pitaya.remote('chat', before) } })
  const implementation = { create: () => 1, end () {} }
  const game = await backend({
    serverId: 'game', serverType: 'game', admin, fastify: { logger: sink.logger }, setUp: (app) => { app.pitaya.remotes(after, implementation) }
  })
  const lines = ['game.match.create: the body cannot be read: another schema', 'game.match.list: there is no such remote']
  t.strictSame(sink.lines.filter(({ msg }) => msg === 'what one server calls, another one does not serve so').map(({ peer, breaks }) => [peer, breaks]), [['caller', lines]])
  const listed = await breaks(game)
  t.strictSame(listed.game.map(({ server, route }: any) => [server, route]), [['caller', 'game.match.create'], ['caller', 'game.match.list']])
  t.strictSame([listed.caller, listed.other], [[], []])
})

t.test('contracts that only grew are no breaks for those who were there before', async (t) => {
  const { backend } = clusterOf(t)
  await backend({ serverId: 'a', handlers: handlers() })
  const b = await backend({ serverId: 'b', handlers: handlers(Type.Object({ text: Type.String(), to: Type.Optional(Type.String()) })), admin })
  t.strictSame(await breaks(b), { a: [], b: [] })
})

t.test('the handshake of a stock client is byte for byte as ever', async (t) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers: handlers() })
  const client = rawClient(await frontend({ handlers: handlers(), dictionary: 'auto' }))
  client.packet(PacketType.handshake, '{"sys":{"serializer":"avro"}}')
  const { body } = await client.next(PacketType.handshake)
  const dict = '{"connector.room.say":1,"onText":2,"room.say":3}'
  t.equal(body.toString(), `{"code":200,"sys":{"dict":${dict},"heartbeat":30,"serializer":"avro"}}`)
})

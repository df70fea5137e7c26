import { once } from 'node:events'
import { Type, type TSchema } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { connectOver, type ClientTransport, type ConnectOptions, type Structures } from '../../client/client.ts'
import { compileCodec, errorSchema } from '../../lib/avro/codec.ts'
import { overMemory } from '../../client/memory.ts'
import { defineHandlers, notify, PitayaError, raw, request } from '../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { build, clusterIn, eventually as until, openPair, sessionPool } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { messagesOf } from '../helpers/packets.ts'
import { contractFile } from '../helpers/pinned.ts'
import { closeOf, FakeServer, FakeTransport, WELCOME } from './fake-transport.ts'

const Point = Type.Object({ x: Type.Integer(), note: Type.Optional(Type.String()) })
const room = defineHandlers('room', { pushes: { onPoint: Point, onBytes: raw } }, {
  echo: request({ body: Point, response: Point }, (body) => body),
  nothing: request(() => {}),
  bytes: request({ body: raw, response: raw }, (body) => body),
  full: request(() => { throw new PitayaError('FULL', 'no seats', { seats: '0' }) }),
  push: notify({ body: Point }, (point, { session }) => { session.push('onPoint', point) }),
  pushBytes: notify({ body: raw }, (bytes, { session }) => { session.push('onBytes', bytes) }),
  leave: notify((_, { session }) => session.close())
})

/** So many that their schemas do not fit the handshake's answer. */
const wide = defineHandlers('wide', { pushes: { onWide: Point } }, Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`m${i}`,
  request({ body: Type.Object({ [`field${i}`]: Type.Integer(), why: Type.String({ description: 'long '.repeat(10) }) }), response: Point }, () => ({ x: i }))
])))
const ordered = defineHandlers('ordered', { pushes: { onFirst: Point, onSecond: Type.Object({ y: Type.Integer() }) } }, {
  both: request({ response: Point }, (_, { session }) => {
    session.push('onFirst', { x: 1 })
    session.push('onSecond', { y: 2 })
    session.push('onFirst', { x: 3 })
    return { x: 4 }
  }),
  list: request({ response: Type.Array(Type.Integer()) }, (_, { session }) => (session.data.list ?? []) as number[]),
  add: notify({ body: Point }, ({ x }, { session }) => { session.set({ list: [...(session.data.list ?? []) as number[], x] }) })
})
const large = [room, wide as HandlersDefinition, ordered]

/** What went over a connection in memory. */
interface Traffic { sent: Uint8Array[], received: Uint8Array[], connections: number }
const traffic = (): Traffic => ({ sent: [], received: [], connections: 0 })
const bytesOf = (chunks: Uint8Array[]): number => chunks.reduce((sum, { length }) => sum + length, 0)
const routesIn = ({ sent }: Traffic): string[] => messagesOf(sent).map(({ route }) => route)

function opener (app: () => FastifyInstance, seen: Traffic): () => ClientTransport {
  return () => {
    seen.connections++
    const transport = overMemory(openPair(app()))
    const { write } = transport
    transport.write = (bytes) => { seen.sent.push(bytes.slice()); write(bytes) }
    return new Proxy(transport, {
      set (target, key, handler) {
        target.handler = {
          onData (bytes) { seen.received.push(bytes.slice()); handler.onData(bytes) },
          onClose: (code, reason) => handler.onClose(code, reason)
        }
        return key === 'handler'
      }
    })
  }
}

let servers = 0
const unique = (): string => `memory://${process.pid}/${++servers}`

async function avro<T extends Structures = any> (app: FastifyInstance, options: ConnectOptions = {}, address?: string) {
  const seen = traffic()
  const client = await connectOver<T>(opener(() => app, seen), { serializer: 'avro', reconnect: false, ...options }, address)
  return { client, seen }
}

t.test('requests, notifies, pushes, errors and raw bytes travel as Avro', async (t) => {
  const app = await build(t, { handlers: [room] })
  const { client, seen } = await avro<[typeof room]>(app)
  t.equal(client.answer!.serializer, 'avro')
  const point = await client.request('room.echo', { x: 1 })
  t.equal(point.x, 1)
  t.strictSame(point, { x: 1 })
  t.strictSame([...messagesOf(seen.sent)[0]!.data], [2, 0], 'x as a varint, and no note')
  t.strictSame(await client.request('lobby.room.echo', { x: 2, note: 'ü' }), { x: 2, note: 'ü' })
  t.equal(await client.request('room.nothing'), undefined)
  t.strictSame(await client.request('room.bytes', Uint8Array.of(1, 2, 3)), Uint8Array.of(1, 2, 3))
  await t.rejects(client.request('room.full'), { code: 'FULL', message: 'no seats', metadata: { seats: '0' } })
  await t.rejects((client as any).request('room.none', { x: 1 }), { code: 'PIT-404' })
  const [points, bytes] = [client.pushes('onPoint'), client.pushes('onBytes')]
  client.notify('room.push', { x: -5, note: 'pushed' })
  client.notify('room.pushBytes', Uint8Array.of(9))
  t.strictSame((await points.next()).value, { x: -5, note: 'pushed' })
  t.strictSame((await bytes.next()).value, Uint8Array.of(9))
})

t.test('what does not fit a schema is refused before it is sent', async (t) => {
  const app = await build(t, { handlers: [room] })
  const { client, seen } = await avro(app)
  await t.rejects(client.request('room.echo', { x: 'one' }), { code: 'PIT_ERR_BODY', message: 'body/x must be integer', metadata: { field: '/x' } })
  await t.rejects(client.request('room.bytes', { x: 1 }), { code: 'PIT_ERR_BODY' })
  t.throws(() => client.notify('room.push', {}), { code: 'PIT_ERR_BODY' })
  t.strictSame(routesIn(seen), [])
})

t.test('a server without Avro refuses to speak it', async (t) => {
  const app = await build(t, { handlers: [room], serializers: ['json'] })
  await t.rejects(app.pitaya.inject({ serializer: 'avro' }), { code: 'PIT-400', message: 'handshake: sys.serializer is not offered' })
  const client = await app.pitaya.inject({ serializer: 'json' })
  t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 })
})

t.test('a server that answers in JSON all the same is understood; one that gives no schemas is not', async (t) => {
  const transport = new FakeTransport()
  const ready = connectOver(() => transport, { serializer: 'avro' })
  const greet = async (answer: string): Promise<void> => {
    await until(() => transport.sent.length > 0, 'the handshake')
    transport.answer(PacketType.handshake, answer)
  }
  await greet(WELCOME)
  const client = await ready
  const asked = client.request('a.b', { x: 1 })
  transport.reply(1, '{"y":2}')
  t.strictSame(await asked, { y: 2 })
  transport.sent.length = 0
  const strange = connectOver(() => transport, { serializer: 'avro' })
  await Promise.all([t.rejects(strange, { code: 'PIT_ERR_HANDSHAKE' }), greet('{"code":200,"sys":{"serializer":"avro"}}')])
})

t.test('the second connection to a server is given no schemas', async (t) => {
  const app = await build(t, { handlers: [room] })
  const address = unique()
  const first = await avro(app, {}, address)
  const second = await avro(app, {}, address)
  t.match(Buffer.concat(first.seen.received).toString(), '"fields"')
  t.notMatch(Buffer.concat(second.seen.received).toString(), '"fields"')
  t.ok(bytesOf(second.seen.received) < 150, `${bytesOf(second.seen.received)} bytes`)
  t.strictSame(await second.client.request('room.echo', { x: 1 }), { x: 1 })
  const other = await avro(app, {}, unique())
  t.equal(bytesOf(other.seen.received), bytesOf(first.seen.received))
})

t.test('a connection made again is given no schemas', async (t) => {
  const app = await build(t, { handlers: [room] })
  const { client, seen } = await avro(app, { reconnect: { minMs: 1, maxMs: 1 } })
  const before = bytesOf(seen.received)
  const isBack = new Promise<void>((resolve) => { client.onStateChange(({ name }) => { if (name === 'open') resolve() }) })
  t.teardown(() => client.close())
  for (const session of sessionPool(app)) session.entity.close('shutdown')
  await isBack
  t.ok(bytesOf(seen.received) - before < 300, `${bytesOf(seen.received) - before} bytes`)
  t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 })
})

t.test('a storage that comes later is given what the program knows', async (t) => {
  const app = await build(t, { handlers: [room] })
  const address = unique()
  await avro(app, {}, address)
  const kept: string[] = []
  await avro(app, { storage: { getItem: () => null, setItem: (key) => { kept.push(key) } } }, address)
  t.strictSame(kept, [`fastify-pitaya ${address}`])
})

t.test('a storage keeps the schemas for the next program; one that fails or lies costs only the transfer', async (t) => {
  const app = await build(t, { handlers: [room] })
  const kept = new Map<string, string>()
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => { kept.set(key, value) } }
  /** As many servers as a program remembers. */
  const forget = async (): Promise<void> => { for (let i = 0; i < 16; i++) await avro(app, {}, unique()) }
  const address = unique()
  const first = await avro(app, { storage }, `${address}?token=secret`)
  t.strictSame([...kept.keys()], [`fastify-pitaya ${address}`])
  await forget()
  const second = await avro(app, { storage }, address)
  t.ok(bytesOf(second.seen.received) < bytesOf(first.seen.received) / 3)
  t.strictSame(await second.client.request('room.echo', { x: 1 }), { x: 1 })
  for (const lie of ['', 'null', '{"fingerprint":1}', '[]']) {
    await forget()
    kept.set(`fastify-pitaya ${address}`, lie)
    const { client } = await avro(app, { storage }, address)
    t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 }, lie)
  }
  const broken = { getItem () { throw new Error('forbidden') }, setItem () { throw new Error('full') } }
  t.strictSame(await (await avro(app, { storage: broken }, unique())).client.request('room.echo', { x: 1 }), { x: 1 })
})

t.test('of a large set each schema comes when it is first needed, and once', async (t) => {
  const app = await build(t, { handlers: large })
  const address = unique()
  const { client, seen } = await avro(app, {}, address)
  t.ok(bytesOf(seen.received) < 200)
  t.strictSame(await Promise.all([1, 2, 3].map((x) => client.request('room.echo', { x }))), [{ x: 1 }, { x: 2 }, { x: 3 }])
  t.strictSame(await client.request('wide.m7', { field7: 1, why: '' }), { x: 7 })
  t.strictSame(routesIn(seen), ['sys.schemas', 'room.echo', 'room.echo', 'room.echo', 'sys.schemas', 'wide.m7'])
  await t.rejects(client.request('room.none', {}), { code: 'PIT-404' })
  const second = await avro(app, {}, address)
  t.strictSame(await second.client.request('wide.m7', { field7: 1, why: '' }), { x: 7 })
  t.strictSame(routesIn(second.seen), ['wide.m7'])
})

t.test('messages stay in order while schemas are fetched, both ways', async (t) => {
  const app = await build(t, { handlers: large })
  const { client } = await avro<[typeof ordered]>(app)
  t.strictSame(await client.request('ordered.list'), [])
  // The schema of what comes last is known already.
  for (const x of [1, 2, 3]) client.notify('ordered.add', { x })
  t.strictSame(await client.request('ordered.list'), [1, 2, 3])
  const seen: unknown[] = []
  client.on('onFirst', ({ x }) => seen.push(x))
  client.on('onSecond', ({ y }) => seen.push(y))
  seen.push(await client.request('ordered.both'))
  t.strictSame(seen, [1, 2, 3, { x: 4 }])
})

t.test('schemas are fetched while a handler runs, and what it pushes comes at once', async (t) => {
  let finish = (): void => {}
  const slow = defineHandlers('slow', { pushes: { onStep: Point } }, {
    run: request((_, { session }) => {
      session.push('onStep', { x: 1 })
      return new Promise<void>((resolve) => { finish = resolve })
    })
  })
  const app = await build(t, { handlers: [...large, slow] })
  const { client } = await avro<[typeof slow]>(app)
  const steps = client.pushes('onStep')
  const run = client.request('slow.run')
  t.strictSame((await steps.next()).value, { x: 1 })
  finish()
  t.equal(await run, undefined)
})

t.test('a request that is given up while it waits for its schema is not sent', async (t) => {
  const app = await build(t, { handlers: large })
  const { client, seen } = await avro(app)
  const controller = new AbortController()
  const asked = client.request('room.echo', { x: 1 }, { signal: controller.signal })
  controller.abort(new Error('never mind'))
  await t.rejects(asked, { message: 'never mind' })
  t.strictSame(await client.request('room.nothing'), undefined)
  t.strictSame(routesIn(seen), ['sys.schemas', 'sys.schemas', 'room.nothing'])
  await t.rejects(client.request('wide.m1', {}), { code: 'PIT_ERR_BODY' })
})

t.test('a request keeps its deadline and its signal while it waits for its schema', async (t) => {
  const transport = new FakeTransport()
  const ready = connectOver(() => transport, { serializer: 'avro', reconnect: false })
  await until(() => transport.sent.length > 0, 'the handshake')
  transport.answer(PacketType.handshake, '{"code":200,"sys":{"serializer":"avro","schemas":{"fingerprint":"x"}}}')
  const client = await ready
  await t.rejects(client.request('a.b', {}, { timeoutMs: 5 }), { code: 'PIT_ERR_CLIENT_TIMEOUT' })
  const controller = new AbortController()
  const asked = client.request('a.b', {}, { signal: controller.signal })
  controller.abort(new Error('never mind'))
  await t.rejects(asked, { message: 'never mind' })
  const open = client.request('a.b', {})
  transport.answer(PacketType.data, encodeMessage({ type: MessageType.response, id: 2 ** 31, data: Buffer.from('no JSON') }))
  await t.rejects(open, { name: 'SyntaxError' }, 'an answer of the server that cannot be read')
  t.strictSame(messagesOf(transport.sent).map(({ route }) => route), ['sys.schemas'])
  client.close()
})

t.test('more than 16 MiB that come while a schema is fetched end the connection', async (t) => {
  const transport = new FakeTransport()
  const ready = connectOver(() => transport, { serializer: 'avro', reconnect: false, packetBytes: 2 << 20 })
  await until(() => transport.sent.length > 0, 'the handshake')
  transport.answer(PacketType.handshake, '{"code":200,"sys":{"serializer":"avro","schemas":{"fingerprint":"x"}}}')
  const client = await ready
  const closed = closeOf(client)
  for (let i = 0; i < 20; i++) transport.push('onAny', new Uint8Array(1 << 20))
  t.match(await closed, { code: 1006, reason: 'packet size exceed' })
})

t.test('a notify that turns out not to fit once its schema came is reported, and the connection goes on', async (t) => {
  const app = await build(t, { handlers: large })
  const { client } = await avro(app)
  const listeners = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  t.teardown(() => { for (const listener of listeners) process.on('unhandledRejection', listener) })
  const reported = once(process, 'unhandledRejection')
  client.notify('room.push', { x: 'one' })
  t.match((await reported)[0], { code: 'PIT_ERR_BODY', message: 'body/x must be integer' })
  t.equal(await client.request('room.nothing'), undefined)
})

t.test('a connection that is lost while schemas are fetched rejects what waits, and breaks nothing', async (t) => {
  const app = await build(t, { handlers: large })
  const { client } = await avro(app)
  const asked = client.request('room.echo', { x: 1 })
  client.notify('room.push', { x: 1 })
  client.close()
  await t.rejects(asked, { code: 'PIT_ERR_CLIENT_CLOSED' })
})

const roomOf = (Message: TSchema): HandlersDefinition => defineHandlers('room', { pushes: { onText: Message } }, {
  echo: request({ body: Message, response: Message }, (body) => body as any),
  tell: notify({ body: Message }, (body, { session }) => { session.push('onText', body as any) }),
  join: request(async (_, { session }) => { await session.bind(`user-${session.id}`) })
}) as HandlersDefinition
const Old = Type.Object({ text: Type.String(), from: Type.String() })
const New = Type.Object({ text: Type.String(), author: Type.String({ aliases: ['from'] }), at: Type.Integer({ default: 0 }) })
const contract = contractFile([roomOf(Old)], 'lobby')

t.test('a pinned client goes on with the messages it was built for, and uploads its contract once', async (t) => {
  const app = await build(t, { handlers: [roomOf(New)] })
  const first = await avro(app, { serializer: undefined as any, contract })
  t.strictSame(routesIn(first.seen), ['sys.contract'])
  t.strictSame(await first.client.request('room.echo', { text: 'hi', from: 'ana' }), { text: 'hi', from: 'ana' })
  const second = await avro(app, { contract })
  const texts = second.client.pushes('onText')
  second.client.notify('room.tell', { text: 'psst', from: 'bo' })
  t.strictSame((await texts.next()).value, { text: 'psst', from: 'bo' })
  t.strictSame(routesIn(second.seen), ['room.tell'])
  await t.rejects(second.client.request('room.none'), { code: 'PIT-404' })
})

t.test('a contract that names no type of server fits any, whichever way routes are named', async (t) => {
  const app = await build(t, { handlers: [roomOf(New)] })
  const { client } = await avro(app, { contract: contractFile([roomOf(Old)], '') })
  for (const route of ['room.echo', 'lobby.room.echo']) {
    t.strictSame(await client.request(route, { text: 'hi', from: 'ana' }), { text: 'hi', from: 'ana' }, route)
  }
})

t.test('a large contract is uploaded in parts', async (t) => {
  const big = contractFile([roomOf(Old), ...large.slice(1)], 'lobby')
  const app = await build(t, { handlers: [roomOf(New)] })
  const { client, seen } = await avro(app, { contract: big })
  t.ok(routesIn(seen).length > 3)
  t.ok(seen.sent.every(({ length }) => length <= 61_440))
  t.strictSame(await client.request('room.echo', { text: 'ü', from: 'ana' }), { text: 'ü', from: 'ana' })
})

t.test('what the server pushes before the contract is there reaches listeners made at once', async (t) => {
  const app = await build(t, {
    handlers: [roomOf(New)],
    handshake: { validators: { login: () => ({ uid: 'ana' }) } },
    setUp: (app) => { app.pitaya.sessions.afterBind((session) => { session.push('onText', { text: 'welcome', author: 'us', at: 1 }) }) }
  })
  const { client } = await avro(app, { contract })
  const texts = client.pushes('onText')
  t.strictSame((await texts.next()).value, { text: 'welcome', from: 'us' })
})

t.test('a contract that the server refuses ends the connection for good, with the server\'s words, also one made again', async (t) => {
  const app = await build(t, { handlers: [roomOf(New)] })
  const lying = { ...contract, fingerprint: 'AAAAAAAAAAAAAAAA' }
  await t.rejects(avro(app, { contract: lying }), { code: 'PIT-409', metadata: { field: 'fingerprint' } })
  const servers = new FakeServer()
  servers.greet = () => `{"code":200,"sys":{"serializer":"avro"${servers.transports.length > 1 ? `,"need":["${contract.fingerprint}"]` : ''}}}`
  const client = await connectOver(servers.open, { contract, reconnect: { minMs: 1, maxMs: 1 } })
  const closed = closeOf(client)
  servers.last.end(4001, 'server is shutting down')
  await until(() => servers.transports.length === 2 && messagesOf(servers.last.sent).length > 0, 'the upload')
  const error = compileCodec(errorSchema).encode({ code: 'PIT-409', msg: 'no', metadata: {} })
  servers.last.answer(PacketType.data, encodeMessage({ type: MessageType.response, id: 2 ** 31, data: error, isError: true }))
  t.match(await closed, { code: 4503, reason: 'no', error: { code: 'PIT-409' } })
  for (const none of [{}, { default: contract }, 'contract.json', null] as any[]) {
    await t.rejects(avro(app, { contract: none }), { code: 'PIT_ERR_CLIENT_SCHEMA', message: /npx fastify-pitaya contract/ })
  }
})

t.test('behind a frontend, pinned and unpinned', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const app = await frontend()
  await backend({ handlers: [roomOf(New)] })
  const pinned = await avro(app, { contract: contractFile([roomOf(Old)], 'chat') })
  t.strictSame(await pinned.client.request('chat.room.echo', { text: 'hi', from: 'ana' }), { text: 'hi', from: 'ana' })
  const { client } = await avro(app)
  const texts = client.pushes('onText')
  t.strictSame(await client.request('chat.room.echo', { text: 'hi', author: 'bo', at: 1 }), { text: 'hi', author: 'bo', at: 1 })
  client.notify('chat.room.tell', { text: 'psst', author: 'bo', at: 2 })
  t.strictSame((await texts.next()).value, { text: 'psst', author: 'bo', at: 2 })
})

t.test('after a restart with other messages an unpinned client goes on with the new ones', async (t) => {
  const old = await build(t, { handlers: [roomOf(Type.Object({ text: Type.String() }))] })
  let app = old
  const client = await connectOver(opener(() => app, traffic()), { serializer: 'avro', reconnect: { minMs: 1, maxMs: 1 } })
  t.teardown(() => client.close())
  t.strictSame(await client.request('room.echo', { text: 'hi' }), { text: 'hi' })
  app = await build(t, { handlers: [roomOf(Type.Object({ text: Type.String(), at: Type.Optional(Type.Integer()) }))] })
  const isBack = new Promise<void>((resolve) => { client.onStateChange(({ name }) => { if (name === 'open') resolve() }) })
  await old.close()
  await isBack
  t.strictSame(await client.request('room.echo', { text: 'hi', at: 1 }), { text: 'hi', at: 1 })
})

t.test('schemas of a set that holds nobody are kept for this connection alone', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const app = await frontend()
  const { schemas } = clusterIn(app).parts
  /** Too large for the client to be held to. */
  const many = defineHandlers('many', {}, Object.fromEntries(Array.from({ length: 1200 }, (_, i) => [`m${i}`, request({
    body: Type.Object(Object.fromEntries(Array.from({ length: 4 }, (_, j) => [`a_rather_long_name_of_a_field_number_${j}_of_${i}`, Type.Integer()])))
  }, () => {})])))
  const pair = (first: string, second: string): HandlersDefinition => {
    const Pair = Type.Object({ [first]: Type.String(), [second]: Type.String() })
    return defineHandlers('room', {}, {
      echo: request({ body: Pair, response: Pair }, (body) => body as any), other: request(() => {})
    }) as HandlersDefinition
  }
  await backend({ serverType: 'big', handlers: [many as HandlersDefinition] })
  const old = await backend({ handlers: [pair('a', 'b')] })
  await until(() => 'chat.room.echo' in schemas.set.routes && 'big.many.m1' in schemas.set.routes, 'the set is whole')
  const address = unique()
  const { client } = await avro(app, { reconnect: { minMs: 1, maxMs: 1 } }, address)
  t.teardown(() => client.close())
  t.strictSame(await client.request('chat.room.echo', { a: 'A', b: 'B' }), { a: 'A', b: 'B' })
  const { fingerprint } = schemas.set
  await old.close()
  await backend({ handlers: [pair('b', 'a')] })
  await until(() => schemas.set.fingerprint !== fingerprint, 'the new one is known')
  await client.request('chat.room.other')
  const isBack = new Promise<void>((resolve) => { client.onStateChange(({ name }) => { if (name === 'open') resolve() }) })
  for (const session of sessionPool(app)) session.entity.close('shutdown')
  await isBack
  t.strictSame(await client.request('chat.room.echo', { a: 'A', b: 'B' }), { a: 'A', b: 'B' })
})

t.test('schemas that are fetched one by one are not written one by one', async (t) => {
  const app = await build(t, { handlers: large })
  const writes: string[] = []
  const storage = { getItem: () => null, setItem: (_: string, value: string) => { writes.push(value) } }
  const { client } = await avro(app, { storage }, unique())
  await Promise.all(Array.from({ length: 50 }, (_, i) => client.request(`wide.m${i}`, { [`field${i}`]: 1, why: '' })))
  await until(() => writes.at(-1)!.includes('field49'), 'all are kept')
  t.ok(writes.length < 10, `${writes.length} writes`)
})

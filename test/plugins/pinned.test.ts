import { FormatRegistry, Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { channels } from '../../lib/channels.ts'
import { canonicalSchema } from '../../lib/contract/canonical.ts'
import { setFingerprint } from '../../lib/contract/fingerprint.ts'
import { MAX_FOREIGN_SETS } from '../../lib/contract/pinned-sets.ts'
import type { SchemaSet } from '../../lib/contract/set.ts'
import { defineHandlers, notify, request } from '../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { build, eventually, rawClient, sessionPool, workingClient } from '../helpers/app.ts'
import { contractFile, PinnedClient } from '../helpers/pinned.ts'

const Old = Type.Object({ text: Type.String() })
const New = Type.Object({ text: Type.String(), at: Type.Integer({ default: 0 }) })

function roomOf (Message: TSchema): HandlersDefinition {
  return defineHandlers('room', { pushes: { onText: Message } }, {
    echo: request({ body: Message, response: Message }, (body) => body as any),
    fast: request({ body: Message, response: Message, concurrent: true }, (body) => body as any),
    tell: notify({ body: Message }, (body, { session }) => { session.push('onText', body as any) }),
    join: request(async (_, { session, groups }) => {
      await session.bind(`user-${session.id}`)
      await groups.add('all', session.uid)
    })
  }) as HandlersDefinition
}

const old = contractFile([roomOf(Old)])

t.test('a contract is uploaded once; whoever names it later need not', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const first = await PinnedClient.connect(app, old, { partBytes: 100 })
  t.equal(first.needed, true)
  t.strictSame(await first.request('chat.room.echo', { text: 'hi' }), { value: { text: 'hi' } })
  const second = await PinnedClient.connect(app, old)
  t.equal(second.needed, false)
  second.notify('room.tell', { text: 'psst' })
  t.strictSame(await second.push(), { route: 'onText', value: { text: 'psst' } })
})

t.test('a client that was built with the server\'s own contract uploads nothing', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const client = await PinnedClient.connect(app, contractFile([roomOf(New)]))
  t.equal(client.needed, false)
  t.strictSame(await client.request('room.echo', { text: 'hi', at: 5 }), { value: { text: 'hi', at: 5 } })
})

t.test('a contract without the name of a server type is that of any', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const client = await PinnedClient.connect(app, contractFile([roomOf(Old)], ''))
  t.strictSame(await client.request('room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

t.test('clients of other serializers name no contract, and nothing is added to what they are answered', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const client = rawClient(app)
  const { sys } = await client.greet({ sys: { contract: old.fingerprint } })
  t.strictSame(Object.keys(sys), ['dict', 'heartbeat', 'serializer'])
  client.request(1, 'room.echo', { text: 'hi', at: 1 })
  t.strictSame(await client.answer(1), { text: 'hi', at: 1 })
  const refused = rawClient(app)
  t.equal((await refused.greet({ sys: { serializer: 'avro', contract: 'x y' } })).error.metadata.field, 'sys.contract')
  t.equal((await refused.closed()).code, 4503)
})

t.test('routes and pushes that the client\'s contract does not have are refused to it, and only those', async (t) => {
  const more = defineHandlers('more', { pushes: { onMore: Old } }, {
    look: request({ response: Old }, () => ({ text: 'x' })),
    send: request((_, { session }) => { session.push('onMore', { text: 'x' }) })
  })
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New), more as HandlersDefinition] })
  const client = await PinnedClient.connect(app, old)
  t.equal((await client.request('more.look')).error?.code, 'PIT-422')
  t.equal((await client.request('more.send')).error, undefined)
  t.strictSame(await client.request('room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

t.test('what is sent behind the upload waits for it, routes that run at any time too', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
  const text = JSON.stringify(old)
  const body = Uint8Array.of(4, 104, 105)
  client.request(1, 'sys.contract', { part: 1, of: 2, text: text.slice(0, 50) })
  client.request(2, 'sys.contract', { part: 2, of: 2, text: text.slice(50) })
  client.request(3, 'room.fast', body)
  client.request(4, 'room.echo', body)
  const answers = [await client.message(), await client.message(), await client.message(), await client.message()]
  t.strictSame(answers.map(({ id, isError }) => [id, isError]), [[1, false], [2, false], [3, false], [4, false]])
  t.strictSame([...answers[3]!.data], [...body])
})

t.test('pushes are kept until the contract is there, 64 of them; more are dropped and counted', async (t) => {
  const app = await build(t, {
    serverType: 'chat', handlers: [roomOf(New)], handshake: { validators: { login: () => ({ uid: 'ana' }) } }
  })
  const drops: string[] = []
  const onDrop = ({ what, why, route }: { what: string, why: string, route: string }): void => { drops.push(`${what} ${why} ${route}`) }
  channels.drop.subscribe(onDrop)
  t.teardown(() => channels.drop.unsubscribe(onDrop))
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
  const [session] = app.pitaya.sessions.ofUid('ana')
  for (let i = 0; i < 33; i++) {
    session!.push('onText', { text: 'hi', at: 0 })
    await app.pitaya.push(['ana'], 'onText', { text: 'hi', at: 0 })
  }
  t.strictSame(drops, ['push busy onText', 'push busy onText'])
  client.request(1, 'sys.contract', { part: 1, of: 1, text: JSON.stringify(old) })
  for (let i = 0; i < 64; i++) t.equal((await client.message()).route, 'onText')
  t.equal((await client.message()).id, 1)
})

t.test('what is sent in place of it is refused, and the client that never sends it is closed at the deadline', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)], limits: { handshakeMs: 1200 } })
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
  client.request(1, 'room.echo', Uint8Array.of(0, 0))
  const { isError, data } = await client.message()
  t.ok(isError && data.includes('PIT-409'))
  t.equal((await client.closed()).code, 4502)
  const inTime = await PinnedClient.connect(app, old)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(inTime.raw.isClosed, false)
})

t.test('lying and unreadable contracts are refused with the place, then the client is closed', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const json = (change: object): string => JSON.stringify({ ...old, ...change })
  const { routes } = old
  const uploads: Array<[string, unknown]> = [
    ['fingerprint', { part: 1, of: 1, text: json({ pushes: {} }) }],
    ['fingerprint', { part: 1, of: 1, text: json({ fingerprint: 'AAAAAAAAAAAAAAAA' }) }],
    ['version', { part: 1, of: 1, text: json({ version: 2 }) }],
    ['serverType', { part: 1, of: 1, text: json({ serverType: 'a b' }) }],
    ['routes', { part: 1, of: 1, text: json({ routes: [] }) }],
    ['routes/room.echo', { part: 1, of: 1, text: json({ routes: { ...routes, 'room.echo': { kind: 'x' } } }) }],
    ['routes/room.echo/body', { part: 1, of: 1, text: json({ routes: { ...routes, 'room.echo': { kind: 'request', body: 'unknown' } } }) }],
    ['pushes/onText', { part: 1, of: 1, text: json({ pushes: { onText: { type: 'array', items: [] } } }) }],
    ['', { part: 1, of: 1, text: 'no JSON' }], ['', { part: 1, of: 1, text: '[]' }], ['', { part: 1, of: 1, text: 5 }],
    ['', { part: 2, of: 2, text: '' }], ['', { part: 1, of: 1e9, text: '' }], ['', []], ['', 'no JSON'], ['', { part: '1', of: 1, text: '' }]
  ]
  for (const [field, upload] of uploads) {
    const client = rawClient(app)
    await client.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
    client.request(1, 'sys.contract', upload)
    const { isError, data } = await client.message()
    t.ok(isError && data.includes('PIT-409') && data.includes(field), `${field}: ${data.toString()}`)
    t.equal((await client.closed()).code, 4503)
  }
  const unasked = await workingClient(app)
  unasked.request(1, 'sys.contract', { part: 1, of: 1, text: '{}' })
  t.equal((await unasked.answer(1)).code, 'PIT-409')
  t.equal(unasked.isClosed, false)
})

t.test('a contract of more than 256 KiB is refused with the part that is too much', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
  for (let part = 1; part <= 5; part++) {
    client.request(part, 'sys.contract', { part, of: 6, text: 'x'.repeat(55_000) })
    t.equal((await client.message()).isError, part === 5)
  }
  t.equal((await client.closed()).code, 4503)
})

t.test('a push to many is encoded once per contract, and kept for those whose contract is on its way', async (t) => {
  let encoded = 0
  FormatRegistry.Set('counted', () => ++encoded > 0)
  const Counted = Type.Object({ text: Type.String({ format: 'counted' }), at: Type.Integer({ default: 0 }) })
  const app = await build(t, {
    serverType: 'chat', handlers: [roomOf(Counted)], handshake: { validators: { all: () => ({ uid: `user-${Math.random()}` }) } }
  })
  const newer = contractFile([roomOf(Type.Object({ text: Type.String(), at: Type.Integer({ maximum: 1000, minimum: 0 }) }))])
  const clients: PinnedClient[] = []
  for (const set of [old, newer, old, newer, old, newer]) clients.push(await PinnedClient.connect(app, set))
  const waiting = rawClient(app)
  const late = contractFile([roomOf(Type.Object({ at: Type.Number() }))])
  await waiting.greet({ sys: { serializer: 'avro', contract: late.fingerprint } })
  encoded = 0
  const uids = [...sessionPool(app)].map(({ uid }) => uid)
  await app.pitaya.push(uids, 'onText', { text: 'hi', at: 5 })
  t.equal(encoded, 2)
  for (const client of clients) {
    t.strictSame(await client.push(), { route: 'onText', value: client.set === old ? { text: 'hi' } : { text: 'hi', at: 5 } })
  }
  waiting.request(1, 'sys.contract', { part: 1, of: 1, text: JSON.stringify(late) })
  const push = await waiting.message()
  t.equal(push.route, 'onText')
  t.equal(push.data.readDoubleLE(0), 5)
  t.equal((await waiting.message()).id, 1)
})

t.test('of contracts that nobody uses the one not used for longest goes; those in use stay', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const setOf = (i: number): SchemaSet => contractFile([roomOf(Type.Object({ text: Type.String(), [`f${i}`]: Type.Optional(Type.String()) }))])
  const kept = await PinnedClient.connect(app, setOf(0))
  for (let i = 1; i <= MAX_FOREIGN_SETS + 5; i++) {
    const client = await PinnedClient.connect(app, setOf(i))
    client.raw.close()
    await eventually(() => sessionPool(app).size === 1, 'the session is gone')
  }
  t.strictSame(await kept.request('room.echo', { text: 'hi' }), { value: { text: 'hi' } })
  const [known, gone] = [await PinnedClient.connect(app, setOf(MAX_FOREIGN_SETS + 5)), await PinnedClient.connect(app, setOf(1))]
  t.strictSame([known.needed, gone.needed], [false, true])
  const all = [kept, known, gone]
  for (let i = 100; all.length < MAX_FOREIGN_SETS; i++) all.push(await PinnedClient.connect(app, setOf(i)))
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: setOf(1000).fingerprint } })
  client.request(1, 'sys.contract', { part: 1, of: 1, text: JSON.stringify(setOf(1000)) })
  t.ok((await client.message()).data.includes('PIT-503'))
  t.equal((await client.closed()).code, 4008)
  for (const one of all) t.strictSame(await one.request('room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

t.test('a client that is given the server\'s schemas is held to them; one that names a contract too, to that', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const [client, other] = [await PinnedClient.given(app), await PinnedClient.given(app)]
  t.strictSame(await client.request('room.echo', { text: 'hi', at: 5 }), { value: { text: 'hi', at: 5 } })
  t.strictSame(await other.request('room.echo', { text: 'hi', at: 6 }), { value: { text: 'hi', at: 6 } })
  const both = rawClient(app)
  const { sys } = await both.greet({ sys: { serializer: 'avro', schemas: '', contract: old.fingerprint } })
  t.strictSame([sys.need, sys.schemas.fingerprint], [[old.fingerprint], client.set.fingerprint])
  await workingClient(app, { sys: { schemas: '' } })
  const [first, second, third, fourth] = [...sessionPool(app)]
  t.strictSame([first!.encoding, first!.serializer, first!.isHeld], [`avro@${client.set.fingerprint}`, 'avro', true])
  t.equal(second!.pinned, first!.pinned)
  t.strictSame([third!.encoding, third!.isHeld, fourth!.encoding, fourth!.isHeld], ['avro', false, 'json', false])
  client.raw.close()
  await eventually(() => first!.isClosed, 'the close')
  t.strictSame([first!.isHeld, second!.pinned!.users], [false, 1])
})

t.test('while as many contracts as strangers may have are in use, there is room for the server\'s own: clients are held to it', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New)] })
  const strangers: PinnedClient[] = []
  for (let i = 0; i < MAX_FOREIGN_SETS; i++) {
    strangers.push(await PinnedClient.connect(app, contractFile([roomOf(Type.Object({ text: Type.String(), [`f${i}`]: Type.Optional(Type.String()) }))])))
  }
  const late = rawClient(app)
  await late.greet({ sys: { serializer: 'avro', contract: old.fingerprint } })
  late.request(1, 'sys.contract', { part: 1, of: 1, text: JSON.stringify(old) })
  t.ok((await late.message()).data.includes('PIT-503'))
  t.equal((await late.closed()).code, 4008)
  const built = await PinnedClient.connect(app, contractFile([roomOf(New)]))
  const given = await PinnedClient.given(app)
  for (const client of [built, given]) {
    t.strictSame(await client.request('room.echo', { text: 'hi', at: 5 }), { value: { text: 'hi', at: 5 } })
    t.equal([...sessionPool(app)].at(-1)!.encoding, `avro@${given.set.fingerprint}`)
  }
  for (const one of strangers) t.strictSame(await one.request('room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

t.test('a contract that is a bomb by its defaults is refused with the place before anything is made of it', async (t) => {
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(Old)] })
  const inner = { type: 'record', name: 'I', fields: Array.from({ length: 950 }, (_, i) => ({ name: `f${i}`, type: 'string', default: '' })) }
  const fields = Array.from({ length: 4000 }, (_, i) => ({ name: `g${i}`, type: i === 0 ? inner : 'I', default: {} }))
  const response = canonicalSchema({ type: 'record', name: 'R', fields: [{ name: 'text', type: 'string' }, ...fields] })
  const routes: Record<string, any> = { 'room.echo': { kind: 'request', body: old.routes['room.echo']!.body, response } }
  const fingerprint = setFingerprint('chat', Object.entries(routes), [])
  const text = JSON.stringify({ version: 1, fingerprint, serverType: 'chat', routes, pushes: {} })
  const client = rawClient(app)
  await client.greet({ sys: { serializer: 'avro', contract: fingerprint } })
  const of = Math.ceil(text.length / 50_000)
  for (let part = 1; part <= of; part++) {
    const start = process.cpuUsage()
    client.request(part, 'sys.contract', { part, of, text: text.slice((part - 1) * 50_000, part * 50_000) })
    const { isError, data } = await client.message()
    t.equal(isError, part === of)
    if (part < of) continue
    const { user, system } = process.cpuUsage(start)
    t.ok(user + system < 500_000, `${(user + system) / 1000} ms`)
    t.ok(data.includes('PIT-409') && data.includes('routes/room.echo/response'), data.toString())
  }
  t.equal((await client.closed()).code, 4503)
})

t.test('clients are not held to schemas of more than 256 KiB', async (t) => {
  const wide = (i: number) => Type.Object(Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`a_field_with_a_long_name_${i}_${n}`, Type.Integer()])))
  const methods = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`method${i}`, request({ body: wide(i) }, () => {})]))
  const app = await build(t, { serverType: 'chat', handlers: [roomOf(New), defineHandlers('wide', methods as any) as HandlersDefinition] })
  const client = await PinnedClient.given(app)
  t.ok((await client.ask({ routes: ['room.echo'] })).fingerprint)
  t.strictSame(await client.request('room.echo', { text: 'hi', at: 5 }), { value: { text: 'hi', at: 5 } })
  t.equal([...sessionPool(app)][0]!.encoding, 'avro')
})

t.test('a push to many is encoded once for all who have the server\'s own schema of it, however they came by that', async (t) => {
  let encoded = 0
  FormatRegistry.Set('counted', () => ++encoded > 0)
  const Counted = Type.Object({ text: Type.String({ format: 'counted' }), at: Type.Integer({ default: 0 }) })
  const app = await build(t, {
    serverType: 'chat', handlers: [roomOf(Counted)], handshake: { validators: { all: () => ({ uid: `user-${Math.random()}` }) } }
  })
  const clients = [await PinnedClient.given(app), await PinnedClient.given(app), await PinnedClient.connect(app, contractFile([roomOf(Counted)], ''))]
  const plain = await workingClient(app, { sys: { serializer: 'avro' } })
  encoded = 0
  await app.pitaya.push([...sessionPool(app)].map(({ uid }) => uid), 'onText', { text: 'hi', at: 5 })
  t.equal(encoded, 1)
  for (const client of clients) t.strictSame(await client.push(), { route: 'onText', value: { text: 'hi', at: 5 } })
  t.equal((await plain.message()).route, 'onText')
})

/** Clients that are given their schemas by the server, among servers of different versions. */
import { Type, type TSchema } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { channels } from '../../lib/channels.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { clusterIn, eventually, sessionPool } from '../helpers/app.ts'
import { clusterOf, type ClusterOf } from '../helpers/cluster.ts'
import { natsTest, startNats } from '../helpers/nats.ts'
import { contractFile, PinnedClient } from '../helpers/pinned.ts'

const Old = Type.Object({ text: Type.String(), gone: Type.Optional(Type.String()) })
const New = Type.Object({ text: Type.String(), at: Type.Optional(Type.Integer()) })
const versions = { old: Old, new: New }
type Version = keyof typeof versions

/** What handlers and callers have, of which each version takes what it knows. */
const full = { text: 'hi', gone: 'g', at: 7 }
const known = { old: { text: 'hi', gone: 'g' }, new: { text: 'hi', at: 7 } }
/** What is left of it on its way from one version to another. */
const between = (from: Version, to: Version): object => from === to ? known[to] : { text: 'hi' }

interface Desk { seen?: unknown }

function roomOf (Message: TSchema, desk: Desk = {}): HandlersDefinition {
  return defineHandlers('room', { pushes: { onText: Message } }, {
    echo: request({ body: Message, response: Message }, (body) => { desk.seen = body; return full }),
    join: request(async (_, { session, groups }) => {
      await session.bind(`user-${session.address}`)
      await groups.add('all', session.uid)
    }),
    tell: request((_, { session }) => { session.push('onText', full) })
  }) as HandlersDefinition
}

interface Room { readonly front: FastifyInstance, readonly chats: Record<Version, FastifyInstance>, to: Version }

/** A frontend, and behind it two versions of one server; the version that came first is the one whose schemas clients are given. */
async function roomIn ({ frontend, backend }: ClusterOf, first: Version, desk: Desk): Promise<{ room: Room, client: PinnedClient }> {
  const room: Partial<Room> = { to: first }
  const add = (version: Version): Promise<FastifyInstance> => backend({ serverId: version, handlers: [roomOf(versions[version], desk)] })
  const front = await frontend({ setUp: (app) => { app.pitaya.route('chat', (servers) => servers.find(({ id }) => id === room.to)) } })
  // Nobody hears of a set that is in use.
  clusterIn(front).parts.pinned.tell = () => {}
  const one = await add(first)
  await eventually(() => 'chat.room.echo' in clusterIn(front).parts.schemas.set.routes, 'the frontend knows the first one')
  const client = await PinnedClient.given(front)
  // As if the store had lost the set: who needs it asks the frontend.
  await clusterIn(one).parts.pinned.forget()
  const second: Version = first === 'old' ? 'new' : 'old'
  const other = await add(second)
  await eventually(() => clusterIn(front).parts.contracts.of(second) !== undefined, 'and the second')
  const chats = first === 'old' ? { old: one, new: other } : { old: other, new: one }
  return { room: Object.assign(room, { front, chats }) as Room, client }
}

async function talk (t: Test, cluster: ClusterOf, mine: Version): Promise<void> {
  const desk: Desk = {}
  const { room, client } = await roomIn(cluster, mine, desk)
  t.equal((await client.request('chat.room.join')).error, undefined)
  const [{ uid }] = [...sessionPool(room.front)] as any
  for (const version of ['old', 'new', 'old', 'new'] as const) {
    room.to = version
    t.strictSame(await client.request('chat.room.echo', known[mine]), { value: between(version, mine) }, `answer from ${version} to ${mine}`)
    t.strictSame(desk.seen, between(mine, version), `body from ${mine} to ${version}`)
    const push = { route: 'onText', value: between(version, mine) }
    t.strictSame(await client.pushedBy('chat.room.tell'), push, `push to the session from ${version} to ${mine}`)
    await room.chats[version].pitaya.push([uid], 'onText', full)
    t.strictSame(await client.push(), push, `push to the uid from ${version} to ${mine}`)
    await room.chats[version].pitaya.groups.broadcast('all', 'onText', full)
    t.strictSame(await client.push(), push, `push to the group from ${version} to ${mine}`)
  }
  t.equal(clusterIn(room.chats.new).discovery.all().some(({ sets }) => sets !== undefined), false, 'no server was told of the set')
}

for (const mine of ['old', 'new'] as const) {
  t.test(`a client given the ${mine} schemas reads and writes by these with servers of both versions`, async (t) => {
    await talk(t, clusterOf(t), mine)
  })
}

t.test('the same over a real nats-server', natsTest, async (t) => {
  const { url } = await startNats(t)
  await talk(t, clusterOf(t, { nats: { servers: url } }), 'old')
})

t.test('a client outlives the server it was given the schemas of; one that reconnects is given the new ones', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const front = await frontend()
  const before = await backend({ handlers: [roomOf(Old)] })
  await eventually(() => 'chat.room.echo' in clusterIn(front).parts.schemas.set.routes, 'the frontend knows it')
  const client = await PinnedClient.given(front)
  t.strictSame(await client.request('chat.room.echo', known.old), { value: known.old })
  await before.close()
  await backend({ handlers: [roomOf(New)] })
  await eventually(() => clusterIn(front).parts.schemas.set.fingerprint !== client.set.fingerprint, 'the frontend knows the new one')
  t.strictSame(await client.request('chat.room.echo', known.old), { value: { text: 'hi' } })
  t.strictSame(await client.pushedBy('chat.room.tell'), { route: 'onText', value: { text: 'hi' } })
  const again = await PinnedClient.given(front, client.set.fingerprint)
  t.not(again.set.fingerprint, client.set.fingerprint)
  t.strictSame(await again.request('chat.room.echo', known.new), { value: known.new })
  client.raw.close()
  again.raw.close()
})

t.test('what a server type that comes later has is put to what a client has, and nothing that it has changes', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const front = await frontend()
  const chat = await backend({ handlers: [roomOf(Old)] })
  const { parts: { schemas } } = clusterIn(front)
  await eventually(() => 'chat.room.echo' in schemas.set.routes, 'the frontend knows it')
  const [client, other] = [await PinnedClient.given(front), await PinnedClient.given(front)]
  const { fingerprint, routes: { 'chat.room.echo': echo } } = client.set
  await chat.close()
  await backend({ handlers: [roomOf(New)] })
  await backend({
    serverType: 'game',
    handlers: [defineHandlers('match', { pushes: { onMatch: New } }, { start: request({ body: New }, (_, { session }) => { session.push('onMatch', full) }) })]
  })
  await eventually(() => 'game.match.start' in schemas.set.routes && JSON.stringify(schemas.set.routes['chat.room.echo']) !== JSON.stringify(echo), 'the frontend knows the new ones')
  const answer = await client.ask({ routes: ['game.match.start', 'chat.room.echo', 'game.match.nope'], pushes: ['onMatch'] })
  t.strictSame(answer.routes['chat.room.echo'], echo)
  t.strictSame([answer.routes['game.match.nope'], Object.keys(answer.pushes)], [null, ['onMatch']])
  t.notOk([fingerprint, schemas.set.fingerprint].includes(answer.fingerprint))
  t.strictSame(await client.request('chat.room.echo', known.old), { value: { text: 'hi' } })
  client.raw.request(100, 'game.match.start', Uint8Array.of(2, 97, 0))
  t.strictSame(await client.pushAmongAnswers(), { route: 'onMatch', value: known.new })
  t.equal((await other.ask({ pushes: ['onMatch'] })).fingerprint, answer.fingerprint, 'those who had the same have the same')
  t.equal(new Set([...sessionPool(front)].map(({ pinned }) => pinned)).size, 1)
})

t.test('a client gets the pushes of a server that came later, though it has not asked for their schemas yet', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const front = await frontend()
  const client = await PinnedClient.given(front)
  await backend({ handlers: [roomOf(New)] })
  await eventually(() => 'chat.room.echo' in clusterIn(front).parts.schemas.set.routes, 'the frontend knows it')
  client.raw.request(100, 'chat.room.tell', new Uint8Array())
  const messages = [await client.raw.message(), await client.raw.message()]
  await client.ask({ pushes: ['onText'] })
  t.ok(messages.some(({ route, data }) => route === 'onText' && data.toString('hex') === '0468690' + '20e'), 'the bytes are those of the schema')
  t.equal(client.set.fingerprint, clusterIn(front).parts.schemas.set.fingerprint)
})

t.test('a client that asks without end makes the server keep nothing', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const front = await frontend({ limits: { ratePerSecond: 0 } })
  const client = await PinnedClient.given(front)
  await backend({ handlers: [roomOf(New)] })
  await eventually(() => 'chat.room.echo' in clusterIn(front).parts.schemas.set.routes, 'the frontend knows it')
  for (let i = 0; i < 1000; i++) await client.ask(i % 2 === 0 ? { routes: [`chat.room.${i}`, 'chat.room.echo'], pushes: [`on${i}`] } : {})
  await eventually(() => clusterIn(front).discovery.self.sets?.join() === client.set.fingerprint, 'one set is in use')
  const { carrier } = sessionPool(front)
  t.throws(() => carrier.serializerName(4), 'json, avro, and two versions')
})

t.test('only what does not fit the client\'s schema is dropped, and counted', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const front = await frontend()
  clusterIn(front).parts.pinned.tell = () => {}
  await backend({ serverId: 'a', handlers: [roomOf(Type.Object({ text: Type.String(), n: Type.Integer({ minimum: 0, maximum: 100 }) }))] })
  await eventually(() => 'chat.room.echo' in clusterIn(front).parts.schemas.set.routes, 'the frontend knows it')
  const client = await PinnedClient.given(front)
  const [session] = [...sessionPool(front)]
  await session!.bind('user')
  const wide = await backend({ serverId: 'b', handlers: [roomOf(Type.Object({ text: Type.String(), n: Type.Integer() }))] })
  const other = await backend({ serverId: 'c', handlers: [roomOf(Type.Object({ text: Type.String() }))] })
  const { contracts } = clusterIn(front).parts
  for (const id of ['b', 'c']) await eventually(() => contracts.of(id) !== undefined, 'the frontend knows it')
  const drops: string[] = []
  const onDrop = ({ what, why, route }: { what: string, why: string, route: string }): void => { if (route === 'onText') drops.push(`${what} ${why}`) }
  channels.drop.subscribe(onDrop)
  t.teardown(() => channels.drop.unsubscribe(onDrop))
  await wide.pitaya.push('user', 'onText', { text: 'a', n: 2 ** 40 })
  await other.pitaya.push('user', 'onText', { text: 'b' })
  await eventually(() => drops.length === 2, 'both are counted')
  t.strictSame(drops, ['push evolution', 'push evolution'])
  await wide.pitaya.push('user', 'onText', { text: 'c', n: 5 })
  t.strictSame(await client.push(), { route: 'onText', value: { text: 'c', n: 5 } })
})

t.test('a frontend that pushes to a group of its own clients reaches those of every set', async (t) => {
  const { frontend } = clusterOf(t)
  const front = await frontend({ handlers: [roomOf(New)] })
  const clients = [await PinnedClient.given(front), await PinnedClient.connect(front, contractFile([roomOf(Old)], 'connector'))]
  for (const client of clients) t.equal((await client.request('room.join')).error, undefined)
  await front.pitaya.groups.broadcast('all', 'onText', full)
  t.strictSame(await clients[0]!.push(), { route: 'onText', value: known.new })
  t.strictSame(await clients[1]!.push(), { route: 'onText', value: { text: 'hi' } })
})

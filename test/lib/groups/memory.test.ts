import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, raw } from '../../../lib/handler/define.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import type { Serializer } from '../../../lib/serializers/serializer.ts'
import { createCore, type Core, type CoreOptions } from '../../helpers/core.ts'

const chat = defineHandlers('chat', { pushes: { onText: Type.String(), onBytes: raw } }, {})
const core = (options: CoreOptions = {}) => createCore([chat], options)

/** A client bound to `uid`. */
async function join ({ connect }: Core, uid: string, serializerIndex = 0) {
  const connected = connect(serializerIndex)
  await connected.session.bind(uid)
  return connected
}

/** A JSON serializer that counts what it is asked for. */
function counting (name: string): Serializer & { encoded: number } {
  const json = createJsonSerializer()
  const counter = {
    name,
    encoded: 0,
    compile: (...args: Parameters<Serializer['compile']>) => {
      const codec = json.compile(...args)
      return { decode: codec.decode.bind(codec), encode: (value: unknown) => { counter.encoded++; return codec.encode(value) } }
    },
    encodeError: json.encodeError
  }
  return counter
}

/** The push's data in a shared frame: behind the packet's header, the message's flag, and the route with its length. */
const dataOf = (frame: Uint8Array): string => Buffer.from(frame.subarray(6 + frame[5]!)).toString()

t.test('a group without TTL ends with its last member; one that was created and has none yet stays', async (t) => {
  const server = core()
  const { groups } = server
  await join(server, 'ana')
  await groups.create('room')
  t.equal(await groups.count('room'), 0)
  await groups.add('room', 'ana')
  await groups.remove('room', 'ana')
  t.equal(groups.size, 0)
  await groups.add('room', 'ana')
  await groups.removeAll('room')
  t.equal(groups.size, 0)
  await groups.add('room', 'ana')
  await groups.delete('room')
  t.equal(groups.size, 0)
  await groups.add('room', 'ana')
})

t.test('a group with TTL outlives its members and ends when it is not renewed', async (t) => {
  const server = core()
  const { groups, skip, wheel } = server
  await join(server, 'ana')
  await groups.create('room', { ttlMs: 1000 })
  await groups.add('room', 'ana')
  await groups.remove('room', 'ana')
  skip(900)
  await groups.renew('room')
  skip(900)
  t.equal(groups.size, 1)
  await groups.add('room', 'ana')
  skip(200)
  t.equal(groups.size, 0)
  t.equal(wheel.size, 0)
  await groups.add('room', 'ana')
  t.strictSame(await groups.members('room'), ['ana'], 'a new group of that name has no memory')
})

t.test('a group that is deleted before its TTL leaves no timer, and its successor its own time', async (t) => {
  const { groups, skip, wheel } = core()
  await groups.create('room', { ttlMs: 1000 })
  skip(900)
  await groups.delete('room')
  t.equal(wheel.size, 0)
  await groups.create('room', { ttlMs: 1000 })
  skip(500)
  t.equal(groups.size, 1)
  skip(600)
  t.equal(groups.size, 0)
})

t.test('close() ends all groups and their timers', async (t) => {
  const server = core()
  await join(server, 'ana')
  await server.groups.create('room', { ttlMs: 1e9 })
  await server.groups.add('room', 'ana')
  await server.groups.add('other', 'ana')
  server.groups.close()
  t.equal(server.groups.size, 0)
  t.equal(server.wheel.size, 0)
})

t.test('a uid leaves all its groups when its session closes', async (t) => {
  const server = core()
  const { groups } = server
  const ana = await join(server, 'ana')
  await join(server, 'bob')
  for (const name of ['one', 'two', 'three']) await groups.add(name, 'ana')
  await groups.add('one', 'bob')
  ana.client.close('normal')
  t.strictSame(groups.names, ['one'])
  t.strictSame(await groups.members('one'), ['bob'])
  await join(server, 'ana')
  t.equal(await groups.contains('one', 'ana'), false)
})

t.test('policy kick-old: the session that replaces another keeps the uid\'s groups', async (t) => {
  const server = core()
  const { groups } = server
  const old = await join(server, 'ana')
  await groups.add('room', 'ana')
  const young = await join(server, 'ana')
  t.equal(old.client.closedWith, 'replaced')
  t.equal(await groups.contains('room', 'ana'), true)
  groups.broadcast('room', 'onText', 'hi')
  t.equal(old.client.frames.length, 0)
  t.equal(young.client.frames.length, 1)
  young.client.close('normal')
  t.equal(groups.size, 0)
})

t.test('policy refuse-new: the refused session\'s close takes nobody out of a group', async (t) => {
  const server = core({ policy: 'refuse-new' })
  const { groups } = server
  const old = await join(server, 'ana')
  await groups.add('room', 'ana')
  const refused = server.connect()
  await t.rejects(refused.session.bind('ana'), { code: 'PIT_ERR_UID_TAKEN' })
  refused.client.close('normal')
  t.equal(await groups.contains('room', 'ana'), true)
  old.client.close('normal')
  t.equal(groups.size, 0)
})

t.test('policy allow: all sessions of a member get a broadcast, and the uid leaves with the last', async (t) => {
  const server = core({ policy: 'allow' })
  const { groups } = server
  const all = [await join(server, 'ana'), await join(server, 'ana')]
  await groups.add('room', 'ana')
  groups.broadcast('room', 'onText', 'hi')
  t.strictSame(all.map(({ client }) => client.frames.length), [1, 1])
  all[0]!.client.close('normal')
  t.equal(await groups.contains('room', 'ana'), true)
  all[1]!.client.close('normal')
  t.equal(groups.size, 0)
})

t.test('a broadcast is serialized once for each serializer in use, and its frame is shared', async (t) => {
  const serializers = [counting('one'), counting('two'), counting('unused')]
  const server = core({ serializers })
  const clients = []
  for (let i = 0; i < 100; i++) clients.push(await join(server, `u${i}`, i % 2))
  for (let i = 0; i < 100; i++) await server.groups.add('room', `u${i}`)
  server.groups.broadcast('room', 'onText', 'hello')
  t.strictSame(serializers.map(({ encoded }) => encoded), [1, 1, 0])
  const frames = new Set(clients.map(({ client }) => client.frames[0]!))
  t.equal(frames.size, 2)
  for (const frame of frames) t.equal(dataOf(frame), '"hello"')
  server.groups.broadcast('room', 'onBytes', Buffer.from('raw'))
  t.strictSame(serializers.map(({ encoded }) => encoded), [1, 1, 0])
  t.equal(dataOf(clients[0]!.client.frames[1]!), 'raw')
})

t.test('a broadcast nobody gets is not serialized', async (t) => {
  const serializers = [counting('one')]
  const server = core({ serializers })
  await server.groups.create('room')
  server.groups.broadcast('room', 'onText', 'hello')
  t.equal(serializers[0]!.encoded, 0)
})

t.test('clients that close during a broadcast are left out, and the rest get it', async (t) => {
  const server = core()
  const clients: Array<Awaited<ReturnType<typeof join>>['client']> = []
  for (let i = 0; i < 10; i++) {
    clients.push((await join(server, `u${i}`)).client)
    await server.groups.add('room', `u${i}`)
  }
  server.groups.multicast('room', 'onText', 'hi', (uid) => {
    if (uid === 'u2') for (const i of [1, 2, 5, 9]) clients[i]!.close('normal')
    return true
  })
  t.strictSame(clients.map(({ frames }) => frames.length), [1, 1, 0, 1, 1, 0, 1, 1, 1, 0])
  t.equal(await server.groups.count('room'), 6)
})

t.test('members and names given out are copies', async (t) => {
  const server = core()
  await join(server, 'ana')
  await server.groups.add('room', 'ana')
  ;(await server.groups.members('room')).push('eve')
  server.groups.names.push('other')
  t.strictSame(await server.groups.members('room'), ['ana'])
  t.strictSame(server.groups.names, ['room'])
})

t.test('10,000 members come and go, and nothing is left', async (t) => {
  const server = core()
  const clients = []
  for (let i = 0; i < 10_000; i++) {
    clients.push((await join(server, `u${i}`)).client)
    await server.groups.add(`g${i % 100}`, `u${i}`)
    await server.groups.add('all', `u${i}`)
  }
  t.equal(await server.groups.count('all'), 10_000)
  server.groups.broadcast('all', 'onText', 'hi')
  t.equal(new Set(clients.map(({ frames }) => frames[0])).size, 1)
  for (const client of clients) client.close('normal')
  t.equal(server.groups.size, 0)
  t.equal(server.sessions.boundUids, 0)
})

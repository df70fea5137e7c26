import t from 'tap'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { groupKeys } from '../../../lib/cluster/names.ts'
import { MemoryStore } from '../../../lib/cluster/stores/memory.ts'
import { type Client, GroupCluster, type GroupServer, memoryCarrier, texts, until } from '../../helpers/groups.ts'
import { turn } from '../../helpers/core.ts'
import { cpuMs } from '../../helpers/lateness.ts'
import { fuzzSeed, Random } from '../../helpers/fuzz.ts'

interface Rig { cluster: GroupCluster, bus: MemoryBus, store: MemoryStore, one: GroupServer, two: GroupServer, back: GroupServer }

/** Two frontends and a backend, and a store beside them to look at. */
async function open (t: { teardown (fn: () => unknown): void }, options = {}): Promise<Rig> {
  const bus = new MemoryBus()
  const cluster = new GroupCluster(t, memoryCarrier(bus))
  const [one, two, back] = [await cluster.add('one', options), await cluster.add('two', options), await cluster.add('back', options)]
  const store = new MemoryStore(bus, 'groups')
  t.teardown(() => store.close())
  return { cluster, bus, store, one, two, back }
}

const sorted = async (server: GroupServer, name: string): Promise<string[]> => (await server.groups.members(name)).sort()

async function heard ({ client }: Client, text: string): Promise<void> {
  await until(`${text} arrived`, () => texts(client).includes(text))
}

t.test('a broadcast is one publish, whoever sends it, and reaches members on all frontends once', async (t) => {
  const { one, two, back } = await open(t)
  const members: Client[] = []
  for (let i = 0; i < 60; i++) {
    const member = await [one, two][i % 2]!.connect(`u${i}`)
    members.push(member)
    await back.groups.add('room', member.uid)
  }
  for (const server of [one, back]) {
    const before = [one, two, back].map(({ transport, store }) => [transport.published, store.listings, store.writes])
    await server.groups.broadcast('room', 'onText', server.id)
    for (const member of members) await heard(member, server.id)
    const after = [one, two, back].map(({ transport, store }) => [transport.published, store.listings, store.writes])
    for (const [i, it] of [one, two, back].entries()) {
      const [published, listings, writes] = before[i]!
      t.strictSame(after[i], [published! + (it === server ? 1 : 0), listings, writes])
    }
  }
  for (const { client } of members) t.strictSame(texts(client), ['one', 'back'])
})

t.test('a frontend subscribes once for each group with members there, and a backend never', async (t) => {
  const { one, two, back } = await open(t)
  const [idle] = [one, two, back].map(({ transport }) => transport.subscriptions)
  const clients: Client[] = []
  for (let i = 0; i < 300; i++) clients.push(await [one, two][i % 2]!.connect(`u${i}`))
  await Promise.all(clients.flatMap(({ uid }) => ['a', 'b', 'c'].map((name) => back.groups.add(name, uid))))
  t.strictSame([one, two, back].map(({ transport }) => transport.subscriptions - idle!), [3, 3, 0])
  for (const { client } of clients) client.close('normal')
  t.strictSame([one, two].map(({ transport }) => transport.subscriptions - idle!), [0, 0])
})

t.test('pushes from one call site reach a client in their order, broadcasts and its own', async (t) => {
  const { one, back } = await open(t)
  const { session, client } = one.core.connect()
  await session.bind('ana')
  const all: string[] = []
  client.push = (_, payload) => { all.push(JSON.parse(Buffer.from(payload).toString())); return true }
  client.send = (broadcast) => {
    const frame = broadcast.frame(undefined)
    all.push(JSON.parse(Buffer.from(frame.subarray(6 + frame[5]!)).toString()))
    return true
  }
  await back.groups.add('room', 'ana')
  for (let i = 0; i < 100; i += 2) {
    one.groups.broadcast('room', 'onText', `${i}`)
    session.push('onText', `${i + 1}`)
  }
  t.strictSame(all, Array.from({ length: 100 }, (_, i) => `${i}`))
})

t.test('two that send at once each keep their order', async (t) => {
  const { one, two, back } = await open(t)
  const ana = await one.connect('ana')
  await two.groups.add('room', 'ana')
  const sent = Array.from({ length: 50 }, (_, i) => [one, two, back].map(({ id, groups }) => groups.broadcast('room', 'onText', `${id} ${i}`)))
  await Promise.all(sent.flat())
  await until('all arrived', () => ana.client.frames.length === 150)
  for (const id of ['one', 'two', 'back']) {
    t.strictSame(texts(ana.client).filter((text) => text.startsWith(id)), Array.from({ length: 50 }, (_, i) => `${id} ${i}`))
  }
})

t.test('a group that nobody is in is not found, though it was a moment ago', async (t) => {
  const { one, back } = await open(t)
  await t.rejects(async () => await back.groups.broadcast('room', 'onText', 'x'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
  await one.connect('ana')
  await back.groups.add('room', 'ana')
  await back.groups.broadcast('room', 'onText', 'x')
  t.equal(back.groups.broadcast('room', 'onText', 'x'), undefined, 'asked once a second')
  await back.groups.remove('room', 'ana')
  await t.rejects(async () => await one.groups.broadcast('room', 'onText', 'x'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
})

t.test('join and leave are told once each, after they can be seen', async (t) => {
  const { cluster, one, two, back } = await open(t)
  const ana = await one.connect('ana')
  await two.connect('bob')
  await back.groups.add('room', 'ana')
  await back.groups.add('room', 'bob')
  await back.groups.add('hall', 'ana')
  t.strictSame(cluster.told.splice(0), ['join room ana', 'join room bob', 'join hall ana'])
  await one.groups.remove('room', 'bob')
  t.strictSame(cluster.told.splice(0), ['leave room bob'])
  ana.client.close('normal')
  await until('both are told', () => cluster.told.length === 2)
  t.strictSame(cluster.told.splice(0).sort(), ['leave hall ana', 'leave room ana'])
  await t.rejects(back.groups.members('room'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
})

t.test('a uid that closes while it joins is told of neither', async (t) => {
  const { cluster, store, one, back } = await open(t)
  for (let turns = 0; turns < 12; turns++) {
    const ana = await one.connect('ana')
    const added = back.groups.add('room', 'ana').then(() => '', (error) => error.code)
    for (let i = 0; i < turns; i++) await turn()
    ana.client.close('normal')
    const code = await added
    await until('the keys are gone', async () => (await store.keys('>')).length === 0)
    if (code !== '') t.equal(code, 'PIT_ERR_GROUP_OFFLINE')
    await until('as many left as joined', () => cluster.told.length % 2 === 0)
    t.strictSame(cluster.told.splice(0), code === '' ? ['join room ana', 'leave room ana'] : [])
  }
})

t.test('policy allow: a uid is a member by all its frontends, joins with the first and leaves with the last', async (t) => {
  const { cluster, store, one, two, back } = await open(t, { policy: 'allow' })
  const sessions = [await one.connect('ana'), await one.connect('ana'), await two.connect('ana')]
  await back.groups.add('room', 'ana')
  t.strictSame((await store.keys('m.>')).map((key) => groupKeys.readMember(key).frontendId).sort(), ['one', 'two'])
  t.strictSame(await back.groups.members('room'), ['ana'])
  await back.groups.broadcast('room', 'onText', 'hi')
  for (const session of sessions) await heard(session, 'hi')
  await t.rejects(back.groups.add('room', 'ana'), { code: 'PIT_ERR_GROUP_MEMBER' })
  sessions[2]!.client.close('normal')
  await until('one is left', async () => (await store.keys('m.>')).length === 1)
  t.equal(await back.groups.contains('room', 'ana'), true)
  t.strictSame(cluster.told, ['join room ana'])
  const late = await two.connect('ana')
  await two.groups.follow('ana')
  await back.groups.broadcast('room', 'onText', 'again')
  await heard(late, 'again')
  await back.groups.remove('room', 'ana')
  t.equal((await store.keys('m.>')).length, 0)
  t.strictSame(cluster.told, ['join room ana', 'leave room ana'])
})

t.test('a directory that is wrong is corrected and asked once more', async (t) => {
  const { cluster, one, back } = await open(t)
  await one.connect('ana')
  for (const stale of [['two'], ['gone'], []]) {
    cluster.stale.set('ana', stale)
    await back.groups.add('room', 'ana')
    await back.groups.remove('room', 'ana')
  }
  t.strictSame(cluster.corrected, ['ana', 'ana', 'ana'])
  await t.rejects(back.groups.add('room', 'eve'), { code: 'PIT_ERR_GROUP_OFFLINE' })
})

t.test('a session that moves to another frontend takes its groups along, and nobody is told', async (t) => {
  const { cluster, store, one, two, back } = await open(t)
  const old = await one.connect('ana')
  for (const name of ['room', 'hall']) await back.groups.add(name, 'ana')
  cluster.told.length = 0
  const young = await two.connect('ana')
  const groups = one.groups.handOver('ana')
  old.client.close('replaced')
  await two.groups.adopt('ana', groups)
  t.strictSame(two.groups.groupsOf('ana').sort(), ['hall', 'room'])
  t.strictSame(one.groups.groupsOf('ana'), [])
  await until('the old keys are gone', async () => (await store.keys('m.*.*.one')).length === 0)
  await back.groups.broadcast('room', 'onText', 'moved')
  await heard(young, 'moved')
  t.equal(old.client.frames.length, 0)
  t.strictSame(cluster.told, [])
  young.client.close('normal')
  await until('both are told', () => cluster.told.length === 2)
  await two.groups.adopt('ana', groups)
  t.strictSame(cluster.told.splice(0).length, 4, 'who has gone when its groups come has left them')
})

t.test('groups handed over by a session that stays are left as usual when it closes', async (t) => {
  const { cluster, one } = await open(t)
  const ana = await one.connect('ana')
  await one.groups.add('room', 'ana')
  t.strictSame(one.groups.handOver('ana'), ['room'])
  await turn()
  ana.client.close('normal')
  await until('it is told', () => cluster.told.includes('leave room ana'))
})

t.test('members of a dead frontend are gone with it, and one server cleans up', async (t) => {
  const { cluster, store, one, two, back } = await open(t)
  await back.groups.create('created')
  for (const uid of ['ana', 'bob', 'eve']) {
    await (uid === 'ana' ? two : one).connect(uid)
    await back.groups.add('room', uid)
  }
  await back.groups.add('created', 'bob')
  cluster.told.length = 0
  await cluster.kill(one)
  t.strictSame(await back.groups.members('room'), ['ana'])
  t.equal(await back.groups.contains('room', 'bob'), false)
  await back.groups.janitor('one')
  t.strictSame((await store.keys('>')).map((key) => groupKeys.readMember(key)), [{ group: 'room', uid: 'ana', frontendId: 'two' }])
  t.strictSame(cluster.told.sort(), ['leave created bob', 'leave room bob', 'leave room eve'])
})

t.test('the janitor leaves a frontend alone that is back', async (t) => {
  const { store, one, back } = await open(t)
  await one.connect('ana')
  await one.groups.add('room', 'ana')
  await back.groups.janitor('one')
  t.equal((await store.keys('>')).length, 1)
})

t.test('what an earlier life of a frontend left behind is gone and told when it is registered, and not before', async (t) => {
  const { cluster, store, one, back } = await open(t)
  await one.connect('ana')
  await one.groups.add('room', 'ana')
  await cluster.kill(one)
  cluster.told.length = 0
  const again = await cluster.add('one')
  t.equal((await store.keys('>')).length, 1, 'it may be another process that has the id')
  t.strictSame(cluster.told, [])
  await again.groups.reconcile()
  await again.groups.reconcile()
  await t.rejects(back.groups.members('room'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
  t.equal((await store.keys('>')).length, 0)
  t.strictSame(cluster.told, ['leave room ana'])
})

t.test('a store that was wiped is filled again by those who know', async (t) => {
  const { cluster, bus, one, two, back } = await open(t)
  for (let i = 0; i < 200; i++) {
    await [one, two][i % 2]!.connect(`u${i}`)
    await back.groups.add('room', `u${i}`)
  }
  await back.groups.create('empty')
  await one.groups.create('short', { ttlMs: 1000 })
  cluster.told.length = 0
  bus.disconnect()
  bus.wipe()
  bus.reconnect()
  await t.rejects(back.groups.renew('empty'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
  await Promise.all([one, two, back].map(({ groups }) => groups.reconcile()))
  t.equal(await back.groups.count('room'), 200)
  t.equal(await one.groups.count('empty'), 0)
  await two.groups.renew('short')
  t.strictSame(cluster.told, [])
  cluster.skip(1100)
  await until('its time is up', () => back.groups.count('short').then(() => false, () => true))
  t.equal(await one.groups.count('empty'), 0)
})

t.test('a server that was taken for dead tells the joins of its members again', async (t) => {
  const { cluster, store, one, back } = await open(t)
  await one.connect('ana')
  await back.groups.add('room', 'ana')
  cluster.servers.delete('one')
  await back.groups.janitor('one')
  t.equal((await store.keys('>')).length, 0)
  cluster.servers.set('one', one)
  await one.groups.reconcile({ isReborn: true })
  t.strictSame(cluster.told, ['join room ana', 'leave room ana', 'join room ana'])
  t.strictSame(await back.groups.members('room'), ['ana'])
})

t.test('while the store is down broadcasts go on, the rest fails with its code, and what was missed is made good', async (t) => {
  const { cluster, store, one, two, back } = await open(t)
  const ana = await one.connect('ana')
  const bob = await two.connect('bob')
  await back.groups.add('room', 'ana')
  await back.groups.add('room', 'bob')
  for (const server of [one, two, back]) server.store.isDown = true
  for (const server of [one, two, back]) await server.groups.broadcast('room', 'onText', `from ${server.id}`)
  for (const client of [ana, bob]) for (const { id } of [one, two, back]) await heard(client, `from ${id}`)
  const { groups } = one
  await one.connect('eve')
  const cases: Array<() => Promise<unknown>> = [
    () => groups.add('room', 'eve'), () => groups.create('new'), () => groups.members('room'), () => groups.contains('room', 'bob'),
    () => groups.renew('room'), () => groups.remove('room', 'bob'), () => groups.reconcile(), () => groups.janitor('two'), () => groups.follow('ana')
  ]
  for (const act of cases) await t.rejects(act(), { code: 'PIT_ERR_STORE' })
  t.equal(await groups.contains('room', 'ana'), true, 'what is known here needs no store')
  ana.client.close('normal')
  await turn()
  for (const server of [one, two, back]) server.store.isDown = false
  t.strictSame(await sorted(back, 'room'), ['ana', 'bob'])
  cluster.skip(1100)
  await until('the missed leave is made good', async () => (await sorted(back, 'room')).join() === 'bob')
  t.equal((await store.keys('>')).length, 1)
})

t.test('an add whose answer was lost leaves nothing behind', async (t) => {
  const { cluster, store, one, back } = await open(t)
  await one.connect('ana')
  one.store.lostAnswers = 1
  await t.rejects(back.groups.add('room', 'ana'), { code: 'PIT_ERR_STORE' })
  t.strictSame(one.groups.groupsOf('ana'), [])
  await until('the key is gone', async () => (await store.keys('>')).length === 0)
  one.store.lostAnswers = 2
  await t.rejects(back.groups.add('room', 'ana'), { code: 'PIT_ERR_STORE' })
  await turn()
  cluster.skip(1100)
  await until('the key is gone', async () => (await store.keys('>')).length === 0)
  await back.groups.add('room', 'ana')
  t.strictSame(await back.groups.members('room'), ['ana'])
  t.strictSame(cluster.told, ['join room ana'])
})

t.test('while no other server can be reached a broadcast is refused, and nobody gets it', async (t) => {
  const { one } = await open(t)
  const ana = await one.connect('ana')
  await one.groups.add('room', 'ana')
  one.transport.isCut = true
  for (const name of ['room', 'other']) {
    await t.rejects(async () => await one.groups.broadcast(name, 'onText', 'x'), { code: 'PIT_ERR_CLUSTER_DOWN' })
  }
  await t.rejects(one.groups.removeAll('room'), { code: 'PIT_ERR_CLUSTER_DOWN' })
  await one.connect('eve')
  await t.rejects(one.groups.add('other', 'eve'), { code: 'PIT_ERR_CLUSTER_DOWN' })
  t.equal(ana.client.frames.length, 0)
  one.transport.isCut = false
  await one.groups.add('other', 'eve')
  await one.groups.broadcast('room', 'onText', 'back')
  await heard(ana, 'back')
})

t.test('removeAll waits for every frontend, and says so when one does not obey', async (t) => {
  const { cluster, store, one, two, back } = await open(t)
  await one.connect('ana')
  await two.connect('bob')
  await back.groups.add('room', 'ana')
  await back.groups.add('room', 'bob')
  two.store.isDown = true
  const cleared = back.groups.removeAll('room')
  await until('one has obeyed', async () => (await store.keys('>')).length === 1)
  cluster.skip(5100)
  await t.rejects(cleared, { code: 'PIT_ERR_RPC_TIMEOUT' })
  two.store.isDown = false
  cluster.skip(1100)
  await until('the other is made good', async () => (await store.keys('>')).length === 0)
})

t.test('removeAll does not wait for a frontend that dies meanwhile', async (t) => {
  const { cluster, store, one, two, back } = await open(t)
  await one.connect('ana')
  await two.connect('bob')
  await back.groups.add('room', 'ana')
  await back.groups.add('room', 'bob')
  two.store.isDown = true
  const cleared = back.groups.removeAll('room')
  await until('one has obeyed', async () => (await store.keys('>')).length === 1)
  cluster.servers.delete('two')
  cluster.skip(5100)
  await cleared
  t.strictSame(await store.keys('m.*.*.one'), [])
})

t.test('who joins is told even if it cannot be known whether it is the first time', async (t) => {
  const { cluster, one, two } = await open(t, { policy: 'allow' })
  await one.connect('ana')
  await two.connect('ana')
  const { find } = cluster
  let calls = 0
  cluster.find = (uid) => {
    if (++calls === 2) throw new Error('no answer')
    return find.call(cluster, uid).slice(0, 1)
  }
  await one.groups.add('room', 'ana')
  t.strictSame(cluster.told, ['join room ana'])
})

t.test('a group is renewed and deleted though others write it at the same time', async (t) => {
  const { cluster, one, two, back } = await open(t)
  await back.groups.create('room', { ttlMs: 1000 })
  await Promise.all([one, two, back, one, two, back].map(({ groups }) => groups.renew('room')))
  await turn()
  await turn()
  cluster.skip(900)
  t.equal(await back.groups.count('room'), 0)
  const [deleted] = await Promise.allSettled([back.groups.delete('room'), one.groups.renew('room'), two.groups.renew('room')])
  t.equal(deleted.status, 'fulfilled')
  await t.rejects(one.groups.count('room'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
})

t.test('TTL: all servers see a renewal, members everywhere leave at its end', async (t) => {
  const { cluster, one, two, back } = await open(t)
  await one.connect('ana')
  await two.connect('bob')
  await back.groups.create('room', { ttlMs: 1000 })
  await back.groups.add('room', 'ana')
  await back.groups.add('room', 'bob')
  for (let i = 0; i < 3; i++) {
    cluster.skip(900)
    await one.groups.renew('room')
    await turn()
    await turn()
  }
  t.equal(await back.groups.count('room'), 2)
  cluster.told.length = 0
  cluster.skip(1100)
  await until('all have left', () => cluster.told.length === 2)
  t.strictSame(cluster.told.sort(), ['leave room ana', 'leave room bob'])
  await t.rejects(back.groups.members('room'), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
})

t.test('TTL: a group does not end while nobody could renew it, nor on a server that missed the renewal', async (t) => {
  const { cluster, one, back } = await open(t)
  await one.connect('ana')
  await back.groups.create('room', { ttlMs: 1000 })
  await back.groups.add('room', 'ana')
  for (const server of cluster.servers.values()) server.store.isDown = true
  cluster.skip(1500)
  await turn()
  t.strictSame(one.groups.groupsOf('ana'), ['room'])
  for (const server of cluster.servers.values()) server.store.isDown = false
  await back.groups.renew('room')
  await turn()
  one.core.skip(1100)
  await turn()
  t.strictSame(one.groups.groupsOf('ana'), [])
})

t.test('a group made anew at once under its old name has none of the old members', async (t) => {
  const { cluster, one, back } = await open(t)
  await one.connect('ana')
  for (let i = 0; i < 5; i++) {
    await back.groups.create('room', { ttlMs: 1000 })
    await back.groups.add('room', 'ana')
    t.equal(await back.groups.count('room'), 1)
    await back.groups.delete('room')
  }
  t.strictSame(one.groups.groupsOf('ana'), [])
  t.equal(cluster.told.length, 10)
})

t.test('what others write into the store by mistake is no group', async (t) => {
  const { store, back } = await open(t)
  for (const [i, text] of ['', '{', '[]', 'null', '{"generation":5}', '{"generation":"x","ttlMs":-1}', '{"generation":"x","ttlMs":"1"}'].entries()) {
    await store.create(`g.${Buffer.from(`room ${i}`).toString('base64url')}`, Buffer.from(text))
  }
  await store.create('g.', Buffer.from('{"generation":"x"}')).catch(() => {})
  await turn()
  await turn()
  t.strictSame(back.groups.names, [])
})

t.test('a message to a group that cannot be read is logged, and the next one is delivered', async (t) => {
  const { one, back } = await open(t)
  const ana = await one.connect('ana')
  await back.groups.add('room', 'ana')
  for (let i = 0; i < 300; i++) back.transport.publish('test.group.cm9vbQ', Buffer.from([i]))
  await back.groups.broadcast('room', 'onText', 'hi')
  await heard(ana, 'hi')
  const lines = one.core.lines.filter(({ text }) => text === 'a message to a group could not be read')
  t.equal(lines.length, 100, 'a hundred lines a second at most')
})

t.test('a session in a serializer that the sender does not offer is left out, and logged', async (t) => {
  const { createJsonSerializer } = await import('../../../lib/serializers/json.ts')
  const other = { ...createJsonSerializer(), name: 'other' }
  const { one, back, cluster } = await open(t)
  const rich = await cluster.add('rich', { serializers: [createJsonSerializer(), other] })
  const [plain, special] = [await rich.connect('ana'), await rich.connect('bob', 1)]
  const elsewhere = await one.connect('eve')
  for (const uid of ['ana', 'bob', 'eve']) await back.groups.add('room', uid)
  await back.groups.broadcast('room', 'onText', 'hi')
  await heard(plain, 'hi')
  await heard(elsewhere, 'hi')
  t.equal(special.client.frames.length, 0)
  t.match(rich.core.lines.find(({ text }) => text === 'a broadcast could not be delivered'), { fields: { group: 'room' } })
  await rich.groups.broadcast('room', 'onText', 'from rich')
  await heard(special, 'from rich')
})

t.test('close() ends subscriptions, timers and the watch, after the store knows who left', async (t) => {
  const { cluster, store, one, back } = await open(t)
  const clients: Client[] = []
  for (let i = 0; i < 500; i++) {
    clients.push(await one.connect(`u${i}`))
    await one.groups.add('room', `u${i}`)
  }
  await one.groups.create('timed', { ttlMs: 1e9 })
  for (const { client } of clients) client.close('normal')
  await one.groups.close()
  await one.groups.close()
  t.strictSame(await store.keys('m.>'), [])
  t.equal(one.core.wheel.size, 0)
  t.equal(one.transport.subscriptions, 0)
  await back.groups.delete('timed')
  t.equal(cluster.told.filter((text) => text.startsWith('leave')).length, 500)
})

t.test('a storm of joins, leaves and closes on two frontends ends with the store as the frontends are', async (t) => {
  const { store, one, two, back } = await open(t)
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const generator = new Random(seed)
  const random = (n: number): number => generator.int(n)
  const clients = new Map<string, Client>()
  const pending = new Set<Promise<unknown>>()
  for (let step = 0; step < 4000; step++) {
    const uid = `u${random(20)}`
    const room = `r${random(4)}`
    const server = [one, two, back][random(3)]!
    const act = random(10)
    const client = clients.get(uid)
    if (client === undefined) clients.set(uid, await [one, two][random(2)]!.connect(uid))
    else if (act === 0) {
      clients.delete(uid)
      client.client.close('normal')
    } else {
      const { groups } = server
      const done = act < 6 ? groups.add(room, uid) : act < 9 ? groups.remove(room, uid) : groups.removeAll(room)
      pending.add(done.catch(() => {}))
    }
    if (random(5) === 0) await turn()
  }
  await Promise.all(pending)
  for (const server of [one, two]) {
    await until('the store agrees', async () => {
      const keys = (await store.keys(`m.*.*.${server.id}`)).map((key) => groupKeys.readMember(key)).map(({ group, uid }) => `${group} ${uid}`)
      const here = [...clients.keys()].flatMap((uid) => server.groups.groupsOf(uid).map((group) => `${group} ${uid}`))
      return keys.sort().join() === here.sort().join()
    })
  }
  for (const { client } of clients.values()) client.close('normal')
  await until('nothing is left', async () => (await store.keys('>')).length === 0)
  t.strictSame([one, two, back].map(({ groups }) => groups.size), [0, 0, 0])
})

t.test('1,000 join three groups each within a second', async (t) => {
  const { one, two, back } = await open(t)
  for (let i = 0; i < 1000; i++) await [one, two][i % 2]!.connect(`u${i}`)
  const start = cpuMs()
  await Promise.all(Array.from({ length: 1000 }, (_, i) => ['a', 'b', 'c'].map((name) => back.groups.add(name, `u${i}`))).flat())
  t.ok(cpuMs() - start < 5000)
  t.equal(await back.groups.count('b'), 1000)
})

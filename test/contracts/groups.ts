import type t from 'tap'
import { PitayaError } from '../../lib/errors.ts'
import type { HandlerGroups } from '../../lib/handler/types.ts'
import type { CoreOptions, FakeEntity } from '../helpers/core.ts'
import { texts, until } from '../helpers/groups.ts'

type Test = Pick<typeof t, 'test' | 'equal' | 'strictSame' | 'rejects' | 'ok' | 'teardown'>

/** Groups as one server sees them; clients may be connected to others. */
export interface GroupsRig {
  readonly groups: HandlerGroups
  /** A client bound to `uid`. */
  connect (uid: string): Promise<{ readonly client: FakeEntity }>
  /** A hook of every server. */
  afterBind (hook: (uid: string) => Promise<void>): void
  /** Moves the clocks on. */
  skip (ms: number): void
}

/** What every member of the groups family does. */
export function testGroups (t: Test, name: string, open: (t: Test, options?: CoreOptions) => Promise<GroupsRig>): void {
  const test = (title: string, run: (t: Test, open: (options?: CoreOptions) => Promise<GroupsRig>) => Promise<void>): void => {
    t.test(`${name}: ${title}`, async (t) => { await run(t as Test, (options) => open(t as Test, options)) })
  }
  const sorted = async (groups: HandlerGroups, name: string): Promise<string[]> => (await groups.members(name)).sort()
  const isGone = async (groups: HandlerGroups, name: string): Promise<boolean> => {
    return await groups.members(name).then(() => false, (error: PitayaError) => error.code === 'PIT_ERR_GROUP_NOT_FOUND')
  }

  test('a member is a connected uid: added, asked for, counted, removed', async (t, open) => {
    const { groups, connect } = await open()
    await connect('ana')
    await connect('bob')
    await groups.add('room', 'ana')
    await groups.add('room', 'bob')
    t.strictSame(await sorted(groups, 'room'), ['ana', 'bob'])
    t.equal(await groups.count('room'), 2)
    t.equal(await groups.contains('room', 'ana'), true)
    t.equal(await groups.contains('room', 'eve'), false)
    await groups.remove('room', 'ana')
    t.strictSame(await sorted(groups, 'room'), ['bob'])
    await groups.remove('room', 'bob')
    t.ok(await isGone(groups, 'room'))
  })

  test('join adds a uid once, and says whether it did', async (t, open) => {
    const { groups, connect } = await open()
    await connect('ana')
    t.strictSame([await groups.join('room', 'ana'), await groups.join('room', 'ana')], [true, false])
    t.strictSame(await groups.members('room'), ['ana'])
    await t.rejects(groups.join('room', 'eve'), { code: 'PIT_ERR_GROUP_OFFLINE' })
  })

  test('what cannot be done rejects with its code', async (t, open) => {
    const { groups, connect } = await open({ maxGroups: 2 })
    await connect('ana')
    await groups.create('room')
    await groups.add('room', 'ana')
    const cases: Array<[string, () => unknown]> = [
      ['PIT_ERR_GROUP_EXISTS', () => groups.create('room')],
      ['PIT_ERR_GROUP_MEMBER', () => groups.add('room', 'ana')],
      ['PIT_ERR_GROUP_UID', () => groups.add('room', '')],
      ['PIT_ERR_UID', () => groups.add('room', 'a\0')],
      ['PIT_ERR_GROUP_OFFLINE', () => groups.add('room', 'eve')],
      ['PIT_ERR_GROUP_NO_MEMBER', () => groups.remove('room', 'eve')],
      ['PIT_ERR_GROUP_TTL', () => groups.renew('room')],
      ['PIT_ERR_GROUP', () => groups.create('')],
      ['PIT_ERR_GROUP', () => groups.create('x'.repeat(129))],
      ['PIT_ERR_GROUP', () => groups.create('a\nb')],
      ['PIT_ERR_GROUP', () => groups.add(5 as unknown as string, 'ana')],
      ['PIT_ERR_GROUP', () => groups.create('short', { ttlMs: 0 })],
      ['PIT_ERR_GROUP', () => groups.create('odd', { ttlMs: NaN })],
      ['PIT_ERR_GROUP', () => groups.create('long', { ttlMs: Infinity })],
      ...['none', '', '*', 'x'.repeat(129)].flatMap((none) => [
        ...(['remove', 'removeAll', 'delete', 'members', 'count', 'contains', 'renew'] as const)
          .map((name): [string, () => unknown] => ['PIT_ERR_GROUP_NOT_FOUND', () => groups[name](none, 'ana')]),
        ['PIT_ERR_GROUP_NOT_FOUND', () => groups.broadcast(none, 'onText', 'x')] as [string, () => unknown],
        ['PIT_ERR_GROUP_NOT_FOUND', () => groups.multicast(none, 'onText', 'x', () => true)] as [string, () => unknown]
      ]),
      ['PIT_ERR_PUSH_UNKNOWN', () => groups.broadcast('room', 'onNone', 'x')],
      ['PIT_ERR_PUSH_BODY', () => groups.broadcast('room', 'onText', 5)]
    ]
    for (const [code, act] of cases) await t.rejects(async () => { await act() }, { code })
    await groups.create('second')
    await t.rejects(groups.create('third'), { code: 'PIT_ERR_GROUP_LIMIT', message: /2/ })
    const code = (act: Promise<void>): Promise<string> => act.then(() => '', (error: PitayaError) => error.code)
    await until('the member\'s server knows', async () => {
      if (await code(groups.add('third', 'ana')) === 'PIT_ERR_GROUP_LIMIT') return true
      await groups.remove('third', 'ana')
      return false
    })
  })

  test('a group without TTL ends with its last member; one that was created and has none yet stays', async (t, open) => {
    const { groups, connect } = await open()
    await connect('ana')
    await groups.create('room')
    t.equal(await groups.count('room'), 0)
    await groups.broadcast('room', 'onText', 'nobody hears')
    await groups.add('room', 'ana')
    await groups.remove('room', 'ana')
    t.ok(await isGone(groups, 'room'))
    for (const end of ['removeAll', 'delete'] as const) {
      await groups.create('room')
      await groups.add('room', 'ana')
      await groups[end]('room')
      t.ok(await isGone(groups, 'room'))
    }
    await groups.create('room')
    await groups.delete('room')
    await groups.add('room', 'ana')
    t.equal(await groups.count('room'), 1)
  })

  test('a group with TTL outlives its members and ends when it is not renewed', async (t, open) => {
    const { groups, connect, skip } = await open()
    await connect('ana')
    await groups.create('room', { ttlMs: 1000 })
    await groups.add('room', 'ana')
    await groups.remove('room', 'ana')
    skip(900)
    await groups.renew('room')
    skip(900)
    t.strictSame(await groups.members('room'), [])
    await groups.add('room', 'ana')
    skip(200)
    await until('the group ended', () => isGone(groups, 'room'))
    await groups.add('room', 'ana')
    t.strictSame(await groups.members('room'), ['ana'], 'a new group of that name has no memory')
    await t.rejects(groups.renew('room'), { code: 'PIT_ERR_GROUP_TTL' })
  })

  test('a group with TTL that is emptied stays, and the successor of one that is deleted has its own time', async (t, open) => {
    const { groups, connect, skip } = await open()
    await connect('ana')
    await groups.create('room', { ttlMs: 1000 })
    await groups.add('room', 'ana')
    await groups.removeAll('room')
    t.equal(await groups.count('room'), 0)
    skip(900)
    await groups.delete('room')
    await groups.create('room', { ttlMs: 1000 })
    skip(500)
    t.equal(await groups.count('room'), 0)
    skip(600)
    await until('the group ended', () => isGone(groups, 'room'))
  })

  test('names are texts and nothing else: __proto__ and constructor are groups like any other', async (t, open) => {
    const { groups, connect } = await open()
    for (const name of ['__proto__', 'constructor', 'toString', '*', '>', 'a.b', ' ', '日本🎮', 'x'.repeat(128)]) {
      await t.rejects(groups.members(name), { code: 'PIT_ERR_GROUP_NOT_FOUND' })
      const { client } = await connect(name)
      await groups.add(name, name)
      t.strictSame(await groups.members(name), [name])
      await groups.broadcast(name, 'onText', name)
      await until('the broadcast arrived', () => client.frames.length === 1)
      t.strictSame(texts(client), [name])
    }
  })

  test('a uid leaves all its groups when its session closes', async (t, open) => {
    const { groups, connect } = await open()
    const ana = await connect('ana')
    await connect('bob')
    for (const name of ['one', 'two', 'three']) await groups.add(name, 'ana')
    await groups.add('one', 'bob')
    ana.client.close('normal')
    for (const name of ['two', 'three']) await until('the group ended', () => isGone(groups, name))
    await until('one member is left', async () => await groups.count('one') === 1)
    t.strictSame(await groups.members('one'), ['bob'])
    await connect('ana')
    t.equal(await groups.contains('one', 'ana'), false)
    await t.rejects(groups.remove('one', 'ana'), { code: 'PIT_ERR_GROUP_NO_MEMBER' })
  })

  test('a uid whose bind fails after registration leaves the groups it was added to meanwhile', async (t, open) => {
    const { groups, connect, afterBind } = await open()
    afterBind(async (uid) => {
      await groups.add('room', uid)
      throw new PitayaError('NO')
    })
    await t.rejects(connect('ana'), { code: 'NO' })
    await until('the group ended', () => isGone(groups, 'room'))
  })

  test('each member gets each broadcast once, in the order in which they were sent', async (t, open) => {
    const { groups, connect } = await open()
    const clients: FakeEntity[] = []
    for (let i = 0; i < 20; i++) {
      clients.push((await connect(`u${i}`)).client)
      if (i % 4 !== 0) await groups.add('room', `u${i}`)
    }
    const sent = Array.from({ length: 200 }, (_, i) => `text ${i}`)
    await Promise.all(sent.map((text) => groups.broadcast('room', 'onText', text)))
    await groups.broadcast('room', 'onBytes', Buffer.from('"raw"'))
    await until('all arrived', () => clients.every(({ frames }, i) => i % 4 === 0 || frames.length === 201))
    for (const [i, client] of clients.entries()) t.strictSame(texts(client), i % 4 === 0 ? [] : [...sent, 'raw'])
  })

  test('a multicast reaches the members that the predicate accepts', async (t, open) => {
    const { groups, connect } = await open()
    const clients = new Map<string, FakeEntity>()
    for (const uid of ['ana', 'bob', 'eve']) {
      clients.set(uid, (await connect(uid)).client)
      await groups.add('room', uid)
    }
    await groups.multicast('room', 'onText', 'hi', (uid) => uid !== 'bob')
    await groups.multicast('room', 'onText', 'to nobody', () => false)
    await groups.broadcast('room', 'onText', 'all')
    await until('all arrived', () => [...clients.values()].every((client) => texts(client).includes('all')))
    t.strictSame([...clients].map(([uid, { frames }]) => `${uid} ${frames.length}`), ['ana 2', 'bob 1', 'eve 2'])
  })

  test('members that were removed get nothing any more', async (t, open) => {
    const { groups, connect } = await open()
    const ana = await connect('ana')
    const bob = await connect('bob')
    for (const end of ['removeAll', 'delete'] as const) {
      await groups.add('room', 'ana')
      await groups.add('room', 'bob')
      await groups[end]('room')
      await groups.add('room', 'bob')
      await groups.broadcast('room', 'onText', end)
      await until('it arrived', () => texts(bob.client).includes(end))
      await groups.remove('room', 'bob')
    }
    t.strictSame(texts(ana.client), [])
    t.strictSame(texts(bob.client), ['removeAll', 'delete'])
  })

  test('of two that add one uid at once, one succeeds; the same for removing it', async (t, open) => {
    const { groups, connect } = await open()
    await connect('ana')
    await connect('bob')
    await groups.add('room', 'bob')
    for (let round = 0; round < 10; round++) {
      const adds = await Promise.allSettled([groups.add('room', 'ana'), groups.add('room', 'ana')])
      t.strictSame(adds.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
      t.strictSame(await sorted(groups, 'room'), ['ana', 'bob'])
      const removals = await Promise.allSettled([groups.remove('room', 'ana'), groups.remove('room', 'ana')])
      t.strictSame(removals.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
      t.strictSame(await sorted(groups, 'room'), ['bob'])
    }
  })
}

/** What servers ask of each other, from one end to the other without a carrier. */
import t from 'tap'
import type { Deliveries } from '../../../lib/cluster/deliveries.ts'
import type { Directory } from '../../../lib/cluster/directory.ts'
import { createAvroEnvelope } from '../../../lib/cluster/envelopes/avro.ts'
import { createPeers, serveSys, sys } from '../../../lib/cluster/sys.ts'
import { createError, PitayaError } from '../../../lib/errors.ts'
import { RemoteClients } from '../../../lib/remote/client.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { describeSession } from '../../../lib/session/describe.ts'
import { createCore } from '../../helpers/core.ts'
import { createRemotes } from '../../helpers/remotes.ts'

function setUp () {
  const core = createCore()
  const { sessions } = core
  const { service, ask } = createRemotes()
  const envelope = createAvroEnvelope()
  const calls: unknown[] = []
  const corrected: string[] = []
  const group = async (...args: string[]) => {
    calls.push(args)
    if (args[1] === 'full') throw createError('PIT_ERR_GROUP_LIMIT', [3])
  }
  service.register(sys, serveSys({
    sessions,
    envelope,
    deliveries: { deliver: (push: { uids: string[] }) => ({ delivered: push.uids, notConnected: [] }) } as unknown as Deliveries,
    directory: { correct: (uid: string) => { corrected.push(uid) } } as Directory,
    pinned: {
      textOf (fingerprint) {
        if (fingerprint !== 'known') throw createError('PIT_ERR_CONTRACT', ['unknown'])
        return '{}'
      }
    },
    replaced: ({ uid, sessionIds, revision }) => ({ groups: [uid, ...sessionIds.map(String), String(revision)] }),
    groupAdd: (name, uid) => group('add', name, uid),
    groupRemove: (name, uid) => group('remove', name, uid),
    describe: (id) => describeSession(sessions.get(id)!)
  }))
  service.compile()
  const send = async (route: string, data: Uint8Array): Promise<Uint8Array> => {
    const reply = await ask(route.slice(route.indexOf('.') + 1), data)
    if (reply.error !== undefined) throw new PitayaError(reply.error.code, reply.error.msg, reply.error.metadata)
    return reply.data
  }
  const raw = new RemoteClients({ serializer: createAvroSerializer(), send }).of('any', sys)
  return { core, sessions, calls, corrected, envelope, raw, peers: createPeers(createAvroSerializer(), send) }
}

t.test('a session is bound on its frontend, and why it is not reaches the other server with code and metadata', async (t) => {
  const { core, sessions, peers } = setUp()
  const { session } = core.connect()
  sessions.onBind((_, uid) => {
    if (uid === 'eve') throw new PitayaError('GAME-7', 'not \ud800 you', { why: 5, '\udc00': 'x' } as any)
    if (uid === 'bug') throw new Error('mine')
  })
  const bind = (uid: string, sessionId = session.id) => peers.bind('front', { sessionId, uid })
  await t.rejects(bind('eve'), { code: 'GAME-7', message: 'not \ufffd you', metadata: { why: '5', '\ufffd': 'x' } })
  await t.rejects(bind('bug'), { code: 'PIT-500', message: 'internal error' })
  await t.rejects(bind(''), { code: 'PIT_ERR_UID', wireCode: 'PIT-400' })
  await t.rejects(bind('ana', 999), { code: 'PIT_ERR_CLOSED', statusCode: 499 })
  t.equal(session.uid, '')
  await bind('ana')
  t.equal(session.uid, 'ana')
  await t.rejects(bind('ana'), { code: 'PIT_ERR_BOUND' })
})

t.test('changes of data are merged by key, and what is no object changes nothing', async (t) => {
  const { core, peers, raw } = setUp()
  const { session } = core.connect()
  session.track()
  const patch = (patch: Record<string, unknown>, base: number) => peers.patch('front', { sessionId: session.id, patch, base })
  t.strictSame(await patch({ a: 1, b: 2 }, 0), { revision: 1, overwritten: [] })
  t.strictSame(await patch({ a: undefined, c: [1] }, 0), { revision: 2, overwritten: ['a'] })
  t.strictSame(session.data, { b: 2, c: [1] })
  for (const set of ['null', '[1,2]', '5', '"abc"', '{', '']) {
    t.match(await raw.patch({ sessionId: session.id, set, remove: [], base: 0 }), { failure: { code: 'PIT_ERR_DATA' } })
  }
  const hostile = '{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}'
  await raw.patch({ sessionId: session.id, set: hostile, remove: ['__proto__', 'b'], base: 2 })
  t.strictSame(Object.keys(session.data).sort(), ['c', 'constructor'])
  t.equal((session.data as any).admin, undefined)
  t.equal(({} as any).admin, undefined)
  const before = session.data
  await t.rejects(patch({ big: 'x'.repeat(5000) }, 3), { code: 'PIT_ERR_DATA_SIZE', wireCode: 'PIT-413' })
  await raw.patch({ sessionId: session.id, set: `{"deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}`, remove: [], base: 3 }).catch(() => {})
  t.equal(session.data, before)
  await t.rejects(peers.patch('front', { sessionId: 999, patch: {}, base: 0 }), { code: 'PIT_ERR_CLOSED' })
})

t.test('what changed is remembered of a limited number of keys', async (t) => {
  const { core, peers } = setUp()
  const { session } = core.connect()
  session.track()
  for (let i = 0; i < 1000; i++) session.set({ [`k${i}`]: 1, [`k${i - 1}`]: undefined })
  const { overwritten } = await peers.patch('front', { sessionId: session.id, patch: { k1: 1, k999: 2 }, base: 0 })
  t.strictSame(overwritten, ['k999'])
})

t.test('sessions are described page by page, alone, and by uid', async (t) => {
  const { core, peers } = setUp()
  const all = [core.connect(), core.connect(), core.connect()]
  await all[1]!.session.bind('ana')
  const ids = ({ rows }: { rows: unknown[] }) => rows.map((row) => (row as { id: string }).id)
  t.strictSame(ids(await peers.sessions('front', { after: 0, limit: 2, uid: '' })), ['test:1', 'test:2'])
  const rest = await peers.sessions('front', { after: 2, limit: 2, uid: '' })
  t.strictSame([ids(rest), rest.total], [['test:3'], 3])
  t.strictSame(ids(await peers.sessions('front', { after: 0, limit: 9, uid: 'ana' })), ['test:2'])
  t.strictSame(ids(await peers.sessions('front', { after: 2, limit: 9, uid: 'ana' })), [])
  t.match(await peers.session('front', 2), { id: 'test:2', uid: 'ana' })
  t.equal(await peers.session('front', 9), undefined)
  t.strictSame(await peers.kickSession('front', { sessionId: 2, reason: 'enough' }), { found: true, uid: 'ana' })
  t.equal(all[1]!.client.kickText, 'enough')
  t.strictSame(await peers.kickSession('front', { sessionId: 2, reason: '' }), { found: false, uid: '' })
})

t.test('groups, deliveries, replaced sessions and wrong addresses reach those whose business they are', async (t) => {
  const { peers, calls, corrected, envelope } = setUp()
  await peers.groupAdd('front', { group: 'room', uid: 'ana' })
  await peers.groupRemove('front', { group: 'room', uid: 'ana' })
  await t.rejects(peers.groupAdd('front', { group: 'full', uid: 'ana' }), { code: 'PIT_ERR_GROUP_LIMIT', message: 'too many groups: the limit is 3' })
  t.strictSame(calls.slice(0, 2), [['add', 'room', 'ana'], ['remove', 'room', 'ana']])
  t.strictSame(await peers.replaced('front', { uid: 'ana', sessionIds: [1, 2], revision: 7 }), { groups: ['ana', '1', '2', '7'] })
  const push = { kind: 0 as const, caller: 'a', hops: 0, route: 'r', sessions: [], uids: ['ana'], group: '', payloads: [], reason: '' }
  t.strictSame(await peers.deliver('front', new Uint8Array(envelope.encodePush(push))), { delivered: ['ana'], notConnected: [] })
  await t.rejects(peers.deliver('front', Buffer.from('?')), { code: 'PIT_ERR_RPC' })
  peers.moved('front', ['ana', 'bob'])
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(corrected, ['ana', 'bob'])
})

t.test('a server that has clients of a set gives its text', async (t) => {
  const { peers } = setUp()
  t.equal(await peers.schemas('any', 'known'), '{}')
  await t.rejects(peers.schemas('any', 'other'), { code: 'PIT_ERR_CONTRACT' })
})

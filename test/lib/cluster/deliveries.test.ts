/** Pushes, kicks and closes on their way to clients of any frontend, between fakes. */
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { Deliveries, type Delivered } from '../../../lib/cluster/deliveries.ts'
import type { Directory } from '../../../lib/cluster/directory.ts'
import { createAvroEnvelope } from '../../../lib/cluster/envelopes/avro.ts'
import { PushKind, type PushEnvelope } from '../../../lib/cluster/envelopes/envelope.ts'
import { Subjects } from '../../../lib/cluster/names.ts'
import type { OnMessage, Transport } from '../../../lib/cluster/transports/transport.ts'
import { createError } from '../../../lib/errors.ts'
import { defineHandlers } from '../../../lib/handler/define.ts'
import { createCore, turn } from '../../helpers/core.ts'
import { lineLog } from '../../helpers/discovery.ts'

const declared = defineHandlers('room', { pushes: { onText: Type.String() } }, {})
const envelope = createAvroEnvelope()

interface Options {
  manySessions?: boolean
  places?: Record<string, string[]>
  deliver?: (frontendId: string, push: PushEnvelope) => Delivered
}

/** The server `here`; `places` says where the directory finds uids, `deliver` what other frontends answer. */
async function setUp ({ manySessions = false, places = {}, deliver }: Options = {}) {
  const core = createCore([declared], { policy: manySessions ? 'allow' : 'kick-old' })
  const sent: Array<{ subject: string, push: PushEnvelope }> = []
  const moved: string[] = []
  const corrected: string[] = []
  const failed = new Set<string>()
  const { log, lines } = lineLog()
  let onMessage: OnMessage | undefined
  const state = { isUp: true }
  const transport = {
    maxBytes: 1_048_576,
    publish (subject: string, data: Uint8Array) {
      if (data.length > 100_000) throw createError('PIT_ERR_RPC_SIZE', [100_000])
      if (state.isUp) sent.push({ subject, push: envelope.decodePush(new Uint8Array(data)) })
      return state.isUp
    },
    subscribe (_: string, callback: OnMessage) {
      onMessage = callback
      return () => { onMessage = undefined }
    }
  } as unknown as Transport
  const directory = {
    async group (uids: Iterable<string>) {
      const byFrontend = new Map<string, string[]>()
      const result = { byFrontend, unknown: [] as string[], failed: [] as string[] }
      for (const uid of uids) {
        if (failed.has(uid)) result.failed.push(uid)
        else if (places[uid] === undefined) result.unknown.push(uid)
        for (const id of failed.has(uid) ? [] : places[uid] ?? []) byFrontend.set(id, [...byFrontend.get(id) ?? [], uid])
      }
      return result
    },
    correct (uid: string) { corrected.push(uid) }
  } as unknown as Directory
  const deliveries = new Deliveries({
    serverId: 'here',
    transport,
    envelope,
    subjects: new Subjects('p'),
    sessions: core.sessions,
    pushes: core.pushes,
    directory,
    isInMany: () => manySessions,
    log,
    peers: {
      deliver: async (frontendId, bytes) => {
        const push = envelope.decodePush(bytes)
        sent.push({ subject: `rpc ${frontendId}`, push })
        return (deliver ?? (() => ({ delivered: push.uids, notConnected: [] })))(frontendId, push)
      },
      moved: (serverId, uids) => { moved.push(`${serverId} ${uids.join()}`) }
    }
  })
  deliveries.open()
  const push = (fields: Partial<PushEnvelope>): PushEnvelope => ({
    kind: PushKind.push,
    caller: 'there',
    hops: 0,
    route: 'onText',
    sessions: [],
    uids: [],
    group: '',
    payloads: [{ serializer: 'json', data: Buffer.from('"hi"') }],
    reason: '',
    ...fields
  })
  return {
    core,
    deliveries,
    sent,
    moved,
    corrected,
    failed,
    lines,
    state,
    push,
    places,
    receive: (bytes: Uint8Array) => onMessage?.(bytes, '', ''),
    receivePush: (fields: Partial<PushEnvelope>) => onMessage?.(new Uint8Array(envelope.encodePush(push(fields))), '', ''),
    async bound (uid: string) {
      const { session, client } = core.connect()
      await session.bind(uid)
      return client
    }
  }
}

t.test('uids here are reached without a message, each once however often it is named', async (t) => {
  const { deliveries, bound, sent } = await setUp()
  const client = await bound('ana')
  t.strictSame(await deliveries.pushToUids(['ana', 'ana', 'eve', 'eve'], 'onText', 'hi', true), { delivered: ['ana'], notConnected: ['eve'], unknown: [] })
  t.equal(client.frames.length, 1)
  t.strictSame(sent, [])
})

t.test('uids elsewhere cost one message per frontend and two thousand of them', async (t) => {
  const uids = Array.from({ length: 5000 }, (_, i) => `u${i}`)
  const { deliveries, sent } = await setUp({ places: Object.fromEntries(uids.map((uid, i) => [uid, [i % 2 === 0 ? 'a' : 'b']])) })
  const { delivered, notConnected, unknown } = await deliveries.pushToUids(uids, 'onText', 'hi', false)
  t.strictSame([delivered, notConnected, unknown.sort()], [[], [], uids.sort()])
  t.strictSame(sent.map(({ subject, push }) => `${subject} ${push.uids.length}`).sort(), ['p.push.a 2000', 'p.push.a 500', 'p.push.b 2000', 'p.push.b 500'])
})

t.test('with confirm everyone is accounted for, once', async (t) => {
  const fates: Record<string, () => Delivered> = {
    gone: () => { throw createError('PIT_ERR_SERVER_UNKNOWN') },
    silent: () => { throw createError('PIT_ERR_RPC_TIMEOUT') }
  }
  const { deliveries, failed, bound } = await setUp({
    places: { bob: ['a'], cat: ['gone'], dan: ['silent'], own: ['here'] },
    deliver: (id, { uids }) => fates[id]?.() ?? { delivered: uids, notConnected: [] }
  })
  await bound('ana')
  failed.add('fay')
  const outcome = await deliveries.pushToUids(['ana', 'bob', 'cat', 'dan', 'eve', 'fay', 'own'], 'onText', 'hi', true)
  t.strictSame({ ...outcome, notConnected: outcome.notConnected.sort(), unknown: outcome.unknown.sort() }, {
    delivered: ['ana', 'bob'], notConnected: ['cat', 'eve', 'own'], unknown: ['dan', 'fay']
  })
})

t.test('who is not where the directory thinks is looked for once more', async (t) => {
  const { deliveries, sent, corrected, places } = await setUp({
    places: { bob: ['a'], cat: ['a'] },
    deliver: (id, { uids }) => {
      if (id === 'b') return { delivered: uids, notConnected: [] }
      places.bob = ['b']
      return { delivered: [], notConnected: uids }
    }
  })
  t.strictSame(await deliveries.kickUids(['bob', 'cat'], 'enough', true), { delivered: ['bob'], notConnected: ['cat'], unknown: [] })
  t.strictSame(sent.map(({ subject, push }) => `${subject} ${push.uids.join()} ${push.reason}`).sort(), [
    'rpc a bob,cat enough', 'rpc a cat enough', 'rpc b bob enough'
  ])
  t.strictSame(corrected.slice(0, 2), ['bob', 'cat'])
})

t.test('a uid with many sessions gets a push once in each, though one of its frontends has lost it', async (t) => {
  const { deliveries, sent, receivePush, moved, bound } = await setUp({
    manySessions: true,
    places: { bob: ['a', 'b'] },
    deliver: (id, { uids }) => id === 'a' ? { delivered: [], notConnected: uids } : { delivered: uids, notConnected: [] }
  })
  t.strictSame(await deliveries.pushToUids(['bob'], 'onText', 'hi', true), { delivered: ['bob'], notConnected: [], unknown: [] })
  t.strictSame(sent.map(({ subject }) => subject), ['rpc a', 'rpc b'])
  const client = await bound('bob')
  t.strictSame((await deliveries.pushToUids(['bob'], 'onText', 'hi', true)).delivered, ['bob'])
  t.equal(client.frames.length, 1)
  // Nor does this frontend pass on what the sender has sent to the others.
  client.close('normal')
  sent.length = 0
  receivePush({ uids: ['bob'] })
  await turn()
  t.strictSame(sent, [])
  t.strictSame(moved, ['there bob'])
})

t.test('a push for a user that has moved follows, at most twice, and its sender is told', async (t) => {
  const { receivePush, sent, moved, corrected, bound, state } = await setUp({ places: { bob: ['b'], cat: ['here'] } })
  const ana = await bound('ana')
  receivePush({ uids: ['ana', 'bob', 'cat', 'eve'], sessions: [77], hops: 1 })
  await turn()
  t.equal(ana.frames.length, 1)
  t.strictSame(moved, ['there bob,cat,eve'])
  t.strictSame(corrected, ['bob', 'cat', 'eve'])
  t.match(sent, [{ subject: 'p.push.b', push: { uids: ['bob'], sessions: [], hops: 2, caller: 'there', payloads: [{ serializer: 'json' }] } }])
  t.equal(sent.length, 1)
  receivePush({ uids: ['bob'], hops: 2 })
  state.isUp = false
  receivePush({ uids: ['bob'] })
  await turn()
  t.equal(sent.length, 1)
})

t.test('sessions are pushed to, kicked and closed by their ids; ids of nobody are left alone', async (t) => {
  const { receivePush, core } = await setUp()
  const [one, two, three] = [core.connect(), core.connect(), core.connect()]
  receivePush({ sessions: [one.session.id, 99] })
  t.equal(one.client.frames.length, 1)
  receivePush({ kind: PushKind.kick, sessions: [one.session.id, two.session.id], reason: 'enough' })
  t.strictSame([one.client.kickText, two.client.closedWith], ['enough', 'kicked'])
  receivePush({ kind: PushKind.close, sessions: [three.session.id] })
  t.equal(three.client.closedWith, 'normal')
})

t.test('what cannot be read, or not be framed, is logged and harms nobody', async (t) => {
  const { receive, receivePush, lines, core } = await setUp()
  const { session, client } = core.connect()
  receive(Buffer.from('?'))
  receivePush({ sessions: [session.id], route: 'r'.repeat(300) })
  receivePush({ sessions: [session.id], payloads: [{ serializer: 'other', data: Buffer.from('x') }] })
  t.strictSame([client.frames.length, client.closedWith], [0, undefined])
  t.equal(lines.length, 3)
  receivePush({ sessions: [session.id] })
  t.equal(client.frames.length, 1)
})

t.test('a push that cannot be sent is an error, and one that is not sent is false', async (t) => {
  const { deliveries, state, sent } = await setUp({ places: { bob: ['a'] }, deliver: () => { throw createError('PIT_ERR_RPC_SIZE', [1]) } })
  await t.rejects(deliveries.pushToUids(['bob'], 'onNone', 'hi', false), { code: 'PIT_ERR_PUSH_UNKNOWN' })
  await t.rejects(deliveries.pushToUids(['bob'], 'onText', 5, false), { code: 'PIT_ERR_PUSH_BODY' })
  await t.rejects(deliveries.pushToUids(['bob'], 'onText', 'x'.repeat(200_000), false), { code: 'PIT_ERR_RPC_SIZE' })
  await t.rejects(deliveries.pushToUids(['bob'], 'onText', 'x', true), { code: 'PIT_ERR_RPC_SIZE' })
  sent.length = 0
  t.equal(deliveries.pushToSession('a', 1, 'onText', 'hi', 'json'), true)
  t.equal(deliveries.kickSession('a', 1), true)
  t.equal(deliveries.closeSession('a', 1), true)
  t.strictSame(sent.map(({ push: { kind, sessions } }) => [kind, sessions]), [[0, [1]], [1, [1]], [2, [1]]])
  state.isUp = false
  t.equal(deliveries.pushToSession('a', 1, 'onText', 'hi', 'json'), false)
  t.strictSame(await deliveries.kickUids(['bob'], undefined, false), { delivered: [], notConnected: [], unknown: ['bob'] })
})

t.test('a client that cannot be told does not keep the others from being told', async (t) => {
  const { receivePush, core, lines } = await setUp()
  const [one, two] = [core.connect(), core.connect()]
  one.client.send = () => { throw new TypeError('mine') }
  receivePush({ sessions: [one.session.id, two.session.id] })
  t.equal(two.client.frames.length, 1)
  t.equal(lines.length, 1)
})

t.test('once closed it hears no more', async (t) => {
  const { deliveries, receivePush, core } = await setUp()
  const { session, client } = core.connect()
  deliveries.close()
  deliveries.close()
  receivePush({ sessions: [session.id] })
  t.equal(client.frames.length, 0)
})

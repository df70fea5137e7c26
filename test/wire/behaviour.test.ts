import t from 'tap'
import { inflateSync } from 'node:zlib'
import { Type } from '@sinclair/typebox'
import { PacketType } from '../../lib/protocol/packet.ts'
import { createMessageView, decodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { defineHandlers, notify, PitayaError, raw, request } from '../../lib/handler/define.ts'
import type { RawClient, Received } from '../helpers/app.ts'
import { Lateness } from '../helpers/lateness.ts'
import { serve, tcpClient, type Served } from '../helpers/wire.ts'
import { readPackets } from '../helpers/packets.ts'
import { fromHex, readVectors } from '../helpers/vectors.ts'

// What a live Pitaya (Go) did, replayed against this server. Everything that differs on purpose is in `differences`.

interface Step { sendHex: string, received: Array<{ type: string, bodyHex: string }> | null, closedAfter: boolean }
interface Recording { name: string, steps?: Step[], first?: { hex: string }, second?: { hex: string }, sendHex?: string }

const { vectors } = readVectors<{ vectors: Recording[] }>('behaviour.json')
const recording = (name: string): Recording => vectors.find((vector) => vector.name === name)!

/** One packet, as it is compared: messages and handshake answers inflated, since encoders differ. */
type Seen = readonly [kind: string, ...rest: unknown[]]
interface Outcome { readonly seen: readonly Seen[], readonly closed?: string }

const SYS = { dict: { 'note.done': 2, 'room.echo': 1 }, heartbeat: 1, serializer: 'json' }
const answered = (id: number, code: string, msg: string, metadata?: object): Outcome =>
  ({ seen: [['response', id, 'error', JSON.stringify({ code, msg, metadata })]] })
const refused = (code: string, msg: string): Outcome =>
  ({ seen: [['handshake', JSON.stringify({ code: 400, sys: SYS, error: { code, msg } })]], closed: 'handshakeRejected' })
const badPacket: Outcome = { seen: [], closed: 'badPacket' }

/** By recording and step (from 0): what this server does instead, and why. Steps after a close are not sent. */
const differences: Record<string, Record<number, { why: string, instead: Outcome }>> = {
  'ack-without-handshake': { 0: { why: 'validators must not be skipped', instead: badPacket } },
  'second-handshake-resets-state': { 2: { why: 'a second handshake is refused', instead: badPacket } },
  'push-from-client': { 2: { why: 'clients do not push', instead: badPacket } },
  'handshake-bad-json': { 0: { why: 'refusals say why', instead: refused('PIT-400', 'handshake: the body is not acceptable JSON') } },
  'handshake-empty-body': { 0: { why: 'refusals say why', instead: refused('PIT-400', 'handshake: the body is not acceptable JSON') } },
  'handshake-refused-by-validator': { 0: { why: 'refusals say why', instead: refused('GAME-426', 'not on this platform') } },
  'other-server-type-standalone': { 2: { why: 'always answered', instead: answered(9, 'PIT-503', 'no servers available of this type') } },
  'request-id-0': {
    2: { why: 'always answered', instead: answered(0, 'PIT-400', 'request id 0 can not be answered') },
    3: { why: 'always answered', instead: answered(0, 'PIT-400', 'request id 0 can not be answered') }
  },
  'json-arg-wrong-type': { 2: { why: "the decoder's own text", instead: answered(2, 'PIT-400', 'body/name must be string', { field: '/name' }) } },
  'handler-plain-error': { 2: { why: 'texts of other errors are not public', instead: answered(2, 'PIT-500', 'internal error') } },
  'handler-panic-string': { 2: { why: 'texts of other errors are not public', instead: answered(2, 'PIT-500', 'internal error') } },
  'handler-panic-error': { 2: { why: 'texts of other errors are not public', instead: answered(2, 'PIT-500', 'internal error') } },
  'handler-reply-not-serializable': { 2: { why: 'an error has the error bit', instead: answered(2, 'PIT-500', 'the answer could not be encoded') } },
  'bind-empty-uid': { 2: { why: 'the caller can tell what went wrong', instead: answered(2, 'PIT-400', 'illegal uid') } },
  'bind-twice': { 3: { why: 'the caller can tell what went wrong', instead: answered(3, 'PIT-409', 'session is already bound to an uid') } }
}

const Msg = Type.Object({ msg: Type.String() })
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
const bytes = (text: string): Uint8Array => Buffer.from(text)
const pushes = { 'note.done': raw, first: raw, second: Msg }

const room = defineHandlers('room', { pushes }, {
  echo: request({ body: raw, response: raw }, (body) => body),
  hello: request({ body: Type.Object({ name: Type.String() }), response: Msg }, ({ name }) => ({ msg: `hello ${name}` })),
  noarg: request({ response: Msg }, () => ({ msg: 'noarg' })),
  big: request({ response: Msg }, () => JSON.parse(text(inflatedReply('big-reply-compressed', 2)))),
  fail: request({ response: Msg }, () => { throw new Error('boom') }),
  failcode: request({ response: Msg }, () => { throw new PitayaError('GAME-001', 'no gold', { need: '5' }) }),
  nilrep: request({ response: Msg }, () => null as never),
  panicstr: request({ response: Msg }, () => Promise.reject('oh no')), // eslint-disable-line prefer-promise-reject-errors
  panicerr: request({ response: Msg }, async () => { throw new TypeError('oh err') }),
  note: notify({ body: raw }, (body, { session }) => { session.push('note.done', body) }),
  notepanic: notify(() => { throw new Error('oh no') }),
  pushes: request({ response: raw }, (_, { session }) => {
    session.push('first', bytes('1'))
    session.push('second', { msg: '2' })
    return bytes('done')
  }),
  bind: request({ body: raw, response: raw }, async (uid, { session }) => {
    await session.bind(text(uid))
    return bytes('bound')
  }),
  kickme: request({ response: raw }, (_, { session }) => {
    session.kick()
    return bytes('lost')
  }),
  data: request({ response: Type.Object({ ipversion: Type.String() }) }, (_, { session }) => ({ ipversion: session.ipVersion })),
  unserial: request({ response: Msg }, () => ({ msg: 1n as unknown as string }))
})

function lobby (t: Parameters<typeof serve>[0]): Promise<Served> {
  const platform = ({ sys }: { sys: { platform?: string } }): void => {
    if (sys.platform === 'blackberry') throw new PitayaError('GAME-426', 'not on this platform')
  }
  return serve(t, {
    serializers: ['json'],
    dictionary: { 'room.echo': 1, 'note.done': 2 },
    compression: { minBytes: 1 },
    heartbeatSeconds: 1,
    handshake: { validators: { platform } },
    handlers: [room]
  })
}

function inflatedReply (name: string, step: number): Uint8Array {
  const body = fromHex(recording(name).steps![step]!.received![0]!.bodyHex)
  return inflateSync(body.subarray(2))
}

const packetNames = Object.fromEntries(Object.entries(PacketType).map(([name, type]) => [type, name]))
const messageNames = Object.fromEntries(Object.entries(MessageType).map(([name, type]) => [type, name]))

function see ({ type, body }: { type: PacketType, body: Uint8Array }): Seen {
  const kind = packetNames[type]!
  if (type === PacketType.handshake) return [kind, text(body[0] === 0x78 ? inflateSync(body) : body)]
  if (type !== PacketType.data) return [kind, text(body)]
  const view = createMessageView()
  decodeMessage(body, 0, body.length, view)
  const data = body.subarray(view.dataStart, view.dataEnd)
  const route = view.routeCode === -1 ? text(body.subarray(view.routeStart, view.routeEnd)) : view.routeCode
  const error = view.isError ? ['error'] : []
  const subject = view.type === MessageType.push ? route : view.id
  return [messageNames[view.type]!, subject, ...error, text(view.isCompressed ? inflateSync(data) : data)]
}

function recorded ({ received, closedAfter }: Step): Outcome {
  const types: Record<string, PacketType> = { Handshake: 1, Data: 4, Kick: 5 }
  const packets = (received ?? []).filter(({ type }) => type in types)
  const seen = packets.map(({ type, bodyHex }) => see({ type: types[type]!, body: fromHex(bodyHex) }))
  if (!closedAfter) return { seen }
  const [kind] = seen.at(-1) ?? []
  return { seen, closed: kind === 'kick' ? 'kicked' : 'badPacket' }
}

const PROBE_ID = 4095

/** Sends a step, and proves that nothing but `expected` comes: what follows is the answer to another request, or the close. */
async function play (client: RawClient, sendHex: string, expected: Outcome, isWorking: boolean): Promise<readonly Seen[]> {
  client.writeHex(sendHex)
  const take = (): Received[] => client.packets.splice(0)
  if (expected.closed !== undefined) {
    await client.closed()
    return take().map(see)
  }
  if (!isWorking) {
    await client.until(() => client.packets.length >= expected.seen.length || client.isClosed, 'the packets of a step')
    return take().map(see)
  }
  client.request(PROBE_ID, 'room.echo', 'probe')
  const isProbe = (seen: Seen): boolean => seen[1] === PROBE_ID
  await client.until(() => client.isClosed || client.packets.some((packet) => isProbe(see(packet))), 'the answer to the probe')
  return take().map(see).filter((seen) => !isProbe(seen))
}

t.test('every recording of a live Pitaya plays the same here, but for the differences listed', async (t) => {
  const served = await lobby(t)
  const used = new Set<object>()
  for (const { name, steps } of vectors) {
    if (steps === undefined) continue
    const client = await tcpClient(served)
    let isWorking = false
    for (const [at, step] of steps.entries()) {
      const difference = differences[name]?.[at]
      if (difference !== undefined) used.add(difference)
      const expected = difference?.instead ?? recorded(step)
      isWorking ||= expected.closed === undefined && step.sendHex.includes('02000000')
      const seen = await play(client, step.sendHex, expected, isWorking)
      t.strictSame(seen, expected.seen, `${name}, step ${at}${difference === undefined ? '' : `: ${difference.why}`}`)
      t.equal(client.isClosed ? served.closed.at(-1)!.reason : undefined, expected.closed, `${name}, step ${at}: close`)
      if (client.isClosed) break
    }
    client.end.destroy()
  }
  t.equal(used.size, Object.values(differences).reduce((sum, steps) => sum + Object.keys(steps).length, 0), 'every difference listed was met')
})

t.test('a client that says nothing gets a beat each interval and is closed after two', async (t) => {
  const served = await lobby(t)
  const client = await tcpClient(served)
  const late = new Lateness(t)
  const start = performance.now()
  await client.closed()
  const ms = performance.now() - start
  t.equal(client.heartbeats, 2)
  t.strictSame(client.packets, [], 'nothing but beats')
  t.equal(served.closed[0]?.code, 4003)
  t.ok(ms >= 1900 && ms < 6000 + late.takeSumMs(), `closed after ${Math.round(ms)} ms`)
})

t.test('a uid bound on a second connection: both are answered as recorded, and the first gets a Kick, which Pitaya does not send', async (t) => {
  const { first: recordedFirst, second: recordedSecond } = recording('same-uid-on-two-connections-standalone')
  const served = await lobby(t)
  const bind = async (): Promise<RawClient> => {
    const client = await tcpClient(served)
    client.packet(PacketType.handshake, '{}')
    client.packet(PacketType.ack)
    client.request(1, 'room.bind', 'u1')
    await client.until(() => client.packets.length === 2 || client.isClosed, 'bound')
    return client
  }
  const first = await bind()
  const second = await bind()
  await first.closed()
  const asRecorded = (hex: string): Seen[] => readPackets([fromHex(hex)]).map(see)
  t.strictSame(first.packets.map(see), [...asRecorded(recordedFirst!.hex), ['kick', '']])
  t.strictSame(second.packets.map(see), asRecorded(recordedSecond!.hex))
  t.strictSame(served.closed.map(({ code }) => code), [4501])
  second.request(2, 'room.echo', '"still open"')
  await second.until(() => second.packets.length === 3, 'an answer')
  second.close()
})

t.test('a request that ends after its id closes its connection; it took down the process of a Pitaya', async (t) => {
  const served = await lobby(t)
  const client = await tcpClient(served)
  client.packet(PacketType.handshake, '{}')
  client.packet(PacketType.ack)
  client.writeHex(recording('request-that-ends-after-its-id').sendHex!)
  await client.closed()
  t.strictSame(client.packets.map(({ type }) => type), [PacketType.handshake])
  t.strictSame(served.closed.map(({ code }) => code), [4500])
})

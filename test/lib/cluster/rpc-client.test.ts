import t from 'tap'
import { channels } from '../../../lib/channels.ts'
import { createAvroEnvelope } from '../../../lib/cluster/envelopes/avro.ts'
import { RpcType, type ResponseEnvelope } from '../../../lib/cluster/envelopes/envelope.ts'
import { Subjects } from '../../../lib/cluster/names.ts'
import { RpcClient, type PendingCall, type RpcClientOptions, type RpcRequest } from '../../../lib/cluster/rpc-client.ts'
import type { OnMessage, Transport } from '../../../lib/cluster/transports/transport.ts'
import { createError, type PitayaError } from '../../../lib/errors.ts'
import type { Logger } from '../../../lib/handler/types.ts'
import { fuzzSeed, Random } from '../../helpers/fuzz.ts'

const CALLS = 100_000

const envelope = createAvroEnvelope()
const request: RpcRequest = {
  type: RpcType.user, route: 'match.create', isNotify: false, remainingMs: 5000, frontend: '', session: undefined, context: undefined
}
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const response = (text: string): Uint8Array => new Uint8Array(envelope.encodeResponse(bytes(text), false))

interface Sent { subject: string, data: Uint8Array, reply: string | undefined }

/** Keeps what is sent, and answers when it is told to: the carrier's every mood. */
class FakeTransport implements Transport {
  readonly name = 'fake'
  readonly maxBytes = 1024
  readonly sent: Sent[] = []
  readonly subscriptions = new Map<string, OnMessage>()
  isUp = true

  async open (): Promise<void> {}
  async flush (): Promise<void> {}
  async close (): Promise<void> {}

  publish (subject: string, data: Uint8Array, reply?: string): boolean {
    if (data.length > this.maxBytes) throw createError('PIT_ERR_RPC_SIZE', [this.maxBytes])
    if (this.isUp) this.sent.push({ subject, data: new Uint8Array(data), reply })
    return this.isUp
  }

  subscribe (subject: string, onMessage: OnMessage): () => void {
    this.subscriptions.set(subject, onMessage)
    return () => { this.subscriptions.delete(subject) }
  }

  /** Hands in an answer, or that there is no subscriber. */
  answer (subject: string, data: Uint8Array | undefined): void {
    this.subscriptions.get(subject.replace(/[^.]*$/, '*'))?.(data, subject, '')
  }
}

/** Notes how a call ended, every time. */
class Call implements PendingCall {
  readonly outcomes: string[] = []
  onEnd: (() => void) | undefined

  onReply ({ data }: ResponseEnvelope): void {
    this.outcomes.push(Buffer.from(data).toString())
    this.onEnd?.()
  }

  onFail ({ code }: PitayaError): void {
    this.outcomes.push(code)
    this.onEnd?.()
  }
}

let servers = 0

interface Opened { client: RpcClient, transport: FakeTransport, serverId: string, lines: object[] }

function open (options: Partial<RpcClientOptions> = {}): Opened {
  const transport = new FakeTransport()
  const lines: object[] = []
  const noted = (fields: object | string): void => { lines.push(Object(fields)) }
  const log: Logger = { trace: noted, debug: noted, info: noted, warn: noted, error: noted, fatal: noted, child: () => log }
  const serverId = `server-${++servers}`
  const client = new RpcClient({ transport, envelope, subjects: new Subjects('test'), serverId, incarnation: 'i1', log, ...options })
  client.open()
  return { client, transport, serverId, lines }
}

function call (client: RpcClient, target: string, pending: PendingCall, data = bytes('{}')): number {
  return client.call(target, request, data, 0, data.length, pending)
}

/** Counts what a channel tells of one server. */
function count (t: { teardown (end: () => void): void }, name: 'rpcLate' | 'decodeError', serverId: string): () => number {
  let counted = 0
  const onPublish = (payload: { serverId: string }): void => { if (payload.serverId === serverId) counted++ }
  channels[name].subscribe(onPublish)
  t.teardown(() => channels[name].unsubscribe(onPublish))
  return () => counted
}

t.test('a request is sent to its server, and its answer reaches who called', async (t) => {
  const { client, transport, serverId } = open()
  const first = new Call()
  const second = new Call()
  t.equal(client.call('game-1', request, bytes('__{"a":1}__'), 2, 9, first), 1)
  t.equal(call(client, 'game-2', second), 2)
  t.equal(client.pending, 2)

  const [one, two] = transport.sent
  t.equal(one!.subject, 'test.rpc.game-1')
  t.equal(one!.reply, `test.inbox.${serverId}.i1.1`)
  const read = envelope.decodeRequest(one!.data)
  t.match(read, { type: RpcType.user, route: 'match.create', isNotify: false, remainingMs: 5000, caller: serverId, callerIncarnation: 'i1', frontend: '' })
  t.equal(Buffer.from(read.data).toString(), '{"a":1}')

  transport.answer(two!.reply!, response('two'))
  transport.answer(one!.reply!, response('one'))
  t.strictSame([first.outcomes, second.outcomes, client.pending], [['one'], ['two'], 0])
})

t.test('requests leave in the order of their calls', async (t) => {
  const { client, transport } = open()
  const order: number[] = []
  for (let i = 0; i < 100; i++) call(client, 'game-1', new Call(), Uint8Array.of(i))
  for (const { data } of transport.sent) order.push(envelope.decodeRequest(data).data[0]!)
  t.strictSame(order, Array.from({ length: 100 }, (_, i) => i))
})

t.test('a notify carries no address for an answer, and nobody waits for it', async (t) => {
  const { client, transport } = open()
  t.equal(client.notify('game-1', { ...request, isNotify: true }, bytes('{}'), 0, 2), true)
  t.equal(transport.sent[0]!.reply, undefined)
  t.equal(envelope.decodeRequest(transport.sent[0]!.data).isNotify, true)
  t.equal(client.pending, 0)
  transport.isUp = false
  t.equal(client.notify('game-1', request, bytes('{}'), 0, 2), false)
})

t.test('what cannot be sent fails at once, and uses no place', async (t) => {
  const { client, transport } = open({ maxPending: 2 })
  const large = new Call()
  t.equal(call(client, 'game-1', large, new Uint8Array(2000)), -1)
  const context = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`k${i}`, 'v']))
  const overloaded = new Call()
  t.equal(client.call('game-1', { ...request, context }, bytes(''), 0, 0, overloaded), -1)
  t.strictSame([large.outcomes, overloaded.outcomes, client.pending], [['PIT_ERR_RPC_SIZE'], ['PIT_ERR_RPC'], 0])
  t.throws(() => client.notify('game-1', request, new Uint8Array(2000), 0, 2000), { code: 'PIT_ERR_RPC_SIZE' })

  const waiting = [new Call(), new Call()]
  const ids = waiting.map((pending) => call(client, 'game-1', pending))
  const refused = new Call()
  t.equal(call(client, 'game-1', refused), -1)
  t.strictSame(refused.outcomes, ['PIT_ERR_RPC_PENDING'])
  client.cancel(ids[0]!)
  t.ok(call(client, 'game-1', new Call()) > ids[1]!, 'a place is free again, its number is new')

  client.failAll()
  transport.isUp = false
  const down = new Call()
  t.equal(call(client, 'game-1', down), -1)
  t.strictSame(down.outcomes, ['PIT_ERR_CLUSTER_DOWN'])
})

t.test('where nobody listens the call fails as not executed', async (t) => {
  const { client, transport } = open()
  const pending = new Call()
  call(client, 'game-1', pending)
  transport.answer(transport.sent[0]!.reply!, undefined)
  t.strictSame([pending.outcomes, client.pending], [['PIT_ERR_SERVER_UNKNOWN'], 0])
})

t.test('once nobody listens at a server, what it was sent before is lost, and what it was sent after is refused in its turn', async (t) => {
  const { client, transport } = open()
  const [before, elsewhere, at, after] = [new Call(), new Call(), new Call(), new Call()]
  call(client, 'game-1', before)
  call(client, 'game-2', elsewhere)
  call(client, 'game-1', at)
  call(client, 'game-1', after)
  transport.answer(transport.sent[2]!.reply!, undefined)
  t.strictSame([before, elsewhere, at, after].map(({ outcomes }) => outcomes), [['PIT_ERR_SERVER_LOST'], [], ['PIT_ERR_SERVER_UNKNOWN'], []])
  transport.answer(transport.sent[3]!.reply!, undefined)
  t.strictSame(after.outcomes, ['PIT_ERR_SERVER_UNKNOWN'])
  t.equal(client.pending, 1)
})

t.test('answers to nobody are dropped and counted, never matched to another call', async (t) => {
  const { client, transport, serverId } = open()
  const late = count(t, 'rpcLate', serverId)
  const cancelled = new Call()
  const pending = new Call()
  const inbox = `test.inbox.${serverId}.i1`
  client.cancel(call(client, 'game-1', cancelled))
  client.cancel(77)
  const id = call(client, 'game-1', pending)
  const strange = ['1', '0', '3', '-2', '+2', '02', ' 2', '2 ', '2e0', '0x2', '', 'NaN', '\u0662', '2\u0000', '18446744073709551618', '9007199254740993', '9'.repeat(400)]
  for (const number of strange) transport.answer(`${inbox}.${number}`, response('wrong'))
  t.strictSame([cancelled.outcomes, pending.outcomes, late()], [[], [], strange.length])
  transport.answer(`${inbox}.${id}`, response('right'))
  transport.answer(`${inbox}.${id}`, response('again'))
  t.strictSame([pending.outcomes, late()], [['right'], strange.length + 1])
})

t.test('an answer that cannot be read fails its call, is counted, and logged in short', async (t) => {
  const { client, transport, serverId, lines } = open()
  const errors = count(t, 'decodeError', serverId)
  const bad = [new Uint8Array(0), bytes('{}'), response('x').subarray(0, 3), new Uint8Array(1000).fill(0xab)]
  for (const data of bad) {
    const pending = new Call()
    const id = call(client, 'game-1', pending)
    transport.answer(`test.inbox.${serverId}.i1.${id}`, data)
    t.strictSame(pending.outcomes, ['PIT_ERR_RPC'])
  }
  t.strictSame([client.pending, errors()], [0, bad.length])
  t.match(lines.at(-1), { peer: 'game-1', code: 'PIT_ERR_RPC', hex: 'ab'.repeat(64) })
})

t.test('when a server is lost its calls fail, and nobody else\'s', async (t) => {
  const { client, transport } = open()
  const lost = [new Call(), new Call()]
  const other = new Call()
  call(client, 'game-1', lost[0]!)
  call(client, 'game-2', other)
  call(client, 'game-1', lost[1]!)
  client.failPeer('game-3')
  t.equal(client.pending, 3)
  client.failPeer('game-1')
  t.strictSame([...lost, other].map(({ outcomes }) => outcomes), [['PIT_ERR_SERVER_LOST'], ['PIT_ERR_SERVER_LOST'], []])
  transport.answer(transport.sent[0]!.reply!, response('too late'))
  transport.answer(transport.sent[1]!.reply!, response('in time'))
  t.strictSame([lost[0]!.outcomes, other.outcomes, client.pending], [['PIT_ERR_SERVER_LOST'], ['in time'], 0])
})

t.test('who is told of a loss may cancel others and call anew', async (t) => {
  const { client } = open()
  const first = new Call()
  const second = new Call()
  const retry = new Call()
  call(client, 'game-1', first)
  const id = call(client, 'game-1', second)
  first.onEnd = () => {
    client.cancel(id)
    call(client, 'game-1', retry)
  }
  client.failAll()
  t.strictSame([first.outcomes, second.outcomes, retry.outcomes, client.pending], [['PIT_ERR_SERVER_LOST'], [], [], 1])
})

t.test('closing fails what is in flight, and refuses what follows', async (t) => {
  const { client, transport } = open()
  const pending = new Call()
  const after = new Call()
  pending.onEnd = () => { call(client, 'game-1', after) }
  call(client, 'game-1', pending)
  client.close()
  client.close()
  t.strictSame([pending.outcomes, after.outcomes, client.pending, transport.subscriptions.size], [['PIT_ERR_SERVER_LOST'], ['PIT_ERR_CLUSTER_DOWN'], 0, 0])
  t.equal(client.notify('game-1', request, bytes(''), 0, 0), false)
})

t.test(`of ${CALLS} calls cancelled, answered twice or lost with their server, each ends once and none stays`, async (t) => {
  const seed = fuzzSeed()
  const random = new Random(seed)
  const { client, transport, serverId } = open({ maxPending: 2000 })
  const late = count(t, 'rpcLate', serverId)
  const answer = response('ok')
  const inFlight: Array<{ id: number, pending: Call }> = []
  const ended: Array<{ pending: Call, expected: string }> = []
  const wrong: string[] = []
  let lateExpected = 0

  function begin (): void {
    const number = inFlight.length + ended.length + 1
    const pending = new Call()
    // A third has a server of its own, so that its loss takes nobody else along.
    const id = call(client, number % 3 === 0 ? `game-${number}` : 'game', pending)
    if (id !== number) wrong.push(`${number} became ${id}`)
    inFlight.push({ id, pending })
    transport.sent.length = 0
  }

  function end (): void {
    const at = random.int(inFlight.length)
    const { id, pending } = inFlight[at]!
    inFlight[at] = inFlight.at(-1)!
    inFlight.pop()
    const reply = `test.inbox.${serverId}.i1.${id}`
    if (id % 3 === 0) client.failPeer(`game-${id}`)
    else if (id % 3 === 1) client.cancel(id)
    else transport.answer(reply, answer)
    transport.answer(reply, answer)
    lateExpected++
    ended.push({ pending, expected: ['PIT_ERR_SERVER_LOST', '', 'ok'][id % 3]! })
  }

  for (let step = 0; ended.length < CALLS; step++) {
    const left = CALLS - ended.length - inFlight.length
    if (left > 0 && (inFlight.length === 0 || (inFlight.length < 500 && random.int(2) === 0))) begin()
    else end()
    if (client.pending !== inFlight.length) wrong.push(`step ${step}: ${client.pending} pending, ${inFlight.length} in flight`)
  }
  for (const { pending, expected } of ended) if (pending.outcomes.join() !== expected) wrong.push(`${pending.outcomes.join()}, not ${expected}`)
  t.strictSame(wrong.slice(0, 5), [], `SEED=${seed}`)
  t.strictSame([client.pending, transport.subscriptions.size, late()], [0, 1, lateExpected])
})

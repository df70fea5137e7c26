import { connect, type NatsConnection } from 'nats'
import t from 'tap'
import { createAvroEnvelope } from '../../lib/cluster/envelopes/avro.ts'
import { PushKind, RpcType } from '../../lib/cluster/envelopes/envelope.ts'
import { Subjects } from '../../lib/cluster/names.ts'
import { fuzzSeed, Mutator, Random } from '../helpers/fuzz.ts'
import { natsTest } from '../helpers/nats.ts'
import { eventually, Fleet, QUIET_LEASE_MS } from './fleet.ts'
import { connectPlayers, Load, spread } from './players.ts'

const MESSAGES = 10_000
const BATCH = 200
const LARGE = 20
const PLAYERS = 10
const PER_SECOND = 100
/** Messages per second on the subjects of a fleet that nobody calls: renewals have subjects of their own. */
const QUIET_MS = 300
const EMPTY = new Uint8Array(0)

t.test('ten thousand hostile messages between servers: all live on, clients notice nothing', natsTest, async (t) => {
  const fleet = await Fleet.start(t, { leaseMs: QUIET_LEASE_MS })
  const { ledger } = fleet
  const servers = await Promise.all([fleet.frontend(), fleet.backend()])
  const [frontend, backend] = servers
  await fleet.met(servers)
  const players = await connectPlayers(t, ledger, [frontend.tcpPort], PLAYERS)
  await players[0]!.ask('chat.fault.join', { uid: 'ana' })
  const intruder = await connect({ servers: fleet.nats.url })
  t.teardown(() => intruder.close())
  const subjects = new Subjects('pitaya')
  const targets = [subjects.rpc(frontend.id), subjects.rpc(backend.id), subjects.push(frontend.id)]

  const seed = fuzzSeed()
  const random = new Random(seed)
  const mutator = new Mutator(random, envelopes(), { maxBytes: 8192 })
  let answers = 0
  intruder.subscribe('intruder.*', { callback: () => { answers++ } })
  const seen = { count: 0 }
  for (const subject of targets) intruder.subscribe(subject, { callback: () => { seen.count++ } })
  await intruder.flush()

  const load = new Load(ledger, PER_SECOND, (n) => { players[n % PLAYERS]!.request(n % 4 === 0 ? 'local.ping' : 'chat.fault.echo') })
  let withReply = 0
  for (let sent = 0; sent < MESSAGES; sent++) {
    const subject = random.pick(targets)
    const payload = sent < LARGE ? random.bytes(1024 * 1024) : random.int(20) === 0 ? EMPTY : mutator.next()
    const kind = random.int(4)
    // To nobody, to the intruder, to the server itself, to its fellow.
    const reply = [undefined, `intruder.${sent}`, subject, random.pick(targets)][kind]
    if (kind === 1 && subject.includes('.rpc.')) withReply++
    intruder.publish(subject, payload, { reply })
    if (sent % BATCH === 0 || sent < LARGE) await intruder.flush()
  }
  await intruder.flush()
  await eventually(() => answers >= withReply, 'every request with a reply to be answered')
  await quiet(intruder, seen)
  await load.stop()
  await fleet.met(servers)

  const requestMs = ledger.entries.map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  t.comment(`SEED=${seed}: ${MESSAGES} messages (${LARGE} of 1 MiB), ${withReply} asked for an answer and got ${answers}; ` +
    `${ledger.entries.length} requests of clients meanwhile in ${spread(requestMs)}, ${seen.count} messages on the subjects in all`)
  t.equal(answers, withReply, 'each is answered once, and what asks for no answer gets none')
  t.strictSame([ledger.failed, ledger.twice, ledger.invented], [[], [], []], 'no client notices')
  t.ok(seen.count < 4 * MESSAGES, 'no answer begets another')
  t.ok(players.every(({ isOpen }) => isOpen), 'no client is dropped')
  for (const server of servers) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

/** Well-formed ones, to be spoilt. They name no session and no uid that is connected: who may publish may also kick. */
function envelopes (): Uint8Array[] {
  const envelope = createAvroEnvelope()
  const copy = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)
  const session = envelope.encodeSession({
    id: 4_000_000, uid: 'bob', revision: 1, data: '{"mark":1}', sys: '{}', user: '', serializer: 'json', remoteAddress: '127.0.0.1', contract: ''
  })
  const data = Buffer.from('{"id":1000000000}')
  const request = {
    isNotify: false, remainingMs: 1000, caller: 'intruder', callerIncarnation: 'x', context: { traceparent: '00-1-2-01' }
  }
  const sys = { ...request, type: RpcType.sys, route: 'chat.fault.echo', frontend: 'connector-1', session }
  const user = { ...request, type: RpcType.user, route: 'sys.bind', frontend: '', session: undefined }
  const push = { kind: PushKind.push, caller: 'intruder', hops: 0, route: 'onText', sessions: [], uids: ['bob'], group: '', reason: '' }
  return [
    copy(envelope.encodeRequest(sys, data, 0, data.length)),
    copy(envelope.encodeRequest({ ...sys, isNotify: true, route: 'chat.fault.record' }, data, 0, data.length)),
    copy(envelope.encodeRequest(user, data, 0, data.length)),
    copy(envelope.encodePush({ ...push, payloads: [{ serializer: 'json', data: Buffer.from('"x"') }] })),
    copy(envelope.encodeResponse(data, false))
  ]
}

/** Resolves when nothing more is sent to the servers but what clients cause. */
async function quiet (connection: NatsConnection, seen: { count: number }): Promise<void> {
  await eventually(async () => {
    const before = seen.count
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
    await connection.flush()
    return seen.count - before < PER_SECOND * QUIET_MS / 1000 * 2
  }, 'messages to end')
}

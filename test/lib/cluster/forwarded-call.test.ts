/** A client's message on its way to another server, and everything that may come between. */
import { deflateSync } from 'node:zlib'
import { once } from 'node:events'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { channels } from '../../../lib/channels.ts'
import type { RpcClient } from '../../../lib/cluster/rpc-client.ts'
import { createError, PitayaError } from '../../../lib/errors.ts'
import { defineHandlers, notify, request } from '../../../lib/handler/define.ts'
import { encodeMessage, MessageType } from '../../../lib/protocol/message.ts'
import { PacketType } from '../../../lib/protocol/packet.ts'
import { clusterIn, eventually, workingClient } from '../../helpers/app.ts'
import { clusterOf } from '../../helpers/cluster.ts'

const room = defineHandlers('room', {}, {
  echo: request({ body: Type.String(), response: Type.String() }, (text) => text),
  hang: request({ deadlineMs: 500 }, () => new Promise<void>(() => {})),
  later: request({ response: Type.Integer() }, async (_, { signal }) => { await once(signal, 'abort'); return 1 }),
  tell: notify({ body: Type.String() }, () => {}),
  refuse: request({ response: Type.Integer() }, () => { throw new PitayaError('GAME-1', 'no') })
})
/** Renewals, which clear suspects, are rare. */
const rare = { leaseMs: 10_000 }
const one = { serverId: 'a', serializers: ['json' as const], handlers: [room], closeMs: 300, cluster: rare }

/** A frontend, one backend, and a client of theirs. */
async function setUp (t: Parameters<typeof clusterOf>[0], options: Parameters<ReturnType<typeof clusterOf>['frontend']>[0] = {}) {
  const cluster = clusterOf(t)
  const back = await cluster.backend(one)
  const lines: any[] = []
  const front = await cluster.frontend({
    serializers: ['json'],
    cluster: rare,
    fastify: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } },
    ...options
  })
  const { parts } = clusterIn(front)
  const outcomes: string[] = []
  const onForwarded = ({ serverId, route, code }: any): void => { if (serverId === front.pitaya.serverId) outcomes.push(`${route} ${code}`) }
  channels.forwarded.subscribe(onForwarded)
  t.teardown(() => channels.forwarded.unsubscribe(onForwarded))
  return { ...cluster, back, front, lines, parts, outcomes, client: await workingClient(front) }
}

function answering (rpc: RpcClient, answer: (call: Parameters<RpcClient['call']>[5]) => void): void {
  rpc.call = (...args) => {
    setImmediate(() => answer(args[5]))
    return 1
  }
}

t.test('a server that turns out not to listen is asked no more, and another gets the call', async (t) => {
  const { backend, back, front, client, parts } = await setUp(t, { setUp: (app) => { app.pitaya.route('chat', (servers) => servers[0]) } })
  await backend({ ...one, serverId: 'b' })
  clusterIn(back).parts.server.close()
  for (let id = 1; id <= 3; id++) {
    client.request(id, 'chat.room.echo', '"hi"')
    t.equal(await client.answer(id), 'hi')
    t.equal(parts.router.isSuspect('a'), true)
  }
  t.match(front.pitaya.stats, { running: 0, waiting: 0, pending: 0 })
})

t.test('without another one the client is told, and what waits for a place there too', async (t) => {
  const { back, front, client } = await setUp(t, { concurrency: { handler: { dispatch: 4 } } })
  clusterIn(back).parts.server.close()
  const clients = [client, ...await Promise.all(Array.from({ length: 9 }, () => workingClient(front)))]
  for (const client of clients) client.request(1, 'chat.room.echo', '"hi"')
  for (const client of clients) t.match(await client.answer(1), { code: 'PIT-503' })
  t.match(front.pitaya.stats, { running: 0, waiting: 0, pending: 0 })
})

t.test('what goes wrong between servers is PIT-500 for the client, without a word of how they write to each other', async (t) => {
  const { client, parts, front, lines, outcomes } = await setUp(t)
  answering(parts.rpc, (call) => call.onFail(createError('PIT_ERR_RPC', ['truncated'])))
  client.request(1, 'chat.room.echo', '"hi"')
  t.strictSame(await client.answer(1), { code: 'PIT-500', msg: 'internal error' })
  parts.rpc.call = () => { throw new TypeError('mine') }
  client.request(2, 'chat.room.echo', '"hi"')
  t.strictSame(await client.answer(2), { code: 'PIT-500', msg: 'internal error' })
  t.match(lines, [{ msg: 'a message could not be forwarded', err: { message: 'mine' } }])
  answering(parts.rpc, (call) => call.onReply({ data: new Uint8Array(0xffffff), isError: false, error: undefined }))
  client.request(3, 'chat.room.echo', '"hi"')
  t.match(await client.answer(3), { code: 'PIT-500', msg: 'the answer could not be encoded' })
  t.match(front.pitaya.stats, { running: 0, waiting: 0 })
  t.strictSame(outcomes.slice(0, 2), ['chat.room.echo PIT-500', 'chat.room.echo PIT-500'])
})

t.test('at its deadline a request is answered, its server is suspected after three, and what comes late reaches nobody', async (t) => {
  const { client, parts, front, outcomes } = await setUp(t)
  const late: Array<() => void> = []
  parts.rpc.call = (...args) => late.push(() => args[5].onReply({ data: Buffer.from('1'), isError: false, error: undefined }))
  parts.forwarder.learn('chat', [{
    routes: new Map([['room.hang', { kind: 'request', concurrent: false, deadlineMs: 30, ratePerSecond: undefined, schemas: undefined }]])
  }])
  for (let id = 1; id <= 3; id++) {
    client.request(id, 'chat.room.hang')
    t.match(await client.answer(id), { code: 'PIT-504' })
  }
  t.equal(parts.router.isSuspect('a'), true)
  for (const answer of late) answer()
  t.equal(parts.router.isSuspect('a'), false, 'it lives')
  t.match(front.pitaya.stats, { running: 0, waiting: 0, pending: 0 })
  t.strictSame(outcomes, Array(3).fill('chat.room.hang PIT-504'))
  t.equal(client.packets.length, 0)
})

t.test('compressed data are inflated on the way, and what cannot be closes the client', async (t) => {
  const { client, front } = await setUp(t)
  const send = (id: number, data: Uint8Array): void => {
    const bytes = encodeMessage({ type: MessageType.request, id, route: 'chat.room.echo', data })
    bytes[0]! |= 0x10
    client.packet(PacketType.data, bytes)
  }
  const noise = Array.from({ length: 30_000 }, () => Math.random().toString(36).slice(2, 3)).join('')
  for (const [id, text] of ['small', noise].entries()) {
    send(id + 1, deflateSync(JSON.stringify(text)))
    t.equal(await client.answer(id + 1), text)
  }
  send(3, Buffer.from('no zlib'))
  t.equal((await client.closed()).code, 4500)
  await eventually(() => front.pitaya.stats.running === 0, 'its place is given back')
})

t.test('a client that goes before the answer costs nobody a place', async (t) => {
  const { client, front } = await setUp(t)
  client.request(1, 'chat.room.hang')
  client.notify('chat.room.tell', '"x"')
  await eventually(() => front.pitaya.stats.pending === 1, 'it is under way')
  client.close()
  await eventually(() => front.pitaya.stats.sessions === 0, 'it is gone')
  await eventually(() => front.pitaya.stats.running === 0 && front.pitaya.stats.waiting === 0, 'the answer came')
  t.match(front.pitaya.stats, { sessions: 0, running: 0, waiting: 0, pending: 0 })
})

t.test('a notify that fails is dropped and told; a request has the error of its handler', async (t) => {
  const { client, parts, outcomes } = await setUp(t)
  client.request(1, 'chat.room.refuse')
  t.match(await client.answer(1), { code: 'GAME-1' })
  answering(parts.rpc, (call) => call.onFail(createError('PIT_ERR_SERVER_LOST')))
  client.notify('chat.room.tell', '"x"')
  await eventually(() => outcomes.length === 2, 'both are told')
  t.strictSame(outcomes, ['chat.room.refuse failed', 'chat.room.tell PIT-503'])
})

t.test('a routing function that fails or wants no server is answered at once', async (t) => {
  let choose: () => undefined = () => { throw new Error('mine') }
  const { client } = await setUp(t, { setUp: (app) => { app.pitaya.route('chat', () => choose()) } })
  client.request(1, 'chat.room.echo', '"hi"')
  t.match(await client.answer(1), { code: 'PIT-500', msg: 'internal error' })
  choose = () => undefined
  client.request(2, 'chat.room.echo', '"hi"')
  t.match(await client.answer(2), { code: 'PIT-503' })
})

t.test('two types of servers with the same handlers are both known', async (t) => {
  const { front, backend, parts, client } = await setUp(t)
  await backend({ ...one, serverId: 'c', serverType: 'chat2' })
  await eventually(() => front.pitaya.servers.length === 3, 'it is seen')
  await eventually(() => parts.forwarder.lookUp('chat2.room.tell', 'chat2')?.kind === 'notify', 'its contract is known')
  client.request(1, 'chat2.room.tell', '"x"')
  t.match(await client.answer(1), { code: 'PIT-400', msg: 'tried to request a notify route' })
})

import t from 'tap'
import { backoff, comesBack } from '../../client/backoff.ts'
import { connectOver, type Client, type ClientState, type ConnectOptions } from '../../client/client.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { eventually } from '../helpers/app.ts'
import { closeOf, FakeServer, FakeTransport } from './fake-transport.ts'

const SOON = { minMs: 1, maxMs: 2 }

async function started (options: ConnectOptions = {}): Promise<{ server: FakeServer, client: Client, states: ClientState[] }> {
  const server = new FakeServer()
  const client = await connectOver(server.open, { reconnect: SOON, ...options })
  const states: ClientState[] = []
  client.onStateChange((state) => states.push(state))
  return { server, client, states }
}

const becomes = (client: Client, name: ClientState['name']) => eventually(() => client.state.name === name, name)
const names = (states: ClientState[]): string => states.map(({ name }) => name).join(' ')

t.test('a lost connection is made again; who listens goes on listening', async (t) => {
  let asked = 0
  const { server, client, states } = await started({ user: async () => ({ token: ++asked }) })
  const seen: unknown[] = []
  client.on('onText', (text) => seen.push(text))
  const loop = client.pushes('onText')
  server.last.push('onText', '1')
  server.last.end(1006, 'gone')
  await becomes(client, 'waiting')
  t.match(states[0], { name: 'waiting', code: 1006, reason: 'gone' })
  await client.ready()
  server.last.push('onText', '2')
  t.strictSame(seen, [1, 2])
  t.strictSame([(await loop.next()).value, (await loop.next()).value], [1, 2])
  t.strictSame(server.transports.map(({ user }) => user), [{ token: 1 }, { token: 2 }], 'the user is asked at each')
  t.equal(names(states), 'waiting connecting open')
  t.equal(client.closed, undefined)
  client.close()
})

t.test('which close codes bring a client back', async (t) => {
  t.strictSame([1001, 1005, 1006, 1011, 1012, 1013, 1014, 4000, 4001, 4013, 4499].filter((code) => !comesBack(code)), [])
  t.strictSame([1000, 1002, 1003, 1007, 1008, 1009, 1015, 3000, 3999, 4500, 4501, 4504, 4999].filter(comesBack), [])
  for (const [code, reason] of [[1000, 'closed'], [4501, 'replaced by another session'], [1009, '']] as const) {
    const { server, client, states } = await started()
    server.last.end(code, reason)
    t.strictSame(await closeOf(client), { code, reason })
    t.equal(names(states), 'closed')
    await t.rejects(client.ready(), { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: String(code), reason } })
  }
  const { server, client } = await started()
  server.last.answer(PacketType.kick, '')
  server.last.end(1006, '')
  t.strictSame(await closeOf(client), { code: 4504, reason: 'kicked' }, 'a kick without words is one too')
})

t.test('the delay is a random part of one that doubles, and never less than the server asked for', async (t) => {
  const many = (failures: number, retryAfterMs = 0): number[] =>
    Array.from({ length: 300 }, () => backoff(failures, retryAfterMs, { minMs: 100, maxMs: 1000 }))
  for (const [failures, limit] of [[0, 100], [1, 200], [3, 800], [4, 1000], [2000, 1000]] as const) {
    const delays = many(failures)
    t.ok(Math.max(...delays) <= limit && Math.max(...delays) > limit * 0.8 && Math.min(...delays) < limit * 0.2, `${failures} failures`)
  }
  t.ok(Math.min(...many(0, 5000)) >= 5000)
})

t.test('requests in flight at a loss end with an error that says whether they may have been executed', async (t) => {
  for (const [code, executed] of [[1006, undefined], [4001, 'no']] as const) {
    const { server, client } = await started()
    const asked = client.request('a.b')
    server.last.end(code, 'x')
    const error = await asked.catch((error) => error)
    t.equal(error.code, 'PIT_ERR_CLIENT_CLOSED')
    t.strictSame(error.metadata, { code: String(code), reason: 'x', ...executed === undefined ? {} : { executed } })
    client.close()
  }
})

t.test('while there is no connection nothing is sent, and nothing is kept for later', async (t) => {
  const { server, client } = await started()
  client.request('a.b').catch(() => {})
  server.last.end(1006, '')
  await becomes(client, 'waiting')
  await t.rejects(client.request('a.b'), { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { executed: 'no' } })
  t.throws(() => client.notify('a.b'), { code: 'PIT_ERR_CLIENT_CLOSED' })
  await client.ready()
  t.equal(server.last.packets.length, 2, 'handshake and ack')
  const asked = client.request('a.b')
  server.last.reply(1, '"to a request of the other connection"')
  server.last.reply(2, '"to this one"')
  t.equal(await asked, 'to this one')
  client.close()
})

t.test('a refusal ends the client with the server\'s error; a full server is tried again when it says', async (t) => {
  const refused = await started()
  refused.server.greet = () => '{"code":400,"sys":{},"error":{"code":"UPDATE","msg":"too old","metadata":{"url":"x"}}}'
  refused.server.last.end(1012, '')
  const { code, reason, error } = await closeOf(refused.client)
  t.strictSame({ code, reason }, { code: 4503, reason: 'too old' })
  t.match(error, { code: 'UPDATE', metadata: { url: 'x' } })
  await t.rejects(refused.client.ready(), { code: 'UPDATE' })

  const full = await started()
  full.server.greet = () => '{"code":503,"sys":{},"error":{"code":"PIT-503","msg":"server is full"},"retryAfterMs":60000}'
  full.server.last.end(1006, '')
  await eventually(() => full.states.some((state) => state.name === 'waiting' && state.retryMs >= 60_000), 'the long wait')
  t.match(full.client.state, { name: 'waiting', code: 4008, reason: 'server is full' })
  full.client.close()
})

t.test('a number of failed attempts can be set; without the option the first loss is the end', async (t) => {
  const { server, client, states } = await started({ reconnect: { ...SOON, attempts: 3 } })
  server.greet = () => { server.last.end(1006, ''); return undefined }
  server.last.end(1006, '')
  t.equal((await closeOf(client)).code, 1006)
  t.equal(server.transports.length, 4)
  t.equal(names(states), 'waiting connecting waiting connecting waiting connecting closed')
  const once = await started({ reconnect: false })
  once.server.last.end(1006, '')
  await closeOf(once.client)
  t.equal(once.server.transports.length, 1)
})

t.test('close() ends it in every state, and leaves no timer', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const waiting = await started({ reconnect: { minMs: 60_000 } })
  waiting.server.last.end(1006, '')
  await becomes(waiting.client, 'waiting')
  waiting.client.close()
  t.strictSame(waiting.client.closed, { code: 1000, reason: 'closed by the client' })
  const connecting = await started()
  connecting.server.greet = () => undefined
  connecting.server.last.end(1006, '')
  await becomes(connecting.client, 'connecting')
  const ready = connecting.client.ready()
  connecting.client.close()
  await t.rejects(ready, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '1000' } })
  t.equal(connecting.server.last.isClosed, true)
  const open = await started()
  const asked = open.client.request('a.b')
  open.client.onStateChange(({ name }) => { if (name === 'closed') open.client.close() })
  open.client.close()
  await t.rejects(asked, { code: 'PIT_ERR_CLIENT_CLOSED' })
  t.equal(names(open.states), 'closed')
  t.equal(timers(), before)
})

t.test('a signal ends connecting, and the client', async (t) => {
  const server = new FakeServer()
  server.greet = () => undefined
  const controller = new AbortController()
  const connecting = connectOver(server.open, { signal: controller.signal })
  controller.abort(new Error('changed my mind'))
  await t.rejects(connecting, { message: 'changed my mind' })
  t.equal(server.last.isClosed, true)
  await t.rejects(connectOver(server.open, { signal: controller.signal }), { message: 'changed my mind' })
  t.equal(server.transports.length, 1, 'not even opened')
  const later = new AbortController()
  const { client } = await started({ signal: later.signal })
  later.abort()
  t.strictSame(client.closed, { code: 1000, reason: 'closed by the client' })
})

t.test('a transport that opens when nobody waits any more is closed', async (t) => {
  const transport = new FakeTransport()
  let open: (transport: FakeTransport) => void = () => {}
  let isAborted = false
  const connecting = connectOver((signal) => new Promise<FakeTransport>((resolve) => {
    open = resolve
    signal.addEventListener('abort', () => { isAborted = true })
  }), { connectMs: 5 })
  await t.rejects(connecting, { code: 'PIT_ERR_CLIENT_TIMEOUT' })
  t.equal(isAborted, true)
  open(transport)
  await eventually(() => transport.isClosed, 'the close')
  t.equal(transport.sent.length, 0)
})

t.test('a user that cannot be had is a failed attempt: the first rejects, later ones are tried again', async (t) => {
  let fails = 0
  const user = () => { if (fails-- > 0) throw new Error('no token'); return 'token' }
  const { server, client } = await started({ user })
  fails = 2
  server.last.end(1006, '')
  await becomes(client, 'waiting')
  await client.ready()
  t.strictSame(server.transports.map(({ user }) => user), ['token', 'token'])
  client.close()
  fails = 1
  await t.rejects(connectOver(new FakeServer().open, { user }), { message: 'no token' })
  await t.rejects(connectOver(new FakeServer().open, { user: async () => { throw new Error('no network') } }), { message: 'no network' })
  await t.rejects(connectOver(new FakeServer().open, { user: () => new Promise(() => {}), connectMs: 5 }), { code: 'PIT_ERR_CLIENT_TIMEOUT' })
})

t.test('a server that is silent is left at once, not when its goodbye comes', async (t) => {
  const { server, client, states } = await started()
  server.greet = () => '{"code":200,"sys":{"heartbeat":0.01,"dict":{},"serializer":"json"}}'
  server.last.end(1006, '')
  await becomes(client, 'waiting')
  await client.ready()
  server.last.end = () => {}
  const asked = client.request('a.b')
  const keepsTheTest = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(keepsTheTest))
  await t.rejects(asked, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '1006', reason: 'the server is silent' } })
  t.match(states.at(-1), { name: 'waiting', reason: 'the server is silent' })
  client.close()
})

t.test('a server that speaks another serializer is left for good', async (t) => {
  const server = new FakeServer()
  server.greet = () => '{"code":200,"sys":{"serializer":"protobuf"}}'
  await t.rejects(connectOver(server.open), { code: 'PIT_ERR_HANDSHAKE', message: 'handshake: the server speaks protobuf' })
})

t.test('a server cannot make up the state of its client, nor have it hurry', async (t) => {
  const server = new FakeServer()
  const client = await connectOver(server.open, { reconnect: SOON })
  const states: string[] = []
  client.onStateChange(({ name }) => { states.push(name) })
  server.greet = () => '{"code":503,"sys":{},"error":{"code":"PIT-503","msg":"full"},"retryAfterMs":1e12}'
  server.last.answer(PacketType.kick, '{"name":"closed","code":4001,"reason":7,"retryMs":1}')
  server.last.end(4001, '')
  await new Promise<void>((resolve) => { client.onStateChange((state) => { if (state.name === 'waiting' && state.retryMs > 1e9) resolve() }) })
  t.match(states, ['waiting', 'connecting', 'waiting'])
  t.match(client.state, { name: 'waiting', code: 4008, retryMs: 2 ** 31 - 1 })
  t.equal(server.transports.length, 2)
  const closed = closeOf(client)
  client.close()
  t.match(await closed, { code: 1000 })
})

t.test('times beyond what timers take are taken for the longest they take', async (t) => {
  const server = new FakeServer()
  server.greet = () => '{"code":200,"sys":{"heartbeat":1e12}}'
  const client = await connectOver(server.open, { connectMs: Infinity, timeoutMs: Infinity })
  const asked = client.request('a.b')
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(client.state.name, 'open')
  server.last.reply(1, '1')
  t.equal(await asked, 1)
  client.close()
})

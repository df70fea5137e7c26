import t from 'tap'
import { WebSocket } from 'ws'
import { connect, type CloseInfo, type WebSocketConstructor } from '../../client/client.ts'
import { runServer, startServer } from '../helpers/child.ts'
import { natsTest, startNats } from '../helpers/nats.ts'

// Processes for each test; tap's own limit is 30 s.
t.setTimeout(240_000)

const BACKEND = { PITAYA_FRONTEND: 'false' }
const CONNECTOR = { PITAYA_SERVER_TYPE: 'connector' }
const options = { WebSocket: WebSocket as unknown as WebSocketConstructor, reconnect: false }
const open = async (url: string) => await connect(url.replace('http', 'ws'), options)
const status = async (url: string): Promise<number> => (await fetch(url)).status

t.test('a connector and a chat server are made of one program by their environment; both leave by SIGTERM with exit code 0', natsTest, async (t) => {
  const { url: NATS_URL } = await startNats(t)
  const backend = await startServer(t, { NATS_URL, ...BACKEND, PITAYA_SERVER_ID: 'chat-1' })
  const connector = await startServer(t, { NATS_URL, ...CONNECTOR })
  t.strictSame([await status(`${backend.url}/readyz`), await status(`${connector.url}/readyz`)], [200, 200])
  t.equal(await status(`${backend.url}/`), 404)
  t.match(await (await fetch(connector.url)).text(), 'data-room="chat.room"')

  const ana = await open(connector.url)
  t.strictSame(await ana.request('chat.room.join', {}), { code: 0, result: 'success' })
  const message = new Promise((resolve) => ana.on('onMessage', resolve))
  ana.notify('chat.room.message', { name: 'ana', content: 'hi' })
  t.strictSame(await message, { name: 'ana', content: 'hi' })
  await t.rejects(ana.request('connector.room.join', {}), { code: 'PIT-404' })

  const left = connector.log('server is gone')
  backend.signal('SIGTERM')
  t.match(await left, { peer: 'chat-1', why: 'left' })
  t.equal(await backend.exited(), 0)
  await t.rejects(ana.request('chat.room.echo', { name: 'a', content: 'b' }), { code: 'PIT-503' })

  const closed = new Promise<CloseInfo>((resolve) => ana.onClose(resolve))
  connector.signal('SIGTERM')
  t.equal((await closed).code, 4001)
  t.equal(await connector.exited(), 0)
  t.strictSame([...backend.stderr, ...connector.stderr], [])
})

t.test('a chat server that clients connect to has the room itself, also in a cluster', natsTest, async (t) => {
  const { url: NATS_URL } = await startNats(t)
  const { url } = await startServer(t, { NATS_URL })
  t.match(await (await fetch(url)).text(), 'data-room="room"')
  const client = await open(url)
  t.strictSame(await client.request('room.join', {}), { code: 0, result: 'success' })
  client.close()
})

t.test('the first signal waits for a call in hand, a second one hurries', natsTest, async (t) => {
  const { url: NATS_URL } = await startNats(t)
  const backend = await startServer(t, { NATS_URL, ...BACKEND })
  const connector = await startServer(t, { NATS_URL, ...CONNECTOR })
  const client = await open(connector.url)
  await client.request('chat.room.echo', { name: 'a', content: 'b' })
  backend.signal('SIGSTOP')
  const failed = t.rejects(client.request('chat.room.echo', { name: 'a', content: 'b' }), { code: 'PIT_ERR_CLIENT_CLOSED' }, 'closed, not answered at its deadline')
  connector.signal('SIGTERM')
  await connector.log('stopping; a second signal hurries')
  connector.signal('SIGTERM')
  t.equal(await connector.exited(), 0)
  await failed
  backend.signal('SIGCONT')
})

t.test('without NATS a server is alive and not ready, goes on with its own routes, and can be stopped', natsTest, async (t) => {
  const nats = await startNats(t)
  const server = await startServer(t, { NATS_URL: nats.url })
  const client = await open(server.url)
  await nats.kill()
  await server.log('the cluster cannot be reached: routes of this server go on, others are answered PIT-503')
  t.strictSame([await status(`${server.url}/healthz`), await status(`${server.url}/readyz`)], [200, 503])
  t.strictSame(await client.request('room.echo', { name: 'a', content: 'b' }), { name: 'a', content: 'b' })
  server.signal('SIGTERM')
  t.equal(await server.exited(), 0)
})

t.test('credentials that are no longer accepted end the server, with exit code 1', natsTest, async (t) => {
  const nats = await startNats(t, { user: 'ana', pass: 'canary' })
  const server = await startServer(t, { NATS_URL: nats.url.replace('//', '//ana:canary@') })
  const client = await open(server.url)
  const closed = new Promise((resolve) => client.onClose(resolve))
  await nats.reload({ user: 'ana', pass: 'changed' })
  await closed
  t.equal(await server.exited(), 1)
  t.ok(server.logs.some(({ level }) => level === 60))
  t.notMatch(server.stdout.join(), /canary/)
})

t.test('a start that fails is one sentence that says what to do, without credentials, and exit code 1', natsTest, async (t) => {
  const plain = await startNats(t)
  const streamless = await startNats(t, { jetStream: false })
  const guarded = await startNats(t, { user: 'ana', pass: 'secret' })
  const gone = await startNats(t)
  await gone.kill()
  await startServer(t, { NATS_URL: plain.url, PITAYA_SERVER_ID: 'taken' })
  const withPassword = (url: string): string => url.replace('//', '//ana:canary@')
  const cases: Array<[Record<string, string>, RegExp]> = [
    [{ NATS_URL: withPassword(gone.url) }, /^The server cannot start: nats-server at 127\.0\.0\.1:\d+ does not answer: start one with "nats-server -js"/],
    [{ NATS_URL: withPassword(guarded.url) }, /^The server cannot start: nats-server at 127\.0\.0\.1:\d+ refuses the credentials: /],
    [{ NATS_URL: streamless.url }, /^The server cannot start: .*JetStream.*"nats-server -js"/],
    [{ NATS_URL: plain.url.replace('nats:', 'tls:') }, /^The server cannot start: nats-server at 127\.0\.0\.1:\d+ speaks no TLS/],
    [{ NATS_URL: plain.url, PITAYA_SERVER_ID: 'taken' }, /^The server cannot start: server id "taken" is held by another living server: /]
  ]
  await Promise.all(cases.map(async ([env, sentence]) => {
    const server = runServer(t, { PORT: '0', TCP_PORT: '0', ...env })
    t.equal(await server.exited(), 1)
    t.strictSame([server.stdout.filter((line) => !line.includes('"level":30')), server.stderr.length], [[], 1])
    t.match(server.stderr[0], sentence)
    t.notMatch(server.stderr[0], /canary/)
  }))
})

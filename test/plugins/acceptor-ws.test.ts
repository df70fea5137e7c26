import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import websocket from '@fastify/websocket'
import { WebSocket } from 'ws'
import acceptorWs, { websocketOptions, type WebSocketAcceptorOptions } from '../../plugins/acceptor-ws.ts'
import { connectStream, connectWebSocket, exchange, StubAgents, turns, WebSocketClient } from '../helpers/acceptors.ts'
import { cpuMs } from '../helpers/lateness.ts'

interface Warning { level: number, msg: string }

/** An app that keeps its warnings. */
function createApp (t: Test, options: object = {}): { app: FastifyInstance, agents: StubAgents, warnings: Warning[] } {
  const warnings: Warning[] = []
  const stream = { write: (line: string) => { warnings.push(JSON.parse(line) as Warning) } }
  const app = Fastify({ logger: { level: 'warn', stream }, ...options }) as FastifyInstance
  const agents = new StubAgents()
  app.register(agents.plugin)
  t.teardown(() => app.close())
  return { app, agents, warnings }
}

async function listen (app: FastifyInstance): Promise<{ url: string, port: number }> {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { url: url.replace('http', 'ws'), port: Number(new URL(url).port) }
}

async function echo (agents: StubAgents, url: string): Promise<WebSocketClient> {
  const client = await connectWebSocket(url)
  const recorder = await agents.next()
  client.send(Buffer.from('hello'))
  await recorder.has(5)
  recorder.send(recorder.data)
  await client.has(5)
  return client
}

function upgrade (path: string, headers: string[] = []): string {
  return [`GET ${path} HTTP/1.1`, 'Host: 127.0.0.1', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', ...headers, '', ''].join('\r\n')
}

async function refusal (url: string, options: object = {}): Promise<{ status: number, headers: Record<string, unknown>, body: string }> {
  const socket = new WebSocket(url, options)
  socket.on('error', () => {})
  const [, response] = await once(socket, 'unexpected-response') as [unknown, IncomingMessage]
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return { status: response.statusCode ?? 0, headers: response.headers, body }
}

t.test('without @fastify/websocket in the host, it is registered with our limits and without a word', async t => {
  const { app, agents, warnings } = createApp(t)
  app.register(acceptorWs, { maxPacketBytes: 1000 })
  const { url } = await listen(app)
  await echo(agents, `${url}/pitaya`)
  t.strictSame(warnings, [])
  const big = await connectWebSocket(`${url}/pitaya`)
  const recorder = await agents.next()
  big.send(Buffer.alloc(1004))
  await recorder.has(1004)
  big.send(Buffer.alloc(1005))
  await big.closed()
  t.equal(big.closeCode, 1009)
  await recorder.closed()
  t.match(recorder.error, { code: 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' })
})

t.test("the host's own @fastify/websocket is used, with one warning that names the options", async t => {
  const { app, agents, warnings } = createApp(t)
  await app.register(websocket)
  app.get('/own', { websocket: true }, socket => { socket.on('message', bytes => { socket.send(bytes) }) })
  app.register(acceptorWs, { path: '/a' })
  app.register(acceptorWs, { path: '/b' })
  const { url } = await listen(app)
  await echo(agents, `${url}/a`)
  await echo(agents, `${url}/b`)
  const own = await connectWebSocket(`${url}/own`)
  own.send(Buffer.from('own'))
  await own.has(3)
  t.equal(agents.recorders.length, 2, "the host's route stays the host's")
  t.equal(warnings.length, 1)
  t.match(warnings[0]?.msg, /websocketOptions.*maxPayload.*maxFragments.*maxBufferedChunks.*perMessageDeflate.*preClose/)
})

t.test('a host that passes websocketOptions is not warned', async t => {
  const { app, agents, warnings } = createApp(t)
  await app.register(websocket, websocketOptions)
  app.register(acceptorWs)
  const { url } = await listen(app)
  await echo(agents, `${url}/pitaya`)
  t.strictSame(warnings, [])
})

t.test("a host that registers @fastify/websocket after us does not start: the documented error, Fastify's own", async t => {
  // @fastify/websocket throws where nobody can catch it, so this takes a process of its own.
  const modules = ['fastify', '@fastify/websocket', new URL('../../plugins/acceptor-ws.js', import.meta.url).href]
  const script = `Promise.all(${JSON.stringify(modules)}.map(name => import(name))).then(async ([fastify, websocket, acceptorWs]) => {
    const app = fastify.default()
    const agents = async app => { app.decorate('pitayaAgents', {}) }
    agents[Symbol.for('skip-override')] = true
    agents[Symbol.for('plugin-meta')] = { name: 'pitaya-agents' }
    app.register(agents).register(acceptorWs.default).register(websocket.default)
    await app.ready()
    console.log('started')
  })`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 20_000 })
  t.equal(status, 1)
  t.equal(stdout, '')
  t.match(stderr, "The decorator 'ws' has already been added!")
})

t.test('so it does when we are in a scope below, with an error of ours', async t => {
  const { app, agents } = createApp(t)
  app.register(async scope => { scope.register(agents.plugin).register(acceptorWs) })
  app.register(websocket)
  await t.rejects(async () => { await app.ready() }, { code: 'PIT_ERR_WEBSOCKET_ORDER' })
})

t.test('two servers in two scopes of one app share nothing but the port', async t => {
  const app = Fastify() as FastifyInstance
  t.teardown(() => app.close())
  const first = new StubAgents()
  const second = new StubAgents()
  app.register(async scope => { scope.register(first.plugin).register(acceptorWs) }, { prefix: '/one' })
  app.register(async scope => { scope.register(second.plugin).register(acceptorWs) }, { prefix: '/two' })
  const { url } = await listen(app)
  await echo(first, `${url}/one/pitaya`)
  await echo(second, `${url}/two/pitaya`)
  t.equal(first.recorders.length, 1)
  t.equal(second.recorders.length, 1)
})

t.test('two acceptors on one path are a start error', async t => {
  const { app } = createApp(t)
  app.register(acceptorWs)
  app.register(acceptorWs)
  await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_DUPLICATED_ROUTE' })
})

for (const when of ['before', 'after'] as const) {
  t.test(`a host's GET on our path, registered ${when} us, lives beside the upgrade`, async t => {
    const { app, agents } = createApp(t)
    const page = async (): Promise<string> => "the host's page"
    if (when === 'before') app.get('/pitaya', page)
    app.register(acceptorWs)
    if (when === 'after') app.after(() => { app.get('/pitaya', page) })
    const { url } = await listen(app)
    await echo(agents, `${url}/pitaya`)
    t.equal((await app.inject('/pitaya')).body, "the host's page")
    t.equal((await app.inject({ method: 'HEAD', url: '/pitaya' })).statusCode, 200)
    t.equal((await app.inject({ url: '/pitaya', headers: { upgrade: 'h2c' } })).body, "the host's page")
  })
}

t.test("without a page, a plain GET is the host's 404", async t => {
  const { app, agents } = createApp(t)
  app.setNotFoundHandler((_, reply) => { reply.code(404).send({ nothing: 'here' }) })
  app.register(acceptorWs)
  const { url } = await listen(app)
  for (const method of ['GET', 'HEAD', 'POST'] as const) t.equal((await app.inject({ method, url: '/pitaya' })).statusCode, 404, method)
  t.strictSame((await app.inject('/pitaya')).json(), { nothing: 'here' })
  t.strictSame((await app.inject({ url: '/pitaya', headers: { upgrade: 'websocket' } })).json(), { nothing: 'here' }, 'not an upgrade at all')
  await echo(agents, `${url}/pitaya`)
})

t.test('page and upgrade are one route, guarded by the same hooks', async t => {
  const { app, agents } = createApp(t)
  app.addHook('onRequest', async (_, reply) => { reply.header('x-host', 'yes') })
  app.register(acceptorWs, { path: '/', page: async (_, reply) => reply.type('text/html').send('<h1>chat</h1>') })
  const { url } = await listen(app)
  const page = await app.inject('/')
  t.equal(page.body, '<h1>chat</h1>')
  t.equal(page.headers['x-host'], 'yes')
  t.equal((await app.inject({ method: 'HEAD', url: '/' })).statusCode, 404)
  agents.verdict = 'rate'
  t.equal((await app.inject('/')).statusCode, 200, 'a page is not a connection')
  t.equal(agents.asked, 0)
  agents.verdict = 'ok'
  await echo(agents, `${url}/`)
})

t.test('a host-wide auth hook guards the upgrade, and the request reaches the agents', async t => {
  const { app, agents } = createApp(t)
  app.decorateRequest('user', '')
  app.addHook('onRequest', async (request, reply) => {
    if (request.headers['authorization'] !== 'Bearer right') return reply.code(401).send({ error: 'who are you' })
    request.setDecorator('user', 'ana')
  })
  app.register(acceptorWs)
  const { url } = await listen(app)
  const refused = await refusal(`${url}/pitaya`)
  t.equal(refused.status, 401)
  t.match(refused.body, 'who are you')
  const client = await connectStream({ port: Number(new URL(url).port), host: '127.0.0.1' }, Buffer.from(upgrade('/pitaya')))
  await client.closed()
  t.match(client.data.toString(), 'HTTP/1.1 401 ', 'nothing of a refused upgrade stays open')
  t.equal(agents.recorders.length, 0)
  await connectWebSocket(`${url}/pitaya`, { headers: { authorization: 'Bearer right' } })
  const { request } = await agents.next()
  t.equal(request?.getDecorator('user'), 'ana')
})

t.test('a slow asynchronous hook loses no message that came with the upgrade', async t => {
  const { app, agents } = createApp(t)
  app.addHook('preHandler', async () => { await turns(20) })
  app.register(acceptorWs)
  const { port } = await listen(app)
  const frame = Buffer.from([0x82, 0x83, 1, 2, 3, 4, 0x61 ^ 1, 0x62 ^ 2, 0x63 ^ 3])
  await exchange(port, Buffer.concat([Buffer.from(upgrade('/pitaya')), frame]))
  const recorder = await agents.next()
  await recorder.until(() => recorder.bytes === 3 || recorder.closes > 0, 'the message or the close')
  t.equal(recorder.data.toString(), 'abc')
})

const origins: Array<[origin: string | undefined, options: WebSocketAcceptorOptions, status: number, headers?: Record<string, string>]> = [
  [undefined, {}, 101],
  ['http://127.0.0.1', {}, 101],
  ['https://127.0.0.1', {}, 101],
  ['http://127.0.0.1:81', {}, 403],
  ['null', {}, 403],
  ['', {}, 403],
  ['file://', {}, 403],
  ['http://127.0.0.1.evil.example', {}, 403],
  ['http://evil-127.0.0.1', {}, 403],
  ['http://evil.example', {}, 403],
  ['http://127.0.0.1@evil.example', {}, 403],
  ['http://evil.example/127.0.0.1', {}, 403],
  ['http://127.0.0.1/path', {}, 403],
  ['http://127.0.0.1, http://evil.example', {}, 403],
  ['http://game.example', { origins: ['http://game.example'] }, 101],
  ['https://game.example', { origins: ['http://game.example'] }, 403],
  ['http://game.example:8080', { origins: ['http://game.example'] }, 403],
  ['http://evil-game.example', { origins: ['http://game.example'] }, 403],
  ['http://game.example.evil.example', { origins: ['http://game.example'] }, 403],
  ['http://sub.game.example', { origins: ['http://game.example'] }, 403],
  ['http://evil.example', { origins: '*' }, 101],
  ['null', { origins: '*' }, 101],
  ['null', { origins: ['null'] }, 101],
  ['https://front.example', {}, 403, { 'X-Forwarded-Host': 'front.example' }]
]

t.test('an origin is the own host, listed exactly, or refused by an error that names the option', async t => {
  for (const [origin, options, status, headers = {}] of origins) {
    const { app, agents } = createApp(t)
    app.register(acceptorWs, options)
    const { port } = await listen(app)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    const answer = await exchange(port, upgrade('/pitaya', origin === undefined ? lines : [`Origin: ${origin}`, ...lines]), /acceptors|101/)
    t.match(answer, `HTTP/1.1 ${status} `, `${origin} ${JSON.stringify(options)}`)
    if (status === 403) t.match(answer, 'acceptors.websocket.origins')
    if (status === 403) t.equal(agents.recorders.length, 0)
  }
})

t.test('behind a trusted proxy the own host is the forwarded one, and forwarded addresses of others are not believed', async t => {
  const { app, agents } = createApp(t, { trustProxy: '127.0.0.1' })
  app.register(acceptorWs)
  const { url } = await listen(app)
  await connectWebSocket(`${url}/pitaya`, {
    origin: 'https://front.example', headers: { 'x-forwarded-host': 'front.example', 'x-forwarded-for': '6.6.6.6, 203.0.113.9' }
  })
  const recorder = await agents.next()
  t.equal(recorder.connection.remoteAddress, '203.0.113.9', 'the hop we trust names it, what the client claims is further left')

  const other = createApp(t)
  other.app.register(acceptorWs)
  const plain = await listen(other.app)
  await connectWebSocket(`${plain.url}/pitaya`, { headers: { 'x-forwarded-for': '6.6.6.6' } })
  t.equal((await other.agents.next()).connection.remoteAddress, '127.0.0.1')
})

t.test('too many new connections and draining are answered 503 with Retry-After, a full server accepts', async t => {
  const { app, agents } = createApp(t)
  app.register(acceptorWs)
  const { url } = await listen(app)
  for (const [verdict, code] of [['rate', 'PIT_ERR_CONNECTION_RATE'], ['draining', 'PIT_ERR_DRAINING']] as const) {
    agents.verdict = verdict
    const refused = await refusal(`${url}/pitaya`)
    t.equal(refused.status, 503)
    t.equal(refused.headers['retry-after'], '2')
    t.match(refused.body, code)
  }
  agents.verdict = 'full'
  await echo(agents, `${url}/pitaya`)
  t.equal(agents.asked, 3, 'asked once for each')
})

t.test('hostile upgrades are answered quickly, and the server lives', async t => {
  const { app, agents } = createApp(t)
  app.register(acceptorWs)
  app.register(acceptorWs, { path: '/page', page: async () => 'page' })
  const { port, url } = await listen(app)
  const many = Array.from({ length: 2500 }, (_, i) => `X${i}: a`)
  const tiny = Array.from({ length: 2500 }, () => 'a:')
  const withoutUpgrade = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${tiny.join('\r\n')}\r\n` +
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  for (const path of ['/pitaya', '/page']) {
    const cases: Array<[name: string, request: string]> = [
      ['2,500 headers', upgrade(path, many)],
      ['2,500 tiny headers that push the upgrade out', withoutUpgrade(path)],
      ['a header of 100 KB', upgrade(path, [`X-Big: ${'a'.repeat(100_000)}`])],
      ['a protocol with 30,000 spaces', upgrade(path, [`Sec-WebSocket-Protocol: x${' '.repeat(30_000)}y`])],
      ['a protocol with 10,000 spaces', upgrade(path, [`Sec-WebSocket-Protocol: x${' '.repeat(10_000)}y`])],
      ['Upgrade twice', upgrade(path, ['Upgrade: websocket'])],
      ['another Upgrade', upgrade(path).replace('Upgrade: websocket', 'Upgrade: h2c')],
      ['no key', upgrade(path).replace(/Sec-WebSocket-Key.*\r\n/, '')],
      ['a bad key', upgrade(path).replace('dGhl', '!!!!')],
      ['a bad version', upgrade(path).replace('Version: 13', 'Version: 99')],
      ['POST', upgrade(path).replace('GET', 'POST')],
      ['another path', upgrade(path).replace(path, '/nowhere')]
    ]
    for (const [name, request] of cases) {
      const began = cpuMs()
      const answer = await exchange(port, request)
      t.match(answer, /^HTTP\/1\.1 4\d\d /, `${path}: ${name}`)
      t.ok(cpuMs() - began < 1000, `${name}: quickly`)
    }
    t.match(await exchange(port, upgrade(path, ['Sec-WebSocket-Extensions: constructor'])), /^HTTP\/1\.1 101 (?!.*Extensions)/s,
      'an extension that is none is ignored, as RFC 6455 wants it')
    agents.recorders.at(-1)?.connection.destroy()
  }
  const before = agents.recorders.length
  while (await agents.next() !== agents.recorders.at(-1));
  t.equal(agents.recorders.length, before)
  await echo(agents, `${url}/pitaya`)
})

t.test('a stock injectWS client works without a socket', async t => {
  const { app, agents } = createApp(t)
  app.register(acceptorWs)
  await app.ready()
  const client = new WebSocketClient(await app.injectWS('/pitaya') as unknown as WebSocket)
  const recorder = await agents.next()
  t.equal(recorder.connection.remoteAddress, '')
  client.send(Buffer.from('hi'))
  await recorder.has(2)
  recorder.send(Buffer.from('ho'))
  await client.has(2)
  recorder.connection.close(4001, 'server is shutting down')
  await client.closed()
  t.equal(client.closeCode, 4001)
})

t.test("closing the app closes the host's own sockets, and ours only by their agents", async t => {
  const { app, agents } = createApp(t)
  app.register(acceptorWs)
  app.after(() => { app.get('/own', { websocket: true }, () => {}) })
  const { url } = await listen(app)
  const own = await connectWebSocket(`${url}/own`)
  const ours = await connectWebSocket(`${url}/pitaya`)
  const recorder = await agents.next()
  recorder.connection.close(4001, 'server is shutting down')
  await app.close()
  await own.closed()
  await ours.closed()
  t.equal(own.closeCode, 1005)
  t.equal(ours.closeCode, 4001)
})

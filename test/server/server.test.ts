import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect, type CloseInfo, type WebSocketConstructor } from '../../client/client.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { runServer, startServer } from '../helpers/child.ts'

// A process for each test; tap's own limit is 30 s.
t.setTimeout(240_000)

const ADMIN_TOKEN = 'correct-horse-battery'
const options = { WebSocket: WebSocket as unknown as WebSocketConstructor, reconnect: false }

t.test('the server chats over its WebSocket and answers HTTP on one port', async (t) => {
  const { url, tcpPort } = await startServer(t, { PITAYA_SERVER_ID: 'chat-1', ADMIN_TOKEN })
  t.ok(tcpPort > 0)
  t.strictSame(await (await fetch(`${url}/healthz`)).json(), { status: 'ok' })
  const client = await connect(url.replace('http', 'ws'), options)
  const members = new Promise<{ members: string[] }>((resolve) => client.on('onMembers', resolve))
  const message = new Promise((resolve) => client.on('onMessage', resolve))
  t.strictSame(await client.request('chat.room.join', {}), { code: 0, result: 'success' })
  const [uid] = (await members).members
  t.match(uid, /^user-/)
  client.notify('room.message', { name: 'ana', content: 'hi' })
  t.strictSame(await message, { name: 'ana', content: 'hi' })
  t.strictSame(await client.request('room.echo', { name: 'a', content: 'b' }), { name: 'a', content: 'b' })

  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` }
  const { sessions } = await (await fetch(`${url}/admin/sessions`, { headers })).json() as { sessions: object[] }
  t.match(sessions, [{ id: 'chat-1:1', uid, transport: 'websocket', remoteAddress: '127.0.0.1' }])
  const longUid = 'x'.repeat(128)
  const kicked = await fetch(`${url}/admin/users/${longUid}/kick`, { method: 'POST', headers })
  t.equal((await kicked.json() as { code: string }).code, 'PIT_ERR_SESSION_NOT_FOUND')
  client.close()
})

t.test('SIGTERM: clients are told, the exit code is 0, stdout has nothing but JSON lines', async (t) => {
  const server = await startServer(t)
  const client = await connect(server.url.replace('http', 'ws'), options)
  const closed = new Promise<CloseInfo>((resolve) => client.onClose(resolve))
  server.signal('SIGTERM')
  t.equal((await closed).code, 4001)
  t.equal(await server.exited(), 0)
  t.strictSame(server.stderr, [])
  t.ok(server.logs.some(({ msg }) => msg === 'admin routes are off: set ADMIN_TOKEN to have them'))
  t.equal(server.logs.at(-1)?.msg, 'stopped')
})

t.test('a second signal hurries: a client that does not go is not waited for', async (t) => {
  const server = await startServer(t)
  const socket = net.connect({ port: server.tcpPort, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  socket.write(Buffer.concat([encodePacket(PacketType.handshake, Buffer.from('{}')), encodePacket(PacketType.ack, Buffer.alloc(0))]))
  await once(socket, 'data')
  server.signal('SIGINT')
  await server.log('stopping; a second signal hurries')
  const from = performance.now()
  server.signal('SIGINT')
  t.equal(await server.exited(), 0)
  t.ok(performance.now() - from < 15_000, 'a first signal alone waits for 25 s')
})

t.test('a third signal exits at once', async (t) => {
  const preload = "data:text/javascript,process.on('SIGUSR2', () => { for (let i = 0; i < 3; i++) process.emit('SIGTERM') })"
  const server = await startServer(t, {}, ['--import', preload])
  server.signal('SIGUSR2')
  t.equal(await server.exited(), 1)
  t.notOk(server.logs.some(({ msg }) => msg === 'stopped'))
})

t.test('a fault of application code is logged, clients are told, the exit code is 1', async (t) => {
  for (const [fault, msg] of [['setImmediate(() => { throw new Error("boom") })', 'uncaught exception'], ['Promise.reject(new Error("boom"))', 'unhandled rejection']]) {
    const preload = `data:text/javascript,process.on('SIGUSR2', () => { ${fault} })`
    const server = await startServer(t, {}, ['--import', preload])
    const client = await connect(server.url.replace('http', 'ws'), options)
    const closed = new Promise<CloseInfo>((resolve) => client.onClose(resolve))
    const from = performance.now()
    server.signal('SIGUSR2')
    server.signal('SIGUSR2')
    t.equal((await closed).code, 4001)
    t.equal(await server.exited(), 1)
    t.ok(performance.now() - from < 15_000)
    const line = await server.log(msg!)
    t.equal(line.level, 60)
    t.match(line.err, { message: 'boom' })
  }
})

t.test('a fault while stopping makes the exit code 1', async (t) => {
  const preload = "data:text/javascript,process.on('SIGTERM', () => { process.nextTick(() => { throw new Error('boom') }) })"
  const server = await startServer(t, {}, ['--import', preload])
  server.signal('SIGTERM')
  t.equal(await server.exited(), 1)
})

t.test('a taken port is one sentence with the port and its variable', async (t) => {
  const taken = net.createServer()
  t.teardown(() => taken.close())
  taken.listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  for (const [variable, other] of [['PORT', 'TCP_PORT'], ['TCP_PORT', 'PORT']] as const) {
    const server = runServer(t, { [variable]: String(port), [other]: '0' })
    t.equal(await server.exited(), 1)
    t.strictSame(server.stderr, [`Port ${port} is taken: set ${variable} to another one.`])
  }
})

t.test('a bad variable is one sentence without its value', async (t) => {
  for (const [name, value] of [['PORT', 'canary'], ['ADMIN_TOKEN', 'canary with spaces'], ['NATS_URL', 'nats://user:canary@']] as const) {
    const server = runServer(t, { [name]: value })
    t.equal(await server.exited(), 1)
    t.strictSame([server.stdout, server.stderr.length], [[], 1])
    t.match(server.stderr[0], new RegExp(`^${name} `))
    t.notMatch(server.stderr[0], /canary/)
  }
})

t.test('an unknown variable is one warning', async (t) => {
  const server = await startServer(t, { PITAYA_SERIALISER: 'avro' })
  const warnings = server.logs.filter(({ level }) => level === 40)
  t.strictSame(warnings.map(({ msg }) => msg), ['PITAYA_SERIALISER is not known and has no effect; the nearest name is PITAYA_SERIALIZER.'])
})

t.test('without clients there is neither page nor TCP port', async (t) => {
  const { url, tcpPort } = await startServer(t, { PITAYA_FRONTEND: 'false' })
  t.equal(tcpPort, undefined)
  t.equal((await fetch(`${url}/`)).status, 404)
  t.equal((await fetch(`${url}/healthz`)).status, 200)
})

t.test('--help lists the variables', async (t) => {
  const server = runServer(t, {}, [], ['--help'])
  t.equal(await server.exited(), 0)
  t.match(server.stdout.join('\n'), /PITAYA_RATE_PER_SECOND .*\[200\]/)
})

t.test('the page and what it needs are served, and no other file', async (t) => {
  const { url } = await startServer(t)
  const page = await fetch(`${url}/`)
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
  t.match(page.headers.get('content-security-policy'), /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'; base-uri 'none'/)
  t.equal(page.headers.get('x-content-type-options'), 'nosniff')
  for (const path of ['/page.js', '/style.css', '/modules/client/client.js', '/modules/lib/protocol/errors.js']) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.notMatch(await response.text(), /from 'node:/)
  }
  for (const path of ['/server.js', '/modules/server.js', '/modules/lib/facade.js', '/modules/../package.json', '/modules/..%2f..%2fpackage.json', '/index.ts', '/%2e%2e/package.json']) {
    t.equal((await fetch(url + path)).status, 404, path)
  }
})

import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect, type ConnectOptions, type WebSocketConstructor } from '../../client/client.ts'
import { connectTcp } from '../../client/tcp.ts'
import { defineHandlers, notify, request } from '../../lib/handler/define.ts'
import { build } from '../helpers/app.ts'
import { createCertificate } from '../helpers/certificate.ts'
import { Child } from '../helpers/child.ts'
import { closeOf } from './fake-transport.ts'

const Point = Type.Object({ x: Type.Integer() })
const room = defineHandlers('room', { pushes: { onPoint: Point } }, {
  echo: request({ body: Point, response: Point }, (body) => body),
  hang: request(() => new Promise<void>(() => {})),
  push: notify({ body: Point }, (point, { session }) => { session.push('onPoint', point) }),
  kick: notify((_, { session }) => session.kick('enough'))
})
const host = '127.0.0.1'
const options: ConnectOptions = { WebSocket: WebSocket as unknown as WebSocketConstructor, reconnect: { minMs: 10, maxMs: 100 } }

t.test('over WebSocket: a client comes back to a server that was started again, and its listeners with it', async (t) => {
  const first = await build(t, { handlers: [room], acceptors: { websocket: {} }, closeMs: 200 })
  await first.listen({ port: 0, host })
  const { port } = first.server.address() as AddressInfo
  const client = await connect<[typeof room]>(`ws://${host}:${port}/pitaya`, options)
  t.teardown(() => client.close())
  const lost = new Promise<unknown>((resolve) => { client.onStateChange((state) => { if (state.name === 'waiting') resolve(state) }) })
  const pushes = client.pushes('onPoint')
  t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 })
  await first.close()
  t.match(await lost, { code: 4001, reason: 'server is shutting down' })
  const second = await build(t, { handlers: [room], acceptors: { websocket: {} } })
  await second.listen({ port, host })
  await client.ready()
  client.notify('room.push', { x: 2 })
  t.strictSame((await pushes.next()).value, { x: 2 })
  client.notify('room.kick')
  t.strictSame(await closeOf(client), { code: 4504, reason: 'enough' })
  await t.rejects(connect(`ws://${host}:1/`, options), { code: 'PIT_ERR_CLIENT_CLOSED', message: `no connection to ws://${host}:1/: close code 1006` })
})

t.test('over TCP: answers, pushes and the reason of the end, as over WebSocket', async (t) => {
  const app = await build(t, { handlers: [room], acceptors: { tcp: { port: 0, host } }, closeMs: 200 })
  const { port } = app.pitaya.acceptors[0]!
  const client = await connectTcp<[typeof room]>({ host, port }, { reconnect: false })
  t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 })
  const pushed = new Promise<unknown>((resolve) => { client.on('onPoint', resolve) })
  client.notify('room.push', { x: 2 })
  t.strictSame(await pushed, { x: 2 })
  client.notify('room.kick')
  t.strictSame(await closeOf(client), { code: 4504, reason: 'enough' })
  const leaving = await connectTcp({ host, port })
  leaving.notify('room.push', { x: 3 })
  leaving.close()
  const staying = await connectTcp({ host, port }, { reconnect: false })
  await staying.request('room.echo', { x: 4 })
  const asked = staying.request('room.hang')
  await Promise.all([app.close(), t.rejects(asked, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '4001' } })])
  await t.rejects(connectTcp({ host, port }), { code: 'PIT_ERR_CLIENT_CLOSED', message: /^no connection to 127\.0\.0\.1:\d+: .*ECONNREFUSED/ })
})

const certificate = createCertificate()
t.test('over TLS, with the server\'s name checked', certificate === undefined ? { skip: 'no openssl' } : {}, async (t) => {
  const { key, cert } = certificate!
  const app = await build(t, { handlers: [room], acceptors: { tcp: { port: 0, host, tls: { key, cert } } } })
  const { port } = app.pitaya.acceptors[0]!
  const client = await connectTcp<[typeof room]>({ host, port, tls: { ca: cert, servername: 'localhost' } })
  t.strictSame(await client.request('room.echo', { x: 1 }), { x: 1 })
  client.close()
  await t.rejects(connectTcp({ host, port, tls: true }), { code: 'PIT_ERR_CLIENT_CLOSED', message: /self-signed/ })
})

t.test('a server that takes the connection and says nothing is given up', async (t) => {
  const server = createServer().listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const sockets: Array<{ destroy (): void }> = []
  server.on('connection', (socket) => sockets.push(socket))
  const wanted = { code: 'PIT_ERR_CLIENT_TIMEOUT', message: 'no answer within 50 ms' }
  await t.rejects(connectTcp({ host, port }, { connectMs: 50 }), wanted)
  await t.rejects(connect(`ws://${host}:${port}`, { ...options, connectMs: 50 }), wanted)
  for (const socket of sockets) socket.destroy()
})

t.test('a closed client keeps no process: not in the middle of a request, nor of the way back', async (t) => {
  const app = await build(t, { handlers: [room], acceptors: { tcp: { port: 0, host } }, closeMs: 200 })
  const script = `
    const { connectTcp } = await import(${JSON.stringify(new URL('../../client/tcp.js', import.meta.url).href)})
    const client = await connectTcp({ host: '${host}', port: ${app.pitaya.acceptors[0]!.port} }, { reconnect: { minMs: 60000 } })
    client.request('room.hang').catch(() => {})
    client.onStateChange(({ name }) => { console.log(name); if (name === 'waiting') client.close() })
    console.log('ready')`
  const child = new Child(t, ['--input-type=module', '-e', script])
  await child.line((line) => line === 'ready', 'the connection')
  await app.close()
  t.equal(await child.exited(), 0)
  t.strictSame(child.stdout, ['ready', 'waiting', 'closed'])
})

import net from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect, connectOver, type ClientTransport, type WebSocketConstructor } from '../../client/client.ts'
import { buildApp, signToken } from '../../examples/auth.ts'

const secret = 'a secret of the test'

async function start (t: { teardown (fn: () => unknown): void }) {
  const app = await buildApp({ secret, users: new Map([['ana', 'correct horse']]), tcpPort: 0 })
  t.teardown(() => app.close())
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const tcpPort = app.pitaya.acceptors.find(({ transport }) => transport === 'tcp')!.port
  const login = (name: string, password: string) => app.inject({ method: 'POST', url: '/login', payload: { name, password } })
  return { app, wsUrl: `${url.replace('http', 'ws')}/pitaya`, tcpPort, login }
}

function withCookie (cookie: string): WebSocketConstructor {
  return class extends WebSocket {
    constructor (url: string) { super(url, { headers: { cookie } }) }
  } as unknown as WebSocketConstructor
}

async function overTcp (port: number): Promise<ClientTransport> {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const transport: ClientTransport = {
    handler: { onData () {}, onClose () {} },
    write: (bytes) => { socket.write(bytes) },
    close: () => { socket.end() }
  }
  socket.on('data', (bytes) => transport.handler.onData(bytes))
  socket.on('error', () => {})
  socket.on('close', () => transport.handler.onClose(1006, ''))
  return transport
}

t.test('the cookie of an HTTP login opens the WebSocket, as its owner', async (t) => {
  const { app, wsUrl, login } = await start(t)
  const { cookies: [cookie] } = await login('ana', 'correct horse')
  const pair = `${cookie!.name}=${cookie!.value}`
  t.strictSame((await app.inject({ url: '/me', headers: { cookie: pair } })).json(), { name: 'ana' })
  const client = await connect(wsUrl, { WebSocket: withCookie(pair) })
  t.strictSame(await client.request('account.whoami'), { uid: 'ana' })
  client.close()
})

t.test('without a good cookie there is no route and no upgrade', async (t) => {
  const { app, wsUrl, login } = await start(t)
  t.equal((await login('ana', 'wrong')).statusCode, 401)
  t.equal((await login('nobody', '')).statusCode, 401)
  for (const cookie of ['', 'user=ana', 'user=ana.forged']) {
    t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 401)
    await t.rejects(connect(wsUrl, { WebSocket: withCookie(cookie) }), { code: 'PIT_ERR_CLIENT_CLOSED' })
  }
})

t.test('the token of the login opens TCP, as its owner', async (t) => {
  const { tcpPort, login } = await start(t)
  const { token } = (await login('ana', 'correct horse')).json() as { token: string }
  const client = await connectOver(await overTcp(tcpPort), { user: { token } })
  t.strictSame(await client.request('account.whoami'), { uid: 'ana' })
  client.close()
})

t.test('no token, a forged, an altered or an expired one are refused with a code clients can read', async (t) => {
  const { tcpPort } = await start(t)
  const good = signToken('ana', Date.now() + 60_000, secret)
  const tokens = [undefined, '', 'x', '..', signToken('ana', Date.now() + 60_000, 'another secret'), `Ym8${good.slice(good.indexOf('.'))}`, signToken('ana', Date.now() - 1, secret)]
  for (const token of tokens) {
    await t.rejects(connectOver(await overTcp(tcpPort), { user: { token } }), { code: 'LOGIN', message: 'log in first' })
  }
})

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import t from 'tap'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import websocket from '@fastify/websocket'
import unixSocket from '../../examples/unix-socket.ts'
import type { AcceptorInfo } from '../../lib/agent/connection.ts'
import { createConnectionPair } from '../../lib/agent/memory-connection.ts'
import acceptorTcp, { type TcpAcceptorOptions } from '../../plugins/acceptor-tcp.ts'
import acceptorWs, { websocketOptions } from '../../plugins/acceptor-ws.ts'
import { acceptorContract, type StartedAcceptor } from '../contracts/acceptor.ts'
import { connectStream, connectTls, connectWebSocket, MemoryClient, StubAgents, type TestClient } from '../helpers/acceptors.ts'
import { createCertificate } from '../helpers/certificate.ts'

const V1 = Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4000 3251\r\n')
const V2 = Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a21210024', 'hex'),
  Buffer.from('20010db8000000000000000000000007', 'hex'), Buffer.alloc(16), Buffer.from('0fa00cb3', 'hex')])

async function startTcp (options: Omit<TcpAcceptorOptions, 'port'>, connect: (port: number) => Promise<TestClient>): Promise<StartedAcceptor> {
  const app = Fastify()
  const agents = new StubAgents()
  let info: AcceptorInfo | undefined
  app.register(agents.plugin)
  app.register(acceptorTcp, { port: 0, host: '127.0.0.1', onListening: bound => { info = bound }, ...options })
  await app.ready()
  return { connect: () => connect(info?.port ?? 0), next: () => agents.next(), agents, close: () => app.close() }
}

async function startWebSocket (
  connect: (url: string) => Promise<TestClient>, host?: (app: FastifyInstance) => unknown, options: FastifyServerOptions = {}
): Promise<StartedAcceptor> {
  const app = Fastify(options) as FastifyInstance
  const agents = new StubAgents()
  await host?.(app)
  app.register(agents.plugin)
  app.register(acceptorWs)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { connect: () => connect(`${url.replace('http', 'ws')}/pitaya`), next: () => agents.next(), agents, close: () => app.close() }
}

acceptorContract({
  name: 'TCP',
  transport: 'tcp',
  remoteAddress: '127.0.0.1',
  hasCloseCode: false,
  start: () => startTcp({}, port => connectStream({ port, host: '127.0.0.1' }))
})

acceptorContract({
  name: 'TCP behind a proxy',
  transport: 'tcp',
  remoteAddress: '203.0.113.7',
  hasCloseCode: false,
  start: () => startTcp({ proxyProtocol: { trusted: ['127.0.0.0/8'] } }, port => connectStream({ port, host: '127.0.0.1' }, V1))
})

const tls = createCertificate()
if (tls === undefined) {
  t.test('TLS', { skip: 'openssl is not on PATH' }, async () => {})
} else {
  acceptorContract({
    name: 'TLS',
    transport: 'tls',
    remoteAddress: '127.0.0.1',
    hasCloseCode: false,
    start: () => startTcp({ tls }, port => connectTls(port))
  })

  acceptorContract({
    name: 'TLS behind a proxy',
    transport: 'tls',
    remoteAddress: '2001:db8::7',
    hasCloseCode: false,
    start: () => startTcp({ tls, proxyProtocol: true }, port => connectTls(port, V2))
  })
}

acceptorContract({
  name: 'WebSocket',
  transport: 'websocket',
  remoteAddress: '127.0.0.1',
  hasCloseCode: true,
  start: () => startWebSocket(connectWebSocket)
})

acceptorContract({
  name: "WebSocket of the host's @fastify/websocket, behind a proxy",
  transport: 'websocket',
  remoteAddress: '203.0.113.7',
  hasCloseCode: true,
  start: () => startWebSocket(
    url => connectWebSocket(url, { headers: { 'x-forwarded-for': '203.0.113.7' } }),
    app => app.register(websocket, websocketOptions), { trustProxy: '127.0.0.1' })
})

acceptorContract({
  name: 'WebSocket with permessage-deflate',
  transport: 'websocket',
  remoteAddress: '127.0.0.1',
  hasCloseCode: true,
  start: () => startWebSocket(
    url => connectWebSocket(url, { perMessageDeflate: true }),
    // What cannot be compressed grows a little, and the limit counts what travels.
    app => app.register(websocket, {
      ...websocketOptions, options: { ...websocketOptions.options, maxPayload: 70000, perMessageDeflate: { threshold: 0 } }
    }))
})

acceptorContract({
  name: 'Unix socket (example)',
  transport: 'unix',
  remoteAddress: '',
  hasCloseCode: false,
  async start () {
    const app = Fastify()
    const agents = new StubAgents()
    const path = join(tmpdir(), `pitaya-${randomUUID()}.sock`)
    app.register(agents.plugin)
    app.register(agents.facade)
    app.register(unixSocket, { path })
    await app.ready()
    return { connect: () => connectStream({ path }), next: () => agents.next(), agents, close: () => app.close() }
  }
})

acceptorContract({
  name: 'memory',
  transport: 'memory',
  remoteAddress: '127.0.0.1',
  hasCloseCode: true,
  async start () {
    const agents = new StubAgents()
    return {
      async connect () {
        const { client, server } = createConnectionPair()
        agents.accept(server)
        return new MemoryClient(client)
      },
      next: () => agents.next(),
      agents,
      async close () { for (const { connection } of agents.recorders) connection.destroy() }
    }
  }
})

/**
 * An acceptor of one's own: clients on the same machine come in by a Unix socket. All it takes is one Fastify plugin that
 * makes a Connection of each socket and hands it over.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import fp from 'fastify-plugin'
import { type FastifyPluginAsync } from 'fastify'
import { type Acceptance } from '../lib/agent/connection.ts'
import { StreamConnection } from '../lib/agent/stream-connection.ts'

const unixSocket: FastifyPluginAsync<{ path: string }> = async (fastify, { path }) => {
  const agents = fastify.getDecorator<Acceptance>('pitayaAgents')
  const server = createServer(socket => {
    const verdict = agents.canAccept()
    if (verdict === 'rate' || verdict === 'draining') socket.destroy()
    else agents.accept(new StreamConnection(socket, 'unix', ''))
  })
  agents.onStop(() => server.close())
  fastify.addHook('onReady', async () => {
    server.listen(path)
    await once(server, 'listening')
  })
  fastify.addHook('onClose', async () => { server.close() })
}

export default fp(unixSocket, { name: 'unix-socket', fastify: '5.x', dependencies: ['pitaya-agents'] })

/**
 * An acceptor of one's own: clients on the same machine come in by a Unix socket. All it takes is one Fastify plugin that
 * makes a Connection of each socket and hands it over.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'
import fp from 'fastify-plugin'
import type { FastifyPluginAsync } from 'fastify'
import { StreamConnection } from 'fastify-pitaya'

const unixSocket: FastifyPluginAsync<{ path: string }> = async (fastify, { path }) => {
  const server = createServer(socket => { fastify.pitaya.accept(new StreamConnection(socket, 'unix', '')) })
  fastify.addHook('onReady', async () => {
    server.listen(path)
    await once(server, 'listening')
  })
  // The clients are closed by the server that took them over; this only stops new ones.
  fastify.addHook('preClose', async () => { server.close() })
}

export default fp(unixSocket, { name: 'unix-socket', fastify: '5.x', dependencies: ['fastify-pitaya'] })

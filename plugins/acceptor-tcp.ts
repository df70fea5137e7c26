import fp from 'fastify-plugin'
import type { FastifyPluginAsync } from 'fastify'
import type { Acceptance } from '../lib/agent/connection.ts'
import { TcpListener, type TcpListenerOptions } from '../lib/agent/tcp-listener.ts'

export type TcpAcceptorOptions = TcpListenerOptions
export { type TcpAcceptorInfo } from '../lib/agent/tcp-listener.ts'

/** One TCP or TLS port. Bound in onReady, so that a taken port fails `ready()` and `listen()`. */
const acceptorTcp: FastifyPluginAsync<TcpAcceptorOptions> = async (fastify, options) => {
  const acceptance = fastify.getDecorator<Acceptance>('pitayaAgents')
  const log = fastify.log.child({ acceptor: options.name ?? (options.tls === undefined ? 'tcp' : 'tls') })
  const listener = new TcpListener(options, acceptance, log)
  acceptance.onStop(() => listener.stop())
  fastify.addHook('onReady', async () => { log.info(await listener.listen(), 'acceptor listening') })
  fastify.addHook('onClose', () => listener.close())
}

export default fp(acceptorTcp, { name: 'pitaya-acceptor-tcp', fastify: '5.x', dependencies: ['pitaya-agents'] })

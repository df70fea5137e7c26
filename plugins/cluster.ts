import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { readFileSync } from 'node:fs'
import { openCarrier } from '../lib/cluster/carrier.ts'
import { Cluster } from '../lib/cluster/cluster.ts'
import type { Runtime } from '../lib/runtime.ts'

declare module 'fastify' { interface FastifyInstance { pitayaCluster: Cluster } }

const { version } = JSON.parse(readFileSync(new URL(import.meta.resolve('fastify-pitaya/package.json')), 'utf8')) as { version: string }

/** `pitayaCluster`: this server among the others, alone by default. It connects here, and can be found from `ready` on. */
const cluster: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime }) => {
  const { pitayaSessions: sessions, pitayaHandlers: service } = fastify
  const { cluster: options } = runtime.options
  const isShared = options.nats !== undefined || options.memory !== undefined
  const cluster = await Cluster.open({ runtime, carrier: await openCarrier(options), isShared, sessions, service, version })
  fastify.decorate('pitayaCluster', cluster)
  fastify.addHook('onReady', async () => cluster.start())
  fastify.addHook('onClose', async () => cluster.close())
}

export default fp(cluster, { name: 'pitaya-cluster', fastify: '5.x', dependencies: ['pitaya-sessions', 'pitaya-handlers'] })

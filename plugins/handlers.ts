import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { deflateIfSmaller, Inflater } from '../lib/agent/compression.ts'
import { PushRegistry } from '../lib/handler/pushes.ts'
import { HandlerService } from '../lib/handler/service.ts'
import type { Runtime } from '../lib/runtime.ts'

declare module 'fastify' { interface FastifyInstance { pitayaHandlers: HandlerService } }

/** `pitayaHandlers`: the handler service, compiled when the app gets ready. */
const handlers: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime: { options, serializers, wheel, log } }) => {
  const { serverId, serverType, dictionary, limits, dispatch, compressFrom } = options
  const pushes = new PushRegistry(
    { deflate: (data) => deflateIfSmaller(data, compressFrom) },
    (route, why) => service.dropped('push', why, route)
  )
  const service = new HandlerService({
    serverId,
    serverType,
    serializers,
    dictionary,
    sessions: fastify.pitayaSessions,
    pushes,
    inflater: new Inflater(),
    inflatedBytes: limits.packetBytes * limits.inflateRatio,
    wheel,
    log,
    limits: { ...limits, dispatch }
  })
  fastify.decorate('pitayaHandlers', service)
  fastify.addHook('onReady', async () => service.compile())
}

export default fp(handlers, { name: 'pitaya-handlers', fastify: '5.x', dependencies: ['pitaya-sessions'] })

import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { MemoryGroups } from '../lib/groups/memory.ts'
import type { Runtime } from '../lib/runtime.ts'

declare module 'fastify' { interface FastifyInstance { pitayaGroups: MemoryGroups } }

/** `pitayaGroups`: named sets of uids, in memory. */
const groups: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime: { options, wheel } }) => {
  const { pitayaSessions: sessions, pitayaHandlers: handlers } = fastify
  const groups = new MemoryGroups({ sessions, pushes: handlers.pushes, wheel, maxGroups: options.limits.groups })
  handlers.groups = groups
  fastify.decorate('pitayaGroups', groups)
  fastify.addHook('onClose', async () => groups.close())
}

export default fp(groups, { name: 'pitaya-groups', fastify: '5.x', dependencies: ['pitaya-sessions', 'pitaya-handlers'] })

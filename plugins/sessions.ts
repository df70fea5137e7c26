import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { Runtime } from '../lib/runtime.ts'
import { SessionPool } from '../lib/session/pool.ts'

declare module 'fastify' { interface FastifyInstance { pitayaSessions: SessionPool } }

/** `pitayaSessions`: all sessions of this server. */
const sessions: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime: { options, log } }) => {
  const { serverId, session, limits } = options
  const pool = new SessionPool({ serverId, policy: session.policy, dataBytes: session.dataBytes, bindMs: limits.handlerMs, log })
  if (session.onBind !== undefined) pool.onBind(session.onBind)
  if (session.afterBind !== undefined) pool.afterBind(session.afterBind)
  if (session.onClose !== undefined) pool.onClose(session.onClose)
  fastify.decorate('pitayaSessions', pool)
}

export default fp(sessions, { name: 'pitaya-sessions', fastify: '5.x' })

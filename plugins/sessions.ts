import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { randomInt } from 'node:crypto'
import type { Runtime } from '../lib/runtime.ts'
import { SessionPool } from '../lib/session/pool.ts'

declare module 'fastify' { interface FastifyInstance { pitayaSessions: SessionPool } }

/** `pitayaSessions`: all sessions of this server. */
const sessions: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime: { options, log } }) => {
  const { serverId, session, limits } = options
  // Other servers keep addresses of sessions, and this one may have had its id before: an address must never become another session's.
  const isShared = options.cluster.nats !== undefined || options.cluster.memory !== undefined
  const firstId = isShared ? 1 + randomInt(2 ** 31) * 2 ** 16 : 1
  const pool = new SessionPool({ serverId, policy: session.policy, dataBytes: session.dataBytes, bindMs: limits.handlerMs, firstId, log })
  if (session.onBind !== undefined) pool.onBind(session.onBind)
  if (session.afterBind !== undefined) pool.afterBind(session.afterBind)
  if (session.onClose !== undefined) pool.onClose(session.onClose)
  fastify.decorate('pitayaSessions', pool)
}

export default fp(sessions, { name: 'pitaya-sessions', fastify: '5.x' })

import type { FastifyRequest } from 'fastify'

export interface Audit {
  action: 'session.kick' | 'user.kick' | 'user.push'
  /** The session's address or the uid. */
  target: string
  /** The session's uid, where the target is a session. */
  uid?: string
  /** Given to the client with a kick. */
  reason?: string
  /** Of a push. */
  route?: string
  /** `unknown`: another server has to do it, and did not answer. */
  outcome: 'done' | 'not-found' | 'refused' | 'unknown'
}

/** The one line that says who did what: written by every mutation that reached its handler, done or not. */
export function audit (request: FastifyRequest, line: Audit): void {
  const { serverId, serverType } = request.server.pitaya
  request.log.info({ audit: true, serverId, serverType, ...line, remoteAddress: request.ip }, 'admin')
}

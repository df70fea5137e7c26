import type { FastifyRequest } from 'fastify'

/** The one line that says who did what: written by every mutation, done or not. */
export function audit (request: FastifyRequest, action: 'session.kick' | 'user.kick' | 'user.push', target: string, outcome: 'done' | 'not-found' | 'refused'): void {
  request.log.info({ audit: true, action, target, outcome, remoteAddress: request.ip }, 'admin')
}

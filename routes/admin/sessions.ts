import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type, type Static } from '@sinclair/typebox'
import { AllSessions } from '../../lib/cluster/all-sessions.ts'
import { createError } from '../../lib/errors.ts'
import type { SessionDescription } from '../../lib/session/describe.ts'
import { audit } from './audit.ts'
import { assertReason } from './reason.ts'
import { Nothing, Reason, responses, SessionId, SessionRow, Uid } from './schemas.ts'

const closed = { additionalProperties: false }
const tags = ['pitaya']
const params = Type.Object({ id: SessionId })

const Page = Type.Object({
  sessions: Type.Array(SessionRow),
  total: Type.Integer({ description: 'open sessions of all frontends that answered' }),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `after` for the next page' }),
  missing: Type.Array(Type.String(), { description: 'frontends that did not answer: their sessions are left out' })
})

const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 50 })),
  after: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}:[0-9]{1,15}$', description: '`next` of the page before' })),
  uid: Type.Optional(Uid)
}, closed)

/** Sessions of all frontends: list, look at, kick. */
const sessions: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pitayaSessions: pool, pitayaCluster: { discovery, parts: { peers } } } = fastify
  const all = new AllSessions({ sessions: pool, discovery, peers })

  fastify.get('/sessions', {
    schema: { tags, summary: 'Open sessions, a page at a time', querystring: ListQuery, response: responses({ 200: Page }, [400]) }
  }, async ({ query: { limit = 50, after = '', uid = '' } }) => {
    const { sessions, ...page } = await all.page({ after, limit, uid })
    return { sessions: sessions.map(toRow), ...page }
  })

  fastify.get('/sessions/:id', {
    schema: { tags, summary: 'One session', params, response: responses({ 200: SessionRow }, [400, 404, 503, 504]) }
  }, async ({ params: { id } }) => {
    const session = await all.get(id)
    if (session === undefined) throw createError('PIT_ERR_SESSION_NOT_FOUND')
    return toRow(session)
  })

  // The reason is in the query: what a body means in a DELETE is not defined, and some proxies drop it.
  fastify.delete('/sessions/:id', {
    schema: {
      tags,
      summary: 'Kick one session',
      params,
      querystring: Type.Object({ reason: Type.Optional(Reason) }, closed),
      response: responses({ 204: Nothing }, [400, 404, 413, 415, 503, 504])
    }
  }, async (request, reply) => {
    const { params: { id }, query: { reason } } = request
    if (request.body !== undefined && request.body !== null) throw createError('PIT_ERR_BODY', ['give the reason in the query: ?reason=...'])
    assertReason(reason)
    const kicked = await all.kick(id, reason).catch((error: unknown) => {
      audit(request, { action: 'session.kick', target: id, reason, outcome: 'unknown' })
      throw error
    })
    const outcome = kicked === undefined ? 'not-found' : 'done'
    audit(request, { action: 'session.kick', target: kicked?.address ?? id, uid: kicked?.uid === '' ? undefined : kicked?.uid, reason, outcome })
    if (kicked === undefined) throw createError('PIT_ERR_SESSION_NOT_FOUND')
    return reply.code(204).send(null)
  })
}

/** What else a server of another version tells is dropped. */
function toRow (session: SessionDescription): Static<typeof SessionRow> {
  return session as Static<typeof SessionRow>
}

export default sessions

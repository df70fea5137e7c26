import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type, type Static } from '@sinclair/typebox'
import { createError } from '../../lib/errors.ts'
import type { Session } from '../../lib/session/session.ts'
import { audit } from './audit.ts'
import { assertReason } from './reason.ts'
import { Nothing, Reason, responses, SessionId, SessionRow, Uid } from './schemas.ts'

const closed = { additionalProperties: false }
const tags = ['pitaya']
const params = Type.Object({ id: SessionId })

const Page = Type.Object({
  sessions: Type.Array(SessionRow),
  total: Type.Integer({ description: 'open sessions of this server' }),
  next: Type.Union([Type.String(), Type.Null()], { description: 'give it as `after` for the next page' })
})

const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 50 })),
  after: Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$', description: '`next` of the page before' })),
  uid: Type.Optional(Uid)
}, closed)

/** Sessions of this server: list, look at, kick. */
const sessions: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pitayaSessions: pool } = fastify

  fastify.get('/sessions', {
    schema: { tags, summary: 'Open sessions, a page at a time', querystring: ListQuery, response: responses({ 200: Page }, [400]) }
  }, async ({ query: { limit = 50, after = '0', uid } }) => {
    const from = Number(after)
    // One more than asked for tells whether there is a next page.
    const found = uid === undefined
      ? pool.page(from, limit + 1)
      : pool.ofUid(uid).filter(({ id }) => id > from).sort((a, b) => a.id - b.id).slice(0, limit + 1)
    const page = found.slice(0, limit)
    return { sessions: page.map(toRow), total: pool.size, next: found.length > limit ? String(page.at(-1)!.id) : null }
  })

  fastify.get('/sessions/:id', {
    schema: { tags, summary: 'One session', params, response: responses({ 200: SessionRow }, [400, 404]) }
  }, async ({ params }) => toRow(get(params.id)))

  // The reason is in the query: what a body means in a DELETE is not defined, and some proxies drop it.
  fastify.delete('/sessions/:id', {
    schema: {
      tags,
      summary: 'Kick one session',
      params,
      querystring: Type.Object({ reason: Type.Optional(Reason) }, closed),
      response: responses({ 204: Nothing }, [400, 404, 413, 415])
    }
  }, async (request, reply) => {
    const { params: { id }, query: { reason } } = request
    if (request.body !== undefined && request.body !== null) throw createError('PIT_ERR_BODY', ['give the reason in the query: ?reason=...'])
    assertReason(reason)
    const session = find(id)
    const uid = session?.uid
    session?.kick(reason)
    const outcome = session === undefined ? 'not-found' : 'done'
    audit(request, { action: 'session.kick', target: session?.address ?? id, uid: uid === '' ? undefined : uid, reason, outcome })
    if (session === undefined) throw createError('PIT_ERR_SESSION_NOT_FOUND')
    return reply.code(204).send(null)
  })

  function find (address: string): Session | undefined {
    const [id, serverId = pool.serverId] = address.split(':').reverse()
    return serverId === pool.serverId ? pool.get(Number(id)) : undefined
  }

  function get (address: string): Session {
    const session = find(address)
    if (session === undefined) throw createError('PIT_ERR_SESSION_NOT_FOUND')
    return session
  }

  function toRow (session: Session): Static<typeof SessionRow> {
    const { address, uid, remoteAddress, entity, sys, data } = session
    return {
      id: address,
      uid,
      transport: entity.transport,
      remoteAddress,
      serializer: session.serializer,
      ageSeconds: Math.floor(entity.ageMs / 1000),
      sys,
      data: pool.dataCheck === undefined ? undefined : data
    }
  }
}

export default sessions

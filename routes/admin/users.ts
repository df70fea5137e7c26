import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { createError } from '../../lib/errors.ts'
import { isRaw } from '../../lib/handler/raw.ts'
import { audit } from './audit.ts'
import { assertReason } from './reason.ts'
import { bodyErrors, Nothing, Reason, responses, Uid } from './schemas.ts'

const closed = { additionalProperties: false }
const tags = ['pitaya']
const params = Type.Object({ uid: Uid })
const response = responses({ 204: Nothing }, bodyErrors)

/** All sessions of one uid: kick them, push to them. */
const users: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pushes } = fastify.pitayaHandlers

  fastify.post('/users/:uid/kick', {
    schema: { tags, summary: 'Kick all sessions of a uid', params, body: Type.Object({ reason: Type.Optional(Reason) }, closed), response },
    bodyLimit: 4096,
    preValidation: async (request) => { request.body ??= {} }
  }, async (request, reply) => {
    const { params: { uid }, body: { reason } } = request
    assertReason(reason)
    const { delivered } = await fastify.pitaya.kick(uid, reason)
    audit(request, { action: 'user.kick', target: uid, reason, outcome: delivered.length === 0 ? 'not-found' : 'done' })
    if (delivered.length === 0) throw createError('PIT_ERR_SESSION_NOT_FOUND')
    return reply.code(204).send(null)
  })

  fastify.post('/users/:uid/push', {
    schema: {
      tags,
      summary: 'Push to all sessions of a uid',
      params,
      body: Type.Object({ route: Type.String({ minLength: 1, maxLength: 255 }), data: Type.Unknown() }, closed),
      response
    },
    bodyLimit: 65536
  }, async (request, reply) => {
    const { params: { uid }, body: { route, data } } = request
    try {
      assertPush(route, data)
      const { delivered } = await fastify.pitaya.push(uid, route, data)
      audit(request, { action: 'user.push', target: uid, route, outcome: delivered.length === 0 ? 'not-found' : 'done' })
      if (delivered.length > 0) return reply.code(204).send(null)
    } catch (error) {
      audit(request, { action: 'user.push', target: uid, route, outcome: 'refused' })
      throw error
    }
    throw createError('PIT_ERR_SESSION_NOT_FOUND')
  })

  /** Encoders may be lenient; an operator wants to know. Throws PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY. */
  function assertPush (route: string, data: unknown): void {
    const schema = pushes.schemas.get(route)
    if (schema === undefined) throw createError('PIT_ERR_PUSH_UNKNOWN', [route])
    if (isRaw(schema)) throw createError('PIT_ERR_PUSH_BODY', [route, 'its bytes cannot be given as JSON'])
    if (Value.Check(schema, data)) return
    const first = Value.Errors(schema, data).First()
    throw createError('PIT_ERR_PUSH_BODY', [route, `${first?.path ?? ''} ${first?.message.toLowerCase() ?? 'it does not fit its schema'}`.trim()])
  }
}

export default users

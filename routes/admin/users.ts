import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { createError } from '../../lib/errors.ts'
import type { UidsOutcome } from '../../lib/facade-types.ts'
import { isRaw } from '../../lib/handler/raw.ts'
import { audit, type Audit } from './audit.ts'
import { assertReason } from './reason.ts'
import { bodyErrors, Nothing, Reason, responses, Uid } from './schemas.ts'

const closed = { additionalProperties: false }
const tags = ['pitaya']
const params = Type.Object({ uid: Uid })
const response = responses({ 204: Nothing }, [...bodyErrors, 503, 504])

/** All sessions of one uid, wherever they are: kick them, push to them. */
const users: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pushes } = fastify.pitayaHandlers

  fastify.post('/users/:uid/kick', {
    schema: { tags, summary: 'Kick all sessions of a uid', params, body: Type.Object({ reason: Type.Optional(Reason) }, closed), response },
    bodyLimit: 4096,
    preValidation: async (request) => { request.body ??= {} }
  }, async (request, reply) => {
    const { params: { uid }, body: { reason } } = request
    assertReason(reason)
    const outcome = toOutcome(await fastify.pitaya.kick(uid, reason, { confirm: true }))
    audit(request, { action: 'user.kick', target: uid, reason, outcome })
    assertDone(outcome)
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
    let outcome: Audit['outcome'] = 'refused'
    try {
      assertPush(route, data)
      outcome = toOutcome(await fastify.pitaya.push(uid, route, data, { confirm: true }))
    } finally {
      audit(request, { action: 'user.push', target: uid, route, outcome })
    }
    assertDone(outcome)
    return reply.code(204).send(null)
  })

  /** @throws PIT_ERR_SESSION_NOT_FOUND, PIT_ERR_CLUSTER_DOWN (nothing was sent), PIT_ERR_OUTCOME_UNKNOWN */
  function assertDone (outcome: Audit['outcome']): void {
    if (outcome === 'done') return
    if (outcome === 'not-found') throw createError('PIT_ERR_SESSION_NOT_FOUND')
    throw createError(fastify.pitayaCluster.transport.isUp ? 'PIT_ERR_OUTCOME_UNKNOWN' : 'PIT_ERR_CLUSTER_DOWN')
  }

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

function toOutcome ({ delivered, unknown }: UidsOutcome): Audit['outcome'] {
  if (delivered.length > 0) return 'done'
  return unknown.length > 0 ? 'unknown' : 'not-found'
}

export default users

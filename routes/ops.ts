import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'

const Ok = Type.Object({ status: Type.Literal('ok') })
const NotReady = Type.Object({ status: Type.Union([Type.Literal('starting'), Type.Literal('draining'), Type.Literal('unreachable')]) })

/**
 * What orchestrators ask. `healthz`: the process lives and turns; it stays so while draining, or it would be killed for it.
 * `readyz`: new clients may be sent here; not so while draining, or while the cluster cannot be reached.
 */
const ops: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pitaya, pitayaCluster: cluster } = fastify
  let isStarted = false
  fastify.addHook('onReady', async () => { isStarted = true })

  fastify.get('/healthz', {
    schema: { tags: ['pitaya'], summary: 'Liveness', response: { 200: Ok } },
    logLevel: 'warn'
  }, async () => ({ status: 'ok' as const }))

  fastify.get('/readyz', {
    schema: { tags: ['pitaya'], summary: 'Readiness', response: { 200: Ok, 503: NotReady } },
    logLevel: 'warn'
  }, async (_, reply) => {
    if (pitaya.isDraining) return reply.code(503).send({ status: 'draining' })
    if (!isStarted) return reply.code(503).send({ status: 'starting' })
    if (!cluster.isReady) return reply.code(503).send({ status: 'unreachable' })
    return { status: 'ok' as const }
  })
}

export default ops

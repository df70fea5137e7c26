import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'

/** What orchestrators ask. `healthz`: the process lives and turns; it stays so while draining, or it would be killed for it. */
const ops: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.get('/healthz', {
    schema: { tags: ['pitaya'], summary: 'Liveness', response: { 200: Type.Object({ status: Type.Literal('ok') }) } },
    logLevel: 'warn'
  }, async () => ({ status: 'ok' as const }))
}

export default ops

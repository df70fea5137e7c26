import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { responses } from './schemas.ts'

const Part = Type.Unknown({ description: 'Avro schema; "raw": bytes' })
const Route = Type.Object({
  kind: Type.String(),
  body: Type.Optional(Part),
  response: Type.Optional(Part),
  errors: Type.Optional(Type.Unsafe<readonly string[]>(Type.Array(Type.String(), { description: 'Codes of the errors that are its own' })))
})
const File = Type.Object({
  version: Type.Integer(),
  fingerprint: Type.String(),
  serverType: Type.String(),
  routes: Type.Record(Type.String(), Route),
  pushes: Type.Record(Type.String(), Part)
})

/** What a client may be pinned to: the schemas of this server and of those behind it. */
const contract: FastifyPluginAsyncTypebox = async (fastify) => {
  const { schemas } = fastify.pitayaCluster.parts

  fastify.get('/contract', {
    schema: { tags: ['pitaya'], summary: 'Contract file: routes and pushes, with their Avro schemas', response: responses({ 200: File }) }
  }, async () => schemas.set)
}

export default contract

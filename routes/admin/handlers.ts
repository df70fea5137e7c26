import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { responses } from './schemas.ts'

const Schema = Type.Unknown({ description: 'JSON schema; { "kind": "raw" }: bytes; null: nothing' })

const Listing = Type.Object({
  serverType: Type.String(),
  handlers: Type.Array(Type.Object({
    route: Type.String(),
    kind: Type.Union([Type.Literal('request'), Type.Literal('notify')]),
    concurrent: Type.Boolean(),
    body: Schema,
    response: Schema
  })),
  pushes: Type.Array(Type.Object({ route: Type.String(), body: Schema }))
})

/** What clients may call and what they are sent. */
const handlers: FastifyPluginAsyncTypebox = async (fastify) => {
  const { pitayaHandlers: service } = fastify

  fastify.get('/handlers', {
    schema: { tags: ['pitaya'], summary: 'Routes and pushes, with their schemas', response: responses({ 200: Listing }) }
  }, async () => ({
    serverType: service.serverType,
    handlers: service.handlers.map(({ route, kind, concurrent, definition: { body, response } }) => {
      return { route, kind, concurrent, body: body ?? null, response: response ?? null }
    }),
    pushes: [...service.pushes.schemas].map(([route, body]) => ({ route, body }))
  }))
}

export default handlers

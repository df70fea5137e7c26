import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { responses } from './schemas.ts'

const Server = Type.Object({
  id: Type.String(),
  type: Type.String(),
  frontend: Type.Boolean(),
  hostname: Type.String(),
  version: Type.String({ description: 'of fastify-pitaya' }),
  metadata: Type.Record(Type.String(), Type.String()),
  incarnation: Type.String({ description: 'another one after each start' }),
  load: Type.Integer({ description: 'calls in hand, a few seconds ago' }),
  isSelf: Type.Boolean(),
  draining: Type.Boolean({ description: 'it takes no new clients and no new calls' }),
  contract: Type.Object({
    fingerprint: Type.String({ description: 'of its schemas; empty: not known' }),
    breaks: Type.Array(Type.Object({ server: Type.String(), route: Type.String(), why: Type.String() }), {
      description: 'what clients that know the contract of another server of its type, or other servers, cannot use on it'
    })
  })
})

const Listing = Type.Object({
  servers: Type.Array(Server),
  connected: Type.Boolean({ description: 'this server can reach the others' }),
  stale: Type.Boolean({ description: 'the list is kept as it was last seen: there is no newer one' })
})

/** Who is there, as this server sees it. */
const servers: FastifyPluginAsyncTypebox = async (fastify) => {
  const { discovery, transport, parts: { contracts } } = fastify.pitayaCluster

  fastify.get('/servers', {
    schema: { tags: ['pitaya'], summary: 'Servers of the cluster', response: responses({ 200: Listing }) }
  }, async () => {
    const { self } = discovery
    // One that drains or cannot be found any more is looked at all the more.
    const others = discovery.all().filter(({ id }) => id !== self.id)
    const all = [self, ...others].sort((a, b) => a.id < b.id ? -1 : 1)
    return {
      servers: all.map((server) => {
        const isSelf = server === self
        const contract = { fingerprint: contracts.fingerprintOf(server), breaks: contracts.breaksOf(server) }
        return { ...server, isSelf, draining: server.draining || (isSelf && fastify.pitaya.isDraining), contract }
      }),
      connected: transport.isUp,
      stale: discovery.isStale
    }
  })
}

export default servers

import type {
  FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest, HookHandlerDoneFunction, RouteHandlerMethod
} from 'fastify'
import fp from 'fastify-plugin'
import type { TlsOptions } from 'node:tls'
import { inflateSync } from 'node:zlib'
import { connectOver, type Connected, type ConnectOptions, type Structures } from '../client/client.ts'
import { overMemory } from '../client/memory.ts'
import { createError } from '../lib/errors.ts'
import { Facade, type FacadeParts } from '../lib/facade.ts'
import type { ServerFacade } from '../lib/facade-types.ts'
import { resolveOptions, type PitayaOptions as Options, type ResolvedOptions } from '../lib/options.ts'
import { createRuntime } from '../lib/runtime.ts'
import { resolveSerializers } from '../lib/serializers/index.ts'
import admin from '../routes/admin/index.ts'
import ops from '../routes/ops.ts'
import acceptorTcp from './acceptor-tcp.ts'
import acceptorWs, { websocketOptions } from './acceptor-ws.ts'
import agents from './agents.ts'
import cluster from './cluster.ts'
import handlers from './handlers.ts'
import sessions from './sessions.ts'

export { websocketOptions }
export { PitayaError } from '../lib/errors.ts'
export { channels } from '../lib/channels.ts'
export { StreamConnection } from '../lib/agent/stream-connection.ts'
export type { AcceptorInfo, Connection, ConnectionHandler, Framing } from '../lib/agent/connection.ts'
export type { TcpAcceptorInfo } from '../lib/agent/tcp-listener.ts'
export type { HandshakeInput, HandshakeValidator } from '../lib/agent/greeter.ts'
export type { ClusterOptions, LimitOptions } from '../lib/options.ts'
export type { Codec, Serializer, WireError } from '../lib/serializers/serializer.ts'
export { MemoryBus } from '../lib/cluster/memory-bus.ts'
export * as routing from '../lib/cluster/routing.ts'
export type { RoutingCall, RoutingFunction } from '../lib/cluster/routing.ts'
export type { ServerInfo } from '../lib/cluster/discovery/discovery.ts'
export type { ClusterEvent, EventHook, EventOptions } from '../lib/cluster/peers.ts'
export type { NatsOptions } from '../lib/cluster/nats-options.ts'
export type { DeliveryOptions, Groups, ServerStats, Sessions, UidsOutcome } from '../lib/facade-types.ts'
export type { BindHook, BindPolicy, CloseHook } from '../lib/session/pool.ts'
export type * from '../lib/handler/types.ts'

/** A hook that guards the admin routes: it replies, or throws, to refuse. */
export type AdminAuth = (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => unknown
export type PitayaOptions = Options<RouteHandlerMethod, TlsOptions, AdminAuth, FastifyRequest>

/** `app.pitaya`, with the client for tests. */
export interface Pitaya extends ServerFacade {
  /**
   * A client over a connection in memory, through the full stack, once the app is ready: for tests, without a port.
   * Rejects with what the server refused the handshake with.
   */
  inject<T extends Structures = any> (options?: ConnectOptions & { remoteAddress?: string }): Promise<Connected<T>>
}

class PluginFacade extends Facade implements Pitaya {
  async inject<T extends Structures = any> (options: ConnectOptions & { remoteAddress?: string } = {}): Promise<Connected<T>> {
    const { remoteAddress, ...rest } = options
    return await connectOver<T>(overMemory(this.openPair(remoteAddress)), { inflate: (data) => inflateSync(data), ...rest })
  }

  override fork (): PluginFacade { return new PluginFacade(this.parts, this) }
}

declare module 'fastify' { interface FastifyInstance { pitaya: Pitaya } }

const pitaya: FastifyPluginAsync<PitayaOptions> = async (fastify, given) => {
  if (fastify.hasDecorator('pitaya')) throw createError('PIT_ERR_REGISTERED')
  const options = resolveOptions<PitayaOptions>(given)
  checkCloseMs(fastify, options)
  const log = fastify.log.child({ serverId: options.serverId, serverType: options.serverType })
  const runtime = createRuntime(options, await resolveSerializers(options.serializers), log)

  // Before anything else adds a preClose: hooks run in the order they were added, and these stages come first.
  fastify.addHook('preClose', async () => {
    await fastify.pitaya?.drain({ timeoutMs: options.closeMs })
    runtime.wheel.stop()
  })

  fastify.addHook('onReady', async () => facadeOf(fastify).ready())

  await fastify.register(sessions, { runtime })
  await fastify.register(handlers, { runtime })
  await fastify.register(cluster, { runtime })
  await fastify.register(agents, { runtime })

  const parts: FacadeParts = {
    serverType: options.serverType,
    serverId: options.serverId,
    agents: fastify.pitayaAgents,
    handlers: fastify.pitayaHandlers,
    sessions: fastify.pitayaSessions,
    cluster: fastify.pitayaCluster,
    groups: fastify.pitayaCluster.parts.groups
  }
  fastify.decorate('pitaya', new PluginFacade(parts))
  fastify.addHook('onRegister', (instance) => { instance.pitaya = facadeOf(instance).fork() })

  const { acceptors } = given
  if (acceptors !== undefined && acceptors !== false) {
    const { listening } = fastify.pitayaAgents
    for (const tcp of listOf(acceptors.tcp)) {
      await fastify.register(acceptorTcp, { ...tcp, onListening: (info) => { listening.push(info) } })
    }
    for (const websocket of listOf(acceptors.websocket)) {
      await fastify.register(acceptorWs, { ...websocket, maxPacketBytes: options.limits.packetBytes })
    }
  }
  if (given.admin !== undefined) await fastify.register(admin, { ...given.admin, prefix: given.admin.prefix ?? '/admin' })
  if (given.ops !== undefined && given.ops !== false) await fastify.register(ops, { prefix: given.ops === true ? '' : given.ops.prefix ?? '' })
}

function facadeOf ({ pitaya }: FastifyInstance): PluginFacade {
  return pitaya as PluginFacade
}

function listOf<T> (value: T | T[] | undefined): T[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value]
}

/** Fastify gives up on a hook after its `pluginTimeout`; our stages must end before. */
function checkCloseMs ({ initialConfig }: FastifyInstance, { closeMs }: ResolvedOptions): void {
  const { pluginTimeout = 10_000 } = initialConfig
  if (pluginTimeout === 0 || closeMs < pluginTimeout) return
  throw createError('PIT_ERR_OPTIONS', [`closeMs must be below Fastify's pluginTimeout (${pluginTimeout})`])
}

const plugin = fp(pitaya, { name: 'fastify-pitaya', fastify: '5.x' })
export default plugin
export { plugin as fastifyPitaya }

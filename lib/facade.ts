import { setTimeout as delay } from 'node:timers/promises'
import type { Agents } from './agent/agents.ts'
import type { Connection } from './agent/connection.ts'
import { createConnectionPair, type ClientEnd } from './agent/memory-connection.ts'
import type { TcpAcceptorInfo } from './agent/tcp-listener.ts'
import type { Cluster } from './cluster/cluster.ts'
import type { ServerInfo } from './cluster/discovery/discovery.ts'
import type { RoutingFunction } from './cluster/routing.ts'
import { createError } from './errors.ts'
import type { DeliveryOptions, Groups, ServerFacade, ServerStats, UidsOutcome } from './facade-types.ts'
import { checkDefined } from './handler/check.ts'
import type { HandlerService } from './handler/service.ts'
import type { AfterHook, BeforeHook, HandlersDefinition, PipelineSteps, RawHook } from './handler/types.ts'
import type { RemoteCallOptions, RemoteClient } from './remote/client-types.ts'
import type { AfterRemoteHook, BeforeRemoteHook, RemoteImplementation, RemoteMethods, Remotes, RemoteSteps } from './remote/types.ts'
import type { SessionPool } from './session/pool.ts'

/** What the facade of one scope shares with those of all other scopes of its server. */
export interface FacadeParts {
  readonly serverType: string
  readonly serverId: string
  readonly agents: Agents
  readonly handlers: HandlerService
  readonly sessions: SessionPool
  readonly cluster: Cluster
  readonly groups: Groups
}

const DRAIN_MS = 25_000
/** Until all other servers know that this one takes no new calls. */
const PROPAGATION_MS = 1000
/** Of the time for draining: what remains is for saying goodbye. */
const SHARE_OF_HANDLERS = 0.75

/** What all scopes of a server share. */
interface Life {
  isReady: boolean
  draining: Promise<void> | undefined
  /** When draining is over at the latest. */
  drainedAt: number
  /** Ends the wait for handlers. */
  hurry: () => void
}

/** `app.pitaya` of one Fastify scope, made by `fork` from its parent's; applications see it as a ServerFacade. */
export class Facade implements ServerFacade {
  /** For forks. */
  protected readonly parts: FacadeParts
  #levels: readonly PipelineSteps[]
  #own: PipelineSteps
  #remoteLevels: readonly RemoteSteps[]
  #ownRemote: RemoteSteps
  #life: Life

  constructor (parts: FacadeParts, parent?: Facade) {
    this.parts = parts
    this.#own = { before: [], after: [], rawBefore: [], rawAfter: [] }
    this.#levels = [...parent === undefined ? [] : parent.#levels, this.#own]
    this.#ownRemote = { before: [], after: [] }
    this.#remoteLevels = [...parent === undefined ? [] : parent.#remoteLevels, this.#ownRemote]
    this.#life = parent === undefined ? { isReady: false, draining: undefined, drainedAt: Infinity, hurry () {} } : parent.#life
  }

  get serverType (): string { return this.parts.serverType }
  get serverId (): string { return this.parts.serverId }
  get sessions (): SessionPool { return this.parts.sessions }
  get groups (): Groups { return this.parts.groups }
  get acceptors (): readonly TcpAcceptorInfo[] { return this.parts.agents.listening }
  get isDraining (): boolean { return this.#life.draining !== undefined }
  get stats (): ServerStats {
    const { agents, sessions, handlers, cluster } = this.parts
    const { running, waiting } = handlers.dispatcher
    return {
      connections: agents.size,
      sessions: sessions.size,
      running: running + cluster.parts.remotes.running,
      waiting,
      abandoned: handlers.abandonedCalls,
      pending: cluster.pending
    }
  }

  get servers (): readonly ServerInfo[] { return this.parts.cluster.discovery.all() }
  get isReady (): boolean { return this.#life.isReady && !this.isDraining && this.parts.cluster.isReady }

  register (...definitions: HandlersDefinition[]): this {
    this.#requireStarting('register')
    definitions.forEach(checkDefined)
    for (const definition of definitions) this.parts.handlers.register(definition, this.#levels)
    return this
  }

  before (hook: BeforeHook): this
  before (hook: RawHook, options: { raw: true }): this
  before (hook: BeforeHook | RawHook, options?: { raw?: boolean }): this {
    this.#requireHook('before', hook)
    if (options?.raw === true) this.#own.rawBefore.push(hook as RawHook)
    else this.#own.before.push(hook as BeforeHook)
    return this
  }

  after (hook: AfterHook): this
  after (hook: RawHook, options: { raw: true }): this
  after (hook: AfterHook | RawHook, options?: { raw?: boolean }): this {
    this.#requireHook('after', hook)
    if (options?.raw === true) this.#own.rawAfter.push(hook as RawHook)
    else this.#own.after.push(hook as AfterHook)
    return this
  }

  remotes<M extends RemoteMethods> (contract: Remotes<string, M>, implementation: NoInfer<RemoteImplementation<M>>): this {
    this.#requireStarting('remotes')
    this.parts.cluster.parts.remotes.register(contract, implementation, this.#remoteLevels)
    return this
  }

  remote<M extends RemoteMethods> (serverType: string, contract: Remotes<string, M>): RemoteClient<M> {
    return this.parts.cluster.parts.remoteClients.of(serverType, contract)
  }

  async rpc (route: string, data: Uint8Array, options?: RemoteCallOptions): Promise<Uint8Array> {
    return await this.parts.cluster.call(route, data, options)
  }

  beforeRemote (hook: BeforeRemoteHook): this {
    this.#requireHook('beforeRemote', hook)
    this.#ownRemote.before.push(hook)
    return this
  }

  afterRemote (hook: AfterRemoteHook): this {
    this.#requireHook('afterRemote', hook)
    this.#ownRemote.after.push(hook)
    return this
  }

  route (serverType: string, choose: RoutingFunction): this {
    this.#requireStarting('route')
    this.parts.cluster.parts.router.use(serverType, choose)
    return this
  }

  onFatal (hook: (error: Error) => void): void { this.parts.cluster.onFatal(hook) }

  async push (
    uids: string | readonly string[], route: string, value: unknown, { confirm = false }: DeliveryOptions = {}
  ): Promise<UidsOutcome> {
    return await this.parts.cluster.parts.deliveries.pushToUids(typeof uids === 'string' ? [uids] : uids, route, value, confirm)
  }

  async kick (uids: string | readonly string[], reason?: string, { confirm = false }: DeliveryOptions = {}): Promise<UidsOutcome> {
    return await this.parts.cluster.parts.deliveries.kickUids(typeof uids === 'string' ? [uids] : uids, reason, confirm)
  }

  accept (connection: Connection, request?: unknown): boolean {
    const verdict = this.parts.agents.canAccept()
    if (verdict === 'rate' || verdict === 'draining') {
      connection.destroy()
      return false
    }
    this.parts.agents.accept(connection, request)
    return true
  }

  /** The client's end of a connection in memory, already accepted: what tests talk through. */
  openPair (remoteAddress?: string): ClientEnd {
    if (!this.#life.isReady) throw new Error('inject() works once the app is ready: await app.ready() first')
    const { client, server } = createConnectionPair(remoteAddress === undefined ? {} : { remoteAddress })
    this.accept(server)
    return client
  }

  async drain ({ timeoutMs = DRAIN_MS }: { timeoutMs?: number } = {}): Promise<void> {
    const life = this.#life
    life.drainedAt = Math.min(life.drainedAt, performance.now() + timeoutMs)
    const timer = setTimeout(() => life.hurry(), timeoutMs * SHARE_OF_HANDLERS)
    life.draining ??= this.#drain()
    await life.draining.finally(() => clearTimeout(timer))
  }

  /** A child scope's facade. */
  fork (): Facade { return new Facade(this.parts, this) }

  /** Called when everything is compiled. */
  ready (): void { this.#life.isReady = true }

  async #drain (): Promise<void> {
    const { agents, handlers, cluster } = this.parts
    const hurried = new Promise<void>((resolve) => { this.#life.hurry = resolve })
    // Others start no new calls here; those that have not heard of it yet are answered all the same.
    if (await cluster.retire()) await Promise.race([delay(PROPAGATION_MS, undefined, { ref: false }), hurried])
    agents.stop()
    await Promise.race([Promise.all([agents.finishAll('shutdown'), handlers.dispatcher.idle(), cluster.parts.remotes.idle()]), hurried])
    await agents.shutDown(Math.max(1, this.#life.drainedAt - performance.now()))
  }

  #requireHook (name: string, hook: unknown): void {
    this.#requireStarting(name)
    if (typeof hook !== 'function') throw createError('PIT_ERR_HANDLER', [`app.pitaya.${name}()`, 'takes a function'])
  }

  #requireStarting (name: string): void {
    if (this.#life.isReady) throw createError('PIT_ERR_STARTED', [`app.pitaya.${name}()`])
  }
}

import { hostname } from 'node:os'
import { isPitayaError } from '../errors.ts'
import { ClusterGroups } from '../groups/cluster.ts'
import { MemoryGroups } from '../groups/memory.ts'
import type { Groups } from '../facade-types.ts'
import type { HandlerService } from '../handler/service.ts'
import type { Logger } from '../handler/types.ts'
import { Deadline } from '../deadline.ts'
import { logFailure } from '../log-failure.ts'
import { RemoteClients } from '../remote/client.ts'
import type { RemoteCallOptions } from '../remote/client-types.ts'
import { RemoteService } from '../remote/service.ts'
import type { Runtime } from '../runtime.ts'
import { createAvroSerializer } from '../serializers/avro.ts'
import { describeSession } from '../session/describe.ts'
import type { SessionPool } from '../session/pool.ts'
import { StoreBindings } from './bindings.ts'
import { decodeContract, encodeContract, type Contract } from './contract.ts'
import { Deliveries } from './deliveries.ts'
import { Directory } from './directory.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import { LeaseDiscovery } from './discovery/leases.ts'
import { newIncarnation } from './discovery/own-lease.ts'
import { createAvroEnvelope } from './envelopes/avro.ts'
import { Events } from './events.ts'
import { Forwarder } from './forwarder.ts'
import { removeFrontend } from './janitor.ts'
import { Subjects } from './names.ts'
import type { EventHook, EventOptions, Peers } from './peers.ts'
import type { SessionHome } from './remote-session.ts'
import { Router } from './router.ts'
import { RpcClient } from './rpc-client.ts'
import { RpcServer } from './rpc-server.ts'
import type { Store } from './stores/store.ts'
import { createPeers, serveSys, sys } from './sys.ts'
import type { Transport } from './transports/transport.ts'
import { UserCalls } from './user-calls.ts'

/** What carries messages and what is shared; a member of each family. */
export interface Carrier {
  readonly transport: Transport
  openStore (name: string): Promise<Store>
}

export interface ClusterOptions {
  readonly runtime: Runtime
  readonly carrier: Carrier
  /** False: this server is alone by design, and keeps uids and groups to itself. */
  readonly isShared: boolean
  readonly sessions: SessionPool
  readonly service: HandlerService
  /** Of this package. */
  readonly version: string
}

type GroupHooks = Pick<Groups, 'onJoin' | 'onLeave'>
type Stores = Record<'servers' | 'bindings' | 'groups', Store>

const CONTRACT = 'contract'
const LOAD_MS = 1000
/** What deletions leave behind in a store is removed when it is so old. */
const COMPACT_MS = 30 * 60_000

/** This server among the others: one object per server, alone or not. */
export class Cluster {
  readonly transport: Transport
  readonly discovery: Discovery
  readonly router: Router
  readonly remotes: RemoteService
  readonly remoteClients: RemoteClients
  readonly rpc: RpcClient
  readonly peers: Peers
  readonly events: Events
  readonly deliveries: Deliveries
  readonly directory: Directory
  readonly groups: (ClusterGroups | MemoryGroups) & GroupHooks
  readonly forwarder: Forwarder
  #options: ClusterOptions
  #log: Logger
  #stores: Stores
  #bindings: StoreBindings | undefined
  #calls: UserCalls
  #server: RpcServer
  /** By name. */
  #contracts = new Map<string, Contract>()
  #load: Deadline | undefined
  #compact: Deadline | undefined
  #isStarted = false
  #isClosed = false
  #onFatal: Array<(error: Error) => void> = []
  #fatal: Error | undefined

  /** Connects. Rejects with PIT_ERR_CLUSTER_START. */
  static async open (options: ClusterOptions): Promise<Cluster> {
    const { transport, openStore } = options.carrier
    let cluster: Cluster | undefined
    await transport.open({
      onUp: () => { if (cluster !== undefined) cluster.#up() },
      onDown: () => { if (cluster !== undefined) cluster.#down() },
      onFatal: (error) => { if (cluster !== undefined) cluster.#fail(error) },
      onError: (error) => logFailure(options.runtime.log, error, 'a message of another server failed'),
      onSlow: () => options.runtime.log.warn('messages of other servers were lost: this process takes them too slowly')
    })
    try {
      const [servers, bindings, groups] = await Promise.all(['servers', 'bindings', 'groups'].map((name) => openStore(name)))
      cluster = new Cluster(options, { servers: servers!, bindings: bindings!, groups: groups! })
      return cluster
    } catch (error) {
      await transport.close()
      throw error
    }
  }

  private constructor (options: ClusterOptions, stores: Stores) {
    const { runtime: { options: resolved, wheel, log }, carrier: { transport }, sessions, service, isShared } = options
    const { serverId, serverType, frontend, limits, dispatch, session: { policy, scope }, cluster: { prefix, leaseMs, metadata } } = resolved
    this.#options = options
    this.#log = log
    this.#stores = stores
    this.transport = transport
    const subjects = new Subjects(prefix)
    const envelope = createAvroEnvelope()
    const serializer = createAvroSerializer()
    const self = { id: serverId, type: serverType, frontend, metadata, hostname: hostname(), version: options.version, contract: '', events: [] }
    this.discovery = new LeaseDiscovery({ store: stores.servers, self, wheel, log, isConnected: () => transport.isUp, leaseMs })
    const { discovery } = this
    this.router = new Router({ discovery, log })
    this.rpc = new RpcClient({ transport, envelope, subjects, serverId, incarnation: newIncarnation(), maxPending: limits.rpcPending, log })
    this.remotes = new RemoteService({ serverType, serializer, wheel, host: service, handlerMs: limits.handlerMs, maxRunning: limits.remotes })
    this.#calls = new UserCalls({
      rpc: this.rpc,
      router: this.router,
      discovery,
      wheel,
      serverId,
      local: (route, data, remainingMs, context, reply) => this.remotes.call(route, data, { callerId: serverId, remainingMs, context }, reply)
    })
    const handlerMs = limits.handlerMs
    this.remoteClients = new RemoteClients({
      serializer,
      send: (route, data, call, timeoutMs = handlerMs) => this.#calls.call(route.slice(0, route.indexOf('.')), route, data, call, timeoutMs)
    })
    this.peers = createPeers(serializer, (route, data, call, timeoutMs = handlerMs) => {
      return this.#calls.call(undefined, route.slice(route.indexOf('.') + 1), data, call, timeoutMs)
    })
    const { peers } = this
    this.events = new Events({ transport, discovery: () => discovery, subjects, serverType, log })
    this.directory = new Directory({ store: stores.bindings, discovery, scope, policy, log })
    const { directory, events } = this
    this.deliveries = new Deliveries({
      serverId, transport, envelope, subjects, sessions, pushes: service.pushes, directory, peers, manySessions: policy === 'allow', log
    })
    const { deliveries } = this
    const pushToUids = (uids: readonly string[], route: string, value: unknown) => deliveries.pushToUids(uids, route, value, false)
    const common = { sessions, pushes: service.pushes, wheel, maxGroups: limits.groups, events, serverId }
    if (isShared) {
      const groups = new ClusterGroups({
        ...common, log, transport, store: stores.groups, subjects, envelope, discovery, peers, directory, pushToUids
      })
      this.groups = withHooks(groups, events)
      if (frontend) {
        this.#bindings = new StoreBindings({
          store: stores.bindings,
          discovery,
          sessions,
          peers,
          policy,
          scope,
          log,
          groupsOf: (uid) => groups.groupsOf(uid),
          adoptGroups: (uid, names) => { void groups.adopt(uid, names) }
        })
        sessions.bindings = this.#bindings
      }
    } else {
      this.groups = withHooks(new MemoryGroups(common), events)
    }
    sessions.events = events
    service.groups = this.groups
    this.forwarder = new Forwarder({ serverId, service, discovery, router: this.router, rpc: this.rpc, envelope, dispatch, handlerMs })
    service.forwarding = this.forwarder
    this.#server = new RpcServer({
      transport, envelope, subject: subjects.rpc(serverId), service, remotes: this.remotes, sessions, home: this.#createHome(), handlerMs, log
    })
    this.remotes.register(sys, serveSys({
      sessions,
      envelope,
      deliveries,
      directory,
      replaced: (claim) => this.#bindings?.onReplaced(claim) ?? { groups: [] },
      groupAdd: async (name, uid) => { await (this.groups instanceof ClusterGroups ? this.groups.addLocal(name, uid) : this.groups.add(name, uid)) },
      groupRemove: async (name, uid) => {
        await (this.groups instanceof ClusterGroups ? this.groups.removeLocal(name, uid) : this.groups.remove(name, uid))
      },
      describe: (id) => {
        const session = sessions.get(id)
        return session === undefined ? undefined : describeSession(session)
      }
    }), [])
  }

  /** True while others can reach this server and it them. */
  get isReady (): boolean { return this.#isStarted && !this.#isClosed && this.transport.isUp && this.discovery.isRegistered }
  /** Calls to other servers that are not answered yet. */
  get pending (): number { return this.rpc.pending }

  /** Called once, when this server cannot be part of the cluster any more: the process should end. */
  onFatal (hook: (error: Error) => void): void {
    if (this.#fatal !== undefined) hook(this.#fatal)
    else this.#onFatal.push(hook)
  }

  /** The untyped base of remotes: bytes to a route of a server type, or of one server. */
  async call (route: string, data: Uint8Array, options: RemoteCallOptions = {}): Promise<Uint8Array> {
    const type = route.slice(0, route.indexOf('.'))
    return await this.#calls.call(type, route, data, options, options.timeoutMs ?? this.#options.runtime.options.limits.handlerMs)
  }

  /**
   * Everything is compiled: subscribes, then registers. When it resolves, others can find and reach this server.
   * Rejects with PIT_ERR_SERVER_ID, PIT_ERR_STORE, PIT_ERR_CLUSTER_DOWN.
   */
  async start (): Promise<void> {
    const { transport, discovery, remotes, events } = this
    const { runtime: { options: { frontend } }, service } = this.#options
    remotes.compile()
    this.rpc.open()
    this.#server.open()
    if (frontend) this.deliveries.open()
    events.open()
    if (this.groups instanceof ClusterGroups) await this.groups.open()
    await transport.flush()
    const contract = encodeContract(service.handlers)
    await this.#putContract(contract)
    discovery.update({ contract: contract.name, events: events.kinds })
    await discovery.start({
      onAdd: (server) => this.#came(server),
      onUpdate: (server, isRenewed) => this.#changed(server, isRenewed),
      onLost: (server, why) => this.#lost(server, why),
      onReincarnated: () => this.#reincarnated(),
      onFatal: (error) => this.#fail(error)
    })
    await Promise.all(discovery.all().map((server) => this.#learn(server)))
    events.serversChanged()
    this.#isStarted = true
    this.#tellLoad()
    this.#compactLater()
  }

  /**
   * Others start no new calls here; what is in hand goes on, and clients here can be reached.
   * @returns false: there are no others, or they cannot be told
   */
  async retire (): Promise<boolean> {
    if (!this.#isStarted || !this.transport.isUp) return false
    this.discovery.update({ draining: true }, true)
    return this.discovery.all().length > 1
  }

  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#load?.cancel()
    this.#compact?.cancel()
    const ignored = (): void => {}
    await Promise.race([this.#bindings?.settled(), new Promise((resolve) => { setTimeout(resolve, 1000).unref() })])
    this.#bindings?.close()
    await this.groups.close()
    this.events.close()
    this.deliveries.close()
    this.#server.close()
    this.rpc.close()
    // Answers are to be there before the news that nobody is here any more.
    await this.transport.flush().catch(ignored)
    await this.discovery.leave()
    await this.discovery.close()
    await Promise.all(Object.values(this.#stores).map((store) => store.close()))
    await this.transport.close()
  }

  #createHome (): SessionHome {
    const { deliveries, peers } = this
    return {
      respond: (reply, payload, isError) => this.#server.respond(reply, payload, isError),
      push: (frontendId, sessionId, route, value, serializer) => deliveries.pushToSession(frontendId, sessionId, route, value, serializer),
      pushToUid: (uid, route, value) => {
        deliveries.pushToUids([uid], route, value, false).catch((error: unknown) => logFailure(this.#log, error, 'a push could not be sent', { uid }))
        return this.transport.isUp
      },
      kick: (frontendId, sessionId, reason) => { deliveries.kickSession(frontendId, sessionId, reason) },
      close: (frontendId, sessionId) => { deliveries.closeSession(frontendId, sessionId) },
      bind: async (frontendId, sessionId, uid) => { await peers.bind(frontendId, { sessionId, uid }) },
      patch: (frontendId, sessionId, patch, base) => peers.patch(frontendId, { sessionId, patch, base })
    }
  }

  #up (): void {
    if (!this.#isStarted) return
    this.#log.info('the cluster can be reached again')
    this.discovery.refresh()
    this.#restore(false)
  }

  #down (): void {
    if (this.#isStarted && !this.#isClosed) this.#log.warn('the cluster cannot be reached: routes of this server go on, others are answered PIT-503')
    this.rpc.failAll()
  }

  #fail (error: Error): void {
    if (this.#fatal !== undefined || this.#isClosed) return
    this.#fatal = error
    this.#log.fatal({ err: error }, 'this server cannot be part of the cluster any more')
    for (const hook of this.#onFatal.splice(0)) hook(error)
  }

  #reincarnated (): void {
    this.#log.warn('this server was taken for lost, and is back')
    this.#restore(true)
  }

  /** What the store may have lost is put back. */
  #restore (isReborn: boolean): void {
    const failed = (error: unknown): void => { if (!isPitayaError(error)) logFailure(this.#log, error, 'the store could not be restored') }
    this.#putContract(encodeContract(this.#options.service.handlers)).catch(failed)
    this.#bindings?.reconcile().catch(failed)
    if (this.groups instanceof ClusterGroups) this.groups.reconcile({ isReborn }).catch(failed)
  }

  #came (server: ServerInfo): void {
    if (this.#isStarted && server.id !== this.discovery.self.id) this.#log.info({ peer: server.id, peerType: server.type }, 'server came')
    this.router.trust(server.id)
    this.events.serversChanged()
    void this.#learn(server)
  }

  #changed (server: ServerInfo, isRenewed: boolean): void {
    if (isRenewed) this.router.trust(server.id)
    else this.events.serversChanged()
    if (!this.#contracts.has(server.contract)) void this.#learn(server)
  }

  #lost (server: ServerInfo, why: 'left' | 'lease'): void {
    const { id, type, frontend } = server
    if (id === this.discovery.self.id) return
    this.#log.info({ peer: id, peerType: type, why }, 'server is gone')
    this.rpc.failPeer(id)
    this.router.trust(id)
    this.forwarder.forget(id)
    this.events.serversChanged()
    if (frontend && why === 'lease' && this.#isEldest()) this.#cleanUp(server)
  }

  /** One of the servers does what one must do: the one with the first id. */
  #isEldest (): boolean {
    const { self } = this.discovery
    return this.discovery.all().every(({ id }) => id >= self.id)
  }

  #cleanUp (server: ServerInfo): void {
    const { policy, scope } = this.#options.runtime.options.session
    const failed = (error: unknown): void => logFailure(this.#log, error, 'what a lost server left behind could not be removed', { peer: server.id })
    if (this.#bindings === undefined && policy === undefined) return
    removeFrontend(server, { store: this.#stores.bindings, discovery: this.discovery, scope, events: this.events, log: this.#log }).catch(failed)
    if (this.groups instanceof ClusterGroups) this.groups.janitor(server.id).catch(failed)
  }

  async #putContract ({ name, bytes }: { name: string, bytes: Uint8Array }): Promise<void> {
    await this.#stores.servers.create(`${CONTRACT}.${name}`, bytes)
  }

  /** Reads a server's contract, unless it is known. */
  async #learn ({ contract, type }: ServerInfo): Promise<void> {
    if (contract === '') return
    try {
      if (!this.#contracts.has(contract)) {
        const entry = await this.#stores.servers.get(`${CONTRACT}.${contract}`)
        // Lost with the store: it is put back by its server, and read after one of the next renewals.
        if (entry === undefined) return
        this.#contracts.set(contract, decodeContract(entry.value))
      }
    } catch (error) {
      if (!isPitayaError(error)) throw error
      return
    }
    const used = new Set(this.discovery.all().map(({ contract }) => contract))
    for (const name of this.#contracts.keys()) if (!used.has(name)) this.#contracts.delete(name)
    if (type === this.discovery.self.type) return
    const names = new Set(this.discovery.ofType(type).map(({ contract }) => contract))
    this.forwarder.learn(type, [...names].flatMap((name) => this.#contracts.get(name) ?? []))
  }

  #tellLoad (): void {
    const { dispatcher } = this.#options.service
    this.discovery.update({ load: dispatcher.running + dispatcher.waiting + this.remotes.running })
    this.#load = new Deadline(this.#options.runtime.wheel, LOAD_MS, () => this.#tellLoad())
  }

  #compactLater (): void {
    this.#compact = new Deadline(this.#options.runtime.wheel, COMPACT_MS, () => {
      this.#compactLater()
      if (!this.#isEldest()) return
      for (const store of Object.values(this.#stores)) store.compact(COMPACT_MS).catch(() => {})
    })
  }
}

function withHooks<G extends object> (groups: G, events: Events): G & GroupHooks {
  return Object.assign(groups, {
    onJoin: (hook: EventHook, options?: EventOptions) => events.on('join', hook, options),
    onLeave: (hook: EventHook, options?: EventOptions) => events.on('leave', hook, options)
  })
}

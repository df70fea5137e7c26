import { setTimeout as delay } from 'node:timers/promises'
import { withRemotes } from '../contract/contract.ts'
import { Deadline } from '../deadline.ts'
import { createError, isPitayaError } from '../errors.ts'
import type { HandlerService } from '../handler/service.ts'
import type { Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import { checkRawCall } from '../remote/check.ts'
import type { RemoteCallOptions } from '../remote/client-types.ts'
import type { Runtime } from '../runtime.ts'
import type { SessionPool } from '../session/pool.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import { RpcType } from './envelopes/envelope.ts'
import { removeFrontend } from './janitor.ts'
import { createParts, type Parts } from './parts.ts'
import type { Store } from './stores/store.ts'
import type { Transport } from './transports/transport.ts'

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

export type Stores = Record<'servers' | 'bindings' | 'groups', Store>

const LOAD_MS = 1000
/** How long a lost frontend is remembered, in case that whoever clears up after it is lost too, or fails. */
const ORPHAN_MS = 120_000
/** The same is tried again so often. */
const CLEAN_MS = 5000
/** For telling the store of the last sessions that closed; what it was not told, another server cleans up. */
const SETTLE_MS = 1000
/** For all that is told to others at the end, while the carrier may have fallen silent. */
const GOODBYE_MS = 3000
/** For an answer of another server under this server's id. */
const PROBE_MS = 1000
const NOTHING = new Uint8Array(0)
/** What deletions leave behind in a store is removed when it is so old. */
const COMPACT_MS = 30 * 60_000

/** This server among the others: one object per server, alone or not. */
export class Cluster {
  readonly transport: Transport
  readonly discovery: Discovery
  readonly parts: Parts
  #options: ClusterOptions
  #log: Logger
  #stores: Stores
  #load: Deadline | undefined
  #compact: Deadline | undefined
  #clean: Deadline | undefined
  /** Frontends that were lost and may have left something behind. */
  #orphaned = new Map<string, { readonly server: ServerInfo, readonly at: number }>()
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
    this.#options = options
    this.#log = options.runtime.log
    this.#stores = stores
    this.transport = options.carrier.transport
    this.parts = createParts(options, stores)
    this.discovery = this.parts.discovery
  }

  /** True while others can reach this server and it them. */
  get isReady (): boolean { return this.#isStarted && !this.#isClosed && this.transport.isUp && this.discovery.isRegistered }
  /** Calls to other servers that are not answered yet. */
  get pending (): number { return this.parts.rpc.pending }

  /** Called once, when this server cannot be part of the cluster any more: the process should end. */
  onFatal (hook: (error: Error) => void): void {
    if (this.#fatal !== undefined) hook(this.#fatal)
    else this.#onFatal.push(hook)
  }

  /**
   * The untyped base of remotes: bytes to a route of a server type. With `serverId` the route may do without the type.
   * Rejects as `UserCalls.send`, and with PIT_ERR_REMOTE for what is no route, no bytes or no time.
   */
  async call (route: string, data: Uint8Array, options: RemoteCallOptions = {}): Promise<Uint8Array> {
    const { timeoutMs = this.#options.runtime.options.limits.handlerMs, serverId } = options
    const type = checkRawCall(route, data, timeoutMs, serverId)
    return await this.parts.calls.send(type, route, data, options, timeoutMs)
  }

  /**
   * Everything is compiled: subscribes, then registers. When it resolves, others can find and reach this server.
   * Rejects with PIT_ERR_SERVER_ID, PIT_ERR_STORE, PIT_ERR_CLUSTER_DOWN.
   */
  async start (): Promise<void> {
    const { transport, discovery, parts: { remotes, remoteClients, rpc, server, deliveries, events, clusterGroups, contracts } } = this
    const { runtime: { options: { frontend } }, service } = this.#options
    remotes.compile()
    rpc.open()
    await transport.flush()
    await this.#evict()
    events.open()
    await clusterGroups?.open()
    await transport.flush()
    const contract = await contracts.publish(withRemotes(service.contract, remotes.contracts, remoteClients.used))
    discovery.update({ contract, events: events.kinds })
    await discovery.start({
      onFree: async () => {
        server.open()
        if (frontend) deliveries.open()
        await transport.flush()
      },
      onTaken: () => {
        server.close()
        deliveries.close()
      },
      onAdd: (server) => this.#came(server),
      onUpdate: (server) => this.#changed(server),
      onLost: (server, why) => this.#lost(server, why),
      onReincarnated: () => this.#restore(true),
      onFatal: (error) => this.#fail(error)
    })
    await Promise.all(discovery.all().map((server) => contracts.learn(server)))
    // What an earlier life of this server left there; not before it is sure that there is no other one.
    await clusterGroups?.reconcile()
    events.serversChanged()
    if (this.#isClosed) return
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
    this.#clean?.cancel()
    const { bindings, events, deliveries, server, rpc } = this.parts
    await within(GOODBYE_MS, this.#sayGoodbye())
    bindings?.close()
    events.close()
    deliveries.close()
    server.close()
    rpc.close()
    await this.discovery.close()
    await within(SETTLE_MS, Promise.all(Object.values(this.#stores).map((store) => store.close())))
    await within(SETTLE_MS, this.transport.close())
  }

  /** Tells the store and the others. What cannot be told they learn from the end of the lease, and one of them cleans up. */
  async #sayGoodbye (): Promise<void> {
    const { bindings, groups, server } = this.parts
    await within(SETTLE_MS, Promise.resolve(bindings?.settled()))
    bindings?.close()
    await groups.close()
    server.close()
    // Answers are to be there before the news that nobody is here any more.
    await this.transport.flush().catch(() => {})
    await this.discovery.leave()
  }

  /**
   * An entry that an earlier life of this server left behind, killed perhaps: where nobody listens under the id any more, it is taken away,
   * or the start would wait for two thirds of a lease. Rejects with PIT_ERR_SERVER_ID when somebody answers.
   */
  async #evict (): Promise<void> {
    const { discovery: { self: { id } }, parts: { rpc } } = this
    const left = await this.#stores.servers.get(id)
    if (left === undefined) return
    const request = { type: RpcType.user, route: 'sys.ping', isNotify: false, remainingMs: PROBE_MS, frontend: '', session: undefined, context: undefined }
    let number = -1
    const heard = await within(PROBE_MS, new Promise<string>((resolve) => {
      number = rpc.call(id, request, NOTHING, 0, 0, { onReply: () => resolve('answer'), onFail: ({ code }) => resolve(code) })
    }))
    rpc.cancel(number)
    if (heard === 'answer') throw createError('PIT_ERR_SERVER_ID', [id])
    if (heard === 'PIT_ERR_SERVER_UNKNOWN') await this.#stores.servers.delete(id, left.revision)
  }

  #up (): void {
    if (!this.#isStarted) return
    this.#log.info('the cluster can be reached again')
    this.discovery.refresh()
    this.#restore(false)
  }

  #down (): void {
    if (this.#isStarted && !this.#isClosed) {
      this.#log.warn('the cluster cannot be reached: routes of this server go on, others are answered PIT-503')
    }
    this.parts.rpc.failAll()
  }

  #fail (error: Error): void {
    if (this.#fatal !== undefined || this.#isClosed) return
    this.#fatal = error
    this.#log.fatal({ err: error }, 'this server cannot be part of the cluster any more')
    for (const hook of this.#onFatal.splice(0)) hook(error)
  }

  /** What the store may have lost is put back. */
  #restore (isReborn: boolean): void {
    const { contracts, pinned, bindings, clusterGroups } = this.parts
    this.#quietly(contracts.restore())
    this.#quietly(pinned.restore())
    this.#quietly(bindings?.reconcile())
    this.#quietly(clusterGroups?.reconcile({ isReborn }))
    // The others were told that they closed.
    if (isReborn) this.#options.sessions.tellBound()
  }

  #came (server: ServerInfo): void {
    if (this.#isStarted) this.#log.info({ peer: server.id, peerType: server.type }, 'server came')
    this.#changed(server)
  }

  #changed (server: ServerInfo): void {
    const { router, events, contracts, pinned } = this.parts
    router.trust(server.id)
    events.serversChanged()
    if (!contracts.isKnown(server)) this.#quietly(contracts.learn(server))
    pinned.learn(server)
  }

  #lost (server: ServerInfo, why: 'left' | 'lease'): void {
    const { rpc, router, forwarder, events, contracts, pinned } = this.parts
    const { id, type, frontend } = server
    this.#log.info({ peer: id, peerType: type, why }, 'server is gone')
    rpc.failPeer(id)
    router.trust(id)
    forwarder.forget(id)
    contracts.left(server)
    pinned.left(server)
    events.serversChanged()
    if (frontend) this.#orphaned.set(id, { server, at: performance.now() })
    this.#cleanUp()
  }

  /** One of the servers does what one must do: the one with the first id. */
  #isEldest (): boolean {
    const { self } = this.discovery
    return this.discovery.all().every(({ id }) => id >= self.id)
  }

  /** After lost frontends, also those of a while ago: whoever should have done it may be gone too. Harmless twice. */
  #cleanUp (): void {
    const now = performance.now()
    for (const [id, { server, at }] of this.#orphaned) {
      if (now - at > ORPHAN_MS) this.#orphaned.delete(id)
      else if (this.#isEldest()) this.#quietly(this.#cleanUpAfter(server))
    }
    if (this.#orphaned.size === 0 || this.#isClosed || this.#clean !== undefined) return
    this.#clean = new Deadline(this.#options.runtime.wheel, CLEAN_MS, () => {
      this.#clean = undefined
      this.#cleanUp()
    })
  }

  async #cleanUpAfter (server: ServerInfo): Promise<void> {
    const { discovery, parts: { events, clusterGroups } } = this
    const { scope } = this.#options.runtime.options.session
    await removeFrontend(server, { store: this.#stores.bindings, discovery, scope, events, log: this.#log })
    await clusterGroups?.janitor(server.id)
    this.#orphaned.delete(server.id)
  }

  /** Upkeep that fails while the store is down: it is made good by the next occasion. */
  #quietly (work: Promise<unknown> | undefined): void {
    work?.catch((error: unknown) => {
      if (!isPitayaError(error)) logFailure(this.#log, error, 'keeping the store up to date failed')
    })
  }

  #tellLoad (): void {
    this.parts.pinned.tell()
    const { dispatcher } = this.#options.service
    this.discovery.update({ load: dispatcher.running + dispatcher.waiting + this.parts.remotes.running })
    this.#load = new Deadline(this.#options.runtime.wheel, LOAD_MS, () => this.#tellLoad())
  }

  #compactLater (): void {
    this.#compact = new Deadline(this.#options.runtime.wheel, COMPACT_MS, () => {
      this.#compactLater()
      this.#quietly(this.parts.contracts.forget(this.#isEldest()))
      if (this.#isEldest()) this.#quietly(this.parts.pinned.forget())
      if (this.#isEldest()) for (const store of Object.values(this.#stores)) this.#quietly(store.compact(COMPACT_MS))
    })
  }
}

/** The promise's value, or undefined when it takes longer. */
async function within<T> (ms: number, promise: Promise<T>): Promise<T | undefined> {
  const late = new AbortController()
  try {
    return await Promise.race([promise, delay(ms, undefined, { signal: late.signal })])
  } finally {
    late.abort()
  }
}

/** Servers of one cluster as far as groups go: session pools on one carrier, who lives and where uids are known to all at once. */
import { Type } from '@sinclair/typebox'
import { createAvroEnvelope } from '../../lib/cluster/envelopes/avro.ts'
import type { ServerInfo } from '../../lib/cluster/discovery/discovery.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { Subjects } from '../../lib/cluster/names.ts'
import type { ClusterEvent, EventKind } from '../../lib/cluster/peers.ts'
import { MemoryStore } from '../../lib/cluster/stores/memory.ts'
import type { Entry, Store, Watch, Watcher } from '../../lib/cluster/stores/store.ts'
import { MemoryTransport } from '../../lib/cluster/transports/memory.ts'
import type { OnMessage, Transport, TransportEvents } from '../../lib/cluster/transports/transport.ts'
import { createError } from '../../lib/errors.ts'
import { ClusterGroups } from '../../lib/groups/cluster.ts'
import { defineHandlers, raw } from '../../lib/handler/define.ts'
import { createCore, type Core, type CoreOptions, type FakeEntity } from './core.ts'

const WAIT_MS = 15_000

export const chat = defineHandlers('chat', { pushes: { onText: Type.String(), onBytes: raw } }, {})

/** The data of the pushes that a client got by broadcast: behind the packet's header, the message's flag, and the route with its length. */
export function texts ({ frames }: FakeEntity): string[] {
  return frames.map((frame) => JSON.parse(Buffer.from(frame.subarray(6 + frame[5]!)).toString()) as string)
}

/** Resolves when `check` holds; fails after a while. */
export async function until (what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS
  while (!await check()) {
    if (performance.now() > end) throw new Error(`waited too long: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

export interface Client { readonly uid: string, readonly client: FakeEntity }

/** A new transport and store by each call, all on one carrier. */
export interface Carrier {
  /** Of all subjects. */
  readonly prefix: string
  open (): Promise<{ transport: Transport, store: Store }>
}

export function memoryCarrier (bus = new MemoryBus()): Carrier {
  return {
    prefix: 'test',
    open: async () => {
      const transport = new MemoryTransport(bus)
      await transport.open(silent)
      return { transport, store: new MemoryStore(bus, 'groups') }
    }
  }
}

export const silent: TransportEvents = { onUp () {}, onDown () {}, onFatal () {}, onSlow () {} }

export class GroupCluster {
  readonly servers = new Map<string, GroupServer>()
  /** In order, of all servers: `join room ana`. */
  readonly told: string[] = []
  /** What the directory answers once, in the place of what is so. */
  readonly stale = new Map<string, string[]>()
  readonly corrected: string[] = []
  readonly prefix: string
  readonly #t: { teardown (fn: () => unknown): void }
  readonly #carrier: Carrier

  constructor (t: { teardown (fn: () => unknown): void }, carrier: Carrier) {
    this.#t = t
    this.#carrier = carrier
    this.prefix = carrier.prefix
  }

  async add (id: string, options: CoreOptions = {}): Promise<GroupServer> {
    const { transport, store } = await this.#carrier.open()
    const server = new GroupServer(this, id, new CountingTransport(transport), new SwitchedStore(store), options)
    this.servers.set(id, server)
    this.#t.teardown(() => server.stop())
    await server.groups.open()
    return server
  }

  /** As if its process was killed and its lease had ended. */
  async kill (server: GroupServer): Promise<void> {
    this.servers.delete(server.id)
    server.store.isDown = true
    await server.stop()
  }

  find (uid: string): Array<{ frontendId: string, sessionId: number }> {
    const stale = this.stale.get(uid)
    if (stale !== undefined) return stale.map((frontendId) => ({ frontendId, sessionId: 1 }))
    return [...this.servers.values()].flatMap(({ id, core: { sessions } }) => {
      return sessions.ofUid(uid).map((session) => ({ frontendId: id, sessionId: session.id }))
    })
  }

  correct (uid: string): void {
    this.corrected.push(uid)
    this.stale.delete(uid)
  }

  at (id: string): GroupServer {
    const server = this.servers.get(id)
    if (server === undefined) throw createError('PIT_ERR_SERVER_UNKNOWN')
    return server
  }

  tell (kind: EventKind, { group, uid }: ClusterEvent): void { this.told.push(`${kind} ${group} ${uid}`) }

  /** Moves all clocks on. */
  skip (ms: number): void { for (const { core } of this.servers.values()) core.skip(ms) }
}

export class GroupServer {
  readonly id: string
  readonly core: Core
  readonly groups: ClusterGroups
  readonly transport: CountingTransport
  readonly store: SwitchedStore
  #isStopped = false

  constructor (cluster: GroupCluster, id: string, transport: CountingTransport, store: SwitchedStore, options: CoreOptions) {
    this.id = id
    this.transport = transport
    this.store = store
    const { sessions, pushes, wheel, service } = this.core = createCore([chat], options)
    this.groups = service.groups = new ClusterGroups({
      serverId: id,
      sessions,
      pushes,
      wheel,
      log: service.log,
      transport,
      store,
      subjects: new Subjects(cluster.prefix),
      envelope: createAvroEnvelope(),
      discovery: { get: (id) => cluster.servers.has(id) ? { id } as ServerInfo : undefined },
      directory: cluster,
      events: { publish: (kind, event) => cluster.tell(kind, event) },
      peers: {
        groupAdd: async (frontendId, { group, uid }) => await cluster.at(frontendId).groups.addLocal(group, uid),
        groupRemove: async (frontendId, { group, uid }) => await cluster.at(frontendId).groups.removeLocal(group, uid)
      },
      pushToUids: (uids, route, value) => {
        for (const { core } of cluster.servers.values()) {
          const push = core.pushes.broadcast(route, value)
          for (const uid of uids) for (const session of core.sessions.ofUid(uid)) push.to(session)
        }
      },
      maxGroups: options.maxGroups ?? 100_000
    })
  }

  async connect (uid: string, serializerIndex = 0): Promise<Client> {
    const { session, client } = this.core.connect(serializerIndex)
    await session.bind(uid)
    return { uid, client }
  }

  async stop (): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    await this.groups.close()
    await this.transport.close()
    await this.store.close()
  }
}

/** Counts what goes over it. */
export class CountingTransport implements Transport {
  readonly #transport: Transport
  published = 0
  subscriptions = 0
  /** Nothing more is sent. */
  isCut = false

  constructor (transport: Transport) { this.#transport = transport }

  get name (): string { return this.#transport.name }
  get isUp (): boolean { return !this.isCut && this.#transport.isUp }
  get maxBytes (): number { return this.#transport.maxBytes }
  open (events: TransportEvents): Promise<void> { return this.#transport.open(events) }
  publish (subject: string, data: Uint8Array, reply?: string): boolean {
    if (this.isCut) return false
    this.published++
    return this.#transport.publish(subject, data, reply)
  }

  subscribe (subject: string, onMessage: OnMessage, options?: { queue?: string }): () => void {
    const unsubscribe = this.#transport.subscribe(subject, onMessage, options)
    this.subscriptions++
    let isOver = false
    return () => {
      if (!isOver) this.subscriptions--
      isOver = true
      unsubscribe()
    }
  }

  async flush (): Promise<void> {
    if (this.isCut) throw createError('PIT_ERR_CLUSTER_DOWN')
    await this.#transport.flush()
  }

  close (): Promise<void> { return this.#transport.close() }
}

/** A store that one server may lose, or whose next answers are lost. */
export class SwitchedStore implements Store {
  readonly #store: Store
  isDown = false
  /** The next so many writes arrive, but their answers do not. */
  lostAnswers = 0
  writes = 0
  /** Keys asked for by filter. */
  listings = 0

  constructor (store: Store) { this.#store = store }

  get name (): string { return this.#store.name }
  async get (key: string): Promise<Entry | undefined> { return await this.#reach(() => this.#store.get(key)) }
  async create (key: string, value: Uint8Array): Promise<number | undefined> {
    return await this.#write(() => this.#store.create(key, value))
  }

  async update (key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    return await this.#write(() => this.#store.update(key, value, revision))
  }

  async delete (key: string, revision: number): Promise<boolean> { return await this.#write(() => this.#store.delete(key, revision)) }
  async keys (filter: string): Promise<string[]> {
    this.listings++
    return await this.#reach(() => this.#store.keys(filter))
  }

  async watch (filter: string, watcher: Watcher): Promise<Watch> { return await this.#reach(() => this.#store.watch(filter, watcher)) }
  async compact (olderMs: number): Promise<void> { await this.#store.compact(olderMs) }
  async close (): Promise<void> { await this.#store.close() }

  async #reach<T> (act: () => Promise<T>): Promise<T> {
    if (this.isDown) throw createError('PIT_ERR_STORE')
    return await act()
  }

  async #write<T> (act: () => Promise<T>): Promise<T> {
    this.writes++
    const result = await this.#reach(act)
    if (this.lostAnswers === 0) return result
    this.lostAnswers--
    throw createError('PIT_ERR_STORE')
  }
}

/** For the contract: groups as `server` sees them, clients on these frontends in turn. */
export function openCluster (cluster: GroupCluster, { groups }: GroupServer, frontends: GroupServer[]) {
  let next = 0
  return {
    groups,
    connect: (uid: string) => frontends[next++ % frontends.length]!.connect(uid),
    afterBind: (hook: (uid: string) => Promise<void>) => {
      for (const { core } of frontends) core.sessions.afterBind(async (_, uid) => { await hook(uid) })
    },
    skip: (ms: number) => cluster.skip(ms)
  }
}

/** Frontends of one cluster as far as binding goes: session pools over stores, a list of who lives, and calls between them. */
import { setImmediate as turn } from 'node:timers/promises'
import { StoreBindings } from '../../lib/cluster/bindings.ts'
import type { Discovery, ServerInfo } from '../../lib/cluster/discovery/discovery.ts'
import { type BindScope, bindingKey, decodeHolders, scopeName } from '../../lib/cluster/holders.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import type { ClusterEvent, EventKind, Peers } from '../../lib/cluster/peers.ts'
import { MemoryStore } from '../../lib/cluster/stores/memory.ts'
import type { Entry, Store, Watch, Watcher } from '../../lib/cluster/stores/store.ts'
import { createError } from '../../lib/errors.ts'
import { type BindPolicy, SessionPool } from '../../lib/session/pool.ts'
import type { Session } from '../../lib/session/session.ts'
import { FakeEntity } from './core.ts'
import { lineLog } from './discovery.ts'

const WAIT_MS = 15_000

/** A store as a bad network shows it to one server. */
export class SwitchedStore implements Store {
  readonly name: string
  /** Every method rejects, after `downMs` if that is set. */
  isDown = false
  downMs = 0
  /** Writes reach the store; their answers are lost. */
  losesAnswers = false
  /** Answers to writes come when this is resolved. */
  gate: Promise<void> | undefined
  /** Called with what was read, before it is handed on. */
  onRead: ((entry: Entry | undefined) => Promise<void>) | undefined
  reads = 0
  writes = 0
  /** Operations at once, at most so far. */
  peak = 0
  #running = 0
  #store: Store

  constructor (store: Store) {
    this.#store = store
    this.name = store.name
  }

  get (key: string): Promise<Entry | undefined> {
    this.reads++
    return this.#reach(async () => {
      const entry = await this.#store.get(key)
      await this.onRead?.(entry)
      return entry
    })
  }

  create (key: string, value: Uint8Array): Promise<number | undefined> { return this.#write(() => this.#store.create(key, value)) }

  update (key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    return this.#write(() => this.#store.update(key, value, revision))
  }

  delete (key: string, revision: number): Promise<boolean> { return this.#write(() => this.#store.delete(key, revision)) }
  keys (filter: string): Promise<string[]> { return this.#reach(() => this.#store.keys(filter)) }
  watch (filter: string, watcher: Watcher): Promise<Watch> { return this.#store.watch(filter, watcher) }
  compact (olderMs: number): Promise<void> { return this.#store.compact(olderMs) }
  close (): Promise<void> { return this.#store.close() }

  #write<T> (write: () => Promise<T>): Promise<T> {
    this.writes++
    return this.#reach(async () => {
      const answer = await write()
      await this.gate
      if (this.losesAnswers) throw createError('PIT_ERR_STORE')
      return answer
    })
  }

  async #reach<T> (work: () => Promise<T>): Promise<T> {
    this.peak = Math.max(this.peak, ++this.#running)
    try {
      if (this.isDown && this.downMs > 0) await new Promise((resolve) => setTimeout(resolve, this.downMs))
      if (this.isDown) throw createError('PIT_ERR_STORE')
      return await work()
    } finally {
      this.#running--
    }
  }
}

/** Stores of several servers over the same keys, and what is in them. */
export function memoryStores () {
  const bus = new MemoryBus()
  const open = (): MemoryStore => new MemoryStore(bus, 'bindings')
  const observer = open()
  return { open, keys: () => observer.keys('>'), wipe: () => bus.wipe() }
}

export interface TestClusterOptions {
  policy?: BindPolicy
  scope?: BindScope
}

export class TestCluster {
  readonly frontends: Frontend[] = []
  /** Everybody that lives, by id. */
  readonly lives = new Map<string, ServerInfo>()
  readonly options: Required<TestClusterOptions>
  /** While it is set, calls between servers fail. */
  isCut = false
  calls = 0

  constructor (t: { teardown (fn: () => unknown): void }, options: TestClusterOptions = {}) {
    this.options = { policy: options.policy ?? 'kick-old', scope: options.scope ?? 'type' }
    t.teardown(() => { for (const { bindings } of this.frontends) bindings.close() })
  }

  add (id: string, store: Store, type = 'connector'): Frontend {
    const frontend = new Frontend(this, id, type, store)
    this.frontends.push(frontend)
    return frontend
  }

  discovery (id: string): Discovery {
    const { lives } = this
    const isAlive = (id: string, incarnation: string): boolean => lives.get(id)?.incarnation === incarnation
    const all = (): ServerInfo[] => [...lives.values()]
    return {
      name: 'test',
      get self () { return lives.get(id)! },
      isStale: false,
      isRegistered: true,
      start: async () => {},
      update: () => {},
      get: (id) => lives.get(id),
      isAlive,
      all,
      ofType: (type) => all().filter((server) => server.type === type),
      leave: async () => {},
      refresh: () => {},
      close: async () => {}
    }
  }

  /** A server lives from now on, or has a new life. */
  live (id: string, type: string, incarnation: string, frontend = true): void {
    this.lives.set(id, {
      id, type, frontend, incarnation, metadata: {}, hostname: 'host', version: '1.0.0', load: 0, draining: false, contract: '', events: []
    })
  }

  peers (): Pick<Peers, 'replaced'> {
    return {
      replaced: async (frontendId, claim) => {
        this.calls++
        await turn()
        const frontend = this.frontends.find(({ id }) => id === frontendId)
        if (this.isCut || frontend === undefined) throw createError('PIT_ERR_SERVER_LOST')
        const answer = frontend.bindings.onReplaced(claim)
        await turn()
        return answer
      }
    }
  }

  /** Sessions that are bound to a uid, on all frontends. */
  ofUid (uid: string): Session[] { return this.frontends.flatMap(({ sessions }) => [...sessions.ofUid(uid)]) }

  /** Nothing is being done on any frontend. */
  async settled (): Promise<void> {
    for (const { bindings } of this.frontends) await bindings.settled()
    await eventually(() => this.frontends.every(({ bindings }) => bindings.notices === 0), 'notices to be answered')
    for (const { bindings } of this.frontends) await bindings.settled()
  }
}

export class Frontend {
  readonly id: string
  readonly type: string
  readonly cluster: TestCluster
  readonly store: SwitchedStore
  readonly sessions: SessionPool
  readonly bindings: StoreBindings
  readonly events: string[] = []
  readonly lines: string[]
  /** Groups of uids here, as the group service knows them. */
  readonly groups = new Map<string, string[]>()

  constructor (cluster: TestCluster, id: string, type: string, store: Store) {
    const { policy, scope } = cluster.options
    const { log, lines } = lineLog()
    this.cluster = cluster
    this.id = id
    this.type = type
    this.lines = lines
    cluster.live(id, type, `${id}-1`)
    this.store = new SwitchedStore(store)
    this.sessions = new SessionPool({ serverId: id, policy, dataBytes: 4096, bindMs: 5000, log })
    this.sessions.onUidGone = (uid) => { this.groups.delete(uid) }
    this.sessions.bindings = this.bindings = new StoreBindings({
      store: this.store,
      discovery: cluster.discovery(id),
      sessions: this.sessions,
      peers: cluster.peers(),
      policy,
      scope,
      log,
      groupsOf: (uid) => this.groups.get(uid) ?? [],
      adoptGroups: (uid, groups) => { this.groups.set(uid, [...this.groups.get(uid) ?? [], ...groups]) }
    })
    this.sessions.events = { publish: (kind: EventKind, { uid, address }: ClusterEvent) => { this.events.push(`${kind} ${uid} ${address}`) } }
  }

  connect (): { session: Session, client: FakeEntity } {
    const client = new FakeEntity()
    const session = client.session = this.sessions.create(client, 0)
    return { session, client }
  }

  closeAll (): void { for (const session of [...this.sessions]) session.close() }

  /** A new life, as after a lost lease. */
  reincarnate (incarnation: string): void { this.cluster.live(this.id, this.type, incarnation) }

  /** What the store has for a uid: `frontend/incarnation/session` each. */
  async stored (uid: string): Promise<string[] | undefined> {
    const entry = await this.store.get(bindingKey(scopeName(this.cluster.options.scope, this.type), uid))
    return entry === undefined
      ? undefined
      : decodeHolders(entry.value)?.map(({ frontendId, incarnation, sessionId }) => `${frontendId}/${incarnation}/${sessionId}`)
  }
}

/** What a promise came to: `ok`, or the code of its error. */
export function outcomeOf (promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'ok', (error: { code?: string, message: string }) => error.code ?? error.message)
}

export async function eventually (isTrue: () => unknown, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS
  while (!await isTrue()) {
    if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

import { setImmediate } from 'node:timers/promises'
import type { DiscoveryEvents, ServerInfo } from '../../lib/cluster/discovery/discovery.ts'
import { LeaseDiscovery, type LeaseDiscoveryOptions } from '../../lib/cluster/discovery/leases.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { MemoryStore } from '../../lib/cluster/stores/memory.ts'
import type { Entry, Store, Watch, Watcher } from '../../lib/cluster/stores/store.ts'
import { createError, type PitayaError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/handler/types.ts'
import { TimerWheel } from '../../lib/timer-wheel.ts'

const WAIT_MS = 15_000

export type Self = LeaseDiscoveryOptions['self']

export function selfOf (id: string, changes: Partial<Self> = {}): Self {
  return { id, type: 'chat', frontend: false, metadata: {}, hostname: 'host', version: '1.0.0', contract: '', events: [], ...changes }
}

/** Writes down what discovery tells, one word for each: `+b`, `b` (renewed), `-b left`, `-b lease`, `reincarnated`, `fatal`. */
export class Witness implements DiscoveryEvents {
  readonly heard: string[] = []
  readonly lives = new Map<string, ServerInfo>()
  error: Error | undefined
  #waiting = new Set<() => void>()

  onAdd (server: ServerInfo): void {
    if (this.lives.has(server.id)) this.#note(`${server.id} was added twice`)
    this.lives.set(server.id, server)
    this.#note(`+${server.id}`)
  }

  onUpdate (server: ServerInfo, renewed: boolean): void {
    if (this.lives.get(server.id)?.incarnation !== server.incarnation) this.#note(`${server.id} was not added before its update`)
    this.lives.set(server.id, server)
    this.#note(renewed ? server.id : `~${server.id}`)
  }

  onLost (server: ServerInfo, why: 'left' | 'lease'): void {
    if (this.lives.get(server.id)?.incarnation !== server.incarnation) this.#note(`${server.id} was not added before it was lost`)
    this.lives.delete(server.id)
    this.#note(`-${server.id} ${why}`)
  }

  onReincarnated (): void { this.#note('reincarnated') }

  onFatal (error: Error): void {
    this.error = error
    this.#note('fatal')
  }

  /** What was heard, without renewals. */
  get changes (): string[] { return this.heard.filter((word) => /[^\w-]|^-|^reinc|^fatal/.test(word)) }

  /** Resolves when something was heard, now or later, after which `fits` is true. */
  async until (fits: () => unknown, what: string): Promise<void> {
    const deadline = performance.now() + WAIT_MS
    while (!fits()) {
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`not within ${WAIT_MS} ms: ${what}; heard ${this.heard.slice(-50).join(', ')}`)
      await new Promise<void>((resolve) => {
        const wake = (): void => { clearTimeout(timer); this.#waiting.delete(wake); resolve() }
        const timer = setTimeout(wake, left)
        this.#waiting.add(wake)
      })
    }
  }

  async hears (word: string): Promise<void> {
    await this.until(() => this.heard.includes(word), word)
  }

  #note (word: string): void {
    this.heard.push(word)
    for (const wake of [...this.#waiting]) wake()
  }
}

/** What a promise brings, within 15 s. Keeps the process alive, which discovery's own timers do not. */
export async function inTime<T> (promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${WAIT_MS} ms: ${what}`)), WAIT_MS)
  })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** A log that keeps its lines' texts. */
export function lineLog (): { log: Logger, lines: string[], fields: object[] } {
  const lines: string[] = []
  const fields: object[] = []
  const write = (object: object | string, text?: string): void => {
    lines.push(text ?? String(object))
    fields.push(typeof object === 'string' ? {} : object)
  }
  const log: Logger = { trace: write, debug: write, info: write, warn: write, error: write, fatal: write, child: () => log }
  return { log, lines, fields }
}

/** A store as a bad network shows it. */
export class FaultyStore implements Store {
  readonly name: string
  /** Every method rejects. */
  isDown = false
  /** Watches tell nothing, and do not know. */
  isDeaf = false
  /** Watches up to this number tell nothing any more. */
  deafUntil = 0
  /** Writes reach the store, but their answers are lost. */
  losesAnswers = false
  watches = 0
  writes = 0
  writesInHand = 0
  mostWritesInHand = 0
  readonly #store: Store

  constructor (store: Store) {
    this.#store = store
    this.name = store.name
  }

  async get (key: string): Promise<Entry | undefined> {
    this.#reach()
    return await this.#store.get(key)
  }

  async create (key: string, value: Uint8Array): Promise<number | undefined> {
    return await this.#write(() => this.#store.create(key, value))
  }

  async update (key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    return await this.#write(() => this.#store.update(key, value, revision))
  }

  async delete (key: string, revision: number): Promise<boolean> {
    return await this.#write(() => this.#store.delete(key, revision))
  }

  async keys (filter: string): Promise<string[]> {
    this.#reach()
    return await this.#store.keys(filter)
  }

  async watch (filter: string, watcher: Watcher): Promise<Watch> {
    this.#reach()
    const number = ++this.watches
    const isHeard = (): boolean => !this.isDeaf && number > this.deafUntil
    return await this.#store.watch(filter, {
      onPut: (entry) => { if (isHeard()) watcher.onPut(entry) },
      onDelete: (key, revision) => { if (isHeard()) watcher.onDelete(key, revision) },
      onCaughtUp: () => { if (isHeard()) watcher.onCaughtUp?.() }
    })
  }

  async compact (olderMs: number): Promise<void> { await this.#store.compact(olderMs) }
  async close (): Promise<void> { await this.#store.close() }

  /** The watches there are fall silent, and do not know. */
  breakWatches (): void { this.deafUntil = this.watches }

  async #write<T> (write: () => Promise<T>): Promise<T> {
    this.#reach()
    this.writes++
    this.mostWritesInHand = Math.max(this.mostWritesInHand, ++this.writesInHand)
    const answer = await write().finally(() => { this.writesInHand-- })
    if (this.losesAnswers) throw createError('PIT_ERR_STORE')
    return answer
  }

  #reach (): void {
    if (this.isDown) throw createError('PIT_ERR_STORE')
  }
}

/** One server of a cluster on a clock that the test moves. */
export class ClockedServer {
  readonly store: FaultyStore
  readonly witness = new Witness()
  readonly discovery: LeaseDiscovery
  readonly wheel: TimerWheel
  readonly tick: () => void
  readonly lines: string[]
  isConnected = true
  /** Its process gets no time, though time passes. */
  isStopped = false
  refusal: PitayaError | undefined
  isStarted = false

  constructor (clock: () => number, store: Store, self: Self, leaseMs: number) {
    const { log, lines } = lineLog()
    this.lines = lines
    this.store = new FaultyStore(store)
    const wheel = this.wheel = new TimerWheel(25, clock)
    // The wheel's own interval goes by the machine's time, and would give time to a process that is stopped.
    this.tick = wheel.advance.bind(wheel)
    wheel.advance = () => {}
    this.discovery = new LeaseDiscovery({ store: this.store, self, wheel, log, leaseMs, clock, isConnected: () => this.isConnected })
  }

  start (): void {
    this.discovery.start(this.witness).then(() => { this.isStarted = true }, (error) => { this.refusal = error as PitayaError })
  }
}

/** Servers on one bus. Their leases are 3 s, renewed each second. */
export class ClockedCluster {
  now = 1000
  readonly bus = new MemoryBus()
  /** Of nobody in particular. */
  readonly store: Store
  readonly servers: ClockedServer[] = []

  constructor (t: { teardown (fn: () => unknown): void }) {
    this.store = new MemoryStore(this.bus, 'servers')
    t.teardown(async () => {
      for (const { discovery, wheel } of this.servers) {
        await discovery.close()
        wheel.stop()
      }
    })
  }

  create (id: string, changes: Partial<Self> = {}, leaseMs = 3000): ClockedServer {
    const server = new ClockedServer(() => this.now, new MemoryStore(this.bus, 'servers'), selfOf(id, changes), leaseMs)
    this.servers.push(server)
    return server
  }

  /** Made and started. */
  async add (id: string, changes: Partial<Self> = {}, leaseMs = 3000): Promise<ClockedServer> {
    const server = this.create(id, changes, leaseMs)
    server.start()
    await this.pass(50)
    return server
  }

  /** What lies in the store under an id. */
  async entry (id: string): Promise<Entry> { return (await this.store.get(id))! }
  async put (id: string, value: Uint8Array): Promise<void> { await this.store.update(id, value, (await this.entry(id)).revision) }

  async pass (ms: number): Promise<void> {
    for (const until = this.now + ms; this.now < until;) {
      this.now += 25
      for (const { tick, isStopped } of this.servers) if (!isStopped) tick()
      await settle()
    }
  }
}

/** Answers of a store in memory take a few turns of promises. */
export async function settle (): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await setImmediate()
}

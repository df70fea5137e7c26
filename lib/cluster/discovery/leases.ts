import { Deadline } from '../../deadline.ts'
import { createError, isPitayaError } from '../../errors.ts'
import type { Logger } from '../../handler/types.ts'
import type { TimerWheel } from '../../timer-wheel.ts'
import type { Store, Watch, Watcher } from '../stores/store.ts'
import type { Discovery, DiscoveryEvents, ServerInfo } from './discovery.ts'
import { decodeEntry, encodeEntry } from './entry.ts'
import { newIncarnation, OwnLease, type Changes } from './own-lease.ts'
import { ServerList } from './server-list.ts'

/** Keys of one token: the servers' ids. */
const EVERYONE = '*'

export interface LeaseDiscoveryOptions {
  /** Holds the servers' entries under their ids. `close()` leaves it open. */
  readonly store: Store
  readonly self: Omit<ServerInfo, 'incarnation' | 'load' | 'draining'>
  readonly wheel: TimerWheel
  readonly log: Logger
  /** Whether the store's connection is up, as far as is known. */
  readonly isConnected: () => boolean
  /** This server counts as lost so long after its last renewal, 300 to 3,600,000 ms; it renews three times as often. Default 10,000. */
  readonly leaseMs?: number
  /** Everything is asked for again so often, in case a change was not told. Default 30,000. */
  readonly relistMs?: number
  /** Monotonic milliseconds; for tests. */
  readonly clock?: () => number
}

/**
 * Discovery by entries that are renewed in a store. The store need not expire keys, nor tell of it: everyone drops the others by a clock of
 * their own. Where an entry was left behind under this id, `start` waits for two thirds of its lease: its holder may live.
 */
export class LeaseDiscovery implements Discovery {
  readonly name: string
  readonly #options: LeaseDiscoveryOptions
  readonly #leaseMs: number
  readonly #relistMs: number
  readonly #clock: () => number
  readonly #lease: OwnLease
  readonly #servers: ServerList
  #events: DiscoveryEvents | undefined
  #state: 'new' | 'starting' | 'registered' | 'leaving' | 'closed' = 'new'
  #beat: Deadline | undefined
  #watch: Watch | undefined
  /** Number of the watch that is heard; what an earlier one still tells is not. */
  #watchNumber = 0
  /** Watches that are being opened. */
  #opening = 0
  #isDeaf = false
  #relistAt = 0
  #changes: Changes = {}
  #renewAt = 0
  #renewal: Promise<void> | undefined
  #renewAgain = false
  #hasFailed = false
  #wasStale = false
  #leaving = Promise.resolve()

  /** @throws PIT_ERR_OPTIONS when `self` or `leaseMs` is not what other servers would accept */
  constructor (options: LeaseDiscoveryOptions) {
    const { store, self, wheel, log, leaseMs = 10_000, relistMs = 30_000, clock = () => performance.now() } = options
    this.name = store.name
    this.#options = options
    this.#leaseMs = leaseMs
    this.#relistMs = relistMs
    this.#clock = clock
    const server = { ...self, incarnation: newIncarnation(), load: 0, draining: false }
    this.#assertFit(server)
    this.#lease = new OwnLease({ store, wheel, leaseMs, clock, server })
    this.#servers = new ServerList({ store, wheel, log, isBlind: () => this.isStale, onDeaf: () => this.#onDeaf() }, {
      onAdd: (peer) => this.#events?.onAdd(peer),
      onUpdate: (peer, renewed) => this.#events?.onUpdate(peer, renewed),
      onLost: (peer, why) => this.#events?.onLost(peer, why)
    })
  }

  get self (): ServerInfo { return this.#lease.server }
  get isRegistered (): boolean { return this.#state === 'registered' && this.#lease.isHeld }
  get isStale (): boolean {
    const isOverdue = this.#state === 'registered' && (this.#hasFailed || this.#lease.ageMs > this.#leaseMs * 2 / 3)
    return isOverdue || this.#isDeaf || !this.#options.isConnected()
  }

  get (id: string): ServerInfo | undefined { return this.#servers.get(id) }
  isAlive (id: string, incarnation: string): boolean { return this.#servers.get(id)?.incarnation === incarnation }
  all (): readonly ServerInfo[] { return this.#servers.all() }
  ofType (type: string): readonly ServerInfo[] { return this.#servers.ofType(type) }

  async start (events: DiscoveryEvents): Promise<void> {
    this.#events = events
    this.#state = 'starting'
    try {
      await this.#openWatch()
      await this.#lease.acquire(this.#takeChanges(), events)
      if (this.#state !== 'starting') {
        await this.#lease.release()
        throw createError('PIT_ERR_CLUSTER_START', ['stopped while it started'])
      }
    } catch (error) {
      await this.close()
      throw error
    }
    this.#state = 'registered'
    this.#onRenewed()
    this.#onBeat()
    if (this.#renewAgain) this.#renew()
  }

  update (changes: Changes, now = false): void {
    if (changes.contract !== undefined || changes.events !== undefined) this.#assertFit({ ...this.self, ...changes })
    this.#changes = { ...this.#changes, ...changes }
    if (now) this.#renew()
  }

  refresh (): void {
    if (this.#state === 'new' || this.#state === 'closed') return
    this.#servers.grantAll()
    this.#renew()
    this.#listenAnew()
  }

  leave (): Promise<void> {
    if (this.#state === 'starting' || this.#state === 'registered') this.#leaving = this.#leave()
    return this.#leaving
  }

  async close (): Promise<void> {
    this.#state = 'closed'
    this.#beat?.cancel()
    this.#lease.cancel()
    this.#watchNumber++
    this.#watch?.stop()
    this.#watch = undefined
    this.#servers.clear()
  }

  async #leave (): Promise<void> {
    const wasRegistered = this.#state === 'registered'
    this.#state = 'leaving'
    this.#lease.cancel()
    this.#servers.setSelf(undefined)
    await this.#renewal
    try {
      if (wasRegistered) await this.#lease.release()
    } catch (err) {
      this.#options.log.warn({ err }, 'leaving discovery failed: others notice when the lease ends')
    }
  }

  /** Sees to what is due; often enough to notice soon when this process was stopped for longer than its lease. */
  #onBeat (): void {
    const { wheel, isConnected } = this.#options
    const isHeld = this.#lease.isHeld
    if (!isHeld) this.#servers.setSelf(undefined)
    if (this.#renewal === undefined && (!isHeld || this.#clock() >= this.#renewAt)) this.#renew()
    this.#judge()
    // While there is no connection, the watch that was is kept: the store revives it.
    if (isConnected() && this.#opening === 0 && (this.#isDeaf || wheel.now >= this.#relistAt)) {
      this.#servers.bury(this.#leaseMs)
      this.#listenAnew()
    }
    const isWaiting = this.#state === 'registered' && this.#renewal === undefined
    const untilRenewal = isWaiting ? Math.max(0, this.#renewAt - this.#clock()) : Infinity
    this.#beat = new Deadline(wheel, Math.min(this.#leaseMs / 10, untilRenewal), () => this.#onBeat())
  }

  /** One write at a time; one that is asked for meanwhile follows it. */
  #renew (): void {
    if (this.#state === 'starting' || this.#renewal !== undefined) this.#renewAgain = true
    else if (this.#state === 'registered') {
      this.#renewAgain = false
      this.#renewal = this.#renewOnce().finally(() => {
        this.#renewal = undefined
        if (this.#renewAgain) this.#renew()
      })
    }
  }

  async #renewOnce (): Promise<void> {
    const changes = this.#takeChanges()
    let wasLost: boolean
    try {
      wasLost = await this.#lease.renew(changes)
    } catch (error) {
      return this.#onRefused(error, changes)
    }
    if (this.#state !== 'registered') return
    this.#onRenewed()
    if (wasLost) {
      this.#options.log.warn({ incarnation: this.self.incarnation }, 'the lease was lost and taken again')
      this.#events?.onReincarnated()
    }
  }

  #onRenewed (): void {
    this.#hasFailed = false
    this.#renewAt = this.#clock() - this.#lease.ageMs + this.#leaseMs / 3
    this.#servers.setSelf(this.self)
    this.#judge()
  }

  #onRefused (error: unknown, changes: Changes): void {
    if (this.#state !== 'registered') return
    if (isPitayaError(error) && error.code === 'PIT_ERR_SERVER_ID') {
      this.#state = 'leaving'
      this.#servers.setSelf(undefined)
      this.#events?.onFatal(error)
      return
    }
    this.#changes = { ...changes, ...this.#changes }
    this.#renewAt = this.#clock() + this.#leaseMs / 10
    this.#hasFailed = true
    this.#judge(error)
  }

  #takeChanges (): Changes {
    const changes = this.#changes
    this.#changes = {}
    return changes
  }

  /** Those who could not be heard get a full lease from when they can be. */
  #judge (err?: unknown): void {
    const isStale = this.isStale
    if (isStale === this.#wasStale) return
    this.#wasStale = isStale
    const { log } = this.#options
    if (isStale) log.warn({ err }, 'discovery is stale: servers are kept as they were last seen')
    else {
      this.#servers.grantAll()
      log.info('discovery is fresh again')
    }
  }

  #onDeaf (): void {
    if (this.#opening === 0) this.#listenAnew()
  }

  /** A watch that starts is a full list. */
  async #listenAnew (): Promise<void> {
    try {
      await this.#openWatch()
    } catch (error) {
      if (this.#watch !== undefined || this.#state === 'closed') return
      this.#isDeaf = true
      this.#judge(error)
    }
  }

  async #openWatch (): Promise<void> {
    const { store, wheel } = this.#options
    const number = ++this.#watchNumber
    this.#watch?.stop()
    this.#watch = undefined
    this.#relistAt = wheel.now + this.#relistMs
    this.#opening++
    let watch: Watch
    try {
      watch = await store.watch(EVERYONE, this.#watcher(number))
    } finally { this.#opening-- }
    if (number !== this.#watchNumber) return watch.stop()
    this.#watch = watch
    this.#isDeaf = false
    this.#judge()
  }

  #watcher (number: number): Watcher {
    let isAgain = false
    const { id } = this.self
    const isCurrent = (): boolean => number === this.#watchNumber
    return {
      onPut: (entry) => {
        if (!isCurrent()) return
        if (entry.key === id) this.#onOwn(entry.revision, false)
        else this.#servers.put(entry)
      },
      onDelete: (key, revision) => {
        if (!isCurrent()) return
        if (key === id) this.#onOwn(revision, true)
        else this.#servers.delete(key)
      },
      onCaughtUp: () => {
        if (!isCurrent()) return
        if (isAgain) {
          this.#servers.grantAll()
          this.#renew()
        }
        isAgain = true
      }
    }
  }

  /** Someone else changed this server's key: the next renewal finds out who, so it is made at once. */
  #onOwn (revision: number, isDeleted: boolean): void {
    this.#lease.told(isDeleted ? undefined : revision)
    if (this.#state === 'registered' && this.#renewal === undefined && revision > this.#lease.revision) this.#renew()
  }

  #assertFit (server: ServerInfo): void {
    const entry = decodeEntry(server.id, encodeEntry({ server, leaseMs: this.#leaseMs }))
    if (typeof entry === 'string') throw createError('PIT_ERR_OPTIONS', [`discovery: ${entry}`])
  }
}

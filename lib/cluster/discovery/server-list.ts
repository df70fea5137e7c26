import type { Logger } from '../../handler/types.ts'
import type { TimerEntry, TimerWheel } from '../../timer-wheel.ts'
import type { Entry, Store } from '../stores/store.ts'
import type { DiscoveryEvents, ServerInfo } from './discovery.ts'
import { decodeEntry } from './entry.ts'

const MAX_COMPLAINTS = 1000

/** How long after its last sign of life a server is dropped: its lease, and some time for the news to travel. */
export function termOf (leaseMs: number): number {
  return leaseMs + Math.max(100, leaseMs / 10)
}

/** How long a living server may be silent at most: it renews three times a lease, and may miss one. */
export function proofMs (leaseMs: number): number {
  return leaseMs * 2 / 3
}

export interface ServerListOptions {
  readonly store: Store
  readonly wheel: TimerWheel
  readonly log: Logger
  /** While true nobody is dropped: those who cannot be heard are not dead. */
  readonly isBlind: () => boolean
  /** A server lives, but the watch does not tell of it. */
  readonly onDeaf: () => void
}

export type ListEvents = Pick<DiscoveryEvents, 'onAdd' | 'onUpdate' | 'onLost'>

/** The other servers as the store tells of them, each with a deadline on this process's own clock; and this one, while it is registered. */
export class ServerList {
  readonly #options: ServerListOptions
  readonly #events: ListEvents
  readonly #peers = new Map<string, Peer>()
  /** Whose lease ended but whose entry still lies in the store. */
  readonly #dead = new Map<string, { readonly revision: number, readonly at: number }>()
  /** Keys of bad entries, so that each is logged once. */
  readonly #complaints = new Set<string>()
  #self: ServerInfo | undefined
  #all: readonly ServerInfo[] | undefined
  #ofType = new Map<string, readonly ServerInfo[]>()

  constructor (options: ServerListOptions, events: ListEvents) {
    this.#options = options
    this.#events = events
  }

  /** @param server undefined while this one is not registered */
  setSelf (server: ServerInfo | undefined): void {
    if (server === this.#self) return
    this.#changed(server ?? this.#self)
    this.#self = server
  }

  get (id: string): ServerInfo | undefined {
    return this.#peers.get(id)?.server ?? (this.#self?.id === id ? this.#self : undefined)
  }

  all (): readonly ServerInfo[] {
    if (this.#all === undefined) {
      const peers = [...this.#peers.values()].map(({ server }) => server)
      this.#all = (this.#self === undefined ? peers : [this.#self, ...peers]).sort(byId)
    }
    return this.#all
  }

  ofType (type: string): readonly ServerInfo[] {
    let servers = this.#ofType.get(type)
    if (servers === undefined) {
      servers = this.all().filter((server) => server.type === type && !server.draining)
      // Types that nobody has are not kept: their names may come from clients.
      if (servers.length > 0) this.#ofType.set(type, servers)
    }
    return servers
  }

  /** A revision that is not the known one is a sign of life: a store that was wiped counts from one again. */
  put (entry: Entry): void {
    const { key, value, revision } = entry
    const known = this.#peers.get(key)
    if (known?.revision === revision || this.#dead.get(key)?.revision === revision) return
    if (known !== undefined && Buffer.compare(known.value, value) === 0) {
      known.revision = revision
      this.#grant(known)
      return this.#events.onUpdate(known.server, true)
    }
    // Seen, which is not to say that it is a sign of life.
    if (known !== undefined) known.revision = revision
    const read = decodeEntry(key, value)
    if (typeof read === 'string') return this.#complain(key, read)
    const { server, leaseMs } = read
    if (known?.server.incarnation === server.incarnation) {
      // These are fixed for a life.
      if (known.server.type !== server.type || known.server.frontend !== server.frontend) return this.#complain(key, 'type changed')
      known.hear(entry, server, leaseMs)
      this.#grant(known)
      this.#changed(server)
      return this.#events.onUpdate(server, true)
    }
    if (known !== undefined) this.#drop(known, 'lease')
    this.#complaints.delete(key)
    this.#dead.delete(key)
    const peer = new Peer(entry, server, leaseMs, () => this.#onLapse(peer))
    this.#peers.set(key, peer)
    this.#grant(peer)
    this.#changed(server)
    this.#events.onAdd(server)
  }

  delete (id: string): void {
    this.#dead.delete(id)
    this.#complaints.delete(id)
    const peer = this.#peers.get(id)
    if (peer !== undefined) this.#drop(peer, 'left')
  }

  /** Everyone gets a full lease from now. */
  grantAll (): void {
    for (const peer of this.#peers.values()) this.#grant(peer)
  }

  /**
   * Removes from the store what the dead left there, after everyone else has had time to see their leases end:
   * a deletion looks as if they had left in peace.
   */
  bury (leaseMs: number): void {
    const { store, wheel } = this.#options
    for (const [id, { revision, at }] of this.#dead) {
      if (wheel.now - at > leaseMs) store.delete(id, revision).catch(() => {})
    }
  }

  clear (): void {
    for (const peer of this.#peers.values()) this.#options.wheel.cancel(peer)
    this.#peers.clear()
    this.#dead.clear()
    this.setSelf(undefined)
  }

  #grant (peer: Peer): void {
    this.#options.wheel.schedule(peer, termOf(peer.leaseMs))
  }

  /** Looks once before it drops: it may be the watch that is dead, or the connection, or news that waits behind a lag of our own. */
  async #onLapse (peer: Peer): Promise<void> {
    const { store, wheel, isBlind, onDeaf } = this.#options
    if (isBlind()) return this.#grant(peer)
    const { revision, server: { id } } = peer
    const held = await store.get(id).catch(() => 'unreachable' as const)
    const isHeard = peer.timerTick !== 0 || peer.revision !== revision
    if (this.#peers.get(id) !== peer || isHeard) return
    if (held === 'unreachable' || isBlind()) return this.#grant(peer)
    if (held !== undefined && held.revision !== revision) {
      this.#grant(peer)
      return onDeaf()
    }
    if (held !== undefined) this.#dead.set(id, { revision, at: wheel.now })
    this.#drop(peer, 'lease')
  }

  #drop (peer: Peer, why: 'left' | 'lease'): void {
    const { server } = peer
    this.#options.wheel.cancel(peer)
    this.#peers.delete(server.id)
    this.#changed(server)
    this.#events.onLost(server, why)
  }

  #changed (server: ServerInfo | undefined): void {
    this.#all = undefined
    if (server !== undefined) this.#ofType.delete(server.type)
  }

  #complain (key: string, why: string): void {
    if (this.#complaints.has(key) || this.#complaints.size >= MAX_COMPLAINTS) return
    this.#complaints.add(key)
    this.#options.log.warn({ key, why }, 'an entry of discovery was ignored')
  }
}

class Peer implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  readonly onTimer: () => void
  server: ServerInfo
  leaseMs: number
  revision: number
  /** As it was read: most renewals change nothing, and are not decoded. */
  value: Uint8Array

  constructor (entry: Entry, server: ServerInfo, leaseMs: number, onTimer: () => void) {
    this.onTimer = onTimer
    this.server = server
    this.leaseMs = leaseMs
    this.revision = entry.revision
    this.value = entry.value
  }

  hear (entry: Entry, server: ServerInfo, leaseMs: number): void {
    this.server = server
    this.leaseMs = leaseMs
    this.revision = entry.revision
    this.value = entry.value
  }
}

function byId (a: ServerInfo, b: ServerInfo): number {
  return a.id < b.id ? -1 : 1
}

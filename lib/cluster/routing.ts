import type { HandlerSession } from '../handler/types.ts'
import type { ServerInfo } from './discovery/discovery.ts'

/** What is to be routed. */
export interface RoutingCall {
  readonly route: string
  readonly serverType: string
  /** Of the session; empty: not bound, or none. */
  readonly uid: string
  /** Of a client's message; the same object for all messages of one session. */
  readonly session: HandlerSession | undefined
  /** As the caller of a remote gave it. */
  readonly key: string | undefined
  /** Calls of this process that the server has not answered yet. */
  inFlight (server: ServerInfo): number
}

/**
 * Chooses the server that handles a call.
 * @param servers of the type asked for, in order of their ids; never empty; suspects are left out while there are others
 * @returns one of them; undefined: none fits, the caller gets PIT_ERR_NO_SERVER
 */
export type RoutingFunction = (servers: readonly ServerInfo[], call: RoutingCall) => ServerInfo | undefined

/** From 0 to below 1. */
type Random = () => number

/** Any server: the default. */
export function random (source: Random = Math.random): RoutingFunction {
  return (servers) => servers[Math.floor(source() * servers.length)]
}

/** Each in turn, in order of their ids; a server that comes or goes does not make others wait twice. */
export function roundRobin (): RoutingFunction {
  const lastOfType = new Map<string, string>()
  return (servers, { serverType }) => {
    const last = lastOfType.get(serverType)
    const next = (last === undefined ? undefined : servers.find(({ id }) => id > last)) ?? servers[0]!
    lastOfType.set(serverType, next.id)
    return next
  }
}

/**
 * Of two servers taken at random the one with fewer calls: those it had when its lease was renewed, and those of this process in flight.
 * Two, because all that look for the one with least find the same one.
 */
export function leastLoaded (source: Random = Math.random): RoutingFunction {
  return (servers, call) => {
    const { length } = servers
    const first = Math.floor(source() * length)
    const a = servers[first]!
    if (length === 1) return a
    const b = servers[(first + 1 + Math.floor(source() * (length - 1))) % length]!
    return b.load + call.inFlight(b) < a.load + call.inFlight(a) ? b : a
  }
}

export interface StickyOptions {
  /** What stays with its server. Default `session`. A call without uid or key goes by its session; without that too, anywhere. */
  readonly by?: 'session' | 'uid' | 'key'
  /** Chooses the first server, and the next one after a loss. Default `random()`. */
  readonly then?: RoutingFunction
  /** Uids or keys that are remembered, default 100,000; the one unused for longest is forgotten. Sessions are forgotten with themselves. */
  readonly max?: number
}

/** The same server as long as it is there; after its loss, or while it is suspect, another one, and then that one for good. */
export function sticky ({ by = 'session', then = random(), max = 100_000 }: StickyOptions = {}): RoutingFunction {
  const types = new Map<string, Places>()
  return (servers, call) => {
    const text = by === 'uid' ? call.uid : by === 'key' ? call.key : undefined
    const who = text || call.session
    if (who === undefined) return then(servers, call)
    let places = types.get(call.serverType)
    if (places === undefined) types.set(call.serverType, places = new Places(max))
    const known = places.get(who)
    const place = known === undefined ? undefined : servers.find(({ id }) => id === known)
    if (place !== undefined) return place
    const chosen = then(servers, call)
    if (chosen !== undefined) places.set(who, chosen.id)
    return chosen
  }
}

/** Server ids by session, or by text in order of use. */
class Places {
  readonly #max: number
  readonly #bySession = new WeakMap<HandlerSession, string>()
  readonly #byText = new Map<string, string>()

  constructor (max: number) {
    this.#max = max
  }

  get (who: HandlerSession | string): string | undefined {
    if (typeof who === 'object') return this.#bySession.get(who)
    const id = this.#byText.get(who)
    if (id !== undefined) this.#put(who, id)
    return id
  }

  set (who: HandlerSession | string, id: string): void {
    if (typeof who === 'object') this.#bySession.set(who, id)
    else this.#put(who, id)
  }

  #put (who: string, id: string): void {
    this.#byText.delete(who)
    this.#byText.set(who, id)
    if (this.#byText.size > this.#max) this.#byText.delete(this.#byText.keys().next().value!)
  }
}

/**
 * By hash of the call's key, else the uid, else the session's address: every server of the cluster chooses alike, and when servers come or
 * go only the keys move that must (rendezvous hashing). A call with none of them goes anywhere.
 */
export function hashUid (source: Random = Math.random): RoutingFunction {
  const anywhere = random(source)
  let lastServers: readonly ServerInfo[] | undefined
  let hashes: number[] = []
  return (servers, call) => {
    const key = call.key || call.uid || call.session?.address
    if (key === undefined) return anywhere(servers, call)
    if (servers !== lastServers) {
      hashes = servers.map(({ id }) => hash(id))
      lastServers = servers
    }
    const keyHash = hash(key)
    let best = 0
    let bestScore = -1
    for (let i = 0; i < hashes.length; i++) {
      const score = mix(Math.imul(keyHash, 0x9e3779b1) + hashes[i]!)
      if (score > bestScore) {
        best = i
        bestScore = score
      }
    }
    return servers[best]
  }
}

type Metadata = Readonly<Record<string, string>>

/**
 * Only servers whose metadata has these entries, and of those the one that `then` chooses (default `random()`); without one, none.
 * @param match the entries, or a function that tells them for a call, such as the version of its session's client
 */
export function byMetadata (match: Metadata | ((call: RoutingCall) => Metadata), then: RoutingFunction = random()): RoutingFunction {
  const choose: RoutingFunction = (fitting, call) => fitting.length === 0 ? undefined : then(fitting, call)
  if (typeof match === 'function') return (servers, call) => choose(withMetadata(servers, match(call)), call)
  const entries = { ...match }
  let lastServers: readonly ServerInfo[] | undefined
  let fitting: readonly ServerInfo[] = []
  return (servers, call) => {
    if (servers !== lastServers) {
      fitting = withMetadata(servers, entries)
      lastServers = servers
    }
    return choose(fitting, call)
  }
}

function withMetadata (servers: readonly ServerInfo[], match: Metadata): ServerInfo[] {
  const entries = Object.entries(match)
  return servers.filter(({ metadata }) => entries.every(([name, value]) => metadata[name] === value))
}

/** FNV-1a over the code units. */
function hash (text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return mix(value)
}

/** The finalizer of MurmurHash3: every bit of the input turns half of the output's. */
function mix (value: number): number {
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}

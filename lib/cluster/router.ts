import { createError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import { LineLimiter } from '../line-limiter.ts'
import { logFailure } from '../log-failure.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import type { RoutingCall, RoutingFunction } from './routing.ts'

export interface RouterOptions {
  readonly discovery: Pick<Discovery, 'get' | 'ofType'>
  readonly log: Logger
  /** For the default: any server. From 0 to below 1. */
  readonly random?: () => number
}

/** So many calls in a row without an answer in time make a server suspect. */
const SUSPICIOUS_TIMEOUTS = 3

/** Chooses the server of a type that gets a call: any, or the one that the type's routing function says. */
export class Router {
  readonly #discovery: RouterOptions['discovery']
  readonly #random: () => number
  readonly #log: Logger
  readonly #failureLines: LineLimiter
  readonly #functions = new Map<string, RoutingFunction>()
  /** Calls in a row that a server did not answer in time. */
  readonly #timeouts = new Map<string, number>()
  #suspects: ReadonlySet<string> = new Set()
  /** Servers of a type without the suspects; for as long as neither changes. */
  readonly #trusted = new Map<string, Trusted>()

  constructor ({ discovery, log, random = Math.random }: RouterOptions) {
    this.#discovery = discovery
    this.#random = random
    this.#log = log
    this.#failureLines = new LineLimiter(log)
  }

  /** Sets the routing function of a server type. @throws PIT_ERR_OPTIONS for anything but a function */
  use (serverType: string, choose: RoutingFunction): void {
    if (typeof choose !== 'function') throw createError('PIT_ERR_OPTIONS', [`the routing function of "${serverType}" must be a function, such as routing.random()`])
    this.#functions.set(serverType, choose)
  }

  /**
   * @throws PIT_ERR_NO_SERVER when there is none, or the routing function wants none; PIT_ERR_INTERNAL when that function fails or says
   * what is no server of the list
   */
  pick (serverType: string, call: RoutingCall): ServerInfo {
    const servers = this.#candidates(serverType)
    if (servers.length === 0) throw createError('PIT_ERR_NO_SERVER')
    const choose = this.#functions.get(serverType)
    if (choose === undefined) return servers[Math.floor(this.#random() * servers.length)]!
    let chosen
    try {
      chosen = choose(servers, call)
      if (chosen !== undefined) {
        // By id: an application may have kept the entry of an earlier renewal.
        const { id } = chosen
        const server = servers.find((server) => server.id === id)
        if (server !== undefined) return server
        throw new TypeError('a routing function must return one of the servers it was given, or undefined')
      }
    } catch (error) {
      if (this.#failureLines.admits(serverType, performance.now())) logFailure(this.#log, error, 'a routing function failed', { peerType: serverType })
      throw createError('PIT_ERR_INTERNAL')
    }
    throw createError('PIT_ERR_NO_SERVER')
  }

  isSuspect (id: string): boolean { return this.#suspects.has(id) }

  /** The server gets no calls while there are others of its type. Nothing happens for a server that is gone. */
  suspect (id: string): void {
    if (this.#suspects.has(id) || this.#discovery.get(id) === undefined) return
    this.#suspects = new Set(this.#suspects).add(id)
    this.#log.warn({ peer: id }, 'a server does not answer: it gets no calls while there are others')
  }

  /** The server is alive, or it is lost: what was held against it is forgotten. */
  trust (id: string): void {
    this.#timeouts.delete(id)
    if (!this.#suspects.has(id)) return
    const suspects = new Set(this.#suspects)
    suspects.delete(id)
    this.#suspects = suspects
    if (suspects.size === 0) this.#trusted.clear()
  }

  /** A call was not answered in time. The third in a row makes the server suspect. */
  timedOut (id: string): void {
    if (this.#discovery.get(id) === undefined) return
    const timeouts = (this.#timeouts.get(id) ?? 0) + 1
    this.#timeouts.set(id, timeouts)
    if (timeouts >= SUSPICIOUS_TIMEOUTS) this.suspect(id)
  }

  /** Call it for every answer: an error too is one. Costs nothing while all is well. */
  answered (id: string): void {
    if (this.#timeouts.size > 0 || this.#suspects.size > 0) this.trust(id)
  }

  #candidates (serverType: string): readonly ServerInfo[] {
    const servers = this.#discovery.ofType(serverType)
    return this.#suspects.size === 0 || servers.length === 0 ? servers : this.#withoutSuspects(serverType, servers)
  }

  /** Apart from `#candidates`: what its closure holds would be allocated by every call of that. */
  #withoutSuspects (serverType: string, servers: readonly ServerInfo[]): readonly ServerInfo[] {
    const suspects = this.#suspects
    const known = this.#trusted.get(serverType)
    if (known !== undefined && known.servers === servers && known.suspects === suspects) return known.trusted
    const others = servers.filter(({ id }) => !suspects.has(id))
    const trusted = others.length === 0 ? servers : others
    this.#trusted.set(serverType, { servers, suspects, trusted })
    return trusted
  }
}

/** `trusted` was made of these servers and these suspects; both are replaced when they change. */
interface Trusted {
  readonly servers: readonly ServerInfo[]
  readonly suspects: ReadonlySet<string>
  readonly trusted: readonly ServerInfo[]
}

import type { Agents } from './agent/agents.ts'
import type { Connection } from './agent/connection.ts'
import { createConnectionPair, type ClientEnd } from './agent/memory-connection.ts'
import type { TcpAcceptorInfo } from './agent/tcp-listener.ts'
import { createError } from './errors.ts'
import type { ServerFacade, ServerStats, UidsOutcome } from './facade-types.ts'
import { checkDefined } from './handler/check.ts'
import type { HandlerService } from './handler/service.ts'
import type { AfterHook, BeforeHook, HandlerGroups, HandlersDefinition, PipelineSteps, RawHook } from './handler/types.ts'
import type { SessionPool } from './session/pool.ts'
import type { Session } from './session/session.ts'

/** What the facade of one scope shares with those of all other scopes of its server. */
export interface FacadeParts {
  readonly serverType: string
  readonly serverId: string
  readonly agents: Agents
  readonly handlers: HandlerService
  readonly sessions: SessionPool
  readonly groups: HandlerGroups
}

const DRAIN_MS = 25_000
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
  #life: Life

  constructor (parts: FacadeParts, parent?: Facade) {
    this.parts = parts
    this.#own = { before: [], after: [], rawBefore: [], rawAfter: [] }
    this.#levels = [...parent === undefined ? [] : parent.#levels, this.#own]
    this.#life = parent === undefined ? { isReady: false, draining: undefined, drainedAt: Infinity, hurry () {} } : parent.#life
  }

  get serverType (): string { return this.parts.serverType }
  get serverId (): string { return this.parts.serverId }
  get sessions (): SessionPool { return this.parts.sessions }
  get groups (): HandlerGroups { return this.parts.groups }
  get acceptors (): readonly TcpAcceptorInfo[] { return this.parts.agents.listening }
  get isDraining (): boolean { return this.#life.draining !== undefined }
  get stats (): ServerStats {
    const { agents, sessions, handlers } = this.parts
    const { running, waiting } = handlers.dispatcher
    return { connections: agents.size, sessions: sessions.size, running, waiting, abandoned: handlers.abandonedCalls }
  }

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

  async push (uids: string | readonly string[], route: string, value: unknown): Promise<UidsOutcome> {
    const push = this.parts.handlers.pushes.broadcast(route, value)
    return this.#each(uids, (session) => push.to(session))
  }

  async kick (uids: string | readonly string[], reason?: string): Promise<UidsOutcome> {
    return this.#each(uids, (session) => { session.kick(reason); return true })
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
    const { agents, handlers } = this.parts
    agents.stop()
    await Promise.race([handlers.dispatcher.idle(), new Promise<void>((resolve) => { this.#life.hurry = resolve })])
    await agents.closeAll('shutdown', Math.max(1, this.#life.drainedAt - performance.now()))
  }

  #each (uids: string | readonly string[], visit: (session: Session) => boolean): UidsOutcome {
    const delivered: string[] = []
    const notConnected: string[] = []
    for (const uid of typeof uids === 'string' ? [uids] : uids) {
      let isReached = false
      for (const session of [...this.parts.sessions.ofUid(uid)]) if (visit(session)) isReached = true
      if (isReached) delivered.push(uid)
      else notConnected.push(uid)
    }
    return { delivered, notConnected }
  }

  #requireHook (name: string, hook: unknown): void {
    this.#requireStarting(name)
    if (typeof hook !== 'function') throw createError('PIT_ERR_HANDLER', [`app.pitaya.${name}()`, 'takes a function'])
  }

  #requireStarting (name: string): void {
    if (this.#life.isReady) throw createError('PIT_ERR_STARTED', [`app.pitaya.${name}()`])
  }
}

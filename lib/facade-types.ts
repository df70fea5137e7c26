import type { Connection } from './agent/connection.ts'
import type { TcpAcceptorInfo } from './agent/tcp-listener.ts'
import type { AfterHook, BeforeHook, HandlerGroups, HandlerSession, HandlersDefinition, RawHook } from './handler/types.ts'
import type { BindHook, CloseHook } from './session/pool.ts'

/** All sessions of this server. */
export interface Sessions {
  readonly size: number
  get (id: number): HandlerSession | undefined
  /** A uid's sessions; more than one under policy `allow` only. */
  ofUid (uid: string): readonly HandlerSession[]
  isConnected (uid: string): boolean
  /** Sessions in order of their ids, after the id `after`, at most `limit`. */
  page (after: number, limit: number): HandlerSession[]
  [Symbol.iterator] (): IterableIterator<HandlerSession>
  /** Called before any session is bound, in order of registration; throwing refuses the bind. */
  onBind (hook: BindHook): void
  afterBind (hook: BindHook): void
  /** Called after any session closed. */
  onClose (hook: CloseHook): void
}

/** Outcome of a push or kick to uids. */
export interface UidsOutcome {
  /** Uids with at least one session that was reached. */
  readonly delivered: string[]
  /** Uids without a session here. */
  readonly notConnected: string[]
}

export interface ServerStats {
  /** Open connections. */
  connections: number
  sessions: number
  /** Handlers. */
  running: number
  /** Messages that wait for a handler. */
  waiting: number
  /** Handlers that still run past their deadline. */
  abandoned: number
}

/**
 * What applications use of a server. Each Fastify scope has its own: `before`, `after` and `register` apply to that scope and its
 * children, everything else is the same everywhere.
 */
export interface ServerFacade {
  readonly serverType: string
  readonly serverId: string
  /** Look-up by id and uid, and hooks for all sessions. */
  readonly sessions: Sessions
  readonly groups: HandlerGroups
  /** The TCP ports, once the app is ready; those with TLS can `renewTls`. */
  readonly acceptors: readonly TcpAcceptorInfo[]
  /** True from the start of a drain or close. */
  readonly isDraining: boolean
  /** What the server does now. */
  readonly stats: ServerStats
  /**
   * Adds what `defineHandlers` made to this server.
   * Throws PIT_ERR_HANDLER, PIT_ERR_DUPLICATE_HANDLERS, PIT_ERR_DUPLICATE_PUSH, PIT_ERR_STARTED.
   */
  register (...definitions: HandlersDefinition[]): this
  /** Runs before the handlers of this scope: on the decoded message, or with `raw` on its bytes. Throws PIT_ERR_STARTED. */
  before (hook: BeforeHook): this
  before (hook: RawHook, options: { raw: true }): this
  /** Runs after the handlers of this scope: on their result or error, or with `raw` on the bytes of the answer. Throws PIT_ERR_STARTED. */
  after (hook: AfterHook): this
  after (hook: RawHook, options: { raw: true }): this
  /** Pushes to all sessions of these uids. Rejects with PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY. */
  push (uids: string | readonly string[], route: string, value: unknown): Promise<UidsOutcome>
  /** Kicks all sessions of these uids. The reason reaches clients that read it. */
  kick (uids: string | readonly string[], reason?: string): Promise<UidsOutcome>
  /**
   * Takes over a client from an acceptor of your own: its connection's handler is set when this returns.
   * False: clients come too fast, or the server is closing, and the connection was destroyed.
   */
  accept (connection: Connection, request?: unknown): boolean
  /**
   * Takes no more clients, finishes what is in hand and closes the clients with 4001, while HTTP goes on. Harmless when called again:
   * the shortest time given counts.
   * @param options.timeoutMs all of it, default 25,000
   */
  drain (options?: { timeoutMs?: number }): Promise<void>
}

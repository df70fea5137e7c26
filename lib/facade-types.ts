import type { ServerInfo } from './cluster/discovery/discovery.ts'
import type { EventHook, EventOptions } from './cluster/peers.ts'
import type { RoutingFunction } from './cluster/routing.ts'
import type { RemoteCallOptions, RemoteClient } from './remote/client-types.ts'
import type { AfterRemoteHook, BeforeRemoteHook, RemoteImplementation, RemoteMethods, Remotes } from './remote/types.ts'
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
  /** Called after any session of this server closed. */
  onClose (hook: CloseHook): void
  /**
   * Called when a session of any server of the cluster was bound: on one server of each type that has such a hook, or with `every` on each.
   * At most once; what it throws is logged. Throws PIT_ERR_STARTED.
   */
  onBound (hook: EventHook, options?: EventOptions): void
  /** The same after a bound session closed, also when its server was lost. */
  onClosed (hook: EventHook, options?: EventOptions): void
}

/** Groups, with hooks for who comes and goes. */
export interface Groups extends HandlerGroups {
  /** Called when a uid became a member of a group anywhere in the cluster, as `Sessions.onBound` is. */
  onJoin (hook: EventHook, options?: EventOptions): void
  /** The same when one left: by `remove`, with its last session, or because its server was lost. */
  onLeave (hook: EventHook, options?: EventOptions): void
}

export interface DeliveryOptions {
  /** Waits until the servers of the sessions have said what became of it. Default false. */
  confirm?: boolean
}

/** Outcome of a push or kick to uids. */
export interface UidsOutcome {
  /** Uids with at least one session that was reached. */
  readonly delivered: string[]
  /** Uids without a session. */
  readonly notConnected: string[]
  /** Uids whose session is on another server that said nothing: because it was not asked to (`confirm`), or could not be reached. */
  readonly unknown: string[]
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
  /** Calls to other servers that are not answered yet. */
  pending: number
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
  readonly groups: Groups
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
  /**
   * Pushes to all sessions of these uids, on whatever server: one message per server that has some.
   * Rejects with PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY.
   */
  push (uids: string | readonly string[], route: string, value: unknown, options?: DeliveryOptions): Promise<UidsOutcome>
  /** Kicks all sessions of these uids, on whatever server. The reason reaches clients that read it. */
  kick (uids: string | readonly string[], reason?: string, options?: DeliveryOptions): Promise<UidsOutcome>
  /**
   * Serves a contract to other servers. Throws PIT_ERR_REMOTE (also for a second time, and for the name `sys`), PIT_ERR_STARTED.
   */
  remotes<M extends RemoteMethods> (contract: Remotes<string, M>, implementation: NoInfer<RemoteImplementation<M>>): this
  /**
   * The methods of a contract as a server of this type serves them; which one, its routing function says, or a call's `serverId`.
   * Each rejects with the PitayaError that was answered, or PIT_ERR_NO_SERVER, PIT_ERR_SERVER_UNKNOWN (not executed), PIT_ERR_SERVER_LOST
   * and PIT_ERR_RPC_TIMEOUT (outcome unknown), PIT_ERR_CLUSTER_DOWN, PIT_ERR_RPC_PENDING, PIT_ERR_RPC_SIZE, PIT_ERR_REMOTE.
   */
  remote<M extends RemoteMethods> (serverType: string, contract: Remotes<string, M>): RemoteClient<M>
  /** The untyped base of `remote`: bytes as the contract's codec made them, to `serverType.contract.method`. Rejects as it does. */
  rpc (route: string, data: Uint8Array, options?: RemoteCallOptions): Promise<Uint8Array>
  /** Runs before the remotes of this scope. Throws PIT_ERR_STARTED. */
  beforeRemote (hook: BeforeRemoteHook): this
  /** Runs after the remotes of this scope. Throws PIT_ERR_STARTED. */
  afterRemote (hook: AfterRemoteHook): this
  /** Says which server of a type gets a message or a call; default `routing.random()`. Throws PIT_ERR_OPTIONS, PIT_ERR_STARTED. */
  route (serverType: string, choose: RoutingFunction): this
  /** The servers of the cluster, this one included. */
  readonly servers: readonly ServerInfo[]
  /** True once others can reach this server, and while it can reach them. */
  readonly isReady: boolean
  /** Called once, when this server cannot be in the cluster any more: its id was taken over, or the broker refuses it. It should end. */
  onFatal (hook: (error: Error) => void): void
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

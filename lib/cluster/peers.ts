/**
 * What servers ask of each other, by id: the system remotes (lib/cluster/sys.ts) as functions. All reject with PIT_ERR_SERVER_UNKNOWN,
 * PIT_ERR_SERVER_LOST, PIT_ERR_CLUSTER_DOWN and PIT_ERR_RPC_TIMEOUT besides what they name.
 */
export interface Peers {
  /** To the frontend that kept sessions of a uid until another took it: it kicks those of them that are older than `revision`. */
  replaced (frontendId: string, claim: { uid: string, sessionIds: number[], revision: number }): Promise<{ groups: string[] }>
  /** To a session's frontend. Rejects with PIT_ERR_CLOSED and what its `bind` rejects with. */
  bind (frontendId: string, bind: { sessionId: number, uid: string }): Promise<void>
  /** To a session's frontend: changes of its data since revision `base`. Rejects with PIT_ERR_CLOSED, PIT_ERR_DATA, PIT_ERR_DATA_SIZE. */
  patch (
    frontendId: string, change: { sessionId: number, patch: Record<string, unknown>, base: number }
  ): Promise<{ revision: number, overwritten: string[] }>
  /** To a frontend: a PushEnvelope, whose outcome is wanted. */
  deliver (frontendId: string, push: Uint8Array): Promise<{ delivered: string[], notConnected: string[] }>
  /** To whoever sent a push: these uids are not where it thinks. Nobody waits for it. */
  moved (serverId: string, uids: string[]): void
  /** To a frontend: its sessions, a page at a time, or those of a uid. */
  sessions (frontendId: string, page: { after: number, limit: number, uid: string }): Promise<{ rows: unknown[], total: number }>
  /** To a frontend; undefined: there is no such session. */
  session (frontendId: string, sessionId: number): Promise<unknown>
  /** To a server that has clients of a schema set: its text. Rejects with PIT_ERR_CONTRACT. */
  schemas (serverId: string, fingerprint: string): Promise<string>
  kickSession (frontendId: string, kick: { sessionId: number, reason: string }): Promise<{ found: boolean, uid: string }>
  /** To a frontend of the uid. Rejects with PIT_ERR_GROUP_OFFLINE, PIT_ERR_GROUP_MEMBER, PIT_ERR_GROUP_LIMIT, PIT_ERR_STORE. */
  groupAdd (frontendId: string, member: { group: string, uid: string }): Promise<void>
  /** Rejects with PIT_ERR_GROUP_NO_MEMBER, PIT_ERR_STORE. */
  groupRemove (frontendId: string, member: { group: string, uid: string }): Promise<void>
}

/** Tells what happened to whoever asked to hear of it, on any server: at most once, to one server of each type that asked or to each. */
export interface EventPublisher {
  /** Costs nothing while no server wants this kind. */
  publish (kind: EventKind, event: ClusterEvent): void
  on? (kind: EventKind, hook: EventHook, options?: EventOptions): void
}

export type EventHook = (event: ClusterEvent) => unknown

export interface EventOptions {
  /** Each server that has a hook is told; else of those of one type, one is. Default false. */
  every?: boolean
}

export type EventKind = 'bound' | 'closed' | 'join' | 'leave'

export interface ClusterEvent {
  readonly uid: string
  /** Of the session's frontend. */
  readonly frontendId: string
  /** `frontendId:sessionId`; empty for `join` and `leave`. */
  readonly address: string
  /** Of `join` and `leave`. */
  readonly group: string
}

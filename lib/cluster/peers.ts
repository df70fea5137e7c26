/**
 * What servers ask of each other, by id: the system remotes (lib/cluster/sys.ts) as functions. All reject with PIT_ERR_SERVER_UNKNOWN,
 * PIT_ERR_SERVER_LOST, PIT_ERR_CLUSTER_DOWN and PIT_ERR_RPC_TIMEOUT besides what they name.
 */
export interface Peers {
  /** To the frontend that kept sessions of a uid until another took it: it kicks those of them that are older than `revision`. */
  replaced (frontendId: string, claim: { uid: string, sessionIds: number[], revision: number }): Promise<{ groups: string[] }>
  /** To a frontend of the uid. Rejects with PIT_ERR_GROUP_OFFLINE, PIT_ERR_GROUP_MEMBER, PIT_ERR_GROUP_LIMIT, PIT_ERR_STORE. */
  groupAdd (frontendId: string, member: { group: string, uid: string }): Promise<void>
  /** Rejects with PIT_ERR_GROUP_NO_MEMBER, PIT_ERR_STORE. */
  groupRemove (frontendId: string, member: { group: string, uid: string }): Promise<void>
}

/** Tells what happened to whoever asked to hear of it, on any server: at most once, to one server of each type that asked or to each. */
export interface EventPublisher {
  /** Costs nothing while no server wants this kind. */
  publish (kind: EventKind, event: ClusterEvent): void
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

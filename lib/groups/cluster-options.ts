import type { Discovery } from '../cluster/discovery/discovery.ts'
import type { Envelope } from '../cluster/envelopes/envelope.ts'
import type { Subjects } from '../cluster/names.ts'
import type { EventPublisher, Peers } from '../cluster/peers.ts'
import type { Store } from '../cluster/stores/store.ts'
import type { Transport } from '../cluster/transports/transport.ts'
import type { PushRegistry } from '../handler/pushes.ts'
import type { Logger, MaybePromise } from '../handler/types.ts'
import type { SessionPool } from '../session/pool.ts'
import type { TimerWheel } from '../timer-wheel.ts'

/** Where the sessions of uids are. */
export interface UidDirectory {
  /** May answer from a cache. Rejects with PIT_ERR_STORE. */
  find (uid: string): MaybePromise<ReadonlyArray<{ readonly frontendId: string, readonly sessionId: number }>>
  /** What `find` answered was wrong: the next one looks anew. */
  correct (uid: string): void
}

export interface ClusterGroupsOptions {
  readonly serverId: string
  readonly sessions: SessionPool
  readonly pushes: PushRegistry
  readonly wheel: TimerWheel
  readonly log: Logger
  readonly transport: Transport
  /** Of its own: every key in it is one of a group. */
  readonly store: Store
  readonly subjects: Subjects
  readonly envelope: Pick<Envelope, 'encodePush' | 'decodePush'>
  readonly discovery: Pick<Discovery, 'get'>
  readonly peers: Pick<Peers, 'groupAdd' | 'groupRemove'>
  readonly directory: UidDirectory
  readonly events: EventPublisher
  /** Pushes to all sessions of these uids, wherever they are. */
  readonly pushToUids: (uids: readonly string[], route: string, value: unknown) => MaybePromise<unknown>
  /** Groups with members here, and groups made by `create` anywhere. */
  readonly maxGroups: number
}

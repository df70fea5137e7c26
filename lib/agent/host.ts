import type { HandshakeAnswers } from '../protocol/handshake.ts'
import type { MessageView } from '../protocol/message.ts'
import type { Session } from '../session/session.ts'
import type { SessionPool } from '../session/pool.ts'
import type { HandshakeSys, Logger, MaybePromise } from '../handler/types.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import type { OutboxLimits, OutboxPool } from './outbox.ts'

export interface AgentLimits extends OutboxLimits {
  /** Bytes of one packet's body. */
  readonly packetBytes: number
  /** The same before the ack. */
  readonly handshakeBytes: number
  /** Milliseconds from connect to ack. */
  readonly handshakeMs: number
  /** Milliseconds between heartbeats; silence for two closes. */
  readonly heartbeatMs: number
  /** Packets per second and connection, in the long run; 0: no limit. */
  readonly ratePerSecond: number
  /** Packets at once. */
  readonly rateBurst: number
  /** Milliseconds of going over the rate after which the connection is closed. */
  readonly rateViolationMs: number
  /** Milliseconds that reading may stand still. */
  readonly pauseMs: number
  /** Milliseconds a closed connection has to say goodbye. */
  readonly closeMs: number
}

/** What a client said in its handshake, and the outcome of the server's checks. */
export interface Greeting {
  readonly sys: HandshakeSys
  readonly user: unknown
  readonly serializerName: string
  /** Further members of the answer's `sys`, as JSON text without braces. */
  readonly extraSys?: string | undefined
}

/** What agents of one server share: everything decided before the first connection. */
export interface AgentHost {
  readonly serverId: string
  readonly limits: AgentLimits
  readonly wheel: TimerWheel
  readonly outboxes: OutboxPool
  readonly sessions: SessionPool
  answers: HandshakeAnswers
  readonly log: Logger
  /** Named in refusals, when the client's serializer is not known yet. */
  readonly defaultSerializer: string
  /** Filled by each decode and read at once: one per server, so that no message allocates one. */
  readonly view: MessageView
  /** Compresses what is at least so many bytes; Infinity: nothing. */
  readonly compressFrom: number
  /** Given while clients of this address are refused in their handshake. */
  readonly fullReason: (address: string) => { retryAfterMs: number } | undefined
  /** Checks a handshake's body: schemas, validators, bind. Throws or rejects to refuse. */
  greet: (session: Session, body: Uint8Array, request: unknown) => MaybePromise<Greeting>
  /** One well-formed message of a working session; `bytes` stay as they are. */
  readonly onMessage: (session: Session, view: MessageView, bytes: Uint8Array, isOverRate: boolean) => void
  /** Calls back when the session has no message in hand or waiting; at once if it has none. */
  readonly whenIdle: (session: Session, done: () => void) => void
  /** True while the session has a request that was begun and is not answered. */
  readonly hasBegun: (session: Session) => boolean
  /** The agent's connection is gone. */
  readonly onGone: (agent: object) => void
}

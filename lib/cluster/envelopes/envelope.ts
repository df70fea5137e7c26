import type { WireError } from '../../errors.ts'

/** `sys`: a client's message, forwarded; `user`: from server to server. */
export const RpcType = { sys: 0, user: 1 } as const
export type RpcType = typeof RpcType[keyof typeof RpcType]

export const PushKind = { push: 0, kick: 1, close: 2 } as const
export type PushKind = typeof PushKind[keyof typeof PushKind]

/** A call may wait a day at most. */
export const MAX_REMAINING_MS = 86_400_000
/** Of the propagated context. A key counts with its value, and a few bytes for their lengths. */
export const MAX_CONTEXT_ENTRIES = 32
export const MAX_CONTEXT_BYTES = 4096
/** Sessions, uids or payloads in one push; senders split. */
export const MAX_TARGETS = 10_000

/** A client's session as its frontend has it now. Encoded once per change, then sent along as bytes. */
export interface SessionPart {
  id: number
  /** Empty: not bound. */
  uid: string
  /** Counts changes of `data`. */
  revision: number
  /** JSON; parsed by who needs it. */
  data: string
  /** JSON of the handshake's `sys`. */
  sys: string
  /** JSON of the handshake's `user`; empty: it had none. */
  user: string
  serializer: string
  remoteAddress: string
  /** Fingerprint of the client's schema set; empty: the server's own. */
  contract: string
}

/** What both sides of a request see alike. */
interface RequestHead {
  type: RpcType
  route: string
  isNotify: boolean
  /** Until the deadline, whole milliseconds from 1 to `MAX_REMAINING_MS`: clocks of two machines are not compared. */
  remainingMs: number
  /** Server id. */
  caller: string
  callerIncarnation: string
  /** Server id of the session's frontend; empty for user calls. */
  frontend: string
  /** Propagated: trace context, baggage, the application's own keys. */
  context: Readonly<Record<string, string>> | undefined
}

export interface RequestFields extends RequestHead {
  /** As `encodeSession` made it. */
  session: Uint8Array | undefined
}

export interface RequestEnvelope extends RequestHead {
  session: SessionPart | undefined
  /** A view into the message. */
  data: Uint8Array
}

export interface ResponseEnvelope {
  isError: boolean
  /** For a sys call the client's payload, that of an error too; for a user call the result. A view into the message. */
  data: Uint8Array
  /** Of a user call that failed. */
  error: WireError | undefined
}

/** To clients of one frontend, or to a group's members on any. */
export interface PushEnvelope {
  kind: PushKind
  /** Server id. */
  caller: string
  /** How often it was passed on. */
  hops: number
  route: string
  sessions: number[]
  uids: string[]
  /** Empty: none. */
  group: string
  /** One per serializer in use; an empty name: raw bytes for all. Views into the message. */
  payloads: PushPayload[]
  reason: string
}

export interface PushPayload { serializer: string, data: Uint8Array }

/**
 * How messages between servers are written. What a newer version adds stands behind what is known, and is ignored.
 * Encoding throws PIT_ERR_RPC for what the format cannot carry, and PIT_ERR_RPC_SIZE; decoding throws PIT_ERR_RPC and nothing else.
 * What the encoders give, except `encodeSession`, is valid until the next call of any of them.
 */
export interface Envelope {
  readonly version: number
  /** Bytes of one's own, for `RequestFields`. */
  encodeSession (part: SessionPart): Uint8Array
  /** `remainingMs` is rounded up, and kept within its bounds. */
  encodeRequest (fields: Readonly<RequestFields>, data: Uint8Array, start: number, end: number): Uint8Array
  decodeRequest (bytes: Uint8Array): RequestEnvelope
  encodeResponse (data: Uint8Array, isError: boolean, error?: WireError): Uint8Array
  decodeResponse (bytes: Uint8Array): ResponseEnvelope
  encodePush (push: Readonly<PushEnvelope>): Uint8Array
  decodePush (bytes: Uint8Array): PushEnvelope
}

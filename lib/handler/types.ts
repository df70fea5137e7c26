import type { Static, TSchema } from '@sinclair/typebox'
import type { HandshakeSys } from '../protocol/handshake.ts'

export type { HandshakeSys } from '../protocol/handshake.ts'

export type MaybePromise<T> = T | Promise<T>

declare const rawBrand: unique symbol
/** Stands where a schema could: bytes pass untouched, whatever the session's serializer. */
export interface Raw { readonly kind: 'raw', readonly [rawBrand]?: true }
export type MessageSchema = TSchema | Raw
export type Payload<S> = S extends Raw ? Uint8Array : S extends TSchema ? Static<S> : undefined

export type PushSchemas = Record<string, MessageSchema>
/** What is pushed, by route. */
export type PushPayloads<P extends PushSchemas> = { readonly [K in keyof P]: Payload<P[K]> }

/** A client's session as a handler sees it. */
export interface HandlerSession<out P extends PushSchemas = PushSchemas, D = Record<string, unknown>, U = unknown> {
  /** Unique in its frontend only. */
  readonly id: number
  /** `frontendId:sessionId`, unique in the cluster. */
  readonly address: string
  /** Empty until bound. */
  readonly uid: string
  readonly data: Readonly<Partial<D>>
  readonly handshake: { readonly sys: HandshakeSys, readonly user: U }
  readonly remoteAddress: string
  readonly ipVersion: 'ipv4' | 'ipv6'
  /** Name of the session's serializer. */
  readonly serializer: string
  readonly isClosed: boolean
  /** Merges into `data`; a key set to undefined is removed. Throws PIT_ERR_DATA (outside its schema), PIT_ERR_DATA_SIZE. */
  set (patch: Partial<D>): void
  /**
   * Sends what `set` changed on a backend to the session's frontend: by key, so that backends do not lose each other's changes. From then
   * on every server sees it. On the frontend itself nothing is to be done.
   * Rejects with PIT_ERR_CLOSED, PIT_ERR_DATA, PIT_ERR_DATA_SIZE, PIT_ERR_SESSION_COPY (the request is answered), and as a remote does.
   * @returns the keys that had been changed elsewhere meanwhile: the values pushed here replaced those
   */
  pushToFront (): Promise<{ overwritten: string[] }>
  /**
   * Makes the session `uid`'s, 1 to 128 bytes of UTF-8 without control characters, compared byte by byte.
   * Rejects with PIT_ERR_UID, PIT_ERR_BOUND, PIT_ERR_UID_TAKEN (policy refuse-new), or with what a bind hook threw; in a cluster also with
   * PIT_ERR_STORE, within seconds, and PIT_ERR_BUSY. The session is unbound then, and may try again.
   */
  bind (uid: string): Promise<void>
  /** Sends a push declared in the handlers' `pushes`. False: the session is closed, nothing was sent. Never waits for the client. */
  push<K extends keyof P & string> (route: K, value: PushPayloads<P>[K]): boolean
  /** Sends a Kick packet and closes: native clients log the player out. The reason reaches clients that read it. */
  kick (reason?: string): void
  /** Closes without a Kick packet: clients may come back. */
  close (): void
  /** Called once, after the session is closed. */
  onClose (callback: () => void): void
}

/** Named sets of uids. Members leave on their last session's close. */
export interface HandlerGroups<out P extends PushSchemas = PushSchemas> {
  /**
   * Rejects with PIT_ERR_GROUP (a name is as a uid: 1 to 128 bytes without control characters), PIT_ERR_GROUP_EXISTS, PIT_ERR_GROUP_LIMIT.
   * @param options.ttlMs the group ends when not renewed for so long; without it, it ends with its last member
   */
  create (name: string, options?: { ttlMs?: number }): Promise<void>
  /** Creates the group if there is none. Rejects with PIT_ERR_GROUP_MEMBER, PIT_ERR_GROUP_UID, PIT_ERR_GROUP_OFFLINE. */
  add (name: string, uid: string): Promise<void>
  /** As `add`, for who may be in it already: a client that comes back before its old session is gone keeps its groups. False: it was. */
  join (name: string, uid: string): Promise<boolean>
  remove (name: string, uid: string): Promise<void>
  removeAll (name: string): Promise<void>
  delete (name: string): Promise<void>
  members (name: string): Promise<string[]>
  count (name: string): Promise<number>
  contains (name: string, uid: string): Promise<boolean>
  renew (name: string): Promise<void>
  /** Pushes to every member: encoded once per serializer in use. Throws PIT_ERR_GROUP_NOT_FOUND. */
  broadcast<K extends keyof P & string> (name: string, route: K, value: PushPayloads<P>[K]): MaybePromise<void>
  /** As `broadcast`, to the members that `filter` accepts. */
  multicast<K extends keyof P & string> (
    name: string, route: K, value: PushPayloads<P>[K], filter: (uid: string) => boolean
  ): MaybePromise<void>
}

/** What a handler gets beside the message. */
export interface HandlerContext<out P extends PushSchemas = PushSchemas, D = Record<string, unknown>, U = unknown> {
  readonly session: HandlerSession<P, D, U>
  readonly groups: HandlerGroups<P>
  /** Fires at the handler's deadline and when the session closes. Made when first read. */
  readonly signal: AbortSignal
  /** Logger with the session's id and the route. Made when first read. */
  readonly log: Logger
  /** Full route, `serverType.handler.method`. */
  readonly route: string
  /** What came along with the message from another server, such as a trace context. */
  readonly propagated: Readonly<Record<string, string>>
}

/** The part of a pino logger that is used. */
export interface Logger {
  trace: LogFn
  debug: LogFn
  info: LogFn
  warn: LogFn
  error: LogFn
  fatal: LogFn
  child (bindings: Record<string, unknown>): Logger
}
export type LogFn = (object: object | string, text?: string) => void

/**
 * Runs before the handler, on the decoded message.
 * What it returns, unless undefined, replaces the message; what it throws is the answer.
 */
export type BeforeHook<B = any, C = HandlerContext<any, any, any>> = (body: B, context: C) => MaybePromise<B | void>
/**
 * Runs after the handler, on its result or error.
 * What it returns, unless undefined, replaces the outcome; what it throws becomes the error.
 */
export type AfterHook<R = any, C = HandlerContext<any, any, any>> = (outcome: Outcome<R>, context: C) => MaybePromise<Outcome<R> | void>
/** Told apart by `error === undefined`, so a handler that throws nothing at all (`throw undefined`) must be given an error. */
export type Outcome<R = unknown> =
  | { readonly result: R, readonly error?: undefined }
  | { readonly error: NonNullable<unknown>, readonly result?: undefined }
/** The raw stage: the bytes as they came (inflated) or will leave. What it returns, unless undefined, replaces them. */
export type RawHook = (bytes: Uint8Array, context: HandlerContext<any, any, any>) => MaybePromise<Uint8Array | void>

/** Pipeline steps of one level: global, Fastify scope, handler structure or method. */
export interface PipelineSteps {
  before: BeforeHook[]
  after: AfterHook[]
  rawBefore: RawHook[]
  rawAfter: RawHook[]
}

/** One method, as `request` and `notify` make it. */
export interface MethodDefinition {
  readonly kind: 'request' | 'notify'
  readonly body: MessageSchema | undefined
  readonly response: MessageSchema | undefined
  /** Codes of the errors that are its own, as declared. */
  readonly errors: readonly string[]
  /** True: does not wait for the session's earlier messages; at most 8 of a session run at once. */
  readonly concurrent: boolean
  /** Milliseconds; undefined: the server's. */
  readonly deadlineMs: number | undefined
  /** Messages per second and session on this route; undefined: only the connection's limit. */
  readonly ratePerSecond: number | undefined
  readonly before: readonly BeforeHook[]
  readonly after: readonly AfterHook[]
  readonly handle: (body: any, context: HandlerContext<any, any, any>) => unknown
}

/** One handler structure, as `defineHandlers` makes it. */
export interface HandlersDefinition {
  readonly name: string
  readonly pushes: PushSchemas
  readonly before: readonly BeforeHook[]
  readonly after: readonly AfterHook[]
  readonly methods: Readonly<Record<string, MethodDefinition>>
  /** Schemas of session data and handshake user data, when made by `definePitaya`. */
  readonly session: TSchema | undefined
  readonly user: TSchema | undefined
}

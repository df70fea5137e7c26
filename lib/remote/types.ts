import type { AfterHook, BeforeHook, Logger, MaybePromise, MessageSchema, Payload } from '../handler/types.ts'

/** What `defineRemotes` takes for one method. */
export interface RemoteOptions {
  /** Schema of the argument, or `raw`. Without it the implementation gets undefined. */
  readonly body?: MessageSchema
  /** Schema of the answer, or `raw`. Without it the implementation returns nothing. */
  readonly response?: MessageSchema
  /** Milliseconds that a call may take, 1 to 86,400,000; its caller may wait for less. Default: the server's `limits.handlerMs`. */
  readonly deadlineMs?: number
}

/** One method of a contract. */
export interface RemoteMethod<
  B extends MessageSchema | undefined = MessageSchema | undefined,
  R extends MessageSchema | undefined = MessageSchema | undefined
> {
  readonly body: B
  readonly response: R
  /** Milliseconds; undefined: the server's. */
  readonly deadlineMs: number | undefined
}

export type RemoteMethods = Readonly<Record<string, RemoteMethod>>

/** A contract: what servers may ask of others, as `defineRemotes` makes it. */
export interface Remotes<N extends string = string, M extends RemoteMethods = RemoteMethods> {
  readonly name: N
  readonly methods: M
}

/** What an implementation gets beside the body. */
export interface RemoteContext {
  /** Id of the server that calls. */
  readonly caller: string
  /** Fires at the deadline, after which nobody waits for the answer. Made when first read. */
  readonly signal: AbortSignal
  /** Logger with the caller and the route. Made when first read. */
  readonly log: Logger
  /** Full route, `serverType.contract.method`. */
  readonly route: string
  /** What the caller sent along, such as a trace context. */
  readonly propagated: Readonly<Record<string, string>>
}

/** What an implementation returns: the response, or nothing where none is declared. */
export type RemoteResult<R> = R extends MessageSchema ? Payload<R> : void

/**
 * Serves a contract: a function for each of its methods, and no other. What one returns is the answer; what it throws is the error:
 * code, message and metadata of a PitayaError reach the caller, anything else is PIT-500 with the stack in the log.
 */
export type RemoteImplementation<M extends RemoteMethods> = {
  readonly [K in keyof M]: (body: Payload<M[K]['body']>, context: RemoteContext) => MaybePromise<RemoteResult<M[K]['response']>>
}

/** Runs before a remote, on its body. What it returns, unless undefined, replaces the body; what it throws is the answer. */
export type BeforeRemoteHook = BeforeHook<any, RemoteContext>
/** Runs after a remote, on its result or error. What it returns, unless undefined, replaces the outcome; what it throws, the error. */
export type AfterRemoteHook = AfterHook<any, RemoteContext>

/** Remote pipeline of one level: global or Fastify scope. */
export interface RemoteSteps {
  before: BeforeRemoteHook[]
  after: AfterRemoteHook[]
}

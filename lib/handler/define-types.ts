import type { Static, TSchema } from '@sinclair/typebox'
import type {
  AfterHook, BeforeHook, HandlerContext, HandlersDefinition, MaybePromise, MessageSchema,
  MethodDefinition, Payload, PushSchemas
} from './types.ts'

/** No pushes declared: none can be sent. */
export type NoPushes = Record<never, never>

/** What a request handler returns: its response, or nothing where none is declared. */
export type Result<R> = R extends MessageSchema ? Payload<R> : void

declare const context: unique symbol
/**
 * Carries the context type from `defineHandlers` into the handlers written inside its call.
 * A type only: no value has the property, and the result of `defineHandlers` is free of it.
 */
export interface InContext<C> { readonly [context]: (context: C) => void }

/** A method that clients call with a request. */
export interface RequestMethod<
  B extends MessageSchema | undefined, R extends MessageSchema | undefined, E extends string = never
> extends MethodDefinition {
  readonly kind: 'request'
  readonly body: B
  readonly response: R
  readonly errors: readonly E[]
}

/** A method that clients call with a notify. */
export interface NotifyMethod<B extends MessageSchema | undefined> extends MethodDefinition {
  readonly kind: 'notify'
  readonly body: B
  readonly response: undefined
  readonly errors: readonly never[]
}

export type Method = RequestMethod<MessageSchema | undefined, MessageSchema | undefined, string> | NotifyMethod<MessageSchema | undefined>
export type Methods = Readonly<Record<string, Method>>

/** What `request` and `notify` have in common; `Out` is what the handler returns. */
export interface MethodOptions<B extends MessageSchema | undefined, Out, C> {
  /** Schema of the message, or `raw`. Without it the handler gets undefined, whatever a client sends. */
  body?: B
  /** True: does not wait for the session's earlier messages; at most 8 of a session run at once. Default false. */
  concurrent?: boolean
  /** Milliseconds the handler may take, 1 to 86,400,000. Default: the server's. */
  deadlineMs?: number
  /** Messages per second and session on this route, above 0. Default: only the connection's limit. */
  ratePerSecond?: number
  /** Run before the handler, on the decoded message. */
  before?: ReadonlyArray<BeforeHook<Payload<B>, C>>
  /** Run after the handler, on its result or error. */
  after?: ReadonlyArray<AfterHook<Out, C>>
}

export interface RequestOptions<B extends MessageSchema | undefined, R extends MessageSchema | undefined, C, E extends string = never>
  extends MethodOptions<B, Result<R>, C> {
  /** Schema of the answer, or `raw`. Without it the handler returns nothing. */
  response?: R
  /** Codes of the PitayaErrors it throws, for who calls it: at most 64, each of 1 to 64 characters. Others may be thrown all the same. */
  errors?: readonly E[]
}

export type NotifyOptions<B extends MessageSchema | undefined, C> = MethodOptions<B, unknown, C>

/** Inferred from the schemas only, never from the handler: so its literals are checked as the schemas say, not widened first. */
export type RequestHandler<B, R, C> = NoInfer<(body: Payload<B>, context: C) => MaybePromise<Result<R>>>
/** What it returns is ignored, a promise is awaited. */
export type NotifyHandler<B, C> = NoInfer<(body: Payload<B>, context: C) => unknown>

export interface HandlersOptions<P extends PushSchemas, C> {
  /** What these handlers push, by route. Structures that declare one route must declare one schema. */
  pushes?: P
  /** Run before every handler of the structure. */
  before?: ReadonlyArray<BeforeHook<unknown, C>>
  /** Run after every handler of the structure. */
  after?: ReadonlyArray<AfterHook<unknown, C>>
}

/** A handler structure with its schemas: what a client's types are derived from. */
export interface Handlers<N extends string, P extends PushSchemas, M extends Methods> extends HandlersDefinition {
  readonly name: N
  readonly pushes: P
  readonly methods: M
}

/** A method without its context type. */
export type MethodOf<M> =
  M extends RequestMethod<infer B, infer R, infer E> ? RequestMethod<B, R, E> :
    M extends NotifyMethod<infer B> ? NotifyMethod<B> : never

/** Names no schemas: a context type that did would be inferred into the schemas that a method leaves out. */
type MethodsIn<C> = Readonly<Record<string, Pick<MethodDefinition, 'kind' | 'handle'> & InContext<C>>>

/** Type of `defineHandlers`, for session data `D` and handshake user data `U`. Pushes come first: handlers are typed by them. */
export interface DefineHandlers<D, U> {
  <const N extends string, M extends MethodsIn<HandlerContext<NoPushes, D, U>>>(
    name: N, methods: M
  ): Handlers<N, NoPushes, { readonly [K in keyof M]: MethodOf<M[K]> }>
  <const N extends string, M extends MethodsIn<HandlerContext<P, D, U>>, P extends PushSchemas = NoPushes>(
    name: N, options: HandlersOptions<P, HandlerContext<P, D, U>>, methods: M
  ): Handlers<N, P, { readonly [K in keyof M]: MethodOf<M[K]> }>
}

/** What `definePitaya` makes. */
export interface PitayaDefinition<D, U> {
  /** As `defineHandlers`, knowing the types of session data and handshake user data. */
  readonly handlers: DefineHandlers<D, U>
}

export type SessionData<S> = S extends TSchema ? Static<S> : Record<string, unknown>
export type UserData<U> = U extends TSchema ? Static<U> : unknown

import type { Handlers, Method, Methods } from './define-types.ts'
import type { Payload, PushSchemas } from './types.ts'

/** Handler structures a client knows: `[typeof room, typeof match]`, or `[ReturnType<typeof room>]` for one made by a factory. */
export type Structures = ReadonlyArray<Handlers<string, PushSchemas, Methods>>

/** A client that knows its server's routes, payloads and pushes: `ClientOf<[typeof room]>`. */
export type ClientOf<T extends Structures> = [Clashes<T[number]>] extends [never] ? TypedClient<T> : ClashingPushes<Clashes<T[number]>>

/** Stands for the client when two handler structures declare the push `Route` with different payloads: give it one schema. */
export interface ClashingPushes<Route> { readonly pushWithTwoPayloads: Route }

export interface ClientRequestOptions {
  /** Milliseconds this request may wait for its answer. Default: the client's `timeoutMs`. */
  timeoutMs?: number
  /** Ends the waiting: the request rejects with its reason. The server is not told. */
  signal?: AbortSignal
}

/** Messages of one push, in the order they came. */
export interface PushIterator<T> extends AsyncIterableIterator<T, undefined> {
  /** Messages that a loop which was too slow has lost. */
  readonly dropped: number
  [Symbol.asyncIterator] (): PushIterator<T>
  return (): Promise<IteratorResult<T, undefined>>
}

/** Routes are `handler.method`, or the same after any server type: `chat.room.join`. */
export interface TypedClient<T extends Structures> {
  /** Resolves with the answer; rejects with the PitayaError the server answered. */
  request<R extends keyof Answers<T>> (route: R, ...body: Bodies<T, 'request', [options?: ClientRequestOptions]>[R]): Promise<Answers<T>[R]>
  request<F extends string> (
    route: Prefixed<F, keyof Answers<T>>, ...body: Bodies<T, 'request', [options?: ClientRequestOptions]>[Unprefixed<F, keyof Answers<T>>]
  ): Promise<Answers<T>[Unprefixed<F, keyof Answers<T>>]>
  notify<R extends keyof Bodies<T, 'notify', []>> (route: R, ...body: Bodies<T, 'notify', []>[R]): void
  notify<F extends string> (
    route: Prefixed<F, keyof Bodies<T, 'notify', []>>, ...body: Bodies<T, 'notify', []>[Unprefixed<F, keyof Bodies<T, 'notify', []>>]
  ): void
  /** Calls `callback` with every such push. Returns the function that ends it. */
  on<R extends keyof Pushes<T>> (push: R, callback: (message: Pushes<T>[R]) => void): () => void
  /** The push as a stream: `limit` messages wait for a slow loop (default 1,000), then the oldest are dropped. */
  pushes<R extends keyof Pushes<T>> (push: R, options?: { limit?: number }): PushIterator<Pushes<T>[R]>
}

/** `Full` if it is one of `Routes` after a server type; else the routes, for the error to list. */
export type Prefixed<Full, Routes> = Full extends `${string}.${infer R}` ? R extends Routes ? Full : Routes : Routes
export type Unprefixed<Full, Routes> = Full extends `${string}.${infer R extends Routes & string}` ? R : never

// Flat tables by name: a route is looked up, never matched against a union of patterns (quadratic). Their keys are plain unions:
// the keys of a mapped type with an `as` clause are computed anew at every call.

/** Arguments after the route, by `handler.method`: the body (none, or undefined, where no body is declared), then `More`. */
export type Bodies<T extends Structures, Kind extends Method['kind'], More extends unknown[]> = {
  readonly [R in RouteOf<T[number], Kind>]: MethodAt<T[number], R> extends { readonly body: infer S }
    ? S extends undefined ? [body?: undefined, ...More] : [body: Payload<S>, ...More]
    : never
}
/** Answers by `handler.method`. */
export type Answers<T extends Structures> = {
  readonly [R in RouteOf<T[number], 'request'>]: MethodAt<T[number], R> extends { readonly response: infer S } ? Payload<S> : never
}
/** Payloads by push route. */
export type Pushes<T extends Structures> = { readonly [R in PushOf<T[number]>]: PushAt<T[number], R>['payload'] }

/**
 * Codes of the errors that a route declares, as a union: `ErrorsOf<[typeof room], 'room.join'>`; without the second, those of all routes.
 * An answer may have others: the server's own (`PIT-...`), and those that are not declared.
 */
export type ErrorsOf<T extends Structures, Route extends keyof Answers<T> = keyof Answers<T>> =
  MethodAt<T[number], Route> extends { readonly errors: ReadonlyArray<infer E> } ? E : never

type RouteOf<H, Kind> = H extends Handlers<infer N, any, infer M>
  ? { [K in keyof M & string]: M[K]['kind'] extends Kind ? `${N}.${K}` : never }[keyof M & string]
  : never
type MethodAt<H, Route> = Route extends `${infer N}.${infer K}`
  ? H extends { readonly name: N, readonly methods: { readonly [P in K]: infer M } } ? M : never
  : never

type PushOf<H> = H extends { readonly pushes: infer P } ? keyof P & string : never
/** Boxed, so that a payload which is a union counts once. */
type PushAt<H, Route extends string> =
  H extends { readonly pushes: { readonly [P in Route]: infer S } } ? { readonly payload: Payload<S> } : never

/** Names of the pushes that two structures declare differently. */
type Clashes<H> = { [R in PushOf<H>]: false extends AllSame<PushAt<H, R>> ? R : never }[PushOf<H>]
type AllSame<T, Other = T> =
  T extends { readonly payload: infer A } ? Other extends { readonly payload: infer B } ? Same<A, B> : never : never
type Same<A, B> = (<X>() => X extends A ? 1 : 2) extends (<X>() => X extends B ? 1 : 2) ? true : false

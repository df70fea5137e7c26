import type { TSchema } from '@sinclair/typebox'
import { checkHandlers, checkMethod, checkPitaya } from './check.ts'
import type {
  DefineHandlers, InContext, NoPushes, NotifyHandler, NotifyMethod, NotifyOptions, PitayaDefinition,
  RequestHandler, RequestMethod, RequestOptions, SessionData, UserData
} from './define-types.ts'
import type { HandlerContext, HandlersDefinition, MessageSchema, MethodDefinition, Raw } from './types.ts'

// A user's declarations name every type of a result by this entry, so all of them leave here (else TS2742).
export { PitayaError } from '../errors.ts'
export { defineRemotes, type RemoteOf } from '../remote/define.ts'
export type * from './types.ts'
export type * from './define-types.ts'
export type * from './client-types.ts'
export type * from '../remote/types.ts'
export type * from '../remote/client-types.ts'

type AnyContext = HandlerContext<any, any, any>

/** Stands where a schema could: bytes pass untouched, whatever the session's serializer. */
export const raw: Raw = Object.freeze({ kind: 'raw' })

/**
 * A method that answers: what the handler returns is the answer; what it throws is the error, public if it is a PitayaError.
 * Throws PIT_ERR_HANDLER for unknown options and a missing handler; the values are checked by `defineHandlers`.
 */
export function request<C extends AnyContext = HandlerContext<NoPushes>> (
  handle: RequestHandler<undefined, undefined, C>
): RequestMethod<undefined, undefined> & InContext<C>
export function request<
  B extends MessageSchema | undefined = undefined,
  R extends MessageSchema | undefined = undefined,
  C extends AnyContext = HandlerContext<NoPushes>,
  E extends string = never
> (options: RequestOptions<B, R, C, E>, handle: RequestHandler<B, R, C>): RequestMethod<B, R, E> & InContext<C>
export function request (...args: unknown[]): unknown {
  return defineMethod('request', args)
}

/**
 * A method without answer: what the handler returns is ignored, what it throws is logged.
 * Throws PIT_ERR_HANDLER for unknown options and a missing handler; the values are checked by `defineHandlers`.
 */
export function notify<C extends AnyContext = HandlerContext<NoPushes>> (
  handle: NotifyHandler<undefined, C>
): NotifyMethod<undefined> & InContext<C>
export function notify<B extends MessageSchema | undefined = undefined, C extends AnyContext = HandlerContext<NoPushes>> (
  options: NotifyOptions<B, C>, handle: NotifyHandler<B, C>
): NotifyMethod<B> & InContext<C>
export function notify (...args: unknown[]): unknown {
  return defineMethod('notify', args)
}

/**
 * A handler structure: clients reach its methods as `serverType.name.method` or `name.method`.
 * Names have 1 to 64 characters, none of them white space or `.`; push routes have 1 to 255 bytes.
 * Throws PIT_ERR_HANDLER, naming the place and what to do.
 */
export const defineHandlers: DefineHandlers<Record<string, unknown>, unknown> = handlersWith(undefined, undefined)

/**
 * Declares session data and handshake user data once, for all handler structures made with its `handlers`.
 * Throws PIT_ERR_OPTIONS for anything but TypeBox schemas.
 */
export function definePitaya<S extends TSchema | undefined = undefined, U extends TSchema | undefined = undefined> (
  schemas: { session?: S, user?: U } = {}
): PitayaDefinition<SessionData<S>, UserData<U>> {
  checkPitaya(schemas)
  return Object.freeze({ handlers: handlersWith(schemas.session, schemas.user) })
}

function defineMethod (kind: MethodDefinition['kind'], args: unknown[]): MethodDefinition {
  const { options, handle } = checkMethod(kind, args)
  return Object.freeze({
    kind,
    body: options.body,
    response: options.response,
    errors: list(options.errors),
    concurrent: options.concurrent ?? false,
    deadlineMs: options.deadlineMs,
    ratePerSecond: options.ratePerSecond,
    before: list(options.before),
    after: list(options.after),
    handle
  })
}

/** Values are of any type until checked: plain JavaScript is welcome to call us, and to be told what is wrong. */
function handlersWith (session: TSchema | undefined, user: TSchema | undefined): DefineHandlers<any, any> {
  return (name: string, ...rest: unknown[]): any => {
    const options = (rest.length < 2 ? {} : rest[0] ?? {}) as Partial<HandlersDefinition>
    const methods = rest[rest.length - 1] as HandlersDefinition['methods']
    checkHandlers(name, options, methods)
    return Object.freeze({
      name,
      pushes: dictionary(options.pushes),
      before: list(options.before),
      after: list(options.after),
      methods: dictionary(methods),
      session,
      user
    } satisfies HandlersDefinition)
  }
}

/** A frozen copy; what is no list stays as it is, for the check to name. */
function list<T> (values: readonly T[] = []): readonly T[] {
  return Array.isArray(values) ? Object.freeze([...values]) : values
}

/** A frozen copy of the own properties, without prototype: `constructor` is no route. */
function dictionary<T> (values: Readonly<Record<string, T>> = {}): Readonly<Record<string, T>> {
  return Object.freeze(Object.assign(Object.create(null), values))
}

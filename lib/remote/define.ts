import type { MessageSchema } from '../handler/types.ts'
import { checkRemotes } from './check.ts'
import type { RemoteMethod, RemoteOptions, Remotes } from './types.ts'

/** Refuses option names that there are not: a type parameter gets no check for excess properties. */
type Exact<O> = O & Readonly<Record<Exclude<keyof O, keyof RemoteOptions>, never>>
type Declared<O, K extends keyof RemoteOptions> = O extends { readonly [P in K]: infer S extends MessageSchema } ? S : undefined

export type RemoteOf<O> = RemoteMethod<Declared<O, 'body'>, Declared<O, 'response'>>

/**
 * A contract between servers: one serves it (`app.pitaya.remotes`), others call it (`app.pitaya.remote`) as `serverType.name.method`.
 * Names have 1 to 64 characters, none of them white space or `.`. Throws PIT_ERR_REMOTE, naming the place and what to do.
 */
export function defineRemotes<const N extends string, O extends Readonly<Record<string, RemoteOptions>>> (
  name: N, methods: O & { readonly [K in keyof O]: Exact<O[K]> }
): Remotes<N, { readonly [K in keyof O]: RemoteOf<O[K]> }>
export function defineRemotes (name: string, given: Readonly<Record<string, RemoteOptions>>): Remotes {
  checkRemotes(name, given)
  const methods: Record<string, RemoteMethod> = Object.create(null)
  for (const [method, { body, response, deadlineMs }] of Object.entries(given)) {
    methods[method] = Object.freeze({ body, response, deadlineMs })
  }
  return Object.freeze({ name, methods: Object.freeze(methods) })
}

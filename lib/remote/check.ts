import { createError } from '../errors.ts'
import { checkDeadline, checkName, checkOptionNames, checkSchema, isObject } from '../handler/check.ts'
import type { RemoteOptions, Remotes } from './types.ts'

// What defineRemotes and the registration refuse. The types refuse most of it too; this is for plain JavaScript and computed values.

const CODE = 'PIT_ERR_REMOTE'
const METHOD_OPTIONS = ['body', 'response', 'deadlineMs']

/** Checks everything that `defineRemotes` was given. */
export function checkRemotes (name: string, methods: Readonly<Record<string, RemoteOptions>>): void {
  checkName(name, 'the name of remotes', CODE)
  if (!isObject(methods)) refuse(name, 'its methods must be an object: defineRemotes(name, { create: { body, response } })')
  for (const [method, options] of Object.entries(methods)) {
    checkName(method, `a method name of "${name}"`, CODE)
    const place = `${name}.${method}`
    if (method === 'then') refuse(place, 'a method of this name would make the client a promise')
    if (!isObject(options)) refuse(place, 'must be an object: { body, response, deadlineMs }')
    checkOptionNames(place, options, METHOD_OPTIONS, CODE)
    if (options.body !== undefined) checkSchema(place, 'body', options.body, CODE)
    if (options.response !== undefined) checkSchema(place, 'response', options.response, CODE)
    checkDeadline(place, options.deadlineMs, CODE)
  }
}

/** Checks that it is what `defineRemotes` made. */
export function checkContract (contract: unknown, place: string): asserts contract is Remotes {
  const { name, methods } = (contract ?? {}) as Partial<Remotes>
  if (typeof name !== 'string' || !isObject(methods)) refuse(place, 'takes what defineRemotes(name, methods) returns')
}

/** Checks that an implementation has a function for each method of its contract, and no other. */
export function checkImplementation ({ name, methods }: Remotes, implementation: unknown): void {
  if (!isObject(implementation)) refuse(name, 'its implementation must be an object with a function for each method')
  for (const method of Object.keys(methods)) {
    const value = (implementation as Record<string, unknown>)[method]
    if (typeof value !== 'function') refuse(`${name}.${method}`, `its implementation must be a function, not ${typeof value}`)
  }
  for (const [method, value] of Object.entries(implementation)) {
    if (typeof value === 'function' && !Object.hasOwn(methods, method)) refuse(`${name}.${method}`, 'is implemented, but not in the contract')
  }
}

/**
 * Checks a call by route and bytes.
 * @returns the route's server type; undefined: `serverId` says which server
 */
export function checkRawCall (route: unknown, data: unknown, timeoutMs: number, serverId: string | undefined): string | undefined {
  const parts = typeof route === 'string' ? route.split('.') : []
  const isRoute = parts.length === 3 || (parts.length === 2 && serverId !== undefined)
  if (!isRoute || parts.includes('')) refuse(String(route), 'app.pitaya.rpc() takes a route of three parts, serverType.contract.method')
  if (!(data instanceof Uint8Array)) refuse(String(route), 'app.pitaya.rpc() takes a Uint8Array')
  checkDeadline(String(route), timeoutMs, CODE, 'timeoutMs')
  return parts.length === 3 ? parts[0] : undefined
}

function refuse (place: string, text: string): never {
  throw createError(CODE, [place, text])
}

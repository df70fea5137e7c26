import type { TSchema } from '@sinclair/typebox'
import { isPitayaError } from '../errors.ts'
import { isOwnCode, MAX_ERRORS } from '../handler/check.ts'
import { isRaw } from '../handler/raw.ts'
import type { HandlersDefinition, MessageSchema } from '../handler/types.ts'
import type { UsedRemotes } from '../remote/client.ts'
import type { Remotes } from '../remote/types.ts'
import { deriveAvro } from '../serializers/avro-schema.ts'
import { reduceSchema } from '../serializers/schema.ts'
import { canonicalSchema, isRecord, MAX_PARTS, type Budget } from './canonical.ts'
import { fingerprint, setFingerprint, sortEntries } from './fingerprint.ts'
import type { PartSchema, RouteSchemas } from './set.ts'

/** What a server must know of another one's route. */
export interface RouteContract {
  readonly kind: 'request' | 'notify'
  readonly concurrent: boolean
  /** Milliseconds; undefined: the frontend's own. */
  readonly deadlineMs: number | undefined
  /** Messages per second and session; undefined: only the connection's limit. */
  readonly ratePerSecond: number | undefined
  /** Undefined: not known, or Avro cannot carry them. */
  readonly schemas: RouteSchemas | undefined
}

/** What a server tells others of its handlers. */
export interface Contract {
  /** Of its schemas. */
  readonly fingerprint: string
  /** By `handler.method`. */
  readonly routes: ReadonlyMap<string, RouteContract>
  /** By route; those that Avro cannot carry are left out. */
  readonly pushes: ReadonlyMap<string, PartSchema>
  /** What it serves to other servers, by `contract.method`. */
  readonly remotes: ReadonlyMap<string, RouteSchemas>
  /** What it asks of other servers, by `serverType.contract.method`. */
  readonly calls: ReadonlyMap<string, RouteSchemas>
}

/** Kept by the store under its own hash, so that servers of one build share it. */
export interface EncodedContract {
  readonly name: string
  readonly bytes: Uint8Array
  /** False: it would have been too large with its schemas. */
  readonly hasSchemas: boolean
}

const VERSION = 1
/** Bytes of one contract: what a store takes. */
export const MAX_CONTRACT_BYTES = 512 * 1024
const MAX_DEADLINE_MS = 86_400_000
const MAX_ROUTE_BYTES = 255
const SHORT_ROUTE = /^[^\s.]+\.[^\s.]+$/
const FULL_ROUTE = /^[^\s.]+\.[^\s.]+\.[^\s.]+$/
/** Remotes of this package: they are as new as it is. */
const SYSTEM = 'sys'

/**
 * The contract of these handlers.
 * @param leavesOut leaves out what Avro cannot carry, for servers that do not offer it
 * @throws PIT_ERR_SCHEMA naming the message that Avro cannot carry
 */
export function contractOf (definitions: readonly HandlersDefinition[], { leavesOut = false } = {}): Contract {
  const attempt = <T>(derive: () => T): T | undefined => {
    try {
      return derive()
    } catch (error) {
      if (!leavesOut || !isPitayaError(error)) throw error
      return undefined
    }
  }
  const routes = new Map<string, RouteContract>()
  const pushes = new Map<string, PartSchema>()
  for (const { name, methods, pushes: declared } of definitions) {
    for (const [method, definition] of Object.entries(methods)) {
      const route = `${name}.${method}`
      const { kind, concurrent, deadlineMs, ratePerSecond } = definition
      routes.set(route, { kind, concurrent, deadlineMs, ratePerSecond, schemas: attempt(() => schemasOf(route, definition)) })
    }
    for (const [push, schema] of Object.entries(declared)) {
      const part = attempt(() => partOf(schema, `push.${push}`))
      if (part !== undefined) pushes.set(push, part)
    }
  }
  return sealed(routes, pushes)
}

/** The same with what goes from server to server. Throws PIT_ERR_SCHEMA. */
export function withRemotes (contract: Contract, served: readonly Remotes[], used: readonly UsedRemotes[]): Contract {
  const entries = (prefix: string, { name, methods }: Remotes): Array<[string, RouteSchemas]> =>
    Object.entries(methods).map(([method, parts]) => [`${prefix}${name}.${method}`, schemasOf(`${name}.${method}`, { kind: 'request', ...parts })])
  return {
    ...contract,
    remotes: new Map(served.filter(({ name }) => name !== SYSTEM).flatMap((remotes) => entries('', remotes))),
    calls: new Map(used.flatMap(({ serverType, contract }) => entries(`${serverType}.`, contract)))
  }
}

export function encodeContract (contract: Contract): EncodedContract {
  const withSchemas = write(contract, true)
  const hasSchemas = withSchemas.length <= MAX_CONTRACT_BYTES
  const bytes = hasSchemas ? withSchemas : write(contract, false)
  return { name: fingerprint(bytes), bytes, hasSchemas }
}

/** What newer servers add is left out, and so is what is not acceptable; of what is no contract, nothing is taken. */
export function decodeContract (bytes: Uint8Array): Contract {
  const routes = new Map<string, RouteContract>()
  const pushes = new Map<string, PartSchema>()
  const parsed = bytes.length > MAX_CONTRACT_BYTES ? undefined : parse(bytes)
  if (!isRecord(parsed)) return sealed(routes, pushes)
  const budget: Budget = { parts: MAX_PARTS }
  // Servers that know nothing of schemas know nothing of pushes either.
  const hasSchemas = isRecord(parsed.pushes)
  for (const [route, given] of Object.entries(isRecord(parsed.routes) ? parsed.routes : {})) {
    if (!isRecord(given) || (given.kind !== 'request' && given.kind !== 'notify') || !SHORT_ROUTE.test(route) || isTooLong(route)) continue
    const { kind, concurrent, deadlineMs, ratePerSecond } = given
    routes.set(route, {
      kind,
      concurrent: concurrent === true,
      deadlineMs: isBetween(deadlineMs, 1, MAX_DEADLINE_MS) ? Math.ceil(deadlineMs) : undefined,
      ratePerSecond: isBetween(ratePerSecond, Number.MIN_VALUE, Infinity) ? ratePerSecond : undefined,
      schemas: hasSchemas ? acceptable(() => readSchemas(kind, given, budget)) : undefined
    })
  }
  for (const [push, given] of Object.entries(isRecord(parsed.pushes) ? parsed.pushes : {})) {
    const part = push === '' || isTooLong(push) ? undefined : acceptable(() => readPart(given, budget))
    if (part !== undefined) pushes.set(push, part)
  }
  const { remotes, calls } = parsed
  return { ...sealed(routes, pushes), remotes: readRemotes(remotes, SHORT_ROUTE, budget), calls: readRemotes(calls, FULL_ROUTE, budget) }
}

/** `raw` or a schema, of whatever origin, in canonical form. Throws PIT_ERR_SCHEMA. */
export function readPart (given: unknown, budget: Budget): PartSchema {
  return given === 'raw' ? given : canonicalSchema(given, budget)
}

function sealed (routes: Map<string, RouteContract>, pushes: Map<string, PartSchema>): Contract {
  const known = [...routes].flatMap(([route, { schemas }]) => schemas === undefined ? [] : [[route, schemas] as const])
  return { fingerprint: setFingerprint('', known, pushes), routes, pushes, remotes: new Map(), calls: new Map() }
}

interface Parts {
  readonly kind: RouteSchemas['kind']
  readonly body: MessageSchema | undefined
  readonly response: MessageSchema | undefined
  readonly errors?: readonly string[]
}

function schemasOf (route: string, { kind, body, response, errors = [] }: Parts): RouteSchemas {
  return {
    kind,
    ...body === undefined ? {} : { body: partOf(body, `${route}.body`) },
    ...response === undefined ? {} : { response: partOf(response, `${route}.response`) },
    ...errors.length === 0 ? {} : { errors: sortedUnique(errors) }
  }
}

function partOf (schema: MessageSchema, name: string): PartSchema {
  return isRaw(schema) ? 'raw' : canonicalSchema(deriveAvro(reduceSchema(schema as TSchema, name), name))
}

function write ({ routes, pushes, remotes, calls }: Contract, withSchemas: boolean): Uint8Array {
  const entries = sortEntries(routes).map(([route, { kind, concurrent, deadlineMs, ratePerSecond, schemas }]) => {
    // What is not known must not be read as what is not there.
    const parts = !withSchemas ? {} : schemas ?? { body: null }
    return [route, { kind, concurrent, deadlineMs, ratePerSecond, ...parts }]
  })
  return Buffer.from(JSON.stringify({
    version: VERSION,
    routes: Object.fromEntries(entries),
    ...withSchemas ? { pushes: sortedObject(pushes), remotes: sortedObject(remotes), calls: sortedObject(calls) } : {}
  }))
}

function sortedObject<T> (map: ReadonlyMap<string, T>): Record<string, T> { return Object.fromEntries(sortEntries(map)) }

function readRemotes (given: unknown, pattern: RegExp, budget: Budget): Map<string, RouteSchemas> {
  const remotes = new Map<string, RouteSchemas>()
  for (const [route, parts] of Object.entries(isRecord(given) ? given : {})) {
    if (!isRecord(parts) || !pattern.test(route) || isTooLong(route)) continue
    const schemas = acceptable(() => readSchemas('request', parts, budget))
    if (schemas !== undefined) remotes.set(route, schemas)
  }
  return remotes
}

function readSchemas (kind: RouteSchemas['kind'], { body, response, errors }: Record<string, unknown>, budget: Budget): RouteSchemas {
  return {
    kind,
    ...body === undefined ? {} : { body: readPart(body, budget) },
    ...response === undefined ? {} : { response: readPart(response, budget) },
    ...areErrors(errors) ? { errors: sortedUnique(errors) } : {}
  }
}

function areErrors (errors: unknown): errors is string[] {
  return Array.isArray(errors) && errors.length > 0 && errors.length <= MAX_ERRORS && errors.every(isOwnCode)
}

function sortedUnique (texts: readonly string[]): string[] { return [...new Set(texts)].sort() }

function acceptable<T> (read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!isPitayaError(error)) throw error
    return undefined
  }
}

function parse (bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return undefined
  }
}

function isTooLong (route: string): boolean { return Buffer.byteLength(route) > MAX_ROUTE_BYTES }

function isBetween (value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && value >= min && value <= max
}

import { createError } from '../errors.ts'
import { isRecord } from './canonical.ts'
import type { Contract } from './contract.ts'
import { setFingerprint, sortEntries } from './fingerprint.ts'
import { routeKey, type PartSchema, type RouteSchemas, type SchemaSet } from './set.ts'

/** A set whose JSON has at most so many bytes travels in the handshake's answer. */
export const MAX_GREETED_BYTES = 16 * 1024
/** Names in one request `sys.schemas`. */
export const MAX_ASKED = 256
/** Of one answer to it: what does not fit is left out, and asked for again. */
export const MAX_ANSWER_BYTES = 60 * 1024

/** A set that clients are given, with its JSON by parts. */
export interface GivenSet {
  readonly set: SchemaSet
  readonly text: string
  readonly routes: ReadonlyMap<string, string>
  readonly pushes: ReadonlyMap<string, string>
  /** Members of the handshake answer's `sys`: for clients that have this set, and for those that do not. */
  readonly brief: string
  readonly full: string
}

/**
 * The schemas that unpinned clients of one server get: its own and those of the servers behind it. Made anew, when next asked for, after a
 * change; everything that is sent is cached.
 */
export class SchemaSets {
  /** There is another set than before. */
  onChange: (() => void) | undefined
  readonly #serverType: string
  #own: Contract | undefined
  #behind = new Map<string, readonly Contract[]>()
  #current: GivenSet | undefined
  /** What became of earlier sets with the current one. */
  #extended = new WeakMap<GivenSet, GivenSet>()

  constructor (serverType: string) {
    this.#serverType = serverType
  }

  /** All there is to know now. */
  get current (): GivenSet {
    this.#current ??= this.#make()
    return this.#current
  }

  get set (): SchemaSet { return this.current.set }
  /** The same as JSON. */
  get text (): string { return this.current.text }

  setOwn (contract: Contract): void {
    this.#own = contract
    this.#changed()
  }

  /**
   * What servers of another type offer, also of one that came later. They may differ, as during a deployment: the first contract that has a
   * route counts. What was learned stays while there is no such server: it will come back.
   */
  learn (serverType: string, contracts: readonly Contract[]): void {
    const known = this.#behind.get(serverType)
    // Not their fingerprints: those say nothing of error codes.
    if (known?.length === contracts.length && contracts.every((contract, i) => known[i] === contract)) return
    this.#behind.set(serverType, contracts)
    this.#changed()
  }

  /** A set with the routes and pushes that there are besides now, none of its own changed; itself if there are none. */
  extend (given: GivenSet): GivenSet {
    const { current } = this
    if (given.set.fingerprint === current.set.fingerprint) return given
    let extended = this.#extended.get(given)
    if (extended === undefined) this.#extended.set(given, extended = union(given, current))
    return extended
  }

  /** `"schemas":{...}` of the handshake's answer. @param has fingerprint of the set that the client has */
  greeting (has: string): string {
    const { set, brief, full } = this.current
    return has === set.fingerprint ? brief : full
  }

  /**
   * Answers the request `sys.schemas`: JSON in, JSON out.
   *
   * ```
   * {"routes":[NAME],"pushes":[NAME]}  >  {"fingerprint","serverType","routes":{NAME: {...} / null},"pushes":{NAME: SCHEMA / null}}
   * {}                                 >  {"fingerprint","serverType","names":{"routes":[NAME],"pushes":[NAME]}}
   * ```
   *
   * Null: not known. Absent: the answer would have been larger than 60 KiB, ask again.
   * `"held":true`: what the client has been told stays true.
   * @param given the set that the client is held to; undefined: it is not held, and told of the current one
   * @throws PIT_ERR_BODY for anything else, and for more than 256 names
   */
  answer (bytes: Uint8Array, given?: GivenSet): Uint8Array {
    const { set, routes, pushes } = given ?? this.current
    const { fingerprint, serverType } = set
    const asked = readAsked(bytes)
    const head = `{"fingerprint":${JSON.stringify(fingerprint)},"serverType":${JSON.stringify(serverType)}${given === undefined ? '' : ',"held":true'}`
    if (asked.routes.length + asked.pushes.length === 0) {
      const names = { routes: [...routes.keys()], pushes: [...pushes.keys()] }
      return Buffer.from(`${head},"names":${JSON.stringify(names)}}`)
    }
    let left = MAX_ANSWER_BYTES
    const pick = (names: readonly string[], find: (name: string) => string | undefined): string => {
      const members: string[] = []
      for (const name of names) {
        const member = `${JSON.stringify(name)}:${find(name) ?? 'null'}`
        const isFirst = left === MAX_ANSWER_BYTES
        left -= Buffer.byteLength(member)
        if (left < 0 && !isFirst) break
        members.push(member)
      }
      return members.join()
    }
    const found = pick(asked.routes, (route) => routes.get(routeKey(route, serverType)))
    return Buffer.from(`${head},"routes":{${found}},"pushes":{${pick(asked.pushes, (push) => pushes.get(push))}}}`)
  }

  #changed (): void {
    this.#current = undefined
    this.#extended = new WeakMap()
    this.onChange?.()
  }

  #make (): GivenSet {
    const routes = new Map<string, RouteSchemas>()
    const pushes = new Map<string, PartSchema>()
    const add = ({ routes: some, pushes: more }: Contract, prefix: string): void => {
      for (const [route, { schemas }] of some) {
        if (schemas !== undefined && !routes.has(prefix + route)) routes.set(prefix + route, schemas)
      }
      for (const [push, schema] of more) if (!pushes.has(push)) pushes.set(push, schema)
    }
    if (this.#own !== undefined) add(this.#own, '')
    for (const [serverType, contracts] of sortEntries(this.#behind)) {
      for (const contract of contracts) add(contract, `${serverType}.`)
    }
    return write(this.#serverType, sortEntries(routes), sortEntries(pushes))
  }
}

function union (given: GivenSet, { set }: GivenSet): GivenSet {
  const routes = { ...set.routes, ...given.set.routes }
  const pushes = { ...set.pushes, ...given.set.pushes }
  const more = Object.keys(routes).length - given.routes.size + Object.keys(pushes).length - given.pushes.size
  return more === 0 ? given : write(set.serverType, sortEntries(Object.entries(routes)), sortEntries(Object.entries(pushes)))
}

type Entries<T> = ReadonlyArray<readonly [string, T]>

function write (serverType: string, routes: Entries<RouteSchemas>, pushes: Entries<PartSchema>): GivenSet {
  const fingerprint = setFingerprint(serverType, routes, pushes)
  const set: SchemaSet = { version: 1, fingerprint, serverType, routes: Object.fromEntries(routes), pushes: Object.fromEntries(pushes) }
  const text = JSON.stringify(set)
  const brief = `"schemas":{"fingerprint":${JSON.stringify(fingerprint)}}`
  return {
    set,
    text,
    routes: new Map(routes.map(([route, schemas]) => [route, JSON.stringify(schemas)])),
    pushes: new Map(pushes.map(([push, schema]) => [push, JSON.stringify(schema)])),
    brief,
    full: Buffer.byteLength(text) > MAX_GREETED_BYTES ? brief : `"schemas":{"fingerprint":${JSON.stringify(fingerprint)},"set":${text}}`
  }
}

function readAsked (bytes: Uint8Array): { routes: readonly string[], pushes: readonly string[] } {
  let asked: unknown
  try {
    asked = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())
  } catch {
    throw refused()
  }
  if (!isRecord(asked)) throw refused()
  const { routes = [], pushes = [] } = asked
  if (!areNames(routes) || !areNames(pushes) || routes.length + pushes.length > MAX_ASKED) throw refused()
  return { routes: [...new Set(routes)], pushes: [...new Set(pushes)] }
}

function areNames (names: unknown): names is string[] {
  return Array.isArray(names) && names.every((name) => typeof name === 'string')
}

function refused () {
  return createError('PIT_ERR_BODY', [`sys.schemas takes { routes, pushes }, lists of at most ${MAX_ASKED} names together`])
}

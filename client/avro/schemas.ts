import { compileCodec, Writer, type AvroCodec, type AvroSchema } from '../../lib/avro/codec.ts'
import { schemaError } from '../../lib/avro/errors.ts'
import { routeKey, type PartSchema, type RouteSchemas } from '../../lib/contract/set.ts'
import { createError } from '../../lib/protocol/errors.ts'
import { EMPTY } from '../json.ts'
import type { ContractFile } from '../options.ts'

type PartCodec = Pick<AvroCodec, 'encode' | 'decode'>
export interface RouteCodecs { readonly body: PartCodec, readonly response: PartCodec }

const NOTHING: PartCodec = { encode: () => EMPTY, decode () {} }
const RAW: PartCodec = {
  encode (value = EMPTY) {
    if (value instanceof Uint8Array) return value
    throw createError('PIT_ERR_BODY', ['body must be Uint8Array'])
  },
  decode: (bytes) => new Uint8Array(bytes)
}

/** Schemas of a server, all of a set or those that were needed so far. Each is checked and compiled when first used. */
export class Schemas {
  readonly fingerprint: string
  #serverType: string
  #given: Record<'routes' | 'pushes', Record<string, any>>
  #routes = new Map<string, RouteCodecs>()
  #codecs = new Map<AvroSchema, PartCodec>()
  #writer = new Writer()

  /** @throws PIT_ERR_CLIENT_SCHEMA for what is no set; its schemas are looked at when they are used */
  constructor (set: ContractFile) {
    const { fingerprint, serverType, routes, pushes } = Object(set) as Partial<ContractFile>
    if (typeof fingerprint !== 'string' || typeof serverType !== 'string' || Object(routes) !== routes || Object(pushes) !== pushes) {
      throw schemaError('no contract: npx fastify-pitaya contract makes one')
    }
    this.fingerprint = fingerprint
    this.#serverType = serverType
    this.#given = { routes: { ...routes }, pushes: { ...pushes } }
  }

  has (kind: 'routes' | 'pushes', name: string): boolean {
    return this.#find(kind, name) !== undefined
  }

  /** Undefined: not known. Throws PIT_ERR_CLIENT_SCHEMA. */
  route (route: string): RouteCodecs | undefined {
    let codecs = this.#routes.get(route)
    if (codecs === undefined) {
      const given = this.#find('routes', route) as RouteSchemas | undefined
      if (given === undefined) return
      this.#routes.set(route, codecs = { body: this.#codec(given.body), response: this.#codec(given.response) })
    }
    return codecs
  }

  /** Undefined: not known. Throws PIT_ERR_CLIENT_SCHEMA. */
  push (name: string): PartCodec | undefined {
    const given = this.#find('pushes', name)
    return given === undefined ? undefined : this.#codec(given)
  }

  /** The same and one more, unless that is null; itself if that is of the same set. */
  with (fingerprint: string, kind: 'routes' | 'pushes', name: string, part: unknown): Schemas {
    const schemas = fingerprint === this.fingerprint ? this : new Schemas({ ...this.toJSON(), fingerprint })
    if (Object(part) === part || typeof part === 'string') schemas.#given[kind][name] = part
    return schemas
  }

  toJSON (): ContractFile {
    return { version: 1, fingerprint: this.fingerprint, serverType: this.#serverType, ...this.#given }
  }

  #find (kind: 'routes' | 'pushes', name: string): any {
    const given = this.#given[kind]
    // A contract that names no type of server is that of any.
    const short = this.#serverType === '' ? /[^.]+\.[^.]+$/.exec(name)?.[0] ?? name : routeKey(name, this.#serverType)
    const key = kind === 'pushes' || Object.hasOwn(given, name) ? name : short
    return Object.hasOwn(given, key) ? given[key] : undefined
  }

  #codec (schema: PartSchema | undefined): PartCodec {
    if (schema === undefined) return NOTHING
    if (schema === 'raw') return RAW
    let codec = this.#codecs.get(schema)
    if (codec === undefined) this.#codecs.set(schema, codec = compileCodec(schema, this.#writer))
    return codec
  }
}

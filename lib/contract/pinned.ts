import { compileCodec, type Writer } from '../avro/codec.ts'
import { createError, isPitayaError, type PitayaError } from '../errors.ts'
import type { AvroSchema } from '../serializers/avro-schema.ts'
import type { Codec, SerializerVersion, VersionedCodec } from '../serializers/serializer.ts'
import { adaptShapes } from './adapt.ts'
import { isRecord, MAX_PARTS, type Budget } from './canonical.ts'
import { readPart } from './contract.ts'
import { setFingerprint, sortEntries } from './fingerprint.ts'
import type { PartSchema, RouteSchemas } from './set.ts'
import { defaultsBudget, shapeOf, type DefaultsBudget } from './shape.ts'

/** Bytes of a client's schema set, as JSON. */
export const MAX_SET_BYTES = 256 * 1024
/** Routes and pushes of a client's schema set. */
export const MAX_SET_NAMES = 4000
const MAX_NAME_BYTES = 255
/** Of one refusal, so many places are named. */
const MAX_NAMED = 16

/** What a client was built with: checked, in canonical form. */
export interface ClientSet {
  readonly fingerprint: string
  readonly serverType: string
  readonly routes: ReadonlyMap<string, RouteSchemas>
  readonly pushes: ReadonlyMap<string, PartSchema>
}

/** Of all schemas of a set together. */
interface SetBudget extends Budget { readonly defaults: DefaultsBudget }

/**
 * Reads a contract file's JSON: `{ version, fingerprint, serverType, routes, pushes }`. Nothing of it is compiled, everything is checked.
 * @param fingerprint what the client said that it has
 * @throws PIT_ERR_CONTRACT (metadata.field: the place) for what is no such set, beyond a limit, or not what the fingerprint says
 */
export function readClientSet (text: string, fingerprint: string): ClientSet {
  if (Buffer.byteLength(text) > MAX_SET_BYTES) throw refusal(`it is larger than ${MAX_SET_BYTES} bytes`, '')
  const given = parse(text)
  const { serverType, version } = given
  if (version !== 1) throw refusal('its version is not known here', 'version')
  if (typeof serverType !== 'string' || !/^[A-Za-z0-9_-]{0,64}$/.test(serverType)) throw refusal('it names no type of server', 'serverType')
  const budget: SetBudget = { parts: MAX_PARTS, defaults: defaultsBudget() }
  const routes = new Map<string, RouteSchemas>()
  const pushes = new Map<string, PartSchema>()
  for (const [route, schemas] of entriesOf(given, 'routes')) {
    const { kind, body, response } = isRecord(schemas) ? schemas : {}
    if (kind !== 'request' && kind !== 'notify') throw refusal('a route is neither request nor notify', `routes/${route}`)
    routes.set(route, {
      kind,
      ...body === undefined ? {} : { body: checked(body, budget, `routes/${route}/body`) },
      ...response === undefined ? {} : { response: checked(response, budget, `routes/${route}/response`) }
    })
  }
  for (const [push, schema] of entriesOf(given, 'pushes')) pushes.set(push, checked(schema, budget, `pushes/${push}`))
  if (routes.size + pushes.size > MAX_SET_NAMES) throw refusal(`it has more than ${MAX_SET_NAMES} names`, '')
  const own = setFingerprint(serverType, sortEntries(routes), sortEntries(pushes))
  if (own !== fingerprint || given.fingerprint !== fingerprint) throw refusal('its fingerprint is another', 'fingerprint')
  return { fingerprint, serverType, routes, pushes }
}

/** A body that is absent is one without fields. */
const NOTHING: AvroSchema = { type: 'record', name: 'nothing', fields: [] }

/**
 * The server's Avro as clients of one set use it: bodies are decoded by the client's schema and brought into the server's, answers and
 * pushes the other way. Schemas that are the same share the server's own codec; where values can never fit, the codec refuses with
 * PIT_ERR_EVOLUTION.
 */
export class PinnedAvro implements SerializerVersion {
  readonly name: string
  readonly of = 'avro'
  /** What can never be carried over: fields by route and part, or by push. */
  readonly refused = new Map<string, readonly string[]>()
  readonly #set: ClientSet
  readonly #serverType: string
  readonly #writer: Writer

  /** @param writer shared by codecs that are not used at the same time */
  constructor (set: ClientSet, serverType: string, writer: Writer) {
    this.name = `avro@${set.fingerprint}`
    this.#set = set
    this.#serverType = serverType
    this.#writer = writer
  }

  body (codec: Codec, route: string): Codec {
    const schemas = this.#find(route)
    if (schemas === undefined) return refuse(route, 'the client\'s contract does not have this route', [])
    return this.#compile(codec as VersionedCodec, schemas.body ?? NOTHING, `${route} body`, true)
  }

  response (codec: Codec, route: string): Codec {
    const schemas = this.#find(route)
    if (schemas === undefined) return refuse(route, 'the client\'s contract does not have this route', [])
    return this.#compile(codec as VersionedCodec, schemas.response ?? NOTHING, `${route} response`, false)
  }

  push (codec: Codec, name: string): Codec {
    const schema = this.#set.pushes.get(name)
    if (schema === undefined) return refuse(name, 'the client\'s contract does not have this push', [])
    return this.#compile(codec as VersionedCodec, schema, `push ${name}`, false)
  }

  /** A set names routes of the server that it was made by without that server's type. */
  #find (route: string): RouteSchemas | undefined {
    const { serverType, routes } = this.#set
    const isOwn = serverType === this.#serverType || serverType === ''
    return routes.get(`${this.#serverType}.${route}`) ?? (isOwn ? routes.get(route) : undefined)
  }

  #compile (own: VersionedCodec, schema: PartSchema, what: string, isInward: boolean): Codec {
    // To the client bytes without a schema of its own are nothing that it reads.
    if (schema === NOTHING && !isInward) return { decode: refuse(what, '', []).decode, encode: () => EMPTY }
    // A serializer of the application's own may have the name.
    if (schema === 'raw' || typeof own.accept !== 'function') return this.#refuse(what, [''])
    const [client, server] = [shapeOf(schema), shapeOf(own.schema)]
    const adapter = isInward ? adaptShapes(client, server) : adaptShapes(server, client, 'shared')
    if (adapter.isSame) return own
    if (adapter.verdict === 'cannot fit') return this.#refuse(what, adapter.fields)
    const codec = compileCodec(schema, this.#writer)
    return isInward
      ? { encode: () => unused(), decode: (bytes, start, end) => own.accept(adapter.adapt(codec.decode(bytes, start, end))) }
      : { encode: (value) => codec.encode(adapter.adapt(own.prepare(value))), decode: () => unused() }
  }

  #refuse (what: string, fields: readonly string[]): Codec {
    this.refused.set(what, fields)
    return refuse(what, 'it cannot be carried between the client\'s contract and the server\'s', fields)
  }
}

const EMPTY = new Uint8Array(0)

function unused (): never { throw new Error('bodies are only decoded, answers and pushes only encoded') }

function refuse (what: string, why: string, fields: readonly string[]): Codec {
  const field = fields.slice(0, MAX_NAMED).join(', ')
  const fail = (): never => {
    throw createError('PIT_ERR_EVOLUTION', [`${what}: ${why}${field === '' ? '' : `: ${field}`}`], { metadata: { field } })
  }
  return { encode: fail, decode: fail }
}

function parse (text: string): Record<string, unknown> {
  try {
    const given: unknown = JSON.parse(text)
    if (isRecord(given)) return given
  } catch {}
  throw refusal('it is no JSON object', '')
}

function entriesOf (given: Record<string, unknown>, key: 'routes' | 'pushes'): Array<[string, unknown]> {
  const part = given[key]
  if (!isRecord(part)) throw refusal('a part is missing', key)
  const entries = Object.entries(part)
  if (entries.length > MAX_SET_NAMES) throw refusal(`it has more than ${MAX_SET_NAMES} names`, key)
  if (entries.some(([name]) => name === '' || Buffer.byteLength(name) > MAX_NAME_BYTES)) throw refusal(`a name has 1 to ${MAX_NAME_BYTES} bytes`, key)
  return entries
}

function checked (schema: unknown, budget: SetBudget, field: string): PartSchema {
  try {
    const part = readPart(schema, budget)
    if (part !== 'raw') shapeOf(part, budget.defaults)
    return part
  } catch (error) {
    if (!isPitayaError(error)) throw error
    throw refusal('a schema is not acceptable', field)
  }
}

function refusal (reason: string, field: string): PitayaError {
  return createError('PIT_ERR_CONTRACT', [reason], { metadata: { field: field.slice(0, 300) } })
}

import { createError, type PitayaError } from '../errors.ts'
import type { AvroSchema } from '../serializers/avro-schema.ts'
import { canonicalSchema } from './canonical.ts'

/** An Avro schema as a graph: a recursive type is a cycle. Names of types are gone, for they take no part in matching. */
export type Shape = PlainShape | FixedShape | EnumShape | ArrayShape | MapShape | RecordShape | UnionShape
export interface PlainShape { readonly kind: 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'bytes' | 'string' }
export interface FixedShape { readonly kind: 'fixed', readonly size: number }
export interface EnumShape {
  readonly kind: 'enum'
  readonly symbols: ReadonlySet<string>
  /** What an unknown symbol becomes. */
  readonly fallback: string | undefined
}
export interface ArrayShape { readonly kind: 'array', items: Shape }
export interface MapShape { readonly kind: 'map', values: Shape }
export interface RecordShape { readonly kind: 'record', readonly fields: Field[] }
export interface UnionShape { readonly kind: 'union', readonly branches: readonly Shape[] }

export interface Field {
  readonly name: string
  readonly aliases: readonly string[]
  readonly type: Shape
  /** As Avro writes it in JSON; undefined: none. */
  readonly default: unknown
  /** Its default is null: a value that is null is absent in JavaScript. */
  readonly isOptional: boolean
}

/** Values that the defaults of one record may consist of, absent ones aside: a list has them once for each of its items. */
export const MAX_RECORD_DEFAULTS = 1000
/** Values that the defaults of all schemas of a set may consist of together, and the bytes of text and data in them. */
export const MAX_DEFAULTS = 10_000
export const MAX_DEFAULT_BYTES = 256 * 1024
const MAX_FIXED_BYTES = 65_536

/** Branches of a union are told apart by what they are in JavaScript. */
export function javaScriptKind (shape: Shape): string {
  switch (shape.kind) {
    case 'int': case 'long': case 'float': case 'double': return 'number'
    case 'string': case 'enum': return 'text'
    case 'bytes': case 'fixed': return 'bytes'
    case 'record': case 'map': return 'object'
    default: return shape.kind
  }
}

/** What is left of what defaults may consist of. A few bytes of schema can stand for many: it is what they become that counts. */
export interface DefaultsBudget { values: number, bytes: number }

export function defaultsBudget (): DefaultsBudget { return { values: MAX_DEFAULTS, bytes: MAX_DEFAULT_BYTES } }

/**
 * The shape of a schema, of whatever origin: it goes through `canonicalSchema` first, with its limits.
 * @param budget shared by the schemas of a set
 * @throws PIT_ERR_SCHEMA for what that refuses, for unions with two branches of one kind, and for defaults that do not fit or are too much
 */
export function shapeOf (schema: AvroSchema, budget = defaultsBudget()): Shape {
  const named = new Map<string, Shape>()
  const records: RecordShape[] = []

  function read (schema: Canonical): Shape {
    if (typeof schema === 'string') return named.get(schema) ?? { kind: schema } as PlainShape
    if (Array.isArray(schema)) return readUnion(schema)
    switch (schema.type) {
      case 'array': return { kind: 'array', items: read(schema.items!) }
      case 'map': return { kind: 'map', values: read(schema.values!) }
      case 'enum': return define(schema, { kind: 'enum', symbols: new Set(schema.symbols), fallback: schema.default })
      case 'fixed':
        if (schema.size! > MAX_FIXED_BYTES) throw refusal(`a fixed type has more than ${MAX_FIXED_BYTES} bytes`)
        return define(schema, { kind: 'fixed', size: schema.size! })
      default: return readRecord(schema)
    }
  }

  function define ({ name }: CanonicalObject, shape: Shape): Shape {
    named.set(name!, shape)
    return shape
  }

  function readUnion (schemas: readonly Canonical[]): UnionShape {
    const branches = schemas.map(read)
    if (new Set(branches.map(javaScriptKind)).size < branches.length) throw refusal('two branches of a union cannot be told apart')
    return { kind: 'union', branches }
  }

  function readRecord (schema: CanonicalObject): RecordShape {
    const shape: RecordShape = { kind: 'record', fields: [] }
    define(schema, shape)
    records.push(shape)
    for (const { name, aliases = [], type, default: value } of schema.fields!) {
      shape.fields.push({ name, aliases, type: read(type), default: value, isOptional: value === null })
    }
    return shape
  }

  const shape = read(canonicalSchema(schema) as Canonical)
  for (const { fields } of records) spend(fields, budget)
  return shape
}

type Canonical = string | Canonical[] | CanonicalObject

/** What `canonicalSchema` gives, of each type what it has. */
interface CanonicalObject {
  type: string
  name?: string
  items?: Canonical
  values?: Canonical
  size?: number
  symbols?: string[]
  default?: string
  fields?: Array<{ name: string, type: Canonical, default?: unknown, aliases?: string[] }>
}

/** Makes the defaults of a record's fields once, to see what they are. */
function spend (fields: readonly Field[], budget: DefaultsBudget): void {
  const own = { values: Math.min(MAX_RECORD_DEFAULTS, budget.values), bytes: budget.bytes }
  const before = own.values
  for (const field of fields) {
    // A field that is only absent takes a byte of what is written, and that is bounded.
    const isAbsent = field.isOptional && field.type.kind === 'union'
    if (field.default !== undefined) defaultOf(field, isAbsent ? defaultsBudget() : own)
  }
  budget.values -= before - own.values
  budget.bytes = own.bytes
}

/**
 * A field's default as a value, made anew with each call.
 * @param budget what it may consist of: `shapeOf` has seen to that
 * @throws PIT_ERR_SCHEMA for one that does not fit its type or is too much
 */
export function defaultOf (field: Field, budget = defaultsBudget()): unknown {
  function make (shape: Shape, json: unknown): unknown {
    if (shape.kind === 'union') return make(branchOf(shape, json), json)
    take(1, 0)
    switch (shape.kind) {
      case 'array': if (Array.isArray(json)) return json.map((item) => make(shape.items, item)); break
      case 'map': if (isObject(json)) return makeMap(shape, json); break
      case 'record': if (isObject(json)) return makeRecord(shape, json); break
      case 'bytes': case 'fixed': return makeBytes(shape, takeText(json))
      case 'string': if (typeof json === 'string') return takeText(json); break
      default: if (fitsPlain(shape, json)) return json
    }
    throw refusal('a default does not fit its type')
  }

  function take (values: number, bytes: number): void {
    budget.values -= values
    budget.bytes -= bytes
    if (budget.values < 0 || budget.bytes < 0) throw refusal('defaults consist of too much')
  }

  function takeText (json: unknown): unknown {
    if (typeof json === 'string') take(0, Buffer.byteLength(json))
    return json
  }

  function makeMap (shape: MapShape, json: object): object {
    const result: Record<string, unknown> = {}
    for (const [key, value] of Object.entries(json)) {
      takeText(key)
      if (key !== '__proto__') result[key] = make(shape.values, value)
    }
    return result
  }

  function makeRecord (shape: RecordShape, json: Record<string, unknown>): object {
    const result: Record<string, unknown> = {}
    for (const { name, type, default: inner, isOptional } of shape.fields) {
      const value = make(type, Object.hasOwn(json, name) ? json[name] : inner)
      if (value !== null || !isOptional) result[name] = value
    }
    return result
  }

  return make(field.type, field.default)
}

/** The specification demands the first branch; its newer version takes any. */
function branchOf ({ branches }: UnionShape, json: unknown): Shape {
  const kind = json === null ? 'null' : Array.isArray(json) ? 'array' : typeof json
  const fitting = branches.find((branch) => {
    const own = javaScriptKind(branch)
    return own === kind || (kind === 'string' && (own === 'text' || own === 'bytes'))
  })
  if (fitting === undefined) throw refusal('a default does not fit its type')
  return fitting
}

function makeBytes (shape: PlainShape | FixedShape, json: unknown): Uint8Array {
  if (typeof json !== 'string' || (shape.kind === 'fixed' && json.length !== shape.size)) throw refusal('a default does not fit its type')
  return Uint8Array.from(json, (char) => {
    const code = char.codePointAt(0)!
    if (code > 0xff) throw refusal('a default does not fit its type')
    return code
  })
}

function fitsPlain (shape: Shape, json: unknown): boolean {
  switch (shape.kind) {
    case 'null': return json === null
    case 'boolean': return typeof json === 'boolean'
    case 'int': return typeof json === 'number' && json === (json | 0)
    case 'long': return Number.isSafeInteger(json)
    case 'float': case 'double': return typeof json === 'number'
    case 'enum': return shape.symbols.has(json as string)
    default: return false
  }
}

function isObject (json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

function refusal (reason: string): PitayaError {
  return createError('PIT_ERR_SCHEMA', ['Avro schema', reason])
}

import { schemaError } from './errors.ts'

export type { AvroSchema } from '../serializers/avro-schema.ts'

export type ScalarKind = 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'bytes' | 'string'
export interface ScalarType { readonly kind: ScalarKind, readonly minBytes: number }
export interface ListType { readonly kind: 'array' | 'map', readonly inner: AvroType, readonly minBytes: number }
export interface EnumType { readonly kind: 'enum', readonly symbols: readonly string[], readonly minBytes: number }
export interface FixedType { readonly kind: 'fixed', readonly minBytes: number }
export interface UnionType { readonly kind: 'union', readonly branches: readonly AvroType[], readonly minBytes: number }
export interface RecordType { readonly kind: 'record', readonly fields: readonly RecordField[], readonly minBytes: number }
/** `isOptional`: the default is null, so absent is written as null, and null is read as absent. */
export interface RecordField { readonly name: string, readonly type: AvroType, readonly isOptional: boolean }

/** A checked schema; references are resolved, so recursion is a cycle. `minBytes` is the least that a value takes. */
export type AvroType = ScalarType | ListType | EnumType | FixedType | UnionType | RecordType

/** How a value is told apart from others in a union. */
export type ValueKind = 'null' | 'boolean' | 'number' | 'string' | 'bytes' | 'array' | 'object'

/** Twice what a value may be nested, since a union stands between two levels. */
const MAX_DEPTH = 128
const MAX_NAMES = 1000
/** Fields, symbols and branches of unions together. */
const MAX_PARTS = 10_000
const MAX_FIXED_BYTES = 0xffffff
const MAX_PATH = 128
const NO_SCHEMA = 'no Avro schema'
const TOO_LARGE = 'too large'
const BAD_NAME = 'a name that is none, or taken'

const AVRO_NAME = /^[A-Za-z_]\w*$/
const FULL_NAME = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$/

const scalars = new Map<unknown, ScalarType>(([
  ['null', 0], ['boolean', 1], ['int', 1], ['long', 1], ['float', 4], ['double', 8], ['bytes', 1], ['string', 1]
] as const).map(([kind, minBytes]) => [kind, { kind, minBytes }]))

/**
 * Checks a schema that may come from anywhere, in time linear in its size: at most 128 levels, 1,000 names, 10,000 fields, symbols and
 * branches. Logical types are taken as what they are made of.
 * @throws PIT_ERR_CLIENT_SCHEMA naming the place
 */
export function readSchema (schema: unknown): AvroType {
  const named = new Map<string, AvroType>()
  const arrays: Array<{ type: ListType, path: string }> = []
  let parts = 0

  function read (schema: unknown, path: string, namespace: string, depth: number): AvroType {
    if (depth > MAX_DEPTH) refuse(path, TOO_LARGE)
    if (typeof schema === 'string') return scalars.get(schema) ?? follow(schema, path, namespace)
    if (Array.isArray(schema)) return readUnion(schema, path, namespace, depth)
    const { type, items, values } = asObject(schema, path)
    switch (type) {
      case 'array': return readArray(items, path, namespace, depth)
      case 'map': return { kind: 'map', inner: read(values, `${path}/*`, namespace, depth + 1), minBytes: 1 }
      case 'record': case 'error': return readRecord(schema as JsonObject, path, namespace, depth)
      case 'enum': return readEnum(schema as JsonObject, path, namespace)
      case 'fixed': return readFixed(schema as JsonObject, path, namespace)
      default: return read(type, path, namespace, depth + 1)
    }
  }

  function follow (name: string, path: string, namespace: string): AvroType {
    const type = named.get(qualify(name, namespace))
    if (type === undefined) refuse(path, 'a type that is not known')
    return type
  }

  /** Makes the type known, and gives its full name. */
  function define (schema: JsonObject, outer: string, type: AvroType, path: string): string {
    const { name, namespace = outer } = schema
    const full = typeof name === 'string' ? qualify(name, String(namespace)) : ''
    if (!FULL_NAME.test(full) || scalars.has(full) || named.has(full)) refuse(path, BAD_NAME)
    if (named.size === MAX_NAMES) refuse(path, TOO_LARGE)
    named.set(full, type)
    return full
  }

  /** The list, its members counted. */
  function count (list: unknown, path: string): unknown[] {
    if (!Array.isArray(list)) refuse(path, NO_SCHEMA)
    parts += list.length
    if (parts > MAX_PARTS) refuse(path, TOO_LARGE)
    return list
  }

  function readArray (items: unknown, path: string, namespace: string, depth: number): ListType {
    const type: ListType = { kind: 'array', inner: read(items, `${path}/*`, namespace, depth + 1), minBytes: 1 }
    arrays.push({ type, path })
    return type
  }

  function readUnion (schemas: unknown[], path: string, namespace: string, depth: number): UnionType {
    const branches = count(schemas, path).map((branch) => read(branch, path, namespace, depth + 1))
    const kinds = new Set<string>(branches.map(valueKindOf))
    if (kinds.size < branches.length || kinds.has('union')) refuse(path, 'branches of a union that cannot be told apart')
    return { kind: 'union', branches, minBytes: 1 }
  }

  function readRecord (schema: JsonObject, path: string, outer: string, depth: number): RecordType {
    const fields: RecordField[] = []
    const record = { kind: 'record' as const, fields, minBytes: 0 }
    const name = define(schema, outer, record, path)
    const namespace = name.slice(0, Math.max(0, name.lastIndexOf('.')))
    const taken = new Set<string>()
    for (const item of count(schema.fields, path)) {
      const { name, type, default: preset } = asObject(item, path)
      // A property of every object would be read from the prototype when absent, and `__proto__` set it.
      if (!isName(name) || name in Object.prototype || taken.has(name)) refuse(path, BAD_NAME)
      taken.add(name)
      fields.push({ name, type: read(type, `${path}/${name}`, namespace, depth + 1), isOptional: preset === null })
    }
    // Inside itself it still counted as nothing: less than it takes, which is what `minBytes` promises.
    for (const { type } of fields) record.minBytes += type.minBytes
    return record
  }

  function readEnum (schema: JsonObject, path: string, namespace: string): EnumType {
    const symbols = count(schema.symbols, path)
    if (!symbols.every(isName) || new Set(symbols).size < symbols.length || symbols.length === 0) refuse(path, BAD_NAME)
    const type: EnumType = { kind: 'enum', symbols, minBytes: 1 }
    define(schema, namespace, type, path)
    return type
  }

  function readFixed (schema: JsonObject, path: string, namespace: string): FixedType {
    const { size } = schema
    if (!Number.isInteger(size) || !((size as number) >= 0 && (size as number) <= MAX_FIXED_BYTES)) refuse(path, NO_SCHEMA)
    const type: FixedType = { kind: 'fixed', minBytes: size as number }
    define(schema, namespace, type, path)
    return type
  }

  const type = read(schema, '', '', 0)
  const uncountable = arrays.find(({ type }) => type.inner.minBytes === 0)
  if (uncountable !== undefined) refuse(uncountable.path, 'an array of items that take no bytes')
  return type
}

export function valueKindOf ({ kind }: AvroType): ValueKind {
  return valueKinds[kind] ?? kind as ValueKind
}

const valueKinds: Partial<Record<AvroType['kind'], ValueKind>> = {
  int: 'number', long: 'number', float: 'number', double: 'number', enum: 'string', fixed: 'bytes', record: 'object', map: 'object'
}

type JsonObject = Readonly<Record<string, unknown>>

function asObject (value: unknown, path: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path, NO_SCHEMA)
  return value as JsonObject
}

function qualify (name: string, namespace: string): string {
  return namespace === '' || name.includes('.') ? name : `${namespace}.${name}`
}

function isName (value: unknown): value is string {
  return typeof value === 'string' && AVRO_NAME.test(value)
}

function refuse (path: string, reason: string): never {
  throw schemaError(path === '' ? reason : `${path.slice(0, MAX_PATH)}: ${reason}`)
}

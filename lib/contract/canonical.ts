import { createError, type PitayaError } from '../errors.ts'
import type { AvroSchema } from '../serializers/avro-schema.ts'

/** Parts (types, fields, symbols, values of defaults) that the schemas of one contract may have together. */
export const MAX_PARTS = 20_000
const MAX_DEPTH = 64
const MAX_NAME = 255
const MAX_ALIASES = 64
const AVRO_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const FULL_NAME = /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/
const PRIMITIVES = new Set<unknown>(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

/** What is left of the parts that several schemas may have together. */
export interface Budget { parts: number }

/**
 * Brings an Avro schema, of whatever origin, into the one form that contracts hold: only what takes part in reading and writing, in a fixed
 * order, named types numbered (`T0`), since their names take no part. Two schemas mean the same if the JSON of this form is the same.
 * Safe for what comes from a peer: at most 20,000 parts, 64 levels, names of 255 characters.
 * @throws PIT_ERR_SCHEMA for what is no schema or too large; its text says nothing of the content
 */
export function canonicalSchema (given: unknown, budget: Budget = { parts: MAX_PARTS }): AvroSchema {
  const numbers = new Map<string, string>()

  function take (depth: number): void {
    if (depth > MAX_DEPTH) throw bad(`it has more than ${MAX_DEPTH} levels`)
    if (--budget.parts < 0) throw bad(`it has more than ${MAX_PARTS} parts`)
  }

  function read (schema: unknown, namespace: string, depth: number): AvroSchema {
    take(depth)
    if (typeof schema === 'string') return PRIMITIVES.has(schema) ? schema : refer(schema, namespace)
    if (Array.isArray(schema)) return readUnion(schema, namespace, depth)
    if (!isRecord(schema)) throw bad('it is no Avro schema')
    switch (schema.type) {
      case 'array': return { type: 'array', items: read(schema.items, namespace, depth + 1) }
      case 'map': return { type: 'map', values: read(schema.values, namespace, depth + 1) }
      case 'fixed': return { type: 'fixed', name: define(schema, namespace).name, size: readSize(schema.size) }
      case 'enum': return readEnum(schema, namespace)
      case 'record': case 'error': return readRecord(schema, namespace, depth)
      default: return read(schema.type, namespace, depth + 1)
    }
  }

  function refer (name: string, namespace: string): string {
    const number = numbers.get(fullName(name, namespace))
    if (number === undefined) throw bad('it refers to a type that it does not define before')
    return number
  }

  function define ({ name, namespace }: Record<string, unknown>, outer: string): { name: string, namespace: string } {
    const inner = namespace ?? outer
    if (typeof inner !== 'string' || !isName(name, FULL_NAME) || (inner !== '' && !isName(inner, FULL_NAME))) throw bad('a type has no legal name')
    const full = fullName(name, inner)
    if (numbers.has(full) || PRIMITIVES.has(full)) throw bad('two types have one name')
    const number = `T${numbers.size}`
    numbers.set(full, number)
    return { name: number, namespace: full.slice(0, Math.max(0, full.lastIndexOf('.'))) }
  }

  function readUnion (branches: unknown[], namespace: string, depth: number): AvroSchema {
    if (branches.length === 0) throw bad('a union has no branches')
    const types = branches.map((branch) => read(branch, namespace, depth + 1))
    if (types.some(Array.isArray)) throw bad('a union is directly in a union')
    return types
  }

  function readEnum (schema: Record<string, unknown>, outer: string): AvroSchema {
    const { name } = define(schema, outer)
    const symbols = readNames(schema.symbols, MAX_PARTS)
    if (symbols.length === 0) throw bad('an enum has no symbols')
    const { default: value } = schema
    if (value === undefined) return { type: 'enum', name, symbols }
    if (!symbols.includes(value as string)) throw bad('the default of an enum is no symbol of it')
    return { type: 'enum', name, symbols, default: value }
  }

  function readRecord (schema: Record<string, unknown>, outer: string, depth: number): AvroSchema {
    const { name, namespace } = define(schema, outer)
    if (!Array.isArray(schema.fields)) throw bad('a record has no list of fields')
    const taken = new Set<unknown>()
    const fields = schema.fields.map((field: unknown) => {
      // A field named as a property of every object would be found where it is absent.
      if (!isRecord(field) || !isName(field.name, AVRO_NAME) || field.name in Object.prototype) throw bad('a field has no legal name')
      if (taken.has(field.name)) throw bad('two fields of a record have one name')
      taken.add(field.name)
      return readField(field, namespace, depth)
    })
    return { type: 'record', name, fields }
  }

  function readField (field: Record<string, unknown>, namespace: string, depth: number): object {
    return {
      name: field.name,
      type: read(field.type, namespace, depth + 1),
      ...field.default === undefined ? {} : { default: readDefault(field.default, depth + 1) },
      ...field.aliases === undefined ? {} : { aliases: readNames(field.aliases, MAX_ALIASES) }
    }
  }

  function readNames (names: unknown, max: number): string[] {
    if (!Array.isArray(names) || names.length > max || new Set(names).size !== names.length) throw bad('a list of names is not acceptable')
    budget.parts -= names.length
    if (!names.every((name) => isName(name, AVRO_NAME))) throw bad('a list of names is not acceptable')
    return [...names]
  }

  function readDefault (value: unknown, depth: number): unknown {
    take(depth)
    if (Array.isArray(value)) return value.map((item) => readDefault(item, depth + 1))
    if (!isRecord(value)) return value
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, readDefault(value[key], depth + 1)]))
  }

  return read(given, '', 0)
}

function fullName (name: string, namespace: string): string {
  return namespace === '' || name.includes('.') ? name : `${namespace}.${name}`
}

function isName (name: unknown, pattern: RegExp): name is string {
  return typeof name === 'string' && name.length <= MAX_NAME && pattern.test(name)
}

function readSize (size: unknown): number {
  if (!Number.isSafeInteger(size) || Number(size) < 0) throw bad('a fixed type has no legal size')
  return Number(size)
}

export function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function bad (why: string): PitayaError {
  return createError('PIT_ERR_SCHEMA', ['Avro schema', why])
}

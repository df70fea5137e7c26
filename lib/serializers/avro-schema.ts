import { Kind, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { refusal, type ReducedSchema } from './schema.ts'

/** An Avro schema as its specification writes it. */
export type AvroSchema = string | AvroSchema[] | { type: AvroSchema, [attribute: string]: unknown }
interface AvroField { name: string, type: AvroSchema, default?: unknown, aliases?: string[] }

const AVRO_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const INT_MIN = -(2 ** 31)
const INT_MAX = 2 ** 31 - 1

/**
 * Derives the Avro schema of a message. Integer with both bounds within 32 bits: int, else long; Number: double; Uint8Array: bytes;
 * Record: map; Object: record; text literals: enum where all are Avro names, else string; optional: union with null, default null.
 * A schema with the keyword `avro` is taken as that keyword says. `aliases` on a property are the field's.
 * The `default` of a required property is the field's default; null never is, because a null default is what marks an optional field.
 * @throws PIT_ERR_SCHEMA naming message and path where there is no mapping
 */
export function deriveAvro ({ root, definitions }: ReducedSchema, message: string): AvroSchema {
  const taken = new Set<string>()
  const given = new Map<object, string>()
  const open = new Map<string, string | undefined>()

  function derive (schema: TSchema, path: string): AvroSchema {
    if (schema.avro !== undefined) return takeGiven(schema.avro)
    switch (schema[Kind]) {
      case 'Boolean': return 'boolean'
      case 'Null': return 'null'
      case 'Number': return 'double'
      case 'String': case 'RegExp': return 'string'
      case 'Uint8Array': return 'bytes'
      case 'Integer': case 'Literal': case 'Union': return deriveUnion(schema.anyOf ?? [schema], path)
      case 'Array': return { type: 'array', items: derive(schema.items, `${path}/*`) }
      case 'Record': return { type: 'map', values: derive(Object.values<TSchema>(schema.patternProperties)[0]!, `${path}/*`) }
      case 'Object': return deriveRecord(schema, path, undefined)
      case 'Ref': return follow(schema.$ref, path)
      default: throw refusal(message, path, `${schema[Kind]} has no Avro mapping`)
    }
  }

  /** A type named by hand is written once; where its schema is used again, its name is. */
  function takeGiven (schema: AvroSchema): AvroSchema {
    if (typeof schema !== 'object' || !('name' in schema)) return schema
    const known = given.get(schema)
    if (known !== undefined) return known
    const { name, namespace } = schema
    given.set(schema, namespace === undefined ? String(name) : `${String(namespace)}.${String(name)}`)
    return schema
  }

  function follow (id: string, path: string): AvroSchema {
    if (open.has(id)) {
      const name = open.get(id)
      if (name === undefined) throw refusal(message, path, 'Avro recursion must go through an object')
      return name
    }
    const target = definitions.find((definition) => definition.$id === id)!
    open.set(id, undefined)
    const type = target[Kind] === 'Object' && target.avro === undefined ? deriveRecord(target, path, id) : derive(target, path)
    open.delete(id)
    return type
  }

  function deriveRecord (schema: TSchema, path: string, id: string | undefined): AvroSchema {
    if (schema.additionalProperties) throw refusal(message, path, 'additionalProperties has no Avro mapping: use Type.Record')
    const name = nameOf(path)
    if (id !== undefined) open.set(id, name)
    const required = new Set<string>(schema.required)
    const fields = Object.entries<TSchema>(schema.properties).map(([key, child]) => deriveField(key, child, required.has(key), `${path}/${key}`))
    return { type: 'record', name, ...path === '' ? aliasesOf(schema, path) : {}, fields }
  }

  function deriveField (name: string, schema: TSchema, isRequired: boolean, path: string): AvroField {
    if (!AVRO_NAME.test(name)) throw refusal(message, path, `"${name}" is no Avro name: letters, digits and _, not beginning with a digit`)
    const type = derive(schema, path)
    const aliases = aliasesOf(schema, path)
    if (isRequired) return { name, type, ...defaultOf(schema, type), ...aliases }
    const others = [type].flat().filter((branch) => branch !== 'null') as AvroSchema[]
    return { name, type: others.length === 0 ? 'null' : ['null', ...others], default: null, ...aliases }
  }

  /** Branches of one kind in JavaScript become one Avro branch, for that is how a value finds its branch. */
  function deriveUnion (branches: TSchema[], path: string): AvroSchema {
    const kinds = groupByKind(branches)
    const types = [...kinds].map(([kind, members]): AvroSchema => {
      if (kind === 'number') return deriveNumber(members)
      if (kind === 'string') return deriveText(members, path)
      if (members.length > 1 && kind !== 'boolean' && kind !== 'null') throw refusal(message, path, `Avro cannot tell two ${kind} branches of a union apart`)
      return kind === 'boolean' ? 'boolean' : derive(members[0]!, path)
    })
    if (types.some(Array.isArray)) throw refusal(message, path, 'Avro has no union directly in a union')
    return types.length === 1 ? types[0]! : types.sort((a, b) => Number(b === 'null') - Number(a === 'null'))
  }

  function kindOf (schema: TSchema): string {
    if (schema.avro !== undefined) return JSON.stringify(schema.avro)
    if (schema[Kind] === 'Ref') return kindOf(definitions.find((definition) => definition.$id === schema.$ref)!)
    if (schema[Kind] === 'Literal') return typeof schema.const
    return kinds[schema[Kind]] ?? schema[Kind]
  }

  function groupByKind (branches: TSchema[]): Map<string, TSchema[]> {
    const groups = new Map<string, TSchema[]>()
    for (const branch of branches) groups.set(kindOf(branch), [...groups.get(kindOf(branch)) ?? [], branch])
    return groups
  }

  function deriveText (members: TSchema[], path: string): AvroSchema {
    const symbols = new Set<string>(members.map((member) => member.const))
    // avsc looks symbols up in a plain object, so `toString` and its like are taken for known ones.
    const isEnum = members.every(({ const: text }) => typeof text === 'string' && AVRO_NAME.test(text) && !(text in Object.prototype))
    return isEnum ? { type: 'enum', name: nameOf(path), symbols: [...symbols] } : 'string'
  }

  /** Unique in the message; record names take no part in matching one schema with another. */
  function nameOf (path: string): string {
    const base = `${message}${path}`.replaceAll('/*', '_item').replace(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_')
    let name = base
    for (let i = 2; taken.has(name) || PRIMITIVES.has(name); i++) name = `${base}_${i}`
    taken.add(name)
    return name
  }

  function aliasesOf (schema: TSchema, path: string): { aliases?: string[] } {
    if (schema.aliases === undefined) return {}
    if (!Array.isArray(schema.aliases) || !schema.aliases.every((alias) => AVRO_NAME.test(alias))) throw refusal(message, path, 'aliases must be Avro names')
    return { aliases: schema.aliases }
  }

  return derive(root, '')
}

const PRIMITIVES = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

const kinds: Record<string, string> = {
  Null: 'null',
  Boolean: 'boolean',
  Integer: 'number',
  Number: 'number',
  String: 'string',
  RegExp: 'string',
  Uint8Array: 'bytes',
  Array: 'array',
  Object: 'object',
  Record: 'object'
}

function deriveNumber (members: TSchema[]): AvroSchema {
  if (!members.every((member) => member[Kind] === 'Integer' || Number.isSafeInteger(member.const))) return 'double'
  const isInt = members.every((member) => {
    const lowest = member.const ?? member.minimum ?? member.exclusiveMinimum ?? -Infinity
    const highest = member.const ?? member.maximum ?? member.exclusiveMaximum ?? Infinity
    return lowest >= INT_MIN && highest <= INT_MAX
  })
  return isInt ? 'int' : 'long'
}

/** Defaults of scalars, and empty lists and maps: those whose Avro form is their JSON form. */
function defaultOf (schema: TSchema, type: AvroSchema): { default?: unknown } {
  const { default: value } = schema
  if (value === undefined || value === null || Array.isArray(type) || schema.avro !== undefined) return {}
  const isPlain = typeof value !== 'object' || (schema[Kind] === 'Array' && value.length === 0) || (schema[Kind] === 'Record' && Object.keys(value).length === 0)
  return isPlain && type !== 'bytes' && schema[Kind] !== 'Ref' && Value.Check(schema, value) ? { default: value } : {}
}

import { FormatRegistry, Kind, TransformKind, Type, type TSchema } from '@sinclair/typebox'
import { createError, type PitayaError } from '../errors.ts'

/**
 * A message schema in the few kinds that the members of this family read: Any, Array, Boolean, Integer, Literal, Null, Number, Object,
 * Record, Ref (to a definition, by `$id`), RegExp, String, Tuple, Uint8Array, Union. Unsafe and plain JSON Schema are given their kind,
 * intersections are merged, recursion becomes a Ref, and what has no form on the wire is refused here, once for all members.
 */
export interface ReducedSchema { readonly root: TSchema, readonly definitions: readonly TSchema[] }

/** Takes every key. TypeBox's own pattern, `^(.*)$`, leaves out keys with a line break, and their values unchecked. */
export const ANY_KEY = '^[^]*$'
const ANY_KEYS = new Set(['^(.*)$', '^.*$', ANY_KEY])

interface Entry { readonly source: TSchema, isOpen: boolean, id: string | undefined }
type Scope = ReadonlyMap<string, Entry>

/** @throws PIT_ERR_SCHEMA naming `message` and the path of what cannot be sent */
export function reduceSchema (schema: TSchema, message: string): ReducedSchema {
  const definitions: TSchema[] = []
  let ids = 0

  /** `isStrict`: in a union of objects, where `additionalProperties: false` tells branches apart; elsewhere undeclared means dropped. */
  function reduce (given: TSchema, path: string, scope: Scope, isStrict: boolean): TSchema {
    const schema = withKind(given)
    if (TransformKind in schema) throw refusal(message, path, 'a Transform is not applied to messages')
    if (typeof schema.$id === 'string') return define({ source: schema, isOpen: false, id: undefined }, schema.$id, path, scope, isStrict)
    switch (schema[Kind]) {
      case 'Any': case 'Unknown': return { ...schema, [Kind]: 'Any' }
      case 'Boolean': case 'Integer': case 'Literal': case 'Null': case 'Number': case 'Uint8Array': return { ...schema }
      case 'String': case 'TemplateLiteral': return reduceString(schema, path)
      case 'RegExp': return { ...schema, flags: String(schema.flags ?? '').replace(/[gy]/g, '') } // those keep state between two tests
      case 'Array': return reduceArray(schema, path, scope, isStrict)
      case 'Tuple': return { ...schema, items: schema.items?.map((item: TSchema, i: number) => reduce(item, `${path}/${i}`, scope, isStrict)) }
      case 'Object': return reduceObject(schema, path, scope, isStrict)
      case 'Record': return reduceRecord(schema, path, scope, isStrict)
      case 'Union': return reduceUnion(schema, path, scope, isStrict)
      case 'Intersect': return intersect(schema.allOf.map((part: TSchema) => reduce(part, path, scope, isStrict)), path, isStrict && schema.unevaluatedProperties === false)
      case 'Import': return reduceImport(schema, path, isStrict)
      case 'Ref': case 'This': return follow(schema.$ref, path, scope, isStrict)
      default: throw refusal(message, path, `${schema[Kind]} has no form on the wire${schema[Kind] === 'Date' ? ': use Type.String or Type.Integer' : ''}`)
    }
  }

  function define (entry: Entry, name: string, path: string, scope: Scope, isStrict: boolean): TSchema {
    entry.isOpen = true
    const { $id, ...anonymous } = entry.source
    const reduced = reduce(anonymous as TSchema, path, new Map(scope).set(name, entry), isStrict)
    entry.isOpen = false
    if (entry.id === undefined) return reduced
    definitions.push({ ...reduced, $id: entry.id })
    const ref = Type.Ref(entry.id)
    entry.id = undefined
    return ref
  }

  function follow (name: string, path: string, scope: Scope, isStrict: boolean): TSchema {
    const entry = scope.get(name)
    if (entry === undefined) throw refusal(message, path, `reference to an unknown schema "${name}"`)
    if (!entry.isOpen) return define(entry, name, path, scope, isStrict)
    entry.id ??= `T${ids++}`
    return Type.Ref(entry.id)
  }

  function reduceImport (schema: TSchema, path: string, isStrict: boolean): TSchema {
    const scope = new Map<string, Entry>()
    for (const [name, source] of Object.entries<TSchema>(schema.$defs)) scope.set(name, { source, isOpen: false, id: undefined })
    return follow(schema.$ref, path, scope, isStrict)
  }

  function reduceString (schema: TSchema, path: string): TSchema {
    if (schema.format !== undefined && !FormatRegistry.Has(schema.format)) {
      throw refusal(message, path, `format "${schema.format}" is not in TypeBox's FormatRegistry, so no text would pass`)
    }
    return { ...schema, [Kind]: 'String' }
  }

  function reduceArray (schema: TSchema, path: string, scope: Scope, isStrict: boolean): TSchema {
    const reduced: TSchema = { ...schema, items: reduce(schema.items, `${path}/*`, scope, isStrict) }
    if (schema.contains !== undefined) reduced.contains = reduce(schema.contains, `${path}/*`, scope, isStrict)
    return reduced
  }

  function reduceObject (schema: TSchema, path: string, scope: Scope, isStrict: boolean): TSchema {
    const properties: Record<string, TSchema> = {}
    for (const [key, child] of Object.entries<TSchema>(schema.properties)) {
      // An absent `constructor` would be read from the prototype.
      if (key in Object.prototype) throw refusal(message, `${path}/${key}`, 'every object has a property of this name')
      properties[key] = reduce(child, `${path}/${key}`, scope, isStrict)
    }
    const required = (schema.required ?? []).filter((key: string) => Object.hasOwn(properties, key))
    const { additionalProperties, ...rest } = schema
    const reduced: TSchema = { ...rest as TSchema, properties, required }
    if (additionalProperties === false && isStrict) reduced.additionalProperties = false
    if (additionalProperties === true) reduced.additionalProperties = Type.Any()
    if (typeof additionalProperties === 'object') reduced.additionalProperties = reduce(additionalProperties, `${path}/*`, scope, isStrict)
    return reduced
  }

  function reduceRecord (schema: TSchema, path: string, scope: Scope, isStrict: boolean): TSchema {
    const { patternProperties, additionalProperties, ...rest } = schema
    const [pattern, child] = Object.entries<TSchema>(patternProperties)[0]!
    const key = ANY_KEYS.has(pattern) ? ANY_KEY : pattern
    const reduced: TSchema = { ...rest as TSchema, patternProperties: { [key]: reduce(child, `${path}/*`, scope, isStrict) } }
    if (additionalProperties === false && isStrict) reduced.additionalProperties = false
    return reduced
  }

  function reduceUnion (schema: TSchema, path: string, scope: Scope, isStrict: boolean): TSchema {
    const kinds = schema.anyOf.map((branch: TSchema) => withKind(branch)[Kind])
    const isScalar = (kind: string): boolean => ['Null', 'String', 'Literal', 'Boolean', 'Integer', 'Number'].includes(kind)
    const isChoice = isStrict || kinds.filter((kind: string) => !isScalar(kind)).length > 1
    const branches: TSchema[] = []
    for (const branch of schema.anyOf) {
      const reduced = reduce(branch, path, scope, isChoice)
      if (reduced[Kind] === 'Union') branches.push(...reduced.anyOf)
      else branches.push(reduced)
    }
    if (branches.length === 0) throw refusal(message, path, 'a union without branches')
    return branches.length === 1 ? branches[0]! : { ...schema, anyOf: branches }
  }

  function intersect (parts: TSchema[], path: string, isClosed: boolean): TSchema {
    const choice = parts.findIndex((part) => part[Kind] === 'Union')
    if (choice !== -1) {
      const branches = parts[choice]!.anyOf.map((branch: TSchema) => intersect(parts.toSpliced(choice, 1, branch), path, isClosed))
      return Type.Union(branches)
    }
    const properties: Record<string, TSchema> = {}
    const merged: TSchema = { [Kind]: 'Object', type: 'object', properties, required: [] } as unknown as TSchema
    for (const part of parts) {
      if (part[Kind] !== 'Object') throw refusal(message, path, 'only objects can be intersected')
      for (const [key, child] of Object.entries<TSchema>(part.properties)) {
        const other = properties[key]
        if (other !== undefined && JSON.stringify(other) !== JSON.stringify(child)) throw refusal(message, `${path}/${key}`, 'intersected objects differ here')
        properties[key] = child
      }
      merged.required.push(...part.required)
      if (typeof part.additionalProperties === 'object') merged.additionalProperties = part.additionalProperties
    }
    merged.required = [...new Set<string>(merged.required)]
    if (isClosed) merged.additionalProperties = false
    return merged
  }

  const root = reduce(schema, '', new Map(), false)
  return { root, definitions }
}

/** Makes the PIT_ERR_SCHEMA of one place of a message. */
export function refusal (message: string, path: string, reason: string): PitayaError {
  return createError('PIT_ERR_SCHEMA', [message, path === '' ? reason : `${path}: ${reason}`])
}

/** True when `matches` holds for the schema or for any schema inside it. */
export function containsSchema ({ root, definitions }: ReducedSchema, matches: (schema: TSchema) => boolean): boolean {
  const inside = (schema: TSchema): boolean => matches(schema) || childrenOf(schema).some(inside)
  return inside(root) || definitions.some(inside)
}

function childrenOf (schema: TSchema): TSchema[] {
  const children = Object.values<TSchema>({ ...schema.properties, ...schema.patternProperties })
  if (schema.items !== undefined) children.push(...[schema.items].flat())
  if (schema.anyOf !== undefined) children.push(...schema.anyOf)
  if (typeof schema.additionalProperties === 'object') children.push(schema.additionalProperties)
  return children
}

/** Gives Type.Unsafe and plain JSON Schema the kind that their keywords say; what says nothing is Any. */
function withKind (schema: TSchema): TSchema {
  const kind = schema[Kind]
  if (kind !== undefined && kind !== 'Unsafe') return schema
  const as = (kind: string, more?: object): TSchema => ({ ...schema, ...more, [Kind]: kind })
  const choice = (anyOf: unknown[]): TSchema => as('Union', { anyOf, enum: undefined, type: undefined })
  if (Array.isArray(schema.enum)) return choice(schema.enum.map((value) => ({ const: value })))
  if (schema.const !== undefined) return schema.const === null ? as('Null') : as('Literal')
  if (Array.isArray(schema.anyOf ?? schema.oneOf)) return choice(schema.anyOf ?? schema.oneOf)
  if (Array.isArray(schema.allOf)) return as('Intersect')
  if (Array.isArray(schema.type)) return choice(schema.type.map((type: string) => ({ ...schema, type, [Kind]: undefined })))
  switch (schema.type) {
    case 'string': return as('String')
    case 'integer': return as('Integer')
    case 'number': return as('Number')
    case 'boolean': return as('Boolean')
    case 'null': return as('Null')
    case 'array': return Array.isArray(schema.items) ? as('Tuple', { maxItems: schema.items.length }) : as('Array', { items: schema.items ?? {} })
    case 'object': return withObjectKind(schema, as)
    default: return typeof schema.$ref === 'string' ? as('Ref') : as('Any')
  }
}

function withObjectKind (schema: TSchema, as: (kind: string, more?: object) => TSchema): TSchema {
  if (schema.properties !== undefined) return as('Object')
  if (schema.patternProperties !== undefined) return as('Record')
  if (typeof schema.additionalProperties === 'object') {
    return as('Record', { patternProperties: { [ANY_KEY]: schema.additionalProperties }, additionalProperties: undefined })
  }
  return as('Object', { properties: {}, additionalProperties: schema.additionalProperties ?? true })
}

import { Kind, type TSchema } from '@sinclair/typebox'
import fastJson from 'fast-json-stringify'
import { compileDeclared, type Visit } from './declared.ts'
import { ANY_KEY, type ReducedSchema } from './schema.ts'

/**
 * Compiles the JSON text of values that passed the schema's check; only declared properties are written.
 * fast-json-stringify gets the schemas that it writes exactly: objects, arrays, maps, scalars and T | null. With the rest (unions by
 * branch, tuples, bytes, recursion, Any) it guesses or writes `undefined`: these are copied down to what is declared and stringified.
 */
export function compileStringify (schema: ReducedSchema): (value: any) => string | undefined {
  const plain = toPlain(schema.root)
  if (plain !== undefined) return fastJson(plain as unknown as fastJson.Schema)
  const declared = compileDeclared(schema, { copy: true, leaf: ({ [Kind]: kind }) => kind === 'Uint8Array' ? toBase64 : undefined })
  return declared === undefined ? (value) => JSON.stringify(value) : (value) => JSON.stringify(declared(value))
}

const toBase64: Visit = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

type PlainSchema = Record<string, unknown>

/** The schema for fast-json-stringify, free of the keywords that it acts upon itself (format, default, anyOf); undefined: not for it. */
function toPlain (schema: TSchema): PlainSchema | undefined {
  switch (schema[Kind]) {
    case 'String': case 'RegExp': return { type: 'string' }
    case 'Integer': return { type: 'integer' }
    case 'Number': return { type: 'number' }
    case 'Boolean': return { type: 'boolean' }
    case 'Null': return { type: 'null' }
    case 'Literal': return { type: typeof schema.const }
    case 'Object': return toPlainObject(schema)
    case 'Array': {
      const items = toPlain(schema.items)
      return items && { type: 'array', items }
    }
    case 'Record': {
      const [pattern, child] = Object.entries<TSchema>(schema.patternProperties)[0]!
      const values = pattern === ANY_KEY ? toPlain(child) : undefined
      return values && { type: 'object', additionalProperties: values }
    }
    case 'Union': return toPlainUnion(schema)
    default: return undefined
  }
}

function toPlainObject (schema: TSchema): PlainSchema | undefined {
  if (schema.additionalProperties) return undefined
  const properties: Record<string, PlainSchema> = {}
  for (const [key, child] of Object.entries<TSchema>(schema.properties)) {
    const plain = toPlain(child)
    if (plain === undefined) return undefined
    properties[key] = plain
  }
  return { type: 'object', properties, required: schema.required }
}

function toPlainUnion (schema: TSchema): PlainSchema | undefined {
  const others: TSchema[] = schema.anyOf.filter((branch: TSchema) => branch[Kind] !== 'Null')
  const plain = others[0] && toPlain(others[0])
  if (plain === undefined) return undefined
  const isScalar = plain.type !== 'object' && plain.type !== 'array'
  if (others.length > 1 && !(isScalar && others.every((branch) => toPlain(branch)?.type === plain.type))) return undefined
  return others.length === schema.anyOf.length ? plain : { ...plain, nullable: true }
}

import { Kind, Type, type TSchema } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import secureJson from 'secure-json-parse'
import { createError, type PitayaError } from '../errors.ts'
import { quote } from '../protocol/handshake-answer.ts'
import { compileCheck, misfit, violation } from './check.ts'
import { compileDeclared, type Visit } from './declared.ts'
import { compileStringify } from './json-stringify.ts'
import { Output } from './output.ts'
import { containsSchema, reduceSchema, refusal, type ReducedSchema } from './schema.ts'
import type { Codec, Serializer, WireError } from './serializer.ts'
import { hasLoneEscape, readUtf8, toWellFormed } from './text.ts'

/**
 * JSON text. `Uint8Array` fields are base64 text (RFC 4648, with padding), as Go writes bytes.
 * A message with a `__proto__` key, or with `constructor.prototype`, is refused as invalid JSON; so is one with half a surrogate pair.
 */
export function createJsonSerializer (): Serializer {
  const output = new Output()
  return {
    name: 'json',
    compile: (schema, name) => new JsonCodec(reduceSchema(schema, name), name, output),
    encodeError
  }
}

class JsonCodec implements Codec {
  readonly #output: Output
  readonly #check: TypeCheck<TSchema>
  readonly #wireCheck: TypeCheck<TSchema>
  readonly #clean: Visit | undefined
  readonly #stringify: (value: any) => string | undefined

  constructor (schema: ReducedSchema, name: string, output: Output) {
    const wire = wireForm(schema, name)
    this.#output = output
    this.#check = compileCheck(schema, name)
    this.#wireCheck = wire === schema ? this.#check : compileCheck(wire, name)
    this.#clean = compileDeclared(wire, { leaf: (leaf) => leaf.contentEncoding === 'base64' ? fromBase64 : undefined })
    this.#stringify = compileStringify(schema)
  }

  encode (value: unknown): Uint8Array {
    if (!this.#check.Check(value)) throw misfit(this.#check, value)
    const text = this.#stringify(value)
    if (text === undefined) throw new TypeError('body has no JSON form')
    if (hasLoneEscape(text)) throw new TypeError('body holds text that is not well-formed')
    this.#output.begin()
    this.#output.writeText(text)
    return this.#output.end()
  }

  decode (bytes: Uint8Array, start: number, end: number): unknown {
    let value = parse(bytes, start, end)
    try {
      if (!this.#wireCheck.Check(value)) throw violation(this.#wireCheck, value)
      if (this.#clean === undefined) return value
      value = this.#clean(value)
      if (this.#wireCheck !== this.#check && !this.#check.Check(value)) throw violation(this.#check, value)
      return value
    } catch (error) {
      if (error instanceof RangeError) throw invalid('invalid JSON') // deeper than the stack
      throw error
    }
  }
}

function parse (bytes: Uint8Array, start: number, end: number): unknown {
  const text = readUtf8(bytes, start, end)
  if (text === undefined) throw invalid('invalid JSON')
  let value: unknown
  try {
    value = secureJson.parse(text)
  } catch (error) {
    throw invalid(isCutShort(text, (error as Error).message) ? 'unexpected end of JSON input' : 'invalid JSON')
  }
  if (hasLoneEscape(text)) throw invalid('invalid JSON')
  return value
}

function invalid (text: string): PitayaError {
  return createError('PIT_ERR_BODY', [text])
}

/** V8 says either so, or that it stumbled behind the last character. */
function isCutShort (text: string, message: string): boolean {
  if (message.startsWith('Unexpected end of JSON input')) return true
  const position = / at position (\d+)(?: \(line \d+ column \d+\))?$/.exec(message)
  return position !== null && Number(position[1]) >= text.length
}

/** The schema of what JSON can carry: bytes as text. The same schema when it has no bytes. */
function wireForm (schema: ReducedSchema, name: string): ReducedSchema {
  if (!containsSchema(schema, ({ [Kind]: kind }) => kind === 'Uint8Array')) return schema
  const isText = (branch: TSchema): boolean => ['String', 'RegExp', 'Any'].includes(branch[Kind]) || typeof branch.const === 'string'
  const map = (inner: TSchema): TSchema => {
    const mapped = { ...inner }
    if (inner[Kind] === 'Uint8Array') return Type.String({ pattern: BASE64, contentEncoding: 'base64' })
    if (inner[Kind] === 'Union' && inner.anyOf.some(isText) && inner.anyOf.some((branch: TSchema) => branch[Kind] === 'Uint8Array')) {
      throw refusal(name, '', 'JSON cannot tell text from bytes in one union')
    }
    if (inner.properties !== undefined) mapped.properties = mapValues(inner.properties, map)
    if (inner.patternProperties !== undefined) mapped.patternProperties = mapValues(inner.patternProperties, map)
    if (typeof inner.additionalProperties === 'object') mapped.additionalProperties = map(inner.additionalProperties)
    if (Array.isArray(inner.items)) mapped.items = inner.items.map(map)
    else if (inner.items !== undefined) mapped.items = map(inner.items)
    if (inner.anyOf !== undefined) mapped.anyOf = inner.anyOf.map(map)
    return mapped
  }
  return { root: map(schema.root), definitions: schema.definitions.map(map) }
}

const BASE64 = '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'
const fromBase64: Visit = (text) => new Uint8Array(Buffer.from(text, 'base64'))

function mapValues (object: Record<string, TSchema>, map: (schema: TSchema) => TSchema): Record<string, TSchema> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]))
}

/** As Go writes it (protocol.md 1.8): empty fields left out, metadata sorted, HTML characters escaped. The bytes are the caller's. */
function encodeError ({ code, msg, metadata }: WireError): Uint8Array {
  const sorted = Object.entries(metadata ?? {}).sort(([a], [b]) => a < b ? -1 : 1).map(([key, value]) => `${quoteText(key)}:${quoteText(value)}`)
  const fields = [
    ...code === '' ? [] : [`"code":${quoteText(code)}`],
    ...msg === '' ? [] : [`"msg":${quoteText(msg)}`],
    ...sorted.length === 0 ? [] : [`"metadata":{${sorted.join(',')}}`]
  ]
  return Buffer.from(`{${fields.join(',')}}`)
}

function quoteText (text: string): string { return quote(toWellFormed(String(text))) }

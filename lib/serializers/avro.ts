import { Kind, Type, type TSchema } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import { createError, type PitayaError } from '../errors.ts'
import { compileAvro, type SafeType } from './avro-safe.ts'
import { deriveAvro, type AvroSchema } from './avro-schema.ts'
import { ReadTap, WriteTap } from './avro-tap.ts'
import { compileCheck, misfit, violation } from './check.ts'
import { compileDeclared, type Visit } from './declared.ts'
import { ANY_KEY, containsSchema, reduceSchema, type ReducedSchema } from './schema.ts'
import type { Serializer, VersionedCodec, WireError } from './serializer.ts'
import { toWellFormed } from './text.ts'

const ErrorSchema = Type.Object({ code: Type.String(), msg: Type.String(), metadata: Type.Record(Type.String(), Type.String()) })

/**
 * Avro binary, by the schema that `deriveAvro` makes of the message's. An optional property that is absent, undefined or null is absent
 * after decoding; null comes back as null only where the property is required.
 * At most 10,000 items in a list or map, 64 levels, integers within 2^53.
 */
export function createAvroSerializer (): Serializer {
  const read = new ReadTap()
  const write = new WriteTap()
  // Its own output: an error may be encoded while a message's bytes are in use.
  const errors = new AvroCodec(reduceSchema(ErrorSchema, 'error'), 'error', read, new WriteTap())
  return {
    name: 'avro',
    compile: (schema, name) => new AvroCodec(reduceSchema(schema, name), name, read, write),
    encodeError: (error) => Buffer.from(errors.encode(toRecord(error)))
  }
}

function toRecord ({ code, msg, metadata }: WireError): WireError {
  const texts = Object.entries(metadata ?? {}).map(([key, value]) => [toWellFormed(key), toWellFormed(String(value))])
  return { code: toWellFormed(code), msg: toWellFormed(msg), metadata: Object.fromEntries(texts) }
}

class AvroCodec implements VersionedCodec {
  readonly schema: AvroSchema
  readonly #type: SafeType
  readonly #check: TypeCheck<TSchema>
  readonly #clean: Visit | undefined
  readonly #declared: Visit | undefined
  readonly #read: ReadTap
  readonly #write: WriteTap

  constructor (schema: ReducedSchema, name: string, read: ReadTap, write: WriteTap) {
    this.schema = deriveAvro(schema, name)
    this.#type = compileAvro(this.schema, name)
    this.#check = compileCheck(schema, name)
    // avsc writes and reads declared fields only; what it does not know of is a map whose keys have a pattern.
    const hasPattern = containsSchema(schema, (inner) => inner[Kind] === 'Record' && inner.patternProperties[ANY_KEY] === undefined)
    this.#clean = hasPattern ? compileDeclared(schema) : undefined
    this.#declared = hasPattern ? compileDeclared(schema, { copy: true }) : undefined
    this.#read = read
    this.#write = write
  }

  encode (value: unknown): Uint8Array {
    const prepared = this.prepare(value)
    const tap = this.#write
    tap.begin()
    this.#type._write(tap, prepared)
    return tap.end()
  }

  decode (bytes: Uint8Array, start: number, end: number): unknown {
    return this.accept(this.#parse(bytes, start, end))
  }

  accept (value: unknown): unknown {
    if (!this.#check.Check(value)) throw violation(this.#check, value)
    return this.#clean === undefined ? value : this.#clean(value)
  }

  prepare (value: unknown): unknown {
    if (!this.#check.Check(value)) throw misfit(this.#check, value)
    return this.#declared === undefined ? value : this.#declared(value)
  }

  #parse (bytes: Uint8Array, start: number, end: number): unknown {
    const tap = this.#read
    tap.begin(bytes, start, end)
    try {
      const value = this.#type._read(tap)
      if (tap.pos !== end) throw invalid()
      return value
    } catch {
      throw invalid()
    } finally {
      tap.release()
    }
  }
}

function invalid (): PitayaError {
  return createError('PIT_ERR_BODY', ['invalid Avro data'])
}

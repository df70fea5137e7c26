import avro, { type Type } from 'avsc'
import type { AvroSchema } from './avro-schema.ts'
import type { ReadTap, WriteTap } from './avro-tap.ts'
import { refusal } from './schema.ts'

/** What of avsc's types is used and not in its declarations. */
export interface SafeType extends Type {
  readonly typeName: string
  readonly fields: ReadonlyArray<{ name: string, type: SafeType, defaultValue: () => unknown }>
  readonly types: readonly SafeType[]
  readonly itemsType: SafeType
  readonly valuesType: SafeType
  readonly size: number
  _read (tap: ReadTap): unknown
  _write (tap: WriteTap, value: unknown): void
}
type Constructor = new (schema: unknown, options: unknown) => any
const types = avro.types as unknown as Record<string, Constructor>
const { ArrayType, BytesType, FixedType, LongType, MapType, RecordType, UnwrappedUnionType } = types

/**
 * Compiles an Avro schema with avsc, safe to read hostile bytes with (through a ReadTap): counts are checked against the bytes that are
 * left, records are plain objects, their absent fields (null where the default is null) are left out, recursion ends at 64.
 * @throws PIT_ERR_SCHEMA for a schema that is none, and for arrays of items that take no bytes: their count could not be checked
 */
export function compileAvro (schema: AvroSchema, message: string): SafeType {
  const sizes = new WeakMap<SafeType, number>()
  const minBytes = (type: SafeType): number => {
    let size = sizes.get(type)
    if (size === undefined) sizes.set(type, size = minSize(type))
    return size
  }

  class SafeArray extends ArrayType! {
    _read (tap: ReadTap): unknown[] {
      const { itemsType } = this as unknown as SafeType
      const min = minBytes(itemsType)
      const items: unknown[] = []
      let count
      tap.enter()
      while ((count = tap.readCount(min, items.length)) !== 0) {
        while (count-- > 0) items.push(itemsType._read(tap))
      }
      tap.leave()
      return items
    }
  }

  class SafeMap extends MapType! {
    _read (tap: ReadTap): Record<string, unknown> {
      const { valuesType } = this as unknown as SafeType
      const min = minBytes(valuesType) + 1
      const values: Record<string, unknown> = {}
      let had = 0
      let count
      tap.enter()
      while ((count = tap.readCount(min, had)) !== 0) {
        had += count
        while (count-- > 0) {
          const key = tap.readString()
          if (key === '__proto__') throw new TypeError('key __proto__')
          values[key] = valuesType._read(tap)
        }
      }
      tap.leave()
      return values
    }
  }

  const primitives: Record<string, Constructor> = { bytes: SafeBytes, long: SafeLong }
  const complex = { ...primitives, array: SafeArray, map: SafeMap, record: SafeRecord, error: SafeRecord, fixed: SafeFixed }
  const typeHook = (inner: any, options: any): Type | undefined => {
    if (Array.isArray(inner)) return new SafeUnion(inner, options) as any
    const [table, name]: [Record<string, Constructor>, string] = typeof inner === 'string' ? [primitives, inner] : [complex, inner.type]
    return Object.hasOwn(table, name) ? new table[name]!(inner, options) : undefined
  }

  let type: SafeType
  try {
    type = avro.Type.forSchema(schema as avro.Schema, { typeHook, wrapUnions: 'never', omitRecordMethods: true }) as SafeType
  } catch (cause) {
    throw refusal(message, '', `Avro: ${(cause as Error).message}`)
  }
  refuseUncountable(type, message, new Set())
  return type
}

class SafeRecord extends RecordType! {
  /** Called by avsc's constructor. Generates code as avsc does, but for a plain object. Names are identifiers: avsc has checked them. */
  _createReader (): (tap: ReadTap) => object {
    const { fields } = this as unknown as SafeType
    const isOptional = fields.map(({ defaultValue }) => defaultValue() === null)
    if (fields.some(({ name }) => name in Object.prototype)) throw new Error('a field has the name of a property of every object')
    const body = [
      'return function read (tap) {',
      'tap.enter()',
      ...fields.map((_, i) => `const v${i} = t${i}._read(tap)`),
      `const record = { ${fields.flatMap(({ name }, i) => isOptional[i] ? [] : `${name}: v${i}`).join(', ')} }`,
      ...fields.flatMap(({ name }, i) => isOptional[i] ? `if (v${i} !== null) record.${name} = v${i}` : []),
      'tap.leave()',
      'return record',
      '}'
    ]
    // eslint-disable-next-line no-new-func
    return new Function(...fields.map((_, i) => `t${i}`), body.join('\n'))(...fields.map(({ type }) => type))
  }
}

/** avsc stops one short of 2^53 - 1. The taps check the range. */
class SafeLong extends LongType! {
  _read (tap: ReadTap): number { return tap.readLong() }
  _write (tap: WriteTap, value: number): void { tap.writeLong(value) }
}

class SafeBytes extends BytesType! {
  _write (tap: WriteTap, value: unknown): void {
    if (!(value instanceof Uint8Array)) throw new TypeError('no bytes')
    tap.writeBytes(value)
  }
}

class SafeFixed extends FixedType! {
  _write (tap: WriteTap, value: unknown): void {
    if (!(value instanceof Uint8Array) || value.length !== (this as unknown as SafeType).size) throw new TypeError('not the fixed number of bytes')
    tap.writeFixed(value)
  }
}

class SafeUnion extends UnwrappedUnionType! {
  /** avsc takes only a Buffer for bytes. */
  _getIndex (value: unknown): number | undefined {
    return value instanceof Uint8Array ? (this as any)._bucketIndices.buffer : super._getIndex(value)
  }
}

/** The fewest bytes that a value takes. */
function minSize (type: SafeType, busy = new Set<SafeType>()): number {
  switch (type.typeName) {
    case 'null': return 0
    case 'float': return 4
    case 'double': return 8
    case 'fixed': return type.size
    case 'record': case 'error': {
      if (busy.has(type)) return 0
      busy.add(type)
      const size = type.fields.reduce((sum, field) => sum + minSize(field.type, busy), 0)
      busy.delete(type)
      return size
    }
    default: return 1
  }
}

function refuseUncountable (type: SafeType, message: string, seen: Set<SafeType>): void {
  if (seen.has(type)) return
  seen.add(type)
  if (type.typeName === 'array' && minSize(type.itemsType) === 0) throw refusal(message, '', 'Avro: an array of items that take no bytes')
  const inner = type.fields?.map((field) => field.type) ?? type.types ?? [type.itemsType ?? type.valuesType]
  for (const part of inner) if (part !== undefined) refuseUncountable(part, message, seen)
}

import type { AvroSchema } from '../serializers/avro-schema.ts'
import { readUtf8 } from '../serializers/text.ts'
import { isWellFormed } from '../well-formed.ts'
import { byValue, cannotFit, FITS, keep, misfit, type Adapt, type CompilePart, type Defaults, type Part, type Verdict } from './adapt-part.ts'
import { compileRecord } from './adapt-record.ts'
import { javaScriptKind, shapeOf, type EnumShape, type RecordShape, type Shape } from './shape.ts'

/** Takes values of one schema into another, as codecs without wrapped unions give and take them. */
export interface Adapter {
  readonly verdict: Verdict
  /** Paths of what is checked by value, or of what cannot fit; by the names of the schema adapted to. At most 32. */
  readonly fields: readonly string[]
  /** True: the schemas differ in names of types at most, so the bytes of one are those of the other. */
  readonly isSame: boolean
  /** @throws PIT_ERR_EVOLUTION (metadata.field: the place) for a value that does not fit */
  adapt (value: unknown): unknown
}

/** Pairs of types that one adapter may consist of: shared types are compared wherever they are used. */
const MAX_PAIRS = 4000
const MAX_FIELDS = 32
/** Deeper than any value is. */
const MAX_DEPTH = 64

/**
 * Compiles how values of one schema become values of another, by Avro's rules for a reader of other data, and in both directions: fields by
 * name and by the aliases of either side, new ones by their default, unknown ones dropped, numbers and nulls wherever the value allows it,
 * symbols by name. Beyond Avro, absence of an optional field becomes the other's default, and texts and enums may stand for each other.
 * An enum's default is its own, or that of the field it is in. A double in a float is rounded.
 * @throws PIT_ERR_SCHEMA for what is no Avro schema, or is beyond a limit
 */
export function compileAdapter (from: AvroSchema, to: AvroSchema): Adapter {
  return adaptShapes(shapeOf(from), shapeOf(to))
}

/** As `compileAdapter`, of shapes: many schemas are compared with more than one. @param defaults `shared` where values are only written */
export function adaptShapes (from: Shape, to: Shape, defaults: Defaults = 'anew'): Adapter {
  if (isSame(from, to)) return { verdict: 'fits', fields: [], adapt: keep, isSame: true }
  const { verdict, fields, adapt = keep } = compileShapes(from, to, defaults)
  return { verdict, fields: fields.slice(0, MAX_FIELDS), adapt, isSame: false }
}

function compileShapes (from: Shape, to: Shape, defaults: Defaults): Part {
  /** Pairs of records that are being compiled: recursion comes back to them. */
  const open = new Map<RecordShape, Map<RecordShape, { adapt: Adapt }>>()
  let pairs = 0
  let depth = 0

  const compile: CompilePart = (from, to, path, fallback) => {
    if (++pairs > MAX_PAIRS || depth > MAX_DEPTH) return cannotFit(path, 'compared: the schemas are too large')
    depth++
    const part = compilePair(from, to, path, fallback)
    depth--
    return part
  }

  function compilePair (from: Shape, to: Shape, path: string, fallback: string | undefined): Part {
    if (from.kind === 'union' || to.kind === 'union') return compileUnion(from, to, path, compile)
    if (from.kind === 'record' && to.kind === 'record') return compileOpen(from, to, path)
    if (from.kind === 'array' && to.kind === 'array') return compileItems(compile(from.items, to.items, `${path}/*`), path)
    if (from.kind === 'map' && to.kind === 'map') return compileValues(compile(from.values, to.values, `${path}/*`), path)
    return compileScalar(from, to, path, fallback)
  }

  function compileOpen (from: RecordShape, to: RecordShape, path: string): Part {
    const known = open.get(from)?.get(to)
    if (known !== undefined) return { ...FITS, adapt: (value) => known.adapt(value) }
    const cell = { adapt: keep }
    if (!open.has(from)) open.set(from, new Map())
    open.get(from)!.set(to, cell)
    const part = compileRecord(from, to, path, defaults, compile)
    open.get(from)!.delete(to)
    cell.adapt = part.adapt ?? keep
    return part
  }

  return compile(from, to, '')
}

/** Each branch goes to the one of its kind; where all that is not null has nowhere to go, nothing fits. */
function compileUnion (from: Shape, to: Shape, path: string, compile: CompilePart): Part {
  const sources = from.kind === 'union' ? from.branches : [from]
  const targets = to.kind === 'union' ? to.branches : [to]
  const parts = sources.map((source) => {
    const target = branchFor(source, targets)
    return target === undefined ? cannotFit(path, `of another type than ${source.kind}`) : compile(source, target, path)
  })
  const values = parts.filter((_, i) => sources[i]!.kind !== 'null')
  const counted = values.length > 0 ? values : parts
  if (counted.every(({ verdict }) => verdict === 'cannot fit')) {
    return { ...cannotFit(path, 'of another type'), fields: counted.flatMap(({ fields }) => fields) }
  }
  const fields = [...new Set(parts.flatMap(({ verdict, fields }) => verdict === 'cannot fit' ? path : fields))]
  const verdict = fields.length > 0 ? 'fits by value' : 'fits'
  if (parts.every(({ adapt }) => adapt === undefined)) return { verdict, fields, adapt: undefined }
  const byKind = new Map(sources.map((source, i) => [javaScriptKind(source), parts[i]!.adapt ?? keep]))
  return {
    verdict,
    fields,
    adapt: (value) => {
      const adapt = byKind.get(kindOfValue(value))
      if (adapt === undefined) throw misfit(path, 'of a type of its union')
      return adapt(value)
    }
  }
}

/** Of one kind there is one branch; text and bytes stand in for each other where there is none. */
function branchFor (source: Shape, targets: readonly Shape[]): Shape | undefined {
  const kind = javaScriptKind(source)
  const other = kind === 'text' ? 'bytes' : kind === 'bytes' ? 'text' : kind
  return targets.find((target) => javaScriptKind(target) === kind) ?? targets.find((target) => javaScriptKind(target) === other)
}

function kindOfValue (value: unknown): string {
  switch (typeof value) {
    case 'string': return 'text'
    case 'number': return 'number'
    case 'boolean': return 'boolean'
    case 'undefined': return 'null'
    case 'object':
      if (value === null) return 'null'
      if (value instanceof Uint8Array) return 'bytes'
      return Array.isArray(value) ? 'array' : 'object'
    default: return 'none'
  }
}

function compileItems (items: Part, path: string): Part {
  const { adapt } = items
  if (adapt === undefined || items.verdict === 'cannot fit') return items
  return {
    ...items,
    adapt: (value) => {
      if (!Array.isArray(value)) throw misfit(path, 'a list')
      const result = new Array<unknown>(value.length)
      for (let i = 0; i < value.length; i++) result[i] = adapt(value[i])
      return result
    }
  }
}

function compileValues (values: Part, path: string): Part {
  const { adapt } = values
  if (adapt === undefined || values.verdict === 'cannot fit') return values
  return {
    ...values,
    adapt: (value) => {
      if (typeof value !== 'object' || value === null) throw misfit(path, 'a map')
      const result: Record<string, unknown> = {}
      for (const key of Object.keys(value)) {
        if (key !== '__proto__') result[key] = adapt(value[key])
      }
      return result
    }
  }
}

const RANKS: Readonly<Record<string, number>> = { int: 0, long: 1, float: 2, double: 3 }
const MAX_FLOAT = (2 - 2 ** -23) * 2 ** 127

function compileScalar (from: Shape, to: Shape, path: string, fallback: string | undefined): Part {
  const [source, target] = [RANKS[from.kind], RANKS[to.kind]]
  if (source !== undefined && target !== undefined) return source <= target ? FITS : narrow(to.kind, path)
  if (to.kind === 'enum') return compileSymbols(from, to, path, fallback ?? to.fallback)
  if (from.kind === 'enum' && to.kind === 'string') return FITS
  if (from.kind === 'string' && to.kind === 'bytes') return { ...FITS, adapt: toBytes(path) }
  if (from.kind === 'bytes' && to.kind === 'string') return byValue(path, toText(path))
  if (from.kind === 'fixed' && to.kind === 'bytes') return FITS
  if (to.kind === 'fixed') {
    if (from.kind === 'bytes') return byValue(path, toFixed(path, to.size))
    return from.kind === 'fixed' && from.size === to.size ? FITS : cannotFit(path, `${to.size} bytes`)
  }
  return from.kind === to.kind ? FITS : cannotFit(path, `of type ${to.kind}`)
}

function narrow (kind: string, path: string): Part {
  if (kind === 'int') {
    return byValue(path, (value) => {
      if (typeof value !== 'number' || value !== (value | 0)) throw misfit(path, 'an integer within 32 bits')
      return value
    })
  }
  if (kind === 'long') {
    return byValue(path, (value) => {
      if (!Number.isSafeInteger(value)) throw misfit(path, 'an integer within 2^53')
      return value
    })
  }
  return byValue(path, (value) => {
    if (Number.isFinite(value) && Math.abs(value) > MAX_FLOAT) throw misfit(path, 'within the range of a float')
    return value
  })
}

function compileSymbols (from: Shape, to: EnumShape, path: string, fallback: string | undefined): Part {
  const { symbols } = to
  if (from.kind !== 'enum' && from.kind !== 'string') return cannotFit(path, 'of an enum')
  if (from.kind === 'enum' && [...from.symbols].every((symbol) => symbols.has(symbol))) return FITS
  if (fallback !== undefined) return { ...FITS, adapt: (value) => symbols.has(value) ? value : fallback }
  if (from.kind === 'enum' && ![...from.symbols].some((symbol) => symbols.has(symbol))) return cannotFit(path, 'of the enum\'s symbols')
  return byValue(path, (value) => {
    if (!symbols.has(value)) throw misfit(path, 'of the enum\'s symbols')
    return value
  })
}

const encoder = new TextEncoder()

function toBytes (path: string): Adapt {
  return (value) => {
    if (typeof value !== 'string' || !isWellFormed(value)) throw misfit(path, 'well-formed text')
    return encoder.encode(value)
  }
}

function toText (path: string): Adapt {
  return (value) => {
    const text = value instanceof Uint8Array ? readUtf8(value, 0, value.length) : undefined
    if (text === undefined) throw misfit(path, 'UTF-8')
    return text
  }
}

function toFixed (path: string, size: number): Adapt {
  return (value) => {
    if (!(value instanceof Uint8Array) || value.length !== size) throw misfit(path, `${size} bytes`)
    return value
  }
}

/** True when the bytes and values of one are those of the other. */
function isSame (a: Shape, b: Shape, seen = new Map<Shape, Set<Shape>>()): boolean {
  if (a === b || seen.get(a)?.has(b) === true) return true
  if (a.kind !== b.kind) return false
  seen.set(a, (seen.get(a) ?? new Set()).add(b))
  const inner = (a: Shape, b: Shape): boolean => isSame(a, b, seen)
  switch (a.kind) {
    case 'array': return inner(a.items, (b as typeof a).items)
    case 'map': return inner(a.values, (b as typeof a).values)
    case 'fixed': return a.size === (b as typeof a).size
    case 'enum': return [...a.symbols].join() === [...(b as typeof a).symbols].join()
    case 'union': {
      const { branches } = b as typeof a
      return a.branches.length === branches.length && a.branches.every((branch, i) => inner(branch, branches[i]!))
    }
    case 'record': {
      const { fields } = b as typeof a
      return a.fields.length === fields.length && a.fields.every(({ name, type, isOptional }, i) => {
        const other = fields[i]!
        return name === other.name && isOptional === other.isOptional && inner(type, other.type)
      })
    }
    default: return true
  }
}

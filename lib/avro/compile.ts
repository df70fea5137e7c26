import { malformed, MAX_DEPTH, MAX_ITEMS, type Reader } from './reader.ts'
import { valueKindOf, type AvroType, type ListType, type RecordType, type ScalarKind, type UnionType, type ValueKind } from './schema.ts'
import type { Writer } from './writer.ts'

/** The two ways of one type. */
export interface Part {
  write (value: any, to: Writer): void
  read (from: Reader): unknown
}

/** A value that does not fit. Thrown where it is found, given its path on the way up. */
export class Misfit {
  path = ''
  readonly demand: string

  constructor (demand: string) { this.demand = demand }
}

/** Compiles a type and those inside it, each once. */
export function compile (type: AvroType, known = new Map<AvroType, Part>()): Part {
  let part = known.get(type)
  if (part === undefined) known.set(type, part = compileNew(type, known))
  return part
}

function compileNew (type: AvroType, known: Map<AvroType, Part>): Part {
  switch (type.kind) {
    case 'record': return compileRecord(type, known)
    case 'array': return compileArray(type, compile(type.inner, known))
    case 'map': return compileMap(type, compile(type.inner, known))
    case 'union': return compileUnion(type, type.branches.map((branch) => compile(branch, known)))
    case 'enum': return compileEnum(type.symbols)
    case 'fixed': return compileFixed(type.minBytes)
    default: return scalars[type.kind]
  }
}

const scalars: Record<ScalarKind, Part> = {
  null: {
    write (value) { if (value !== null) misfit('must be null') },
    read: () => null
  },
  boolean: {
    write (value, to) {
      if (typeof value !== 'boolean') misfit('must be boolean')
      to.boolean(value)
    },
    read: (from) => from.boolean()
  },
  int: {
    write (value, to) {
      if (value !== (value | 0)) misfit('must be integer within 32 bits')
      to.long(value)
    },
    read: (from) => from.int()
  },
  long: {
    write (value, to) {
      if (!Number.isSafeInteger(value)) misfit('must be integer')
      to.long(value)
    },
    read: (from) => from.long()
  },
  float: {
    write (value, to) {
      if (!Number.isFinite(value)) misfit('must be number')
      to.float(value)
    },
    read: (from) => from.float()
  },
  double: {
    write (value, to) {
      if (!Number.isFinite(value)) misfit('must be number')
      to.double(value)
    },
    read: (from) => from.double()
  },
  bytes: {
    write (value, to) {
      if (!(value instanceof Uint8Array)) misfit('must be Uint8Array')
      to.bytes(value)
    },
    read: (from) => from.bytes()
  },
  string: {
    write (value, to) {
      if (typeof value !== 'string') misfit('must be string')
      if (!to.string(value)) misfit('must be well-formed text')
    },
    read: (from) => from.string()
  }
}

function compileEnum (symbols: readonly string[]): Part {
  const indices = new Map<unknown, number>(symbols.map((symbol, index) => [symbol, index]))
  return {
    write (value, to) {
      const index = indices.get(value)
      if (index === undefined) misfit(`must be one of ${symbols.join(', ')}`)
      to.long(index)
    },
    read: (from) => symbols[from.long()] ?? malformed()
  }
}

function compileFixed (length: number): Part {
  return {
    write (value, to) {
      if (!(value instanceof Uint8Array) || value.length !== length) misfit(`must be Uint8Array of ${length}`)
      to.fixed(value)
    },
    read: (from) => from.fixed(length)
  }
}

/** `type.inner.minBytes` is asked for late: inside a recursion it is not known before. */
function compileArray (type: ListType, item: Part): Part {
  return {
    write (value, to) {
      if (!Array.isArray(value)) misfit('must be array')
      const { length } = value
      if (length > MAX_ITEMS) misfit(`has more than ${MAX_ITEMS} items`)
      enter(to)
      if (length > 0) to.long(length)
      let i = 0
      try {
        for (; i < length; i++) item.write(value[i], to)
      } catch (error) {
        throw within(error, i)
      }
      to.long(0)
      to.depth--
    },
    read (from) {
      const items: unknown[] = []
      from.enter(0)
      for (let count; (count = from.count(type.inner.minBytes, items.length)) !== 0;) {
        while (count-- > 0) items.push(item.read(from))
      }
      from.leave()
      return items
    }
  }
}

function compileMap (type: ListType, item: Part): Part {
  return {
    write (value, to) {
      if (!isObject(value)) misfit('must be object')
      const keys = Object.keys(value)
      if (keys.length > MAX_ITEMS) misfit(`has more than ${MAX_ITEMS} keys`)
      enter(to)
      if (keys.length > 0) to.long(keys.length)
      for (const key of keys) {
        try {
          if (key === '__proto__' || !to.string(key)) misfit('is not allowed as a key')
          item.write(value[key], to)
        } catch (error) {
          throw within(error, key)
        }
      }
      to.long(0)
      to.depth--
    },
    read (from) {
      const values: Record<string, unknown> = {}
      let had = 0
      from.enter(0)
      for (let count; (count = from.count(type.inner.minBytes + 1, had)) !== 0;) {
        had += count
        while (count-- > 0) {
          const key = from.string()
          if (key === '__proto__') malformed()
          values[key] = item.read(from)
        }
      }
      from.leave()
      return values
    }
  }
}

function compileRecord (type: RecordType, known: Map<AvroType, Part>): Part {
  const { fields } = type
  const count = fields.length
  const names = fields.map(({ name }) => name)
  const isOptional = fields.map((field) => field.isOptional)
  const parts: Part[] = []
  const record: Part = {
    write (value, to) {
      if (!isObject(value)) misfit('must be object')
      enter(to)
      let i = 0
      try {
        for (; i < count; i++) {
          let field = value[names[i]!]
          if (field === undefined) {
            if (!isOptional[i]) misfit('is required')
            field = null
          }
          parts[i]!.write(field, to)
        }
      } catch (error) {
        throw within(error, names[i]!)
      }
      to.depth--
    },
    read (from) {
      from.enter(count)
      const value: Record<string, unknown> = {}
      for (let i = 0; i < count; i++) {
        const field = parts[i]!.read(from)
        if (field !== null || !isOptional[i]) value[names[i]!] = field
      }
      from.leave()
      return value
    }
  }
  // Known before its fields are compiled, for it may be inside itself.
  known.set(type, record)
  for (const { type } of fields) parts.push(compile(type, known))
  return record
}

function compileUnion ({ branches }: UnionType, parts: Part[]): Part {
  const kinds = branches.map(valueKindOf)
  const indices = new Map<ValueKind, number>(kinds.map((kind, index) => [kind, index]))
  return {
    write (value, to) {
      const index = indices.get(kindOf(value))
      if (index === undefined) misfit(`must be ${kinds.join(' or ')}`)
      to.long(index)
      parts[index]!.write(value, to)
    },
    read: (from) => (parts[from.long()] ?? malformed()).read(from)
  }
}

/** Undefined, functions and their like are of no kind that a union has. */
function kindOf (value: unknown): ValueKind {
  if (typeof value !== 'object') return typeof value as ValueKind
  return value === null ? 'null' : Array.isArray(value) ? 'array' : value instanceof Uint8Array ? 'bytes' : 'object'
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function misfit (demand: string): never { throw new Misfit(demand) }

function within (error: unknown, key: string | number): unknown {
  if (error instanceof Misfit) error.path = `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}${error.path}`
  return error
}

function enter (to: Writer): void {
  if (++to.depth > MAX_DEPTH) misfit(`is nested deeper than ${MAX_DEPTH}`)
}

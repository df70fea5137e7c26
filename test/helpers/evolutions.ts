import { Type, type TSchema } from '@sinclair/typebox'
import type { Verdict } from '../../lib/contract/adapt-part.ts'

/** What happens to values of one version on their way into the other. */
export interface Direction {
  readonly verdict: Verdict
  /** Paths that are checked by value, or that cannot fit. */
  readonly fields?: readonly string[]
  /** Value and what becomes of it; `misfit`: refused with the first of the fields, or with the one named. */
  readonly values?: ReadonlyArray<readonly [value: unknown, becomes: unknown | Misfit]>
}

/** One change of a message. `forth`: from before to after. */
export interface Evolution {
  readonly name: string
  readonly before: TSchema
  readonly after: TSchema
  readonly forth: Direction
  readonly back: Direction
}

export class Misfit {
  readonly field: string
  constructor (field: string) { this.field = field }
}

const misfit = (field: string): Misfit => new Misfit(field)
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const int = Type.Integer({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 })
const n = (type: TSchema): TSchema => Type.Object({ n: type })
function mood (symbols: readonly string[], options: object = {}): TSchema {
  return Type.Union(symbols.map((symbol) => Type.Literal(symbol)), options)
}

const nullable = (type: TSchema): TSchema => Type.Union([type, Type.Null()])
const a = Type.String()

/** Every way in which a message may change, and what clients and servers of the two versions make of it. */
export const evolutions: readonly Evolution[] = [
  {
    name: 'nothing changes',
    before: Type.Object({ a, b: Type.Optional(int) }),
    after: Type.Object({ a, b: Type.Optional(int) }),
    forth: { verdict: 'fits', values: [[{ a: 'x' }, { a: 'x' }], [{ a: 'x', b: 1 }, { a: 'x', b: 1 }]] },
    back: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x', b: 1 }]] }
  },
  {
    name: 'an optional field is added',
    before: Type.Object({ a }),
    after: Type.Object({ a, b: Type.Optional(int) }),
    forth: { verdict: 'fits', values: [[{ a: 'x' }, { a: 'x' }]] },
    back: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x' }], [{ a: 'x' }, { a: 'x' }]] }
  },
  {
    name: 'an optional field is removed',
    before: Type.Object({ a, b: Type.Optional(int) }),
    after: Type.Object({ a }),
    forth: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x' }]] },
    back: { verdict: 'fits', values: [[{ a: 'x' }, { a: 'x' }]] }
  },
  {
    name: 'a required field is added with a default',
    before: Type.Object({ a }),
    after: Type.Object({ a, b: Type.Integer({ default: 7 }), list: Type.Array(a, { default: [] }) }),
    forth: { verdict: 'fits', values: [[{ a: 'x' }, { a: 'x', b: 7, list: [] }]] },
    back: { verdict: 'fits', values: [[{ a: 'x', b: 1, list: ['y'] }, { a: 'x' }]] }
  },
  {
    name: 'a required field is added without a default',
    before: Type.Object({ a }),
    after: Type.Object({ a, b: int }),
    forth: { verdict: 'cannot fit', fields: ['/b'] },
    back: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x' }]] }
  },
  {
    name: 'a required field with a default is removed',
    before: Type.Object({ a, b: Type.Integer({ default: 7 }) }),
    after: Type.Object({ a }),
    forth: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x' }]] },
    back: { verdict: 'fits', values: [[{ a: 'x' }, { a: 'x', b: 7 }]] }
  },
  {
    name: 'a required field without a default is removed',
    before: Type.Object({ a, b: int }),
    after: Type.Object({ a }),
    forth: { verdict: 'fits', values: [[{ a: 'x', b: 1 }, { a: 'x' }]] },
    back: { verdict: 'cannot fit', fields: ['/b'] }
  },
  {
    name: 'int becomes long',
    before: n(int),
    after: n(Type.Integer()),
    forth: { verdict: 'fits', values: [[{ n: -5 }, { n: -5 }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 2147483647 }, { n: 2147483647 }], [{ n: 2147483648 }, misfit('/n')]] }
  },
  {
    name: 'int becomes double',
    before: n(int),
    after: n(Type.Number()),
    forth: { verdict: 'fits', values: [[{ n: 5 }, { n: 5 }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 5 }, { n: 5 }], [{ n: 0.5 }, misfit('/n')], [{ n: 2 ** 31 }, misfit('/n')]] }
  },
  {
    name: 'long becomes double',
    before: n(Type.Integer()),
    after: n(Type.Number()),
    forth: { verdict: 'fits', values: [[{ n: 2 ** 53 - 1 }, { n: 2 ** 53 - 1 }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: -(2 ** 40) }, { n: -(2 ** 40) }], [{ n: 1.5 }, misfit('/n')], [{ n: 1e99 }, misfit('/n')]] }
  },
  {
    name: 'a symbol is added to an enum',
    before: n(mood(['glad', 'sad'])),
    after: n(mood(['glad', 'sad', 'calm'])),
    forth: { verdict: 'fits', values: [[{ n: 'sad' }, { n: 'sad' }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 'sad' }, { n: 'sad' }], [{ n: 'calm' }, misfit('/n')]] }
  },
  {
    name: 'a symbol is added to an enum whose field has a default',
    before: n(mood(['glad', 'sad'], { default: 'glad' })),
    after: n(mood(['glad', 'sad', 'calm'], { default: 'glad' })),
    forth: { verdict: 'fits', values: [[{ n: 'sad' }, { n: 'sad' }]] },
    back: { verdict: 'fits', values: [[{ n: 'sad' }, { n: 'sad' }], [{ n: 'calm' }, { n: 'glad' }]] }
  },
  {
    name: 'a symbol is removed from an enum',
    before: n(mood(['glad', 'sad', 'calm'])),
    after: n(mood(['glad', 'sad'])),
    forth: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 'glad' }, { n: 'glad' }], [{ n: 'calm' }, misfit('/n')]] },
    back: { verdict: 'fits', values: [[{ n: 'sad' }, { n: 'sad' }]] }
  },
  {
    name: 'the symbols of an enum are reordered',
    before: n(mood(['glad', 'sad'])),
    after: n(mood(['sad', 'glad'])),
    forth: { verdict: 'fits', values: [[{ n: 'glad' }, { n: 'glad' }]] },
    back: { verdict: 'fits', values: [[{ n: 'sad' }, { n: 'sad' }]] }
  },
  {
    name: 'an enum becomes text',
    before: n(mood(['glad', 'sad'])),
    after: n(Type.String()),
    forth: { verdict: 'fits', values: [[{ n: 'glad' }, { n: 'glad' }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 'sad' }, { n: 'sad' }], [{ n: 'so so' }, misfit('/n')]] }
  },
  {
    name: 'a required field is renamed, with an alias',
    before: Type.Object({ nick: a }),
    after: Type.Object({ name: Type.String({ aliases: ['nick'] }) }),
    forth: { verdict: 'fits', values: [[{ nick: 'x' }, { name: 'x' }]] },
    back: { verdict: 'fits', values: [[{ name: 'x' }, { nick: 'x' }]] }
  },
  {
    name: 'an optional field is renamed, with an alias',
    before: Type.Object({ nick: Type.Optional(a) }),
    after: Type.Object({ name: Type.Optional(Type.String({ aliases: ['nick'] })) }),
    forth: { verdict: 'fits', values: [[{ nick: 'x' }, { name: 'x' }], [{}, {}]] },
    back: { verdict: 'fits', values: [[{ name: 'x' }, { nick: 'x' }], [{}, {}]] }
  },
  {
    name: 'a field is renamed without an alias',
    before: Type.Object({ nick: a }),
    after: Type.Object({ name: a }),
    forth: { verdict: 'cannot fit', fields: ['/name'] },
    back: { verdict: 'cannot fit', fields: ['/nick'] }
  },
  {
    name: 'a nested record changes',
    before: Type.Object({ at: Type.Object({ x: int, y: int }) }),
    after: Type.Object({ at: Type.Object({ x: Type.Integer(), z: Type.Optional(int) }) }),
    forth: { verdict: 'fits', values: [[{ at: { x: 1, y: 2 } }, { at: { x: 1 } }]] },
    back: { verdict: 'cannot fit', fields: ['/at/y'] }
  },
  {
    name: 'items of a list and values of a map change',
    before: Type.Object({ list: Type.Array(Type.Object({ n: int })), map: Type.Record(Type.String(), int) }),
    after: Type.Object({
      list: Type.Array(Type.Object({ n: Type.Integer(), tag: Type.Optional(a) })),
      map: Type.Record(Type.String(), Type.Integer())
    }),
    forth: { verdict: 'fits', values: [[{ list: [{ n: 1 }], map: { k: 3 } }, { list: [{ n: 1 }], map: { k: 3 } }], [{ list: [], map: {} }, { list: [], map: {} }]] },
    back: {
      verdict: 'fits by value',
      fields: ['/list/*/n', '/map/*'],
      values: [
        [{ list: [{ n: 1, tag: 't' }], map: { k: 3 } }, { list: [{ n: 1 }], map: { k: 3 } }],
        [{ list: [{ n: 1 }, { n: 2 ** 40 }], map: {} }, misfit('/list/*/n')],
        [{ list: [], map: { k: 2 ** 40 } }, misfit('/map/*')]
      ]
    }
  },
  {
    name: 'a type may be null from now on',
    before: n(Type.String()),
    after: n(nullable(Type.String())),
    forth: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 'x' }, { n: 'x' }], [{ n: null }, misfit('/n')]] }
  },
  {
    name: 'a required field becomes optional',
    before: n(Type.String()),
    after: Type.Object({ n: Type.Optional(Type.String()) }),
    forth: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 'x' }, { n: 'x' }], [{}, misfit('/n')]] }
  },
  {
    name: 'a required field with a default becomes optional',
    before: n(Type.String({ default: 'none' })),
    after: Type.Object({ n: Type.Optional(Type.String()) }),
    forth: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }]] },
    back: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }], [{}, { n: 'none' }]] }
  },
  {
    name: 'a field that may be null becomes optional',
    before: n(nullable(a)),
    after: Type.Object({ n: Type.Optional(a) }),
    forth: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }], [{ n: null }, {}]] },
    back: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }], [{}, { n: null }]] }
  },
  {
    name: 'a union gets a branch',
    before: n(Type.Union([Type.String(), Type.Boolean()])),
    after: n(Type.Union([Type.String(), Type.Boolean(), Type.Object({ x: int })])),
    forth: { verdict: 'fits', values: [[{ n: 'x' }, { n: 'x' }], [{ n: true }, { n: true }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: false }, { n: false }], [{ n: { x: 1 } }, misfit('/n')]] }
  },
  {
    name: 'a type becomes a union',
    before: n(int),
    after: n(Type.Union([Type.Integer(), Type.String()])),
    forth: { verdict: 'fits', values: [[{ n: 1 }, { n: 1 }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: 1 }, { n: 1 }], [{ n: 2 ** 40 }, misfit('/n')], [{ n: 'x' }, misfit('/n')]] }
  },
  {
    name: 'text becomes bytes',
    before: n(Type.String()),
    after: n(Type.Uint8Array()),
    forth: { verdict: 'fits', values: [[{ n: 'ä€😀' }, { n: bytes('ä€😀') }]] },
    back: { verdict: 'fits by value', fields: ['/n'], values: [[{ n: bytes('ä') }, { n: 'ä' }], [{ n: Uint8Array.of(0xff) }, misfit('/n')]] }
  },
  {
    name: 'a type becomes quite another one',
    before: Type.Object({ n: int, maybe: Type.Optional(a) }),
    after: Type.Object({ n: a, maybe: Type.Optional(int) }),
    forth: { verdict: 'cannot fit', fields: ['/n', '/maybe'] },
    back: { verdict: 'cannot fit', fields: ['/n', '/maybe'] }
  },
  {
    name: 'a recursive type changes',
    before: Type.Recursive((Self) => Type.Object({ n: int, inner: Type.Array(Self) })),
    after: Type.Recursive((Self) => Type.Object({ n: Type.Integer(), inner: Type.Array(Self), next: Type.Optional(Self) })),
    forth: { verdict: 'fits', values: [[{ n: 1, inner: [{ n: 2, inner: [] }] }, { n: 1, inner: [{ n: 2, inner: [] }] }]] },
    back: {
      verdict: 'fits by value',
      fields: ['/n'],
      values: [
        [{ n: 1, inner: [{ n: 2, inner: [], next: { n: 3, inner: [] } }] }, { n: 1, inner: [{ n: 2, inner: [] }] }],
        [{ n: 1, inner: [{ n: 2 ** 40, inner: [] }] }, misfit('/n')]
      ]
    }
  }
]

import { Type, type Static, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { isPitayaError, type PitayaError } from '../../lib/errors.ts'
import type { Codec, Serializer, WireError } from '../../lib/serializers/serializer.ts'
import { Random } from '../helpers/fuzz.ts'

export interface SerializerContract {
  /** A new instance by each call. */
  create (): Promise<Serializer> | Serializer
  /** What a client reads of an error payload. */
  readError (bytes: Uint8Array): unknown
  /** Bytes that say their own property names: a message may hold undeclared ones. */
  isSelfDescribing: boolean
}

interface Row<S extends TSchema = TSchema> { name: string, schema: S, values: Array<Static<S>>, misfits: unknown[] }
const row = <S extends TSchema>(name: string, schema: S, values: Array<Static<S>>, misfits: unknown[] = []): Row<S> => {
  return { name, schema, values, misfits }
}

const cycle: Record<string, unknown> = {}
cycle.name = cycle

const Chat = Type.Object({ name: Type.String({ maxLength: 32 }), content: Type.String({ maxLength: 500 }) })
const Tree = Type.Recursive((Node) => Type.Object({ value: Type.Integer(), children: Type.Array(Node) }), { $id: 'Tree' })
const List = Type.Recursive((Node) => Type.Object({ value: Type.String(), next: Type.Union([Node, Type.Null()]) }))
const Shapes = Type.Module({
  Point: Type.Object({ x: Type.Number(), y: Type.Number() }),
  Path: Type.Object({ points: Type.Array(Type.Ref('Point')), next: Type.Optional(Type.Ref('Path')) })
})

/** Schemas and values that every serializer carries. */
export const rows: Row[] = [
  row('chat', Chat, [{ name: 'ana', content: 'hi' }, { name: '', content: '"\\\u0000\n\u2028 é 日本 🎮' }, { name: 'x'.repeat(32), content: 'y'.repeat(500) }],
    [undefined, null, 1, 'ana', [], {}, { name: 'ana' }, { name: 'ana', content: 1 }, { name: 'ana', content: null }, { name: 'x'.repeat(33), content: '' },
      { name: '\ud800', content: '' }, { name: 'ana', content: 'x'.repeat(100) + '\udc00' }, { name: 1n, content: '' }, cycle]),
  row('integers', Type.Object({ any: Type.Integer(), small: Type.Integer({ minimum: -5, maximum: 5 }) }),
    [0, 1, -1, 63, 64, -65, 2 ** 30, -(2 ** 30) - 1, 2 ** 31, -(2 ** 31) - 1, 1e12, 2 ** 53 - 1, 1 - 2 ** 53]
      .map((any) => ({ any, small: any % 5 || 0 })),
    [{ any: 1.5, small: 0 }, { any: NaN, small: 0 }, { any: Infinity, small: 0 }, { any: 1n, small: 0 }, { any: '1', small: 0 }, { any: 1, small: 6 }]),
  row('numbers', Type.Array(Type.Number()), [[], [0, 1.5, -1e300, 5e-324, 0.1]], [[NaN], [Infinity], [-Infinity], ['1'], [null], [undefined], [1n]]),
  row('booleans', Type.Object({ on: Type.Boolean() }), [{ on: true }, { on: false }], [{ on: 1 }, { on: 'true' }]),
  row('text alone', Type.String(), ['', 'text', 'x'.repeat(70_000), 'é'.repeat(40_000)], [1, '\ud83d']),
  row('nothing', Type.Null(), [null], [undefined, 0]),
  row('optional', Type.Object({ a: Type.Optional(Type.Integer()), b: Type.Optional(Type.String()), c: Type.String() }),
    [{ c: '' }, { a: 0, c: '' }, { a: 1, b: 'b', c: 'c' }], [{ a: null, c: '' }, { a: '1', c: '' }]),
  row('nullable', Type.Object({ a: Type.Union([Type.String(), Type.Null()]), b: Type.Union([Type.Null(), Type.Object({ c: Type.Integer() })]) }),
    [{ a: null, b: null }, { a: 'a', b: { c: 1 } }], [{ a: null }, { b: null }, { a: 1, b: null }]),
  row('literals', Type.Object({
    color: Type.Union([Type.Literal('red'), Type.Literal('green')]),
    unit: Type.Union([Type.Literal('m/s'), Type.Literal('km/h')]),
    one: Type.Literal('one'),
    five: Type.Literal(5),
    yes: Type.Literal(true)
  }), [{ color: 'green', unit: 'km/h', one: 'one', five: 5, yes: true }], [{ color: 'blue', unit: 'm/s', one: 'one', five: 5, yes: true }]),
  row('kinds', Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null(), Type.Array(Type.Integer()), Type.Object({ a: Type.Integer() })])),
    [['a', 1.5, true, null, [1, 2], { a: 1 }]], [[1n], [{ a: 'a' }], [{}]]),
  row('map', Type.Record(Type.String(), Type.Object({ n: Type.Integer() })),
    [{}, { a: { n: 1 }, 'b c': { n: 2 }, 'line\nbreak': { n: 3 }, é: { n: 4 }, toString: { n: 5 } }], [{ a: 1 }, { 'line\nbreak': 'x' }, [], null]),
  row('bytes', Type.Object({ data: Type.Uint8Array({ maxByteLength: 1000 }), more: Type.Optional(Type.Union([Type.Uint8Array(), Type.Null()])) }),
    [{ data: new Uint8Array(0) }, { data: Uint8Array.of(0, 255, 128), more: Uint8Array.of(1) }], [{ data: 'AA==' }, { data: [1] }, { data: new Uint8Array(1001) }]),
  row('nesting', Type.Object({ rooms: Type.Array(Type.Object({ name: Type.String(), members: Type.Array(Type.Array(Type.String())) })) }),
    [{ rooms: [] }, { rooms: [{ name: 'lobby', members: [['ana'], []] }, { name: '', members: [] }] }], [{ rooms: [null] }, { rooms: [{ name: 'lobby' }] }]),
  row('intersection', Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.Optional(Type.Integer()) })]), [{ a: '' }, { a: 'a', b: 1 }], [{ b: 1 }]),
  row('tree', Tree, [{ value: 1, children: [{ value: 2, children: [] }, { value: 3, children: [{ value: 4, children: [] }] }] }], [{ value: 1 }, { value: 1, children: [{}] }]),
  row('list', List, [{ value: 'a', next: { value: 'b', next: null } }], [{ value: 'a' }]),
  row('module', Shapes.Import('Path'), [{ points: [{ x: 1, y: 2.5 }] }, { points: [], next: { points: [{ x: 0, y: 0 }] } }], [{ points: [{ x: 1 }] }]),
  row('enum', Type.Object({ side: Type.Enum({ Left: 'left', Right: 'right' }), level: Type.Enum({ Low: 1, High: 2 }) }), [{ side: 'left', level: 2 }], [{ side: 'up', level: 2 }]),
  row('plain JSON Schema', Type.Unsafe<{ mode: string, n: number }>({
    type: 'object', properties: { mode: { type: 'string', enum: ['a', 'b'] }, n: { type: 'integer' } }, required: ['mode', 'n']
  }), [{ mode: 'b', n: 3 }], [{ mode: 'c', n: 3 }, { mode: 'a' }, { mode: 'a', n: 1.5 }])
]

/** What every member of the family promises. `t` is a tap test. */
export async function serializerContract (t: any, { create, readError, isSelfDescribing }: SerializerContract): Promise<void> {
  const serializer = await create()
  t.match(serializer.name, /^[a-z0-9-]+$/)

  for (const { name, schema, values, misfits } of rows) {
    await t.test(`${name}: every value comes back, and no other can be encoded`, async (t: any) => {
      const codec = serializer.compile(schema, `contract.${name}`)
      for (const value of values) t.strictSame(decode(codec, codec.encode(value)), value)
      for (const value of misfits) t.throws(() => codec.encode(value), `${name} misfit`)
    })

    await t.test(`${name}: damaged messages are PIT_ERR_BODY or values of the schema`, async (t: any) => {
      const codec = serializer.compile(schema, `contract.${name}`)
      const random = new Random(7)
      let wrong = 0
      for (const value of values) {
        const bytes = Uint8Array.from(codec.encode(value)).subarray(0, 300)
        for (let at = 0; at < bytes.length; at++) {
          const flipped = Uint8Array.from(bytes)
          flipped[at]! ^= 1 << random.int(8)
          for (const input of [bytes.subarray(0, at), flipped]) if (!isRefusedOrValid(codec, schema, input)) wrong++
        }
        if (!isRefusedOrValid(codec, schema, Uint8Array.of(...bytes, 0))) wrong++
      }
      for (let i = 0; i < 200; i++) if (!isRefusedOrValid(codec, schema, random.bytes(random.int(40)))) wrong++
      t.equal(wrong, 0)
    })
  }

  await t.test('an empty body is refused where the schema has a property', async (t: any) => {
    t.equal(refusal(serializer.compile(Chat, 'contract.empty'), new Uint8Array(0))?.code, 'PIT_ERR_BODY')
  })

  await t.test('a value outside its limits is refused by the name of the field, and not echoed', async (t: any) => {
    const wide = serializer.compile(Type.Object({ name: Type.String(), content: Type.String() }), 'contract.wide')
    const error = refusal(serializer.compile(Chat, 'contract.narrow'), wide.encode({ name: 'secret'.repeat(10), content: '' }))
    t.equal(error?.code, 'PIT_ERR_BODY')
    t.strictSame(error?.metadata, { field: '/name' })
    t.match(error?.message, /^body\/name must be /)
    t.notOk(error?.message.includes('secret'))
  })

  await t.test('undeclared properties are not written, in any nesting, and the value is left as it was', async (t: any) => {
    const schema = Type.Object({
      chat: Chat,
      list: Type.Array(Chat),
      map: Type.Record(Type.String(), Chat),
      maybe: Type.Union([Chat, Type.Null()]),
      closed: Type.Object({ a: Type.Integer() }, { additionalProperties: false }),
      bytes: Type.Optional(Type.Uint8Array())
    })
    const codec = serializer.compile(schema, 'contract.undeclared')
    const chat = { name: 'ana', content: 'hi' }
    const more = { ...chat, password: 'secret', nested: { deep: true } }
    const given = { chat: more, list: [more], map: { a: more }, maybe: more, closed: { a: 1, b: 2 }, secret: 1 }
    const bytes = codec.encode(given)
    t.notOk(Buffer.from(bytes).includes('secret'))
    t.strictSame(decode(codec, bytes), { chat, list: [chat], map: { a: chat }, maybe: chat, closed: { a: 1 } })
    t.strictSame(given, { chat: more, list: [more], map: { a: more }, maybe: more, closed: { a: 1, b: 2 }, secret: 1 })
  })

  if (isSelfDescribing) {
    await t.test('undeclared properties do not reach the handler, in any nesting', async (t: any) => {
      const wide = Type.Object({ name: Type.String(), content: Type.String(), admin: Type.Boolean() })
      const shape = (chat: TSchema): TSchema => Type.Object({
        chat,
        list: Type.Array(chat),
        map: Type.Record(Type.String(), chat),
        maybe: Type.Union([chat, Type.Null()]),
        both: Type.Intersect([chat, Type.Object({ x: Type.Integer() })])
      })
      const more = { name: 'ana', content: 'hi', admin: true }
      const fill = (chat: object): object => ({ chat, list: [chat], map: { a: chat }, maybe: chat, both: { ...chat, x: 1 } })
      const bytes = serializer.compile(shape(wide), 'contract.wide').encode(fill(more))
      t.strictSame(decode(serializer.compile(shape(Chat), 'contract.narrow'), bytes), fill({ name: 'ana', content: 'hi' }))
    })
  }

  await t.test('a message is read where it lies, and shares no memory with it', async (t: any) => {
    const codec = serializer.compile(Type.Object({ text: Type.String(), data: Type.Uint8Array() }), 'contract.slice')
    const value = { text: 'text of some length, so that it might be a view', data: Uint8Array.of(1, 2, 3) }
    const message = codec.encode(value)
    for (const bytes of [new Uint8Array(message.length + 20).fill(0xff), Buffer.alloc(message.length + 20, 0xff)]) {
      bytes.set(message, 7)
      const decoded = codec.decode(bytes, 7, 7 + message.length)
      bytes.fill(0)
      t.strictSame(decoded, value)
    }
  })

  await t.test('encoded bytes hold until the next encode, also after a value that failed or was large', async (t: any) => {
    const codec = serializer.compile(Chat, 'contract.reuse')
    const other = serializer.compile(Type.String(), 'contract.large')
    const value = { name: 'ana', content: 'hi' }
    const expected = Buffer.from(codec.encode(value)).toString('hex')
    t.throws(() => codec.encode({ name: 'ana', content: 1 }))
    for (const size of [20_000, 300_000, 1]) {
      const text = 'é'.repeat(size)
      t.equal(decode(other, other.encode(text)), text)
      t.equal(Buffer.from(codec.encode(value)).toString('hex'), expected)
    }
    const kept = codec.encode(value)
    serializer.encodeError({ code: 'PIT-400', msg: 'an error in between', metadata: undefined })
    decode(codec, kept)
    t.equal(Buffer.from(codec.encode(value)).toString('hex'), expected)
  })

  await t.test('two instances share nothing', async (t: any) => {
    const second = await create()
    const bytes = serializer.compile(Chat, 'contract.same').encode({ name: 'ana', content: 'hi' })
    const before = Buffer.from(bytes)
    second.compile(Chat, 'contract.same').encode({ name: 'bob', content: 'another text' })
    t.strictSame(Buffer.from(bytes), before)
  })

  await t.test('errors are readable by clients, whatever their text', async (t: any) => {
    const errors: WireError[] = [
      { code: 'PIT-404', msg: 'pitaya/handler: chat.room.nope not found', metadata: undefined },
      { code: 'GAME-001', msg: 'a<b> & "c" \n é 🎮', metadata: { z: '1', a: '', 'b c': 'é' } },
      { code: 'PIT-000', msg: 'x'.repeat(100_000), metadata: {} }
    ]
    for (const error of errors) t.strictSame(readError(serializer.encodeError(error)), { ...error, metadata: error.metadata ?? {} })
    t.strictSame(readError(serializer.encodeError({ code: 'PIT-000', msg: 'half \ud800', metadata: { k: '\udc00' } })),
      { code: 'PIT-000', msg: 'half \ufffd', metadata: { k: '\ufffd' } })
    t.strictSame(readError(serializer.encodeError({ code: 'PIT-000', msg: '', metadata: undefined })), { code: 'PIT-000', msg: '', metadata: {} })
  })

  await t.test('a schema that cannot be sent is refused with its name and place', async (t: any) => {
    for (const inner of [Type.Function([], Type.Null()), Type.Date(), Type.BigInt(), Type.Promise(Type.Null()), Type.Undefined()]) {
      t.throws(() => serializer.compile(Type.Object({ list: Type.Array(inner) }), 'chat.room.join.body'),
        { code: 'PIT_ERR_SCHEMA', message: /chat\.room\.join\.body.*\/list/ })
    }
  })
}

function decode (codec: Codec, bytes: Uint8Array): unknown {
  return codec.decode(bytes, 0, bytes.length)
}

function refusal (codec: Codec, bytes: Uint8Array): PitayaError | undefined {
  try {
    decode(codec, bytes)
  } catch (error) {
    if (isPitayaError(error)) return error
    throw error
  }
  return undefined
}

function isRefusedOrValid (codec: Codec, schema: TSchema, bytes: Uint8Array): boolean {
  try {
    return Value.Check(schema, decode(codec, bytes))
  } catch (error) {
    return isPitayaError(error) && error.code === 'PIT_ERR_BODY'
  }
}

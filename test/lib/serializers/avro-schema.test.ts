import { Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { deriveAvro } from '../../../lib/serializers/avro-schema.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'

const derive = (schema: TSchema, name = 'chat.room.join.body'): unknown => deriveAvro(reduceSchema(schema, name), name)

t.test('each type has its Avro type', async (t) => {
  const rows: Array<[TSchema, unknown]> = [
    [Type.Boolean(), 'boolean'], [Type.Null(), 'null'], [Type.Number(), 'double'], [Type.String(), 'string'], [Type.Uint8Array(), 'bytes'],
    [Type.Integer(), 'long'], [Type.Integer({ minimum: 0 }), 'long'], [Type.Integer({ minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }), 'int'],
    [Type.Integer({ minimum: 0, maximum: 2 ** 31 }), 'long'], [Type.Literal(5), 'int'], [Type.Literal(2 ** 40), 'long'], [Type.Literal(0.5), 'double'],
    [Type.Literal(true), 'boolean'], [Type.RegExp(/a/), 'string'], [Type.TemplateLiteral([Type.Literal('a'), Type.String()]), 'string'],
    [Type.Array(Type.String()), { type: 'array', items: 'string' }], [Type.Record(Type.String(), Type.Number()), { type: 'map', values: 'double' }],
    [Type.Union([Type.String(), Type.Null()]), ['null', 'string']], [Type.Union([Type.Literal(1), Type.Literal(2)]), 'int'],
    [Type.Union([Type.Integer(), Type.Number()]), 'double'], [Type.Union([Type.Literal('a'), Type.String()]), 'string'],
    [Type.Union([Type.Literal(true), Type.Literal(false), Type.Null()]), ['null', 'boolean']],
    [Type.Union([Type.Literal('a-b'), Type.Literal('c')]), 'string'],
    [Type.Union([Type.Literal('a'), Type.Literal('b'), Type.Literal('a')]), { type: 'enum', name: 'chat_room_join_body', symbols: ['a', 'b'] }],
    [Type.Enum({ A: 'a', B: 'b' }), { type: 'enum', name: 'chat_room_join_body', symbols: ['a', 'b'] }],
    [Type.Union([Type.Literal('a'), Type.Literal('toString')]), 'string']
  ]
  for (const [schema, expected] of rows) t.strictSame(derive(schema), expected)
})

t.test('objects are records, named by message and path, each name once', async (t) => {
  const Point = Type.Object({ x: Type.Number() })
  t.strictSame(derive(Type.Object({
    a: Point,
    list: Type.Array(Point),
    list_item: Point,
    maybe: Type.Optional(Point),
    nullable: Type.Optional(Type.Union([Type.String(), Type.Null()]))
  }, { aliases: ['OldName'] })), {
    type: 'record',
    name: 'chat_room_join_body',
    aliases: ['OldName'],
    fields: [
      { name: 'a', type: { type: 'record', name: 'chat_room_join_body_a', fields: [{ name: 'x', type: 'double' }] } },
      { name: 'list', type: { type: 'array', items: { type: 'record', name: 'chat_room_join_body_list_item', fields: [{ name: 'x', type: 'double' }] } } },
      { name: 'list_item', type: { type: 'record', name: 'chat_room_join_body_list_item_2', fields: [{ name: 'x', type: 'double' }] } },
      { name: 'maybe', type: ['null', { type: 'record', name: 'chat_room_join_body_maybe', fields: [{ name: 'x', type: 'double' }] }], default: null },
      { name: 'nullable', type: ['null', 'string'], default: null }
    ]
  })
})

t.test('recursion is a name', async (t) => {
  t.strictSame(derive(Type.Recursive((Node) => Type.Object({ children: Type.Array(Node), next: Type.Optional(Node) })), 'tree'), {
    type: 'record',
    name: 'tree',
    fields: [{ name: 'children', type: { type: 'array', items: 'tree' } }, { name: 'next', type: ['null', 'tree'], default: null }]
  })
  t.throws(() => derive(Type.Recursive((Node) => Type.Array(Node))), { code: 'PIT_ERR_SCHEMA' })
})

t.test('defaults and aliases of properties are those of fields', async (t) => {
  t.strictSame(derive(Type.Object({
    n: Type.Integer({ default: 1, aliases: ['number'] }),
    e: Type.Union([Type.Literal('a'), Type.Literal('b')], { default: 'b' }),
    wrong: Type.String({ default: 1 }),
    list: Type.Array(Type.String(), { default: [] }),
    maybe: Type.Optional(Type.Integer({ default: 1 })),
    none: Type.Union([Type.Integer(), Type.Null()], { default: null })
  }), 'm'), {
    type: 'record',
    name: 'm',
    fields: [
      { name: 'n', type: 'long', default: 1, aliases: ['number'] },
      { name: 'e', type: { type: 'enum', name: 'm_e', symbols: ['a', 'b'] }, default: 'b' },
      { name: 'wrong', type: 'string' },
      { name: 'list', type: { type: 'array', items: 'string' }, default: [] },
      { name: 'maybe', type: ['null', 'long'], default: null },
      { name: 'none', type: ['null', 'long'] }
    ]
  })
})

t.test('what has no mapping is refused with message and path', async (t) => {
  const rows: TSchema[] = [
    Type.Tuple([Type.String()]), Type.Any(), Type.Unknown(), Type.Unsafe({}), Type.Object({}, { additionalProperties: Type.String() }),
    Type.Union([Type.Object({ a: Type.String() }), Type.Object({ b: Type.String() })]),
    Type.Union([Type.Object({}), Type.Record(Type.String(), Type.String())]),
    Type.Union([Type.Array(Type.String()), Type.Array(Type.Number())]), Type.Object({ 'not-a-name': Type.String() }), Type.Object({ '1st': Type.String() }),
    Type.String({ aliases: ['not-a-name'] })
  ]
  for (const schema of rows) t.throws(() => derive(Type.Object({ inner: schema })), { code: 'PIT_ERR_SCHEMA', message: /chat\.room\.join\.body: \/inner/ })
})

t.test('arrays whose items take no bytes and invalid Avro schemas are refused', async (t) => {
  const avro = createAvroSerializer()
  const rows: TSchema[] = [
    Type.Array(Type.Null()), Type.Array(Type.Object({})), Type.Array(Type.Object({ a: Type.Object({ b: Type.Null() }) })),
    Type.Record(Type.String(), Type.Object({ a: Type.Optional(Type.Array(Type.Null())) })),
    Type.Unsafe({ avro: { type: 'array', items: { type: 'fixed', name: 'F', size: 0 } } }),
    Type.Unsafe({ avro: 'nonsense' }), Type.Unsafe({ avro: { type: 'nonsense' } }),
    Type.Unsafe({ avro: { type: 'record', name: 'R', fields: [{ name: '__proto__', type: 'int' }] } }), Type.Unsafe({ avro: ['int', 'long'] })
  ]
  for (const schema of rows) t.throws(() => avro.compile(schema, 'chat.message'), { code: 'PIT_ERR_SCHEMA', message: /chat\.message: / })
})

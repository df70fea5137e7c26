import { Type } from '@sinclair/typebox'
import t from 'tap'
import { findBreaks, findBrokenCalls } from '../../../lib/contract/breaks.ts'
import { canonicalSchema, MAX_PARTS } from '../../../lib/contract/canonical.ts'
import { contractOf, decodeContract, encodeContract, MAX_CONTRACT_BYTES, withRemotes } from '../../../lib/contract/contract.ts'
import { schemaFingerprint } from '../../../lib/contract/fingerprint.ts'
import { isPitayaError } from '../../../lib/errors.ts'
import { defineHandlers, notify, raw, request } from '../../../lib/handler/define.ts'
import type { AvroSchema } from '../../../lib/serializers/avro-schema.ts'
import { defineRemotes } from '../../../lib/remote/define.ts'
import { fuzzRuns, fuzzSeed, FUZZ_TIMEOUT_MS, Random } from '../../helpers/fuzz.ts'

t.setTimeout?.(FUZZ_TIMEOUT_MS)

const Text = Type.Object({ text: Type.String(), to: Type.Optional(Type.String()) })
const room = defineHandlers('room', { pushes: { onText: Text, onBytes: raw } }, {
  say: request({ body: Text, response: Type.Integer(), deadlineMs: 1000 }, () => 1),
  leave: notify({ concurrent: true, ratePerSecond: 2 }, () => {}),
  upload: request({ body: raw, response: raw }, (bytes) => bytes)
})
const record = { type: 'record', name: 'T0', fields: [{ name: 'text', type: 'string' }, { name: 'to', type: ['null', 'string'], default: null }] }
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

t.test('a contract has the routes with their traits and schemas, and the pushes', async (t) => {
  const { routes, pushes, fingerprint } = contractOf([room])
  t.strictSame(Object.fromEntries(routes), {
    'room.say': {
      kind: 'request',
      concurrent: false,
      deadlineMs: 1000,
      ratePerSecond: undefined,
      schemas: { kind: 'request', body: record, response: 'long' }
    },
    'room.leave': { kind: 'notify', concurrent: true, deadlineMs: undefined, ratePerSecond: 2, schemas: { kind: 'notify' } },
    'room.upload': {
      kind: 'request',
      concurrent: false,
      deadlineMs: undefined,
      ratePerSecond: undefined,
      schemas: { kind: 'request', body: 'raw', response: 'raw' }
    }
  })
  t.strictSame(Object.fromEntries(pushes), { onText: record, onBytes: 'raw' })
  t.match(fingerprint, /^[\w-]{16}$/)
})

t.test('what is read of the store is what was written', async (t) => {
  const contract = contractOf([room])
  const { name, bytes, hasSchemas } = encodeContract(contract)
  t.strictSame([decodeContract(bytes), hasSchemas], [contract, true])
  t.match(name, /^[\w-]{16}$/)
  t.equal(encodeContract(contractOf([room])).name, name)
})

t.test('what goes from server to server is in the contract, but not in its fingerprint', async (t) => {
  const match = defineRemotes('match', { create: { body: Text, response: raw }, list: { response: Type.Integer() } })
  const contract = withRemotes(contractOf([room]), [match, defineRemotes('sys', { own: {} })], [{ serverType: 'game', contract: match }])
  const schemas = [['create', { kind: 'request', body: record, response: 'raw' }], ['list', { kind: 'request', response: 'long' }]] as const
  t.strictSame([...contract.remotes], schemas.map(([method, parts]) => [`match.${method}`, parts]))
  t.strictSame([...contract.calls], schemas.map(([method, parts]) => [`game.match.${method}`, parts]))
  t.equal(contract.fingerprint, contractOf([room]).fingerprint)
  t.strictSame(decodeContract(encodeContract(contract).bytes), contract)
})

t.test('declared error codes are in the contract, sorted and once, but in no fingerprint, and break nothing', async (t) => {
  const codes = ['SAY-002', 'SAY-001', 'SAY-002']
  const of = (errors: string[]) => contractOf([defineHandlers('room', { say: request({ body: Text, errors }, () => {}) })])
  const [plain, coded] = [of([]), of(codes)]
  const schemas = { kind: 'request', body: record } as const
  t.strictSame(coded.routes.get('room.say')!.schemas, { ...schemas, errors: ['SAY-001', 'SAY-002'] })
  t.strictSame(plain.routes.get('room.say')!.schemas, schemas)
  t.equal(coded.fingerprint, plain.fingerprint)
  t.strictSame([findBreaks(coded, plain), findBreaks(plain, coded)], [[], []])
  const encoded = encodeContract(coded)
  t.not(encoded.name, encodeContract(plain).name, 'servers tell each other')
  t.strictSame(decodeContract(encoded.bytes), coded)
})

t.test('of error codes from another server, what is no such list is left out', async (t) => {
  const many = Array.from({ length: 65 }, (_, i) => `E-${i}`)
  for (const errors of [null, {}, 'SAY-001', [], [5], [''], ['x'.repeat(65)], ['PIT_ERR_RATE'], ['SAY-001', null], many]) {
    const { routes } = decodeContract(json({ routes: { 'room.say': { kind: 'request', body: 'int', errors } }, pushes: {} }))
    t.strictSame(routes.get('room.say')!.schemas, { kind: 'request', body: 'int' }, JSON.stringify(errors).slice(0, 40))
  }
  const read = decodeContract(json({ routes: { 'room.say': { kind: 'request', errors: [...many.slice(0, 63), 'E-1'] } }, pushes: {} }))
  t.equal(read.routes.get('room.say')!.schemas!.errors!.length, 63)
})

t.test('calls break by any difference that their bytes have', async (t) => {
  const of = (methods: any) => defineRemotes('match', methods)
  const broken = (served: any, called: any) => {
    const empty = contractOf([])
    const server = { type: 'game', contract: withRemotes(empty, [of({ a: served })], []) }
    return findBrokenCalls(server, withRemotes(empty, [], [{ serverType: 'game', contract: of({ a: called }) }])).map(({ why }) => why)
  }
  const More = Type.Object({ text: Type.String(), to: Type.Optional(Type.String()), by: Type.Optional(Type.String()) })
  const Small = Type.Integer({ minimum: 0, maximum: 9 })
  t.strictSame(broken({ body: Text }, { body: Text }), [])
  t.strictSame(broken({ body: Type.Object({ text: Type.String({ maxLength: 5 }), to: Type.Optional(Type.String()) }) }, { body: Text }), [])
  t.strictSame(broken({ body: More }, { body: Text }), ['the body cannot be read: another schema'])
  t.strictSame(broken({ response: Text }, { response: More }), ['the response cannot be read: another schema'])
  t.strictSame(broken({ body: Small }, { body: Type.String() }), ['the body cannot be read: all of it'])
  t.strictSame(broken({ response: raw }, {}), [])
  t.strictSame(broken({}, { response: raw }), [])
  t.strictSame(broken({}, { response: Text }), ['the response cannot be read: there is none'])
  t.strictSame(broken({ body: Text }, {}), ['the body cannot be read: there is none'])
})

t.test('what Avro cannot carry is refused, or left out where Avro is not offered', async (t) => {
  const odd = defineHandlers('odd', { pushes: { onAny: Type.Any(), onText: Text } }, {
    any: request({ body: Type.Any() }, () => {}),
    text: request({ body: Text }, () => {})
  })
  t.throws(() => contractOf([odd]), { code: 'PIT_ERR_SCHEMA', message: /odd\.any\.body/ })
  const contract = contractOf([odd], { leavesOut: true })
  t.equal(contract.routes.get('odd.any')!.schemas, undefined)
  t.strictSame([...contract.pushes.keys()], ['onText'])
  const read = decodeContract(encodeContract(contract).bytes)
  t.strictSame(read, contract, 'not known is not the same as not there')
  t.strictSame(read.routes.get('odd.text')!.schemas, { kind: 'request', body: record })
})

t.test('a contract of a server that knows nothing of schemas, or of a newer one, is read as far as it goes', async (t) => {
  const old = decodeContract(json({ version: 1, routes: { 'room.say': { kind: 'request', concurrent: true, deadlineMs: 5 } } }))
  t.strictSame(old.routes.get('room.say'), { kind: 'request', concurrent: true, deadlineMs: 5, ratePerSecond: undefined, schemas: undefined })
  const newer = decodeContract(json({
    version: 9, news: 1, routes: { 'room.say': { kind: 'request', body: 'int', news: 2 } }, pushes: { onText: { type: 'string', doc: 'x' } }
  }))
  t.strictSame(newer.routes.get('room.say')!.schemas, { kind: 'request', body: 'int' })
  t.strictSame(Object.fromEntries(newer.pushes), { onText: 'string' })
})

t.test('a contract larger than the store takes is written without its schemas', async (t) => {
  const symbols = Array.from({ length: 400 }, (_, i) => Type.Literal(`symbol_of_some_length_${i}`))
  const methods = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`m${i}`, request({ body: Type.Object({ it: Type.Union(symbols) }) }, () => {})]))
  const contract = contractOf([defineHandlers('big', methods as Record<string, any>)])
  const { bytes, hasSchemas } = encodeContract(contract)
  t.notOk(hasSchemas)
  t.ok(bytes.length < MAX_CONTRACT_BYTES)
  const read = decodeContract(bytes)
  t.strictSame([read.routes.size, read.routes.get('big.m0')!.kind, read.routes.get('big.m0')!.schemas], [70, 'request', undefined])
})

t.test('of what is no contract, nothing is taken', async (t) => {
  for (const bytes of [json(null), json([]), json('x'), json({ routes: [] }), json({ routes: { a: 1 } }), Buffer.from('{'), Buffer.alloc(0), new Uint8Array(MAX_CONTRACT_BYTES + 1)]) {
    const { routes, pushes } = decodeContract(bytes)
    t.strictSame([routes.size, pushes.size], [0, 0])
  }
  const names = ['', 'room', 'a.b.c', '.b', 'a.', 'a b.c', `a.${'b'.repeat(255)}`]
  t.equal(decodeContract(json({ routes: Object.fromEntries(names.map((name) => [name, { kind: 'request' }])) })).routes.size, 0)
})

t.test('a schema that is none takes its route\'s others along, and leaves how it is called', async (t) => {
  const { routes, pushes } = decodeContract(json({
    routes: { 'room.say': { kind: 'request', body: { type: 'record', fields: [] }, response: 'int' }, 'room.ok': { kind: 'request', body: 'int' } },
    pushes: { onBad: { type: 'enum', name: 'E', symbols: ['a-b'] }, onGood: 'string' }
  }))
  t.strictSame([routes.get('room.say')!.kind, routes.get('room.say')!.schemas], ['request', undefined])
  t.strictSame([routes.get('room.ok')!.schemas, [...pushes.keys()]], [{ kind: 'request', body: 'int' }, ['onGood']])
})

t.test('hostile schemas are refused: too deep, too many parts, bad names', async (t) => {
  const nest = (depth: number): any => depth === 0 ? 'int' : { type: 'array', items: nest(depth - 1) }
  t.equal(JSON.stringify(canonicalSchema(nest(60))).length, JSON.stringify(nest(60)).length)
  const field = (name: unknown, type: unknown = 'int'): unknown => ({ type: 'record', name: 'R', fields: [{ name, type }] })
  const bad: unknown[] = [
    nest(65), nest(5000), field('__proto__'), field('constructor'), field('a-b'), field(''), field('x'.repeat(256)), field(5), field('a', 'Unknown'),
    { type: 'record', name: 'R', fields: Array(MAX_PARTS + 1).fill({ name: 'a', type: 'int' }) },
    { type: 'enum', name: 'E', symbols: Array.from({ length: MAX_PARTS + 1 }, (_, i) => `s${i}`) },
    { type: 'record', name: 'R', fields: [{ name: 'a', type: 'int' }, { name: 'a', type: 'int' }] },
    { type: 'record', name: 'R', fields: {} }, { type: 'record', name: '0', fields: [] }, { type: 'record', name: 'int', fields: [] },
    { type: 'record', fields: [] }, { type: 'record', name: 'R', namespace: 5, fields: [] },
    { type: 'record', name: 'R', fields: [{ name: 'a', type: 'int', aliases: ['b-c'] }] },
    { type: 'record', name: 'R', fields: [{ name: 'a', type: 'int', default: nest(100) }] },
    [], [['int']], null, 5, undefined, 'raw', {}, { type: {} }, { type: 'array' }, { type: 'fixed', name: 'F', size: -1 },
    { type: 'enum', name: 'E', symbols: [] }, { type: 'enum', name: 'E', symbols: ['a', 'a'] }, { type: 'enum', name: 'E', symbols: ['a'], default: 'b' },
    [{ type: 'enum', name: 'E', symbols: ['a'] }, { type: 'enum', name: 'E', symbols: ['b'] }]
  ]
  for (const [i, schema] of bad.entries()) t.throws(() => canonicalSchema(schema), { code: 'PIT_ERR_SCHEMA' }, `schema ${i}`)
})

t.test('a fingerprint does not depend on names of types, documentation or the order of attributes, but on all that is read and written', async (t) => {
  const schema = (more: object = {}, field: object = {}): AvroSchema => ({
    type: 'record', name: 'R', fields: [{ name: 'a', type: { type: 'enum', name: 'E', symbols: ['x', 'y'] }, ...field }, { name: 'b', type: 'E' }], ...more
  })
  const same = [
    schema(), schema({ doc: 'what it is', name: 'Other' }), schema({ namespace: 'a.b' }), schema({}, { doc: 'x', order: 'ignore' }),
    { fields: [{ type: { symbols: ['x', 'y'], name: 'q.E', type: 'enum' }, name: 'a' }, { name: 'b', type: 'q.E' }], name: 'p.R', type: 'record' } as AvroSchema
  ].map(schemaFingerprint)
  t.equal(new Set(same).size, 1)
  t.match(same[0]!, /^[\w-]{16}$/)
  const other = [schema({}, { default: 'x' }), schema({}, { aliases: ['z'] }), schema({}, { name: 'c' }), schema({}, { type: 'string' })]
    .map((schema) => { try { return schemaFingerprint(schema) } catch { return 'refused' } })
  t.equal(new Set([...same, ...other]).size, 5)
  t.equal(schemaFingerprint({ type: 'string' }), schemaFingerprint('string'))
  t.equal(schemaFingerprint({ type: { type: 'array', items: 'int' } }), schemaFingerprint({ items: 'int', type: 'array' }))
})

t.test('what breaks: routes that are gone, bodies that cannot be read, answers and pushes that the others cannot read', async (t) => {
  const Message = Type.Object({ text: Type.String() })
  const before = contractOf([defineHandlers('room', { pushes: { onText: Message, onOld: Message } }, {
    same: request({ body: Message, response: Message }, (body) => body),
    gone: request(() => {}),
    kind: request(() => {}),
    body: request({ body: Message }, () => {}),
    answer: request({ response: Message }, () => ({ text: '' })),
    less: request({ body: Message, response: Message }, (body) => body),
    bytes: request({ body: raw }, () => {}),
    wider: request({ body: Type.Integer({ minimum: 0, maximum: 9 }) }, () => {})
  })])
  const More = Type.Object({ text: Type.String(), to: Type.String() })
  const after = contractOf([defineHandlers('room', { pushes: { onText: Type.Object({ words: Type.String() }) } }, {
    same: request({ body: Type.Object({ text: Type.String(), more: Type.Optional(Type.Integer()) }), response: More }, (body) => ({ ...body, to: '' })),
    kind: notify(() => {}),
    body: request({ body: More }, () => {}),
    answer: request({ response: Type.Object({ texts: Type.Array(Type.String()) }) }, () => ({ texts: [] })),
    less: request({ body: Message }, () => {}),
    bytes: request({ body: Message }, () => {}),
    wider: request({ body: Type.Integer() }, () => {}),
    added: request(() => {})
  })])
  t.strictSame(findBreaks(after, before), [
    { route: 'room.gone', why: 'there is no such route' },
    { route: 'room.kind', why: 'it is a notify' },
    { route: 'room.body', why: 'the body cannot be read: /to' },
    { route: 'room.answer', why: 'the response cannot be read: /text' },
    { route: 'room.less', why: 'the response cannot be read: there is none' },
    { route: 'room.bytes', why: 'the body cannot be read: one is raw, the other is not' },
    { route: 'onText', why: 'the push cannot be read: /text' }
  ])
  t.strictSame(findBreaks(after, after), [])
  t.strictSame(findBreaks(before, after).map(({ route }) => route), ['room.same', 'room.kind', 'room.answer', 'room.bytes', 'room.added', 'onText'])
})

t.test('fuzz: whatever lies in the store is read without another error, in bounded time', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const words = ['record', 'enum', 'array', 'map', 'fixed', 'int', 'null', 'string', 'T0', 'R', 'a', '__proto__', '', 'raw', 'bytes', 5, null, true, -1]
  const keys = ['type', 'name', 'fields', 'items', 'values', 'symbols', 'default', 'aliases', 'namespace', 'size', 'kind', 'body', 'response', '__proto__']
  const any = (depth: number): unknown => {
    const kind = depth === 0 ? 0 : random.int(4)
    if (kind === 1) return Array.from({ length: random.int(4) }, () => any(depth - 1))
    if (kind >= 2) return Object.fromEntries(Array.from({ length: random.int(5) }, () => [random.pick(keys), any(depth - 1)]))
    return random.pick(words)
  }
  let taken = 0
  for (let i = fuzzRuns(10); i > 0; i--) {
    const value = { routes: { 'a.b': any(5), 'a.c': { kind: 'request', body: any(5), response: any(3) } }, pushes: { p: any(6) } }
    const { routes, pushes } = decodeContract(json(value))
    for (const part of [...pushes.values(), ...[...routes.values()].flatMap(({ schemas }) => [schemas?.body, schemas?.response])]) {
      if (part === undefined || part === 'raw') continue
      taken++
      const again = JSON.stringify(canonicalSchema(part))
      if (again !== JSON.stringify(part)) t.equal(again, JSON.stringify(part), 'what was taken is canonical')
    }
    try {
      canonicalSchema(any(8))
    } catch (error) {
      if (!isPitayaError(error)) throw error
    }
  }
  t.ok(taken > 0, `${taken} schemas were taken`)
})

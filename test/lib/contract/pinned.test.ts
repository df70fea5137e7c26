import { Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { compileCodec, Writer } from '../../../lib/avro/codec.ts'
import type { Discovery, ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import type { Store } from '../../../lib/cluster/stores/store.ts'
import { adaptShapes, type Adapter } from '../../../lib/contract/adapt.ts'
import { canonicalSchema } from '../../../lib/contract/canonical.ts'
import { MAX_SET_BYTES, PinnedAvro, readClientSet } from '../../../lib/contract/pinned.ts'
import { PinnedSets } from '../../../lib/contract/pinned-sets.ts'
import { SchemaSets } from '../../../lib/contract/schema-sets.ts'
import type { SchemaSet } from '../../../lib/contract/set.ts'
import { shapeOf } from '../../../lib/contract/shape.ts'
import { setFingerprint } from '../../../lib/contract/fingerprint.ts'
import { isPitayaError } from '../../../lib/errors.ts'
import { defineHandlers, request } from '../../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../../lib/handler/types.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import { createCore, type Core } from '../../helpers/core.ts'
import { evolutions } from '../../helpers/evolutions.ts'
import { checkFuzz, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'
import { contractFile } from '../../helpers/pinned.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const AVRO = 1
const writer = new Writer()

function echoOf (schemas: readonly TSchema[]): HandlersDefinition {
  const routes = schemas.map((schema, i) => [`m${i}`, request({ body: schema, response: schema }, (body) => body as any)] as const)
  return defineHandlers('echo', Object.fromEntries(routes)) as unknown as HandlersDefinition
}

function coreOf (schemas: readonly TSchema[]): Core {
  return createCore([echoOf(schemas)], { serializers: [createJsonSerializer(), createAvroSerializer()] })
}

function fileOf (schemas: readonly TSchema[]): SchemaSet { return contractFile([echoOf(schemas)], 'lobby') }

function add (core: Core, set: SchemaSet): { index: number, version: PinnedAvro } {
  const version = new PinnedAvro(readClientSet(JSON.stringify(set), set.fingerprint), 'lobby', writer)
  return { version, index: core.service.addVersion(version) }
}

const Message = Type.Object({ name: Type.String({ maxLength: 32 }), content: Type.String({ maxLength: 500 }) })
const Newer = Type.Object({
  name: Type.String({ maxLength: 32 }),
  content: Type.String({ maxLength: 500 }),
  level: Type.Integer({ default: 1 }),
  tag: Type.Optional(Type.String())
})

t.test('a schema that is the same shares the server\'s own codec', async (t) => {
  const core = coreOf([Message, Newer])
  const { index, version } = add(core, fileOf([Message, Message]))
  const [same, other] = ['echo.m0', 'echo.m1'].map((route) => core.service.find(route)!.body as unknown[])
  t.equal(same![index], same![AVRO])
  t.ok(other![index] !== other![AVRO])
  t.equal(version.refused.size, 0)
})

t.test('what can never fit is known when the set is first seen', async (t) => {
  const { version } = add(coreOf([Message, Newer]), fileOf([Type.Object({ name: Type.Integer() }), Newer]))
  t.strictSame([...version.refused], [['echo.m0 body', ['/name', '/content']], ['echo.m0 response', ['/name']]])
})

t.test('what is decoded is checked as ever, after it was brought into the server\'s schema', async (t) => {
  const core = coreOf([Newer])
  const { index } = add(core, fileOf([Message]))
  const { session, client } = core.connect(index)
  const body = (name: string): Uint8Array => new Uint8Array(compileCodec(fileOf([Message]).routes['echo.m0']!.body as any).encode({ name, content: 'x' }))
  core.call(session, 1, 'echo.m0', body('ana'))
  core.call(session, 2, 'echo.m0', body('x'.repeat(40)))
  t.strictSame(client.answers.map(({ isError }) => isError), [false, true])
  t.equal(client.answers[0]!.data, Buffer.from(body('ana')).toString())
  t.ok(client.answers[1]!.data.includes('/name'))
})

t.test('a set is fetched once, however many ask for it, and not at all when it is known', async (t) => {
  const core = coreOf([Newer])
  const set = fileOf([Message])
  let reads = 0
  const value = Buffer.from(JSON.stringify(set))
  const store = {
    async get (key: string) {
      reads++
      return key === `schemas.${set.fingerprint}` ? { key, value, revision: 1 } : undefined
    }
  }
  const discovery = { self: { id: 'a' }, update () {} } as unknown as Discovery
  const unstored = fileOf([Newer])
  const asked: string[] = []
  const ask = async (serverId: string, fingerprint: string): Promise<string> => {
    asked.push(`${serverId} ${fingerprint.slice(0, 1)}`)
    if (fingerprint !== unstored.fingerprint) throw new Error('not there')
    return JSON.stringify(unstored)
  }
  const pinned = new PinnedSets({
    service: core.service, schemas: new SchemaSets('lobby'), discovery, ask, store: store as unknown as Store, log: core.service.log
  })
  const name = `avro@${set.fingerprint}`
  await Promise.all(Array.from({ length: 50 }, () => pinned.load(name, 'b')))
  t.equal(reads, 1)
  t.equal(core.service.serializerIndex(name), 2)
  t.equal(pinned.load('avro', 'b'), undefined)
  await t.rejects(pinned.load(`avro@${'A'.repeat(16)}`, 'b')!, { code: 'PIT_ERR_CONTRACT' })
  const codeOf = (error: unknown): unknown => isPitayaError(error) ? error.code : error
  const outcomes = await Promise.all(Array.from({ length: 2000 }, () => pinned.load(`avro@${'B'.repeat(16)}`, 'b')!.catch(codeOf)))
  t.strictSame([...new Set(outcomes)].sort(), ['PIT_ERR_BUSY', 'PIT_ERR_CONTRACT'])
  asked.length = 0
  await Promise.all(Array.from({ length: 50 }, () => pinned.load(`avro@${unstored.fingerprint}`, 'c')))
  t.strictSame(asked, [`c ${unstored.fingerprint.slice(0, 1)}`], 'what the store does not have, the server that has it is asked for')
  t.equal(pinned.textOf(unstored.fingerprint), JSON.stringify(unstored))
  t.throws(() => pinned.textOf('A'.repeat(16)), { code: 'PIT_ERR_CONTRACT' })
  pinned.learn({ id: 'b', sets: [set.fingerprint, 'not one', 'C'.repeat(16)] } as unknown as ServerInfo)
  pinned.left({ id: 'b' } as ServerInfo)
})

t.test('error codes in a client\'s file, whatever they are, change neither its fingerprint nor what is read of it', async (t) => {
  const { fingerprint, ...rest } = fileOf([Message])
  const route = rest.routes['echo.m0']!
  for (const errors of [['ECHO-001'], [], 'none', { a: 1 }, Array(1000).fill('ECHO-001')]) {
    const text = JSON.stringify({ ...rest, fingerprint, routes: { 'echo.m0': { ...route, errors } } })
    t.strictSame(readClientSet(text, fingerprint).routes.get('echo.m0'), route)
  }
})

t.test('sets are bounded in bytes, names and parts', async (t) => {
  const sealed = (routes: Record<string, any>, pushes: Record<string, any> = {}): [string, string] => {
    const fingerprint = setFingerprint('', Object.entries(routes), Object.entries(pushes))
    return [JSON.stringify({ version: 1, fingerprint, serverType: '', routes, pushes }), fingerprint]
  }
  const many = Object.fromEntries(Array.from({ length: 4001 }, (_, i) => [`r.${i}`, { kind: 'notify' }]))
  const wide = { type: 'enum', name: 'T0', symbols: Array.from({ length: 20_001 }, (_, i) => `s${i}`) }
  t.equal(readClientSet(...sealed({ 'a.b': { kind: 'request', body: 'int', response: 'raw' } }, { p: 'long' })).routes.size, 1)
  const bad: Array<[string, string]> = [
    sealed(many), sealed({ 'a.b': { kind: 'request', body: wide } }), sealed({ ['x'.repeat(256)]: { kind: 'notify' } }),
    [`{"version":1,"serverType":"","routes":{},"pushes":{"p":${'{"type":"map","values":'.repeat(9000)}"int"${'}'.repeat(9000)}}}`, 'A'.repeat(16)],
    [`"${'x'.repeat(MAX_SET_BYTES)}"`, 'A'.repeat(16)], ['['.repeat(200_000), 'A'.repeat(16)], ['{"version":1', 'A'.repeat(16)]
  ]
  const start = performance.now()
  for (const [text, fingerprint] of bad) t.throws(() => readClientSet(text, fingerprint), { code: 'PIT_ERR_CONTRACT' })
  t.ok(performance.now() - start < 2000)
})

t.test('defaults count by what they become: a set of few bytes that stand for many is refused before anything is compiled', async (t) => {
  const inner = (fields: number, type: unknown, value: unknown): any =>
    ({ type: 'record', name: 'T1', fields: Array.from({ length: fields }, (_, i) => ({ name: `f${i}`, type, default: value })) })
  const outer = (fields: number, schema: unknown, value: unknown = {}): any =>
    ({ type: 'record', name: 'T0', fields: Array.from({ length: fields }, (_, i) => ({ name: `g${i}`, type: i === 0 ? schema : 'T1', default: value })) })
  const list = (items: unknown): any => ({ type: 'record', name: 'T9', fields: [{ name: 'list', type: { type: 'array', items } }] })
  const sealed = (...bodies: unknown[]): [string, string] => {
    const routes: Record<string, any> = Object.fromEntries(bodies.map((body, i) => [`a.m${i}`, { kind: 'request', response: canonicalSchema(body) }]))
    const fingerprint = setFingerprint('', Object.entries(routes), [])
    return [JSON.stringify({ version: 1, fingerprint, serverType: '', routes, pushes: {} }), fingerprint]
  }
  const text = 'x'.repeat(30_000)
  const eighth = list(outer(4, inner(248, 'int', 0)))
  const good = [
    sealed(list(inner(1000, 'int', 0))), sealed(outer(3, inner(330, ['null', 'int'], null))), sealed(outer(7, inner(1, 'string', text))),
    sealed(...Array(8).fill(eighth)), sealed(list(inner(4000, ['null', 'int'], null)))
  ]
  const bad = [
    sealed(list(inner(1001, 'int', 0))), sealed(list(inner(1001, 'null', null))), sealed(outer(2, inner(500, 'int', 0))),
    sealed(outer(4000, inner(950, 'string', ''))), sealed(outer(120, inner(990, { type: 'map', values: 'int' }, {}))),
    sealed(outer(9, inner(1, 'string', text))), sealed(outer(9, inner(1, 'bytes', text))), sealed(outer(9, inner(1, { type: 'map', values: 'int' }, { [text]: 1 }))),
    sealed(...Array(9).fill(eighth)), sealed({ ...list('int'), fields: [{ name: 'a', type: { type: 'array', items: inner(900, 'int', 0) }, default: Array(900).fill({}) }] })
  ]
  for (const set of good) t.equal(readClientSet(...set).pushes.size, 0)
  for (const [text, fingerprint] of bad) {
    const start = process.cpuUsage()
    t.throws(() => readClientSet(text, fingerprint), { code: 'PIT_ERR_CONTRACT', metadata: { field: /^routes\/a\.m\d+\/response$/ } }, `${text.length} bytes`)
    const { user, system } = process.cpuUsage(start)
    t.ok(user + system < 500_000, `${(user + system) / 1000} ms`)
  }
})

t.test('an answer of 10,000 items, each with all the defaults that a record may have, stays within what is cheap', async (t) => {
  const Item = Type.Object({ n: Type.Optional(Type.Integer()) })
  const Answer = Type.Object({ list: Type.Array(Item) })
  const core = coreOf([Answer])
  const fields = Array.from({ length: 999 }, (_, i) => ({ name: `f${i}`, type: i === 0 ? { type: 'fixed', name: 'T2', size: 0 } : 'T2', default: '' }))
  // A list's items take some bytes, the rest takes none.
  const items = { type: 'record', name: 'T1', fields: [{ name: 'some', type: 'boolean', default: false }, ...fields] }
  const response = canonicalSchema({ type: 'record', name: 'T0', fields: [{ name: 'list', type: { type: 'array', items } }] })
  const routes: Record<string, any> = { 'echo.m0': { kind: 'request', response } }
  const { index } = add(core, { version: 1, fingerprint: setFingerprint('lobby', Object.entries(routes), []), serverType: 'lobby', routes, pushes: {} })
  const codec = (core.service.find('echo.m0')!.response as any[])[index]
  const value = { list: Array.from({ length: 10_000 }, () => ({})) }
  codec.encode({ list: value.list.slice(0, 100) })
  const start = process.cpuUsage()
  t.equal(codec.encode(value).length, 10_004)
  const { user, system } = process.cpuUsage(start)
  t.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`)
})

t.test('what a handler gets by default is its own, what is only written is shared', async (t) => {
  const own = shapeOf({ type: 'record', name: 'A', fields: [] })
  const other = shapeOf({ type: 'record', name: 'B', fields: [{ name: 'list', type: { type: 'array', items: 'int' }, default: [1] }] })
  const [anew, shared] = [adaptShapes(own, other), adaptShapes(own, other, 'shared')] as const
  for (const { adapt } of [anew, shared]) t.strictSame((adapt({}) as any).list, [1])
  const lists = ({ adapt }: Adapter): number => new Set([1, 2].map(() => (adapt({}) as any).list)).size
  t.strictSame([lists(anew), lists(shared)], [2, 1])
})

t.test('no set does anything but get compiled or refused', async (t) => {
  const core = coreOf(evolutions.map(({ after }) => after))
  const file = fileOf(evolutions.map(({ before }) => before))
  const text = JSON.stringify(file)
  const texts = evolutions.map((_, i) => JSON.stringify({ ...file, routes: { [`echo.m${i}`]: file.routes[`echo.m${i}`] } }))
  let accepted = 0
  const report = await fuzz({
    corpus: [text, ...texts].map((text) => Buffer.from(text)),
    dictionary: ['"null"', '"int"', '[', '{"type":"record","name":"T0","fields":[]}', '"default":', '"aliases":["a"],', '"T0"', '{}', 'null', '__proto__', '"raw"', '1e999', '"constructor"'].map((text) => Buffer.from(text)),
    maxBytes: 16_384,
    target: (input) => {
      // A liar who knows how to make fingerprints.
      const given = parse(Buffer.from(input).toString())
      const fingerprint = typeof given?.fingerprint === 'string' ? resealed(given) : 'A'.repeat(16)
      const set = readClientSet(JSON.stringify(given ?? null), fingerprint)
      core.service.addVersion(new PinnedAvro(set, 'lobby', writer), 2)
      accepted++
    }
  })
  checkFuzz(t, report, 64 * 1024 * 1024)
  t.ok(accepted > 0, `${accepted} sets were compiled`)
  t.strictSame(Object.keys(Object.prototype), [])
})

t.test('no bytes of a pinned client make its codecs do anything but decode or refuse', async (t) => {
  const core = coreOf(evolutions.map(({ after }) => after))
  const old = createAvroSerializer()
  const { index } = add(core, fileOf(evolutions.map(({ before }) => before)))
  const codecs = evolutions.map((_, i) => (core.service.find(`echo.m${i}`)!.body as any[])[index])
  const corpus = evolutions.flatMap(({ before, forth }, i) =>
    (forth.values ?? []).map(([value]) => Uint8Array.of(i, ...old.compile(before, `v${i}`).encode(value))))
  checkFuzz(t, await fuzz({
    corpus,
    maxBytes: 700,
    target: (input) => { codecs[(input[0] ?? 0) % codecs.length].decode(input, Math.min(1, input.length), input.length) }
  }))
})

t.test('the echo of a pinned client with another schema, beside that of a JSON client', async (t) => {
  const core = coreOf([Newer])
  const { index } = add(core, fileOf([Message]))
  const value = { name: 'ana', content: 'hello there, this is a chat message of ordinary length' }
  const sides = [
    { ...core.connect(0), body: Buffer.from(JSON.stringify({ ...value, level: 1 })), ms: Infinity },
    { ...core.connect(index), body: new Uint8Array(compileCodec(fileOf([Message]).routes['echo.m0']!.body as any).encode(value)), ms: Infinity }
  ]
  for (let round = 0; round < 12; round++) {
    for (const side of sides) {
      const start = performance.now()
      for (let i = 1; i <= 4000; i++) core.call(side.session, i, 'echo.m0', side.body)
      side.ms = Math.min(side.ms, performance.now() - start)
      side.client.answers.length = 0
    }
  }
  const [json, avro] = sides.map(({ ms }) => ms / 4) as [number, number]
  const ratio = avro / json
  t.ok(ratio < 2, `${avro.toFixed(2)} µs against ${json.toFixed(2)} µs a message: ${ratio.toFixed(2)}`)
})

function parse (text: string): any {
  try { return JSON.parse(text) } catch { return undefined }
}

/** The fingerprint of what it is now, where that can be told. */
function resealed (given: any): string {
  try {
    const fingerprint = setFingerprint(given.serverType, Object.entries(given.routes), Object.entries(given.pushes))
    given.fingerprint = fingerprint
    return fingerprint
  } catch { return 'A'.repeat(16) }
}

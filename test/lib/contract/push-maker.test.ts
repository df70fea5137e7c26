import t from 'tap'
import { compileCodec, type AvroSchema } from '../../../lib/avro/codec.ts'
import { PushMaker, type KnownPushes } from '../../../lib/contract/push-maker.ts'
import type { PartSchema } from '../../../lib/contract/set.ts'

const record = (...fields: object[]): AvroSchema => ({ type: 'record', name: 'r', fields })
const text = { name: 'text', type: 'string' }
const at = { name: 'at', type: ['null', 'long'], default: null }
const [Old, New] = [record(text), record(text, at)]

function pushesOf (fingerprint: string, pushes: Record<string, PartSchema>): KnownPushes {
  return { fingerprint, pushes: new Map(Object.entries(pushes)) }
}

const servers = [pushesOf('s1', { p: New, same: Old, raw: 'raw', gone: record(at) })]
const sets = [
  pushesOf('c1', { p: Old, same: Old, raw: 'raw', gone: Old, odd: 'raw', bytes: record({ name: 'data', type: 'bytes' }) }),
  pushesOf('c2', { p: New })
]
const maker = (): PushMaker => new PushMaker({
  ofServer: (id) => servers.find(({ fingerprint }) => fingerprint === id), ofSet: (id) => sets.find(({ fingerprint }) => fingerprint === id)
})
const bytes = (schema: AvroSchema, value: unknown): Uint8Array => new Uint8Array(compileCodec(schema).encode(value))
const avro = { serializer: 'avro', data: bytes(New, { text: 'hi', at: 5 }) }
const json = { serializer: 'json', data: Buffer.from('{"text":"hi","at":5}') }
const hi = bytes(Old, { text: 'hi' })

t.test('a push is made out of the sender\'s Avro by its contract', async (t) => {
  const { make } = maker()
  t.strictSame(new Uint8Array(make('p', 'avro@c1', [json, avro], 's1')!), hi)
  t.strictSame(new Uint8Array(make('p', 'avro@c1', [avro], 's1')!), hi, 'once more')
})

t.test('bytes of the same schema are those of the sender', async (t) => {
  const { make } = maker()
  t.equal(make('same', 'avro@c1', [{ serializer: 'avro', data: hi }], 's1'), hi)
  t.equal(make('raw', 'avro@c1', [{ serializer: 'avro', data: hi }], 's1'), hi)
})

t.test('a push that was made for another set is brought into this one', async (t) => {
  const { make } = maker()
  t.strictSame(new Uint8Array(make('p', 'avro@c1', [{ ...avro, serializer: 'avro@c2' }], 'unknown')!), hi)
  t.equal(make('p', 'avro@c1', [{ ...avro, serializer: 'avro@c3' }], 'unknown'), undefined)
})

t.test('without the sender\'s contract its JSON serves, where that fits', async (t) => {
  const { make } = maker()
  t.strictSame(new Uint8Array(make('p', 'avro@c1', [json, avro], 'unknown')!), hi)
  t.equal(make('p', 'avro@c1', [avro], 'unknown'), undefined)
  t.equal(make('nope', 'avro@c1', [json], 'unknown'), undefined)
  t.equal(make('p', 'avro', [json], 'unknown'), undefined)
  for (const [name, text] of [['p', '{}'], ['p', '{'], ['bytes', '{"data":"AA=="}'], ['odd', '{}']] as const) {
    t.throws(() => make(name, 'avro@c1', [{ serializer: 'json', data: Buffer.from(text) }], 'unknown'), { code: 'PIT_ERR_EVOLUTION' }, `${name} ${text}`)
  }
})

t.test('of a schema that no codec takes nothing is made, which is found out once', async (t) => {
  const nulls = record({ name: 'list', type: { type: 'array', items: 'null' } })
  let reads = 0
  const push = { get: () => { reads++; return nulls } }
  const { make } = new PushMaker({ ofServer: () => pushesOf('s', { p: record(text) }), ofSet: () => ({ fingerprint: 'c', pushes: push as any }) })
  for (const data of [hi, hi]) t.throws(() => make('p', 'avro@c', [{ serializer: 'avro', data }], 's'), { code: 'PIT_ERR_EVOLUTION' })
  t.throws(() => make('p', 'avro@c', [json], 'unknown'), { code: 'PIT_ERR_EVOLUTION' })
  t.equal(reads, 3)
})

t.test('nothing is made by a server\'s contract that is a bomb by its defaults, which is found out quickly', async (t) => {
  const inner = { type: 'record', name: 'I', fields: Array.from({ length: 990 }, (_, i) => ({ name: `f${i}`, type: 'string', default: '' })) }
  const bomb = record(...Array.from({ length: 4000 }, (_, i) => ({ name: `g${i}`, type: i === 0 ? inner : 'I', default: {} })))
  const { make } = new PushMaker({ ofServer: () => pushesOf('s', { p: bomb }), ofSet: () => pushesOf('c', { p: Old }) })
  const start = process.cpuUsage()
  for (const data of [hi, hi]) t.throws(() => make('p', 'avro@c', [{ serializer: 'avro', data }], 's'), { code: 'PIT_ERR_EVOLUTION' })
  const { user, system } = process.cpuUsage(start)
  t.ok(user + system < 500_000, `${(user + system) / 1000} ms`)
})

t.test('what does not fit is refused, and so are bytes that are not what the contract says', async (t) => {
  const { make } = maker()
  t.throws(() => make('gone', 'avro@c1', [{ serializer: 'avro', data: Uint8Array.of(0) }], 's1'), { code: 'PIT_ERR_EVOLUTION' })
  t.throws(() => make('p', 'avro@c1', [{ serializer: 'avro', data: Uint8Array.of(200, 1, 2) }], 's1'), { code: 'PIT_ERR_EVOLUTION' })
})

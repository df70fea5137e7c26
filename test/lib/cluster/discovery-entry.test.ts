import { deepStrictEqual } from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import { decodeEntry, encodeEntry, MAX_ENTRY_BYTES } from '../../../lib/cluster/discovery/entry.ts'
import type { ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { createError } from '../../../lib/errors.ts'
import { checkFuzz, checkProperty, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const server: ServerInfo = {
  id: 'chat-1',
  type: 'chat',
  frontend: true,
  metadata: { region: 'eu' },
  incarnation: 'aB3_-',
  hostname: 'host',
  version: '1.0.0',
  load: 3,
  draining: false,
  contract: 'c',
  events: ['bound', 'closed']
}
const entry = { server, leaseMs: 10_000 }
const good = JSON.parse(Buffer.from(encodeEntry(entry)).toString()) as Record<string, unknown>
const decode = (value: unknown, key = 'chat-1') => decodeEntry(key, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)))

t.test('an entry is what it was, whatever its texts', async (t) => {
  t.strictSame(decodeEntry('chat-1', encodeEntry(entry)), entry)
  const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/)
  const text = (maxLength: number) => fc.string({ unit: 'grapheme', maxLength }).filter((value) => value.length <= maxLength)
  const servers: fc.Arbitrary<ServerInfo> = fc.record({
    id: name,
    type: name,
    frontend: fc.boolean(),
    metadata: fc.dictionary(text(20).filter((key) => key !== '' && key !== '__proto__' && key !== 'constructor'), text(100), { maxKeys: 10, noNullPrototype: true }),
    incarnation: name,
    hostname: text(255),
    version: text(64),
    load: fc.maxSafeNat(),
    draining: fc.boolean(),
    contract: text(128),
    events: fc.array(text(64).filter((event) => event !== ''), { maxLength: 10 })
  }, { noNullPrototype: true })
  await checkProperty(t, fc.property(servers, fc.integer({ min: 300, max: 3_600_000 }), (server, leaseMs) => {
    deepStrictEqual(decodeEntry(server.id, encodeEntry({ server, leaseMs })), { server, leaseMs })
  }), 2000)
})

t.test('fields that are not known are left out', async (t) => {
  t.strictSame(decode({ ...good, later: { deep: [1] } }), entry)
})

t.test('what is no entry is named, and nothing of it is repeated', async (t) => {
  const rows: Array<[unknown, string]> = [
    ['', 'not JSON'], ['{', 'not JSON'], ['{"__proto__":{}}', 'not JSON'], [JSON.stringify(good).replace('"region"', '"__proto__"'), 'not JSON'],
    ['null', 'value'], ['[]', 'value'], ['1', 'value'], ['[['.repeat(8000), 'not JSON'],
    [{ ...good, format: 2 }, '/format'], [{ ...good, id: 'chat-2' }, 'id is not its key'], [{ ...good, id: undefined }, '/id'],
    [{ ...good, id: 'a b' }, '/id'], [{ ...good, id: 'x'.repeat(65) }, '/id'], [{ ...good, type: 'chat.*' }, '/type'], [{ ...good, type: '' }, '/type'],
    [{ ...good, type: 'chat\n' }, '/type'], [{ ...good, incarnation: 'a.>' }, '/incarnation'], [{ ...good, frontend: 'yes' }, '/frontend'],
    [{ ...good, metadata: [] }, '/metadata'], [{ ...good, metadata: { a: 1 } }, '/metadata/a'], [{ ...good, metadata: { '': 'a' } }, '/metadata'],
    [{ ...good, metadata: { 'a\nb': 1 } }, '/metadata'], [{ ...good, metadata: { ['x'.repeat(65)]: '' } }, '/metadata'],
    [{ ...good, metadata: { a: 'x'.repeat(1025) } }, '/metadata/a'],
    [{ ...good, metadata: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, ''])) }, '/metadata'],
    [{ ...good, hostname: 'x'.repeat(256) }, '/hostname'], [{ ...good, version: 1 }, '/version'], [{ ...good, load: -1 }, '/load'],
    [{ ...good, draining: 1 }, '/draining'], [{ ...good, load: 0.5 }, '/load'], [JSON.stringify(good).replace('"load":3', '"load":1e999'), '/load'], [{ ...good, contract: null }, '/contract'],
    [{ ...good, events: ['x'.repeat(65)] }, '/events/0'], [{ ...good, events: Array.from({ length: 65 }, () => 'a') }, '/events'],
    [{ ...good, leaseMs: 299 }, '/leaseMs'], [{ ...good, leaseMs: 3_600_001 }, '/leaseMs'], [{ ...good, leaseMs: '1000' }, '/leaseMs'],
    [JSON.stringify(good).replace('"host"', '"\\ud800"'), 'text is not well-formed']
  ]
  for (const [value, why] of rows) {
    const result = decode(value)
    t.ok(typeof result === 'string' && result.startsWith(why), `${JSON.stringify(value)?.slice(0, 80)}: ${JSON.stringify(result)}`)
  }
  t.equal(decodeEntry('chat-1', Uint8Array.of(0x22, 0xff, 0x22)), 'not UTF-8')
  t.equal(decode({ ...good, hostname: 'secret'.repeat(100) }).toString().includes('secret'), false)
})

t.test('the limit of size is exact', async (t) => {
  const padded = (bytes: number) => `${JSON.stringify(good)}${' '.repeat(bytes - JSON.stringify(good).length)}`
  t.strictSame(decode(padded(MAX_ENTRY_BYTES)), entry)
  t.equal(decode(padded(MAX_ENTRY_BYTES + 1)), 'larger than 16384 bytes')
})

t.test('no bytes make the decoder do anything but decode or refuse', async (t) => {
  const corpus = [good, { ...good, metadata: {} }, { ...good, load: 0, events: [] }, { ...good, later: [1, { a: null }] }]
  const words = Object.keys(good).map((key) => Buffer.from(`"${key}":`))
  const pieces = ['"__proto__":', '"constructor":{"prototype":', '1e999', '-1', '""', 'null', '{}', '[]', '\\ud800', ' ', ',']
  const dictionary = [...words, ...pieces.map((piece) => Buffer.from(piece))]
  checkFuzz(t, await fuzz({
    corpus: corpus.map((value) => Buffer.from(JSON.stringify(value))),
    dictionary,
    target (input) {
      const read = decodeEntry('chat-1', input)
      if (typeof read === 'string') throw createError('PIT_ERR_RPC', [read])
      const again = decodeEntry(read.server.id, encodeEntry(read))
      if (JSON.stringify(again) !== JSON.stringify(read)) throw new Error(`not the same again: ${JSON.stringify(again)}`)
    }
  }))
  t.strictSame(Object.keys(Object.prototype), [])
})

import t from 'tap'
import { parseRoute, RouteDictionary, RouteIndex } from '../../../lib/protocol/route.ts'
import { decodeUtf8, encodeUtf8 } from '../../../lib/protocol/utf8.ts'
import { checkFuzz, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'
import { concat } from '../../helpers/packets.ts'
import { readVectors } from '../../helpers/vectors.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

interface RouteVector {
  route: string
  goError?: string
  serverType: string
  service: string
  method: string
  string: string
  short: string
}
const invalid = readVectors<{
  routes: RouteVector[]
  dictionary: Record<string, number>
  dictionaries: Array<{ name: string, add: Record<string, number> | null, goError?: string }>
}>('invalid.json')

t.test('recorded routes are taken apart', async (t) => {
  for (const { route, goError, serverType, service, method } of invalid.routes) {
    if (goError !== undefined) {
      t.throws(() => parseRoute(route), { message: goError, wireCode: 'PIT-400' }, JSON.stringify(route))
      continue
    }
    t.strictSame(parseRoute(route), { serverType, service, method }, JSON.stringify(route))
  }
})

t.test('white space is what Go takes for it', async (t) => {
  for (const blank of ['\u0085', '\u00a0', '\u2003', '\u3000', '\t\n\v\f\r ']) {
    t.throws(() => parseRoute(`a.${blank}`), { code: 'PIT_ERR_ROUTE_EMPTY' })
  }
  for (const text of ['\ufeff', '\u200b', '\u0000']) t.equal(parseRoute(`a.${text}`).method, text)
})

t.test('hostile routes are refused or plain text', async (t) => {
  t.throws(() => parseRoute('.'.repeat(255)), { code: 'PIT_ERR_ROUTE_EMPTY' })
  t.strictSame(parseRoute('__proto__.x'), { serverType: '', service: '__proto__', method: 'x' })
  t.strictSame(parseRoute('constructor.constructor'), { serverType: '', service: 'constructor', method: 'constructor' })
})

t.test('a dictionary knows its routes both ways, trimmed, and lists them sorted', async (t) => {
  const dictionary = new RouteDictionary()
  dictionary.add({ ' chat.room.send\u0085': 255, 'a.b': 0 })
  dictionary.add({ Z: 65535, '\u{10000}': 7, '\uffee': 8, 9: 9, 10: 10, ['__proto__']: 11 })
  t.equal(dictionary.size, 8)
  t.equal(dictionary.codeOf('chat.room.send'), 255)
  t.equal(dictionary.routeOf(0), 'a.b')
  t.equal(dictionary.codeOf('constructor'), -1)
  t.equal(dictionary.codeOf('__proto__'), 11)
  t.equal(dictionary.routeOf(1), undefined)
  // By bytes, as Go sorts: U+FFEE before U+10000, which JavaScript's own order turns round.
  t.strictSame(dictionary.entries().map(([route]) => route), ['10', '9', 'Z', '__proto__', 'a.b', 'chat.room.send', '\uffee', '\u{10000}'])
  t.equal(Object.keys(dictionary.toJSON()).length, 8)
})

t.test('duplicates in a dictionary are refused with the recorded texts', async (t) => {
  for (const { name, add, goError } of invalid.dictionaries) {
    const dictionary = new RouteDictionary()
    dictionary.add(invalid.dictionary)
    if (goError === undefined) dictionary.add(add ?? {})
    else t.throws(() => dictionary.add(add ?? {}), { code: 'PIT_ERR_DICTIONARY', message: `fastify-pitaya: dictionary: ${goError}` }, name)
    t.equal(dictionary.size, Object.keys(invalid.dictionary).length)
  }
  for (const code of [-1, 65536, 1.5, NaN, '1' as unknown as number]) {
    t.throws(() => new RouteDictionary().add({ 'a.b': code }), { code: 'PIT_ERR_DICTIONARY' })
  }
})

t.test('entries before a failing one stay in the dictionary', async (t) => {
  const dictionary = new RouteDictionary()
  t.throws(() => dictionary.add({ 'a.b': 1, 'c.d': 1, 'e.f': 2 }), { message: /duplicated route\(route: c\.d, code: 1\)/ })
  t.strictSame(dictionary.toJSON(), { 'a.b': 1 })
})

const names = ['', 'room.join', 'chat.room.join', '__proto__.x', 'constructor.constructor', 'sys.bindsession', 'sala.日本.ñ', 'Aa.x', 'BB.x']

t.test('an index finds exactly its routes, anywhere in a packet', async (t) => {
  const index = new RouteIndex<number>()
  names.forEach((name, i) => index.set(name, i))
  for (let i = 0; i < 2000; i++) index.set(`chat.room.method${i}`, 100 + i)
  t.equal(index.size, names.length + 2000)
  names.forEach((name, i) => {
    const bytes = encodeUtf8(name)
    const packet = concat(Uint8Array.of(1, 2, 3), bytes, Uint8Array.of(4))
    t.equal(index.get(packet, 3, 3 + bytes.length), i, name)
    t.equal(index.getByText(name), i, name)
    t.equal(index.get(packet, 3, packet.length), undefined)
  })
  for (let i = 0; i < 2000; i++) {
    const bytes = encodeUtf8(`chat.room.method${i}`)
    t.equal(index.get(bytes, 0, bytes.length), 100 + i)
  }
  for (const unknown of ['toString', 'hasOwnProperty', '__proto__', 'room.Join', 'rооm.join']) {
    const bytes = encodeUtf8(unknown)
    t.equal(index.get(bytes, 0, bytes.length), undefined, unknown)
    t.equal(index.getByText(unknown), undefined, unknown)
  }
})

t.test('setting a known route again gives it another value', async (t) => {
  const index = new RouteIndex<string>()
  index.set('a.b', 'first')
  index.set('a.b', 'second')
  t.equal(index.size, 1)
  t.equal(index.getByText('a.b'), 'second')
  t.equal(index.get(encodeUtf8('a.b'), 0, 3), 'second')
})

t.test('mutated routes are taken apart or end in a coded error, and an index finds none that it does not hold', async (t) => {
  const index = new RouteIndex<string>()
  for (const name of names) index.set(name, name)
  checkFuzz(t, await fuzz({
    corpus: [...names, 'a.b.c.d', ' . ', '..', 'a'.repeat(255)].map(encodeUtf8),
    maxBytes: 255,
    target (bytes) {
      const text = decodeUtf8(bytes)
      const found = index.get(bytes, 0, bytes.length)
      if (found !== undefined && found !== text) throw new Error(`found ${found}`)
      if (found !== index.getByText(text)) throw new Error('bytes and text disagree')
      const { serverType, service, method } = parseRoute(text)
      if ((serverType === '' ? `${service}.${method}` : `${serverType}.${service}.${method}`) !== text) throw new Error('not the same text again')
    }
  }))
})

import t from 'tap'
import { assertUid } from '../../../lib/session/uid.ts'
import { fuzzRuns, fuzzSeed, FUZZ_TIMEOUT_MS, Random } from '../../helpers/fuzz.ts'
import { createCore } from '../../helpers/core.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const accepted = ['1', ' ', ' ana ', 'Ana', 'ana', 'a.b', '*', '>', 'a/b', '__proto__', 'constructor', 'toString', '\u00e9', 'e\u0301', '\u{1f600}',
  '\u2028', 'x'.repeat(128), 'é'.repeat(64)]
const refused: Array<[string, unknown]> = [
  ['empty', ''], ['a number', 1], ['null', null], ['undefined', undefined], ['an object', {}], ['a String object', Object('ana')], ['a line break', 'a\nb'],
  ['a NUL', 'a\0'], ['DEL', 'a\u007f'], ['129 bytes', 'x'.repeat(129)], ['129 bytes of UTF-8', `${'é'.repeat(64)}x`], ['10 KB', 'x'.repeat(10_240)],
  ['half a surrogate pair', 'a\ud800'], ['a pair the wrong way round', '\udc00\ud800']
]

t.test('every other text of 1 to 128 bytes is a uid', async (t) => {
  for (const uid of accepted) assertUid(uid)
  t.pass()
})

for (const [what, uid] of refused) {
  t.test(`a uid may not be ${what}`, async (t) => {
    t.throws(() => assertUid(uid), { code: 'PIT_ERR_UID', message: 'illegal uid' })
    const { connect, sessions } = createCore()
    const { session } = connect()
    await t.rejects(session.bind(uid as string), { code: 'PIT_ERR_UID' })
    t.equal(session.uid, '')
    t.equal(sessions.boundUids, 0)
    await session.bind('ana')
  })
}

t.test('uids are compared byte by byte: different ones never share a session', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const { connect, sessions } = createCore()
  const alphabet = ['1', ' ', 'a', 'A', '\u00e9', 'e\u0301', 'e', '\u0301', '.', '*', '_', '\u{1f600}', '0']
  const make = (): string => random.int(50) === 0
    ? random.pick(accepted)
    : Array.from({ length: 1 + random.int(3) }, () => random.pick(alphabet)).join('')
  const mixed: string[][] = []
  let same = 0
  const runs = fuzzRuns()
  for (let i = 0; i < runs; i++) {
    const [a, b] = [make(), make()]
    const [one, two] = [connect(), connect()]
    // Bound one after the other: the hooks are none, so each bind is registered when the call returns.
    const bound = [one.session.bind(a), two.session.bind(b)]
    const isSame = Buffer.from(a).equals(Buffer.from(b))
    if (isSame) same++
    const isReplaced = one.client.closedWith === 'replaced'
    const [ofA, ofB] = [sessions.ofUid(a)[0], sessions.ofUid(b)[0]]
    if (isReplaced !== isSame || ofB !== two.session || ofA !== (isSame ? two.session : one.session)) mixed.push([a, b])
    if (i % 100 === 0) await Promise.allSettled(bound)
    else for (const promise of bound) promise.catch(() => {})
    one.client.close('normal')
    two.client.close('normal')
  }
  t.strictSame(mixed, [])
  t.ok(same > 0)
  t.equal(sessions.boundUids, 0)
  t.equal(sessions.size, 0)
})

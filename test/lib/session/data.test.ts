import t from 'tap'
import { Type } from '@sinclair/typebox'
import { createDataCheck, findSchema } from '../../../lib/handler/declared-schemas.ts'
import { defineHandlers, definePitaya } from '../../../lib/handler/define.ts'
import { createCore } from '../../helpers/core.ts'

const Profile = Type.Object({ name: Type.String(), level: Type.Optional(Type.Integer()) })
const Data = Type.Object({ score: Type.Integer({ minimum: 0 }), profile: Profile })

/** A session, its data checked against `Data` if asked to. */
function session ({ isTyped = false } = {}) {
  const { connect, sessions } = createCore()
  if (isTyped) sessions.dataCheck = createDataCheck(Data)
  return connect().session
}

t.test('data begins empty, is merged by key, and a key set to undefined is gone', async (t) => {
  const one = session()
  t.strictSame(one.data, {})
  one.set({ a: 1, b: 'two' })
  one.set({ b: undefined, c: [3] })
  t.strictSame(one.data, { a: 1, c: [3] })
})

t.test('data is a copy, and frozen: only set() changes it', async (t) => {
  const one = session()
  const given = { nested: { a: 1 } }
  one.set(given)
  given.nested.a = 2
  t.strictSame(one.data, { nested: { a: 1 } })
  t.throws(() => { (one.data as any).other = 1 }, TypeError)
})

t.test('declared data is checked, undeclared data dropped, and every key may be absent', async (t) => {
  const one = session({ isTyped: true })
  one.set({ score: 1, secret: 'x' })
  t.strictSame(one.data, { score: 1 })
  one.set({ profile: { name: 'ana', password: 'x' } })
  t.strictSame(one.data, { score: 1, profile: { name: 'ana' } })
})

t.test('a value outside the schema is refused with its place, and the data stay as they were', async (t) => {
  const one = session({ isTyped: true })
  one.set({ score: 1 })
  t.throws(() => one.set({ score: -1 }), { code: 'PIT_ERR_DATA', metadata: { field: '/score' } })
  t.throws(() => one.set({ score: 'secret' }), { code: 'PIT_ERR_DATA', message: /^session data: \/score expected integer$/ })
  t.throws(() => one.set({ score: NaN }), { code: 'PIT_ERR_DATA' })
  t.throws(() => one.set({ profile: {} }), { code: 'PIT_ERR_DATA', metadata: { field: '/profile/name' } })
  t.strictSame(one.data, { score: 1 })
})

t.test('what the application hands over is not changed, frozen or not', async (t) => {
  const one = session({ isTyped: true })
  const row = { name: 'ana', password: 'x' }
  one.set({ profile: row })
  t.strictSame(row, { name: 'ana', password: 'x' })
  one.set({ profile: Object.freeze({ name: 'bob', password: 'x' }) })
  t.strictSame(one.data, { profile: { name: 'bob' } })
})

t.test('4 KiB of JSON is the limit, in bytes', async (t) => {
  const one = session()
  const fits = 'é'.repeat((4096 - '{"a":""}'.length) / 2)
  one.set({ a: fits })
  t.throws(() => one.set({ a: `${fits}x` }), { code: 'PIT_ERR_DATA_SIZE', statusCode: 413, message: /4096/ })
  t.throws(() => one.set({ b: 'x'.repeat(1_000_000) }), { code: 'PIT_ERR_DATA_SIZE' })
  t.strictSame(one.data, { a: fits })
})

for (const isTyped of [false, true]) {
  t.test(`cycles, BigInt and what throws are refused ${isTyped ? 'with' : 'without'} a schema`, async (t) => {
    const one = session({ isTyped })
    const cycle: Record<string, unknown> = {}
    cycle.profile = cycle
    const deep: Record<string, unknown> = { name: 'x' }
    deep.self = deep
    for (const patch of [cycle, { profile: deep }, { score: 1n }, { profile: { toJSON () { throw new Error('no') } } }]) {
      t.throws(() => one.set(patch), { code: 'PIT_ERR_DATA' })
    }
    t.strictSame(one.data, {})
  })

  t.test(`a __proto__ key changes no prototype ${isTyped ? 'with' : 'without'} a schema`, async (t) => {
    const one = session({ isTyped })
    one.set(JSON.parse('{"__proto__":{"isAdmin":true},"profile":{"name":"ana","__proto__":{"isAdmin":true}}}'))
    t.equal((one.data as any).isAdmin, undefined)
    t.equal((one.data as any).profile.isAdmin, undefined)
    t.equal(Object.getPrototypeOf(one.data.profile), Object.prototype)
    t.equal(({} as any).isAdmin, undefined)
    one.set({ score: 1 })
    t.equal((one.data as any).isAdmin, undefined)
  })
}

t.test('all structures of a server share one schema of session data and of handshake user data', async (t) => {
  const chat = definePitaya({ session: Data })
  const same = definePitaya({ session: Type.Object({ ...Data.properties }) })
  const other = definePitaya({ session: Profile })
  const [one, two, three] = [chat.handlers('one', {}), same.handlers('two', {}), other.handlers('three', {})]
  t.equal(findSchema('session', undefined, [one, defineHandlers('plain', {})]), Data)
  t.same(findSchema('session', undefined, [one, two]), Data)
  t.throws(() => findSchema('session', undefined, [one, three]), { code: 'PIT_ERR_SCHEMA', message: /three/ })
  t.throws(() => findSchema('session', Profile, [one]), { code: 'PIT_ERR_SCHEMA', message: /one/ })
  t.equal(findSchema('user', Profile, [one]), Profile)
})

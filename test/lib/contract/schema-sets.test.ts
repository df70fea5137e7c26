import { Type } from '@sinclair/typebox'
import t from 'tap'
import { contractOf, type Contract } from '../../../lib/contract/contract.ts'
import { MAX_ANSWER_BYTES, MAX_ASKED, MAX_GREETED_BYTES, SchemaSets } from '../../../lib/contract/schema-sets.ts'
import { defineHandlers, request } from '../../../lib/handler/define.ts'

function contract (name: string, methods: string[], pushes: string[] = [], schema = Type.Integer() as any): Contract {
  const declared = Object.fromEntries(pushes.map((push) => [push, schema]))
  const requests = Object.fromEntries(methods.map((method) => [method, request({ body: schema }, () => {})]))
  return contractOf([defineHandlers(name, { pushes: declared }, requests as any)])
}

function setsOf (own: Contract): SchemaSets {
  const sets = new SchemaSets('chat')
  sets.setOwn(own)
  return sets
}

const ask = (sets: SchemaSets, body: unknown): any => JSON.parse(Buffer.from(sets.answer(Buffer.from(JSON.stringify(body)))).toString())
const greet = (sets: SchemaSets, has = ''): any => JSON.parse(`{${sets.greeting(has)}}`).schemas
const wide = Type.Object(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`a_field_with_a_long_name_${i}`, Type.Integer()])))

t.test('a set has the server\'s own routes by their short names, and those behind it by their full ones', async (t) => {
  const sets = setsOf(contract('room', ['b', 'a'], ['onB', 'onA']))
  const alone = sets.set
  sets.learn('game', [contract('match', ['join'], ['onMatch'])])
  t.strictSame(Object.keys(sets.set.routes), ['game.match.join', 'room.a', 'room.b'])
  t.strictSame(Object.keys(sets.set.pushes), ['onA', 'onB', 'onMatch'])
  t.strictSame([sets.set.serverType, sets.set.version, JSON.parse(sets.text)], ['chat', 1, sets.set])
  t.not(sets.set.fingerprint, alone.fingerprint)
})

t.test('a client that has the set is told its fingerprint only', async (t) => {
  const sets = setsOf(contract('room', ['a']))
  const { fingerprint, set } = greet(sets)
  t.strictSame(set, sets.set)
  t.strictSame(greet(sets, fingerprint), { fingerprint })
  t.ok(greet(sets, 'another').set)
  sets.learn('game', [contract('match', ['join'])])
  t.ok(greet(sets, fingerprint).set, 'what came later changes the set')
  t.equal(sets.greeting(''), sets.greeting('x'), 'cached')
})

t.test('where two servers of a type differ, the first of their contracts counts, and neither hides the other\'s routes', async (t) => {
  const sets = setsOf(contract('room', []))
  const [old, next] = [contract('match', ['join', 'gone']), contract('match', ['join', 'added'], [], Type.String())]
  sets.learn('game', [old, next])
  t.strictSame(Object.entries(sets.set.routes).map(([route, { body }]) => [route, body]), [
    ['game.match.added', 'string'], ['game.match.gone', 'long'], ['game.match.join', 'long']
  ])
  const { fingerprint } = sets.set
  sets.learn('game', [old, next])
  t.equal(sets.set.fingerprint, fingerprint)
  sets.learn('game', [next])
  t.strictSame(Object.keys(sets.set.routes), ['game.match.added', 'game.match.join'])
})

t.test('the error codes of a route are told, also when nothing else of it changes', async (t) => {
  const of = (errors: string[]): Contract => contractOf([defineHandlers('match', { join: request({ errors }, () => {}) })])
  const sets = setsOf(contract('room', []))
  sets.learn('game', [of(['FULL-001'])])
  const { fingerprint } = sets.set
  sets.learn('game', [of(['FULL-001', 'FULL-002'])])
  const route = { kind: 'request', errors: ['FULL-001', 'FULL-002'] }
  t.strictSame(ask(sets, { routes: ['game.match.join'] }).routes, { 'game.match.join': route })
  t.strictSame([sets.set.routes, sets.set.fingerprint], [{ 'game.match.join': route }, fingerprint])
})

t.test('a set that was given is extended by what came later, and nothing in it changes', async (t) => {
  const sets = setsOf(contract('room', ['a'], ['onA']))
  let changes = 0
  sets.onChange = () => { changes++ }
  const given = sets.current
  t.equal(sets.extend(given), given)
  sets.learn('game', [contract('match', ['join'])])
  const grown = sets.extend(given)
  t.equal(grown.set.fingerprint, sets.set.fingerprint, 'that is the current one')
  sets.learn('game', [contract('match', ['join', 'end'], ['onA', 'onEnd'], Type.String())])
  t.equal(changes, 2)
  const extended = sets.extend(grown)
  t.equal(sets.extend(grown), extended, 'made once')
  t.strictSame(Object.entries(extended.set.routes).map(([route, { body }]) => [route, body]), [['game.match.end', 'string'], ['game.match.join', 'long'], ['room.a', 'long']])
  t.strictSame(extended.set.pushes, { onA: 'long', onEnd: 'string' })
  t.not(extended.set.fingerprint, sets.set.fingerprint)
  sets.learn('game', [contract('match', ['join'])])
  t.equal(sets.extend(extended), extended, 'what is gone stays')
  const answer = JSON.parse(Buffer.from(sets.answer(Buffer.from('{"routes":["game.match.end"]}'), extended)).toString())
  t.strictSame([answer.fingerprint, answer.routes], [extended.set.fingerprint, { 'game.match.end': { kind: 'request', body: 'string' } }])
})

t.test('a set of more than 16 KiB is asked for by names', async (t) => {
  const names = Array.from({ length: 100 }, (_, i) => `method${i}`)
  const sets = setsOf(contract('room', names, ['onWide'], wide))
  t.ok(sets.text.length > MAX_GREETED_BYTES)
  t.strictSame(greet(sets), { fingerprint: sets.set.fingerprint })
  const { fingerprint, serverType, routes, pushes } = ask(sets, { routes: ['room.method1', 'chat.room.method2', 'game.room.method2', 'nope', '__proto__.x'], pushes: ['onWide', 'constructor', '__proto__'] })
  t.strictSame([fingerprint, serverType], [sets.set.fingerprint, 'chat'])
  t.strictSame(routes, {
    'room.method1': sets.set.routes['room.method1'], 'chat.room.method2': sets.set.routes['room.method2'], 'game.room.method2': null, nope: null, '__proto__.x': null
  })
  t.strictSame([pushes.onWide, pushes.constructor, Object.keys(pushes)], [sets.set.pushes.onWide, null, ['onWide', 'constructor', '__proto__']])
})

t.test('an answer has at most 60 KiB, and what is left out is asked for again', async (t) => {
  const names = Array.from({ length: 100 }, (_, i) => `room.method${i}`)
  const sets = setsOf(contract('room', names.map((name) => name.slice(5)), [], wide))
  const all: Record<string, unknown> = {}
  let rounds = 0
  for (let left = names; left.length > 0; left = left.filter((name) => !(name in all))) {
    const bytes = sets.answer(Buffer.from(JSON.stringify({ routes: left })))
    t.ok(bytes.length < MAX_ANSWER_BYTES + 1024)
    Object.assign(all, JSON.parse(Buffer.from(bytes).toString()).routes)
    rounds++
  }
  t.ok(rounds > 1 && rounds < 10, `${rounds} rounds`)
  t.strictSame(all, sets.set.routes)
})

t.test('without names, the names are told', async (t) => {
  const sets = setsOf(contract('room', ['a'], ['onA']))
  t.strictSame(ask(sets, {}), { fingerprint: sets.set.fingerprint, serverType: 'chat', names: { routes: ['room.a'], pushes: ['onA'] } })
})

t.test('what is no such request is refused', async (t) => {
  const sets = setsOf(contract('room', ['a']))
  for (const body of [null, [], 'x', 5, { routes: 'room.a' }, { routes: [5] }, { pushes: {} }, { routes: Array(MAX_ASKED + 1).fill('room.a') }]) {
    t.throws(() => ask(sets, body), { code: 'PIT_ERR_BODY' }, JSON.stringify(body).slice(0, 40))
  }
  t.throws(() => sets.answer(Buffer.from('{')), { code: 'PIT_ERR_BODY' })
})

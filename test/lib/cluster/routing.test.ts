import t from 'tap'
import type { ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import * as routing from '../../../lib/cluster/routing.ts'
import type { RoutingCall, RoutingFunction } from '../../../lib/cluster/routing.ts'
import type { HandlerSession } from '../../../lib/handler/types.ts'
import { fuzzSeed, Random } from '../../helpers/fuzz.ts'
import { routed, server } from '../../helpers/servers.ts'

const seed = fuzzSeed()
t.comment(`SEED=${seed}`)
const source = new Random(seed)
const uniform = (): number => source.int(1 << 30) / (1 << 30)
const four = ['a', 'b', 'c', 'd'].map((id) => server(id))
const uids = Array.from({ length: 20_000 }, (_, i) => `user-${i}`)

function session (address = 'front:1'): HandlerSession { return { address } as HandlerSession }

/** How often each server was chosen. */
function count (choose: RoutingFunction, servers: readonly ServerInfo[], calls: Iterable<Partial<RoutingCall>>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const call of calls) {
    const { id } = choose(servers, routed(call))!
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
}

/** The largest deviation of a server's calls from its even share. */
function unevenness (counts: Map<string, number>, servers: readonly ServerInfo[]): number {
  const total = [...counts.values()].reduce((sum, calls) => sum + calls, 0)
  return Math.max(...servers.map(({ id }) => Math.abs((counts.get(id) ?? 0) * servers.length / total - 1)))
}

t.test('random spreads calls evenly', async (t) => {
  const uneven = unevenness(count(routing.random(uniform), four, uids.map(() => ({}))), four)
  t.ok(uneven < 0.1, `off by ${(uneven * 100).toFixed(1)} %`)
})

t.test('round-robin takes each in turn, and goes on in order when servers come and go', async (t) => {
  const choose = routing.roundRobin()
  const take = (servers: readonly ServerInfo[], times: number, call = {}) =>
    Array.from({ length: times }, () => choose(servers, routed(call))!.id).join('')
  const [a, b, c, d] = four as [ServerInfo, ServerInfo, ServerInfo, ServerInfo]
  t.equal(take(four, 6), 'abcdab')
  t.equal(take([a, c, d], 2), 'cd')
  t.equal(take(four, 2), 'ab')
  t.equal(take(four, 2, { serverType: 'other' }), 'ab')
  t.equal(take(four, 1), 'c')
  t.equal(take([a, b], 3), 'aba')
})

t.test('least-loaded takes of two the one with fewer calls, by its lease and in flight from here', async (t) => {
  const [idle, busy] = [server('idle', { load: 1 }), server('busy', { load: 100 })]
  const choose = routing.leastLoaded(uniform)
  t.strictSame(count(choose, [busy, idle], uids.map(() => ({}))), new Map([['idle', uids.length]]))
  const inFlight = ({ id }: ServerInfo) => id === 'idle' ? 200 : 0
  t.strictSame(count(choose, [busy, idle], [{ inFlight }, { inFlight }]), new Map([['busy', 2]]))
  t.equal(choose([busy], routed({}))!.id, 'busy')
})

t.test('least-loaded spreads equal loads evenly, and never overloads one of many', async (t) => {
  const equal = unevenness(count(routing.leastLoaded(uniform), four, uids.map(() => ({}))), four)
  t.ok(equal < 0.1, `off by ${(equal * 100).toFixed(1)} %`)
  const calls = new Map<string, number>()
  const inFlight = ({ id }: ServerInfo): number => calls.get(id) ?? 0
  const choose = routing.leastLoaded(uniform)
  for (let i = 0; i < 20_000; i++) {
    const { id } = choose(four, routed({ inFlight }))!
    calls.set(id, inFlight({ id } as ServerInfo) + 1)
  }
  t.ok(Math.max(...calls.values()) - Math.min(...calls.values()) < 20, `${[...calls.values()]}`)
})

t.test('sticky keeps a session at its server; after a loss at another one, for good', async (t) => {
  const choose = routing.sticky({ then: routing.random(uniform) })
  const sessions = Array.from({ length: 200 }, (_, i) => session(`front:${i}`))
  const places = () => sessions.map((session) => choose(four, routed({ session }))!.id)
  const first = places()
  t.strictSame(places(), first)
  t.equal(new Set(first).size, 4)
  const without = four.filter(({ id }) => id !== 'a')
  const second = sessions.map((session) => choose(without, routed({ session }))!.id)
  t.equal(second.filter((id, i) => id !== first[i]).length, first.filter((id) => id === 'a').length, 'only those of the lost server moved')
  t.strictSame(places(), second, 'and they stay')
})

t.test('sticky holds a server per server type', async (t) => {
  const choose = routing.sticky()
  const one = session()
  const lobby = [server('lobby', { type: 'lobby' })]
  const { id } = choose(four, routed({ session: one }))!
  t.equal(choose(lobby, routed({ session: one, serverType: 'lobby' }))!.id, 'lobby')
  t.equal(choose(four, routed({ session: one }))!.id, id)
})

t.test('sticky by uid or key ignores the session; without uid or key it goes by session; without that, anywhere', async (t) => {
  for (const [by, name] of [['uid', 'uid'], ['key', 'key']] as const) {
    const choose = routing.sticky({ by, then: routing.roundRobin() })
    const at = (call: Partial<RoutingCall>) => choose(four, routed(call))!.id
    t.equal(at({ [name]: 'ana', session: session() }), 'a')
    t.equal(at({ [name]: 'bob' }), 'b')
    t.equal(at({ [name]: 'ana' }), 'a')
    const unbound = session()
    t.equal(at({ session: unbound }), 'c')
    t.equal(at({ session: unbound }), 'c')
    t.equal(at({}), 'd')
    t.equal(at({}), 'a')
  }
})

t.test('sticky forgets the uid unused for longest when it has too many', async (t) => {
  const choose = routing.sticky({ by: 'uid', then: routing.roundRobin(), max: 2 })
  const at = (uid: string) => choose(four, routed({ uid }))!.id
  t.equal(['ana', 'bob', 'ana', 'eve', 'ana', 'bob'].map(at).join(''), 'abacad')
})

t.test('sticky remembers nothing where nothing fits', async (t) => {
  const choose = routing.sticky({ then: routing.byMetadata({ region: 'eu' }) })
  const one = session()
  t.equal(choose(four, routed({ session: one })), undefined)
  t.equal(choose([...four, server('eu', { metadata: { region: 'eu' } })], routed({ session: one }))!.id, 'eu')
})

t.test('the hash of uids spreads them evenly, and every instance of it chooses alike', async (t) => {
  const [one, two] = [routing.hashUid(), routing.hashUid()]
  for (const size of [2, 3, 5, 10, 50]) {
    const servers = Array.from({ length: size }, (_, i) => server(`game-${i}`))
    const counts = count(one, servers, uids.map((uid) => ({ uid })))
    const uneven = unevenness(counts, servers)
    // 20,000 uids over 50 servers: 400 each, five standard deviations are 25 %.
    t.ok(uneven < 5 * Math.sqrt(size / uids.length), `${size} servers: off by ${(uneven * 100).toFixed(1)} %`)
    t.ok(uids.every((uid) => one(servers, routed({ uid })) === two(servers, routed({ uid }))))
  }
})

t.test('when servers come or go, only the keys move that must', async (t) => {
  const choose = routing.hashUid()
  const servers = Array.from({ length: 10 }, (_, i) => server(`game-${i}`))
  const place = (list: readonly ServerInfo[]) => uids.map((uid) => choose(list, routed({ uid }))!.id)
  const before = place(servers)
  const after = place(servers.filter(({ id }) => id !== 'game-4'))
  t.ok(before.every((id, i) => id === 'game-4' ? after[i] !== id : after[i] === id), 'all others stay')
  const grown = place([...servers, server('game-x')])
  const moved = grown.filter((id, i) => id !== before[i])
  t.ok(moved.every((id) => id === 'game-x'))
  t.ok(Math.abs(moved.length / uids.length - 1 / 11) < 0.01, `${(100 * moved.length / uids.length).toFixed(1)} % moved`)
  t.strictSame(place(servers.map((info) => ({ ...info, load: 7 }))), before, 'a renewed lease moves none')
})

t.test('short and similar keys and ids are spread too', async (t) => {
  const servers = Array.from({ length: 4 }, (_, i) => server(`${i}`))
  const digits = Array.from({ length: 10_000 }, (_, i) => ({ uid: `${i}` }))
  const uneven = unevenness(count(routing.hashUid(), servers, digits), servers)
  t.ok(uneven < 0.1, `off by ${(uneven * 100).toFixed(1)} %`)
})

t.test('a hash goes by the key, else the uid, else the session\'s address, else anywhere', async (t) => {
  const choose = routing.hashUid(uniform)
  const at = (call: Partial<RoutingCall>) => choose(four, routed(call))!.id
  for (const text of uids.slice(0, 50)) {
    const expected = at({ uid: text })
    t.equal(at({ key: text, uid: 'other', session: session('other') }), expected)
    t.equal(at({ uid: text, session: session('other') }), expected)
    t.equal(at({ session: session(text) }), expected)
  }
  const uneven = unevenness(count(choose, four, uids.map(() => ({}))), four)
  t.ok(uneven < 0.1, `off by ${(uneven * 100).toFixed(1)} %`)
})

t.test('by metadata only servers that match are taken, in the way given; without one, none', async (t) => {
  const servers = [
    server('a', { metadata: { region: 'eu', version: '1' } }),
    server('b', { metadata: { region: 'us', version: '1' } }),
    server('c', { metadata: { region: 'eu', version: '2' } }),
    server('d', { metadata: { region: 'eu', version: '1' } })
  ]
  const take = (choose: RoutingFunction, times: number, call = {}) =>
    Array.from({ length: times }, () => choose(servers, routed(call))?.id).join('')
  t.equal(take(routing.byMetadata({ region: 'eu' }, routing.roundRobin()), 4), 'acda')
  t.equal(take(routing.byMetadata({ region: 'eu', version: '1' }, routing.roundRobin()), 3), 'ada')
  t.equal(take(routing.byMetadata({}, routing.roundRobin()), 5), 'abcda')
  t.equal(routing.byMetadata({ region: 'asia' })(servers, routed({})), undefined)
  t.equal(routing.byMetadata({ constructor: 'x', toString: 'y' })(servers, routed({})), undefined)
  const version = routing.byMetadata(({ uid }) => ({ version: uid === 'ana' ? '2' : '1' }), routing.roundRobin())
  t.equal(take(version, 2, { uid: 'ana' }), 'cc')
  t.equal(take(version, 3), 'dab')
})

t.test('by metadata looks again when the servers change', async (t) => {
  const choose = routing.byMetadata({ region: 'eu' })
  t.equal(choose(four, routed({})), undefined)
  t.equal(choose([server('e', { metadata: { region: 'eu' } })], routed({}))!.id, 'e')
  t.equal(choose(four, routed({})), undefined)
})

import t from 'tap'
import type { ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { Router } from '../../../lib/cluster/router.ts'
import { roundRobin, type RoutingFunction } from '../../../lib/cluster/routing.ts'
import type { Logger } from '../../../lib/handler/types.ts'
import { heapBytes } from '../../helpers/fuzz.ts'
import { routed, server } from '../../helpers/servers.ts'

/** A router of servers `a`, `b` and `c`, which can be replaced. */
function createRouter (random?: () => number) {
  const lines: Array<{ level: string, fields: any, text: string }> = []
  const write = (level: string) => (fields: object | string, text = '') => { lines.push({ level, fields, text }) }
  const log = { info: write('info'), warn: write('warn'), error: write('error') } as unknown as Logger
  let servers: readonly ServerInfo[] = ['a', 'b', 'c'].map((id) => server(id))
  const discovery = {
    get: (id: string) => servers.find((server) => server.id === id),
    ofType: (type: string) => type === 'game' ? servers : []
  }
  const router = new Router({ discovery, log, random })
  const call = routed()
  return {
    router,
    lines,
    setServers (list: readonly ServerInfo[]) { servers = list },
    pick: () => router.pick('game', call).id,
    /** The servers that a routing function is shown. */
    shown (): string {
      let seen = ''
      router.use('game', (servers) => { seen = servers.map(({ id }) => id).join(''); return servers[0] })
      router.pick('game', call)
      return seen
    }
  }
}

t.test('without a routing function any server is taken', async (t) => {
  const numbers = [0, 0.34, 0.67, 0.999]
  const { pick } = createRouter(() => numbers.shift()!)
  t.equal([pick(), pick(), pick(), pick()].join(''), 'abcc')
})

t.test('a routing function holds for its server type', async (t) => {
  const { router, pick } = createRouter()
  router.use('lobby', () => { throw new Error('not mine') })
  router.use('game', roundRobin())
  t.equal([pick(), pick(), pick(), pick()].join(''), 'abca')
})

t.test('no server of a type, or none that the function wants, is PIT-503', async (t) => {
  const { router, setServers, pick, lines } = createRouter()
  t.throws(() => router.pick('other', routed()), { code: 'PIT_ERR_NO_SERVER', wireCode: 'PIT-503' })
  router.suspect('a')
  t.throws(() => router.pick('other', routed()), { code: 'PIT_ERR_NO_SERVER' })
  router.use('game', () => undefined)
  t.throws(pick, { code: 'PIT_ERR_NO_SERVER' })
  setServers([])
  router.use('game', () => { throw new Error('never asked') })
  t.throws(pick, { code: 'PIT_ERR_NO_SERVER' })
  t.equal(lines.filter(({ level }) => level === 'error').length, 0)
})

t.test('a routing function that fails, or says what is no server of the list, is PIT-500 with a line in the log', async (t) => {
  const { router, pick, lines } = createRouter()
  const hostile = new Proxy({}, { get () { throw new Error('get') } })
  const wrong: unknown[] = [null, 'a', 0, {}, server('x'), Promise.resolve(server('a')), [], true, hostile]
  const functions = wrong.map((value) => () => value).concat([() => { throw new Error('mine') }, () => { throw hostile }])
  for (const choose of functions) {
    router.use('game', choose as RoutingFunction)
    t.throws(pick, { code: 'PIT_ERR_INTERNAL', message: 'internal error' })
    t.match(lines.pop(), { level: 'error', fields: { peerType: 'game' }, text: 'a routing function failed' })
  }
  router.use('game', roundRobin())
  t.equal(pick(), 'a')
})

t.test('a function that fails for every call cannot fill the log', async (t) => {
  const { router, pick, lines } = createRouter()
  router.use('game', () => { throw new Error('mine') })
  for (let i = 0; i < 1000; i++) t.throws(pick)
  t.ok(lines.filter(({ level }) => level === 'error').length <= 200)
})

t.test('an entry of an earlier renewal stands for its server as it is now', async (t) => {
  const { router, setServers } = createRouter()
  const old = server('a')
  router.use('game', () => old)
  const renewed = server('a', { load: 5 })
  setServers([renewed])
  t.equal(router.pick('game', routed()), renewed)
})

t.test('only functions are routing functions', async (t) => {
  const { router } = createRouter()
  for (const value of [undefined, 'random', {}]) t.throws(() => router.use('game', value as any), { code: 'PIT_ERR_OPTIONS', message: /routing function of "game"/ })
})

t.test('suspects get no calls while there are others', async (t) => {
  const { router, shown, setServers, lines } = createRouter()
  router.suspect('b')
  t.equal(shown(), 'ac')
  t.equal(router.isSuspect('b'), true)
  t.match(lines, [{ level: 'warn', fields: { peer: 'b' } }])
  router.suspect('b')
  t.equal(lines.length, 1)
  router.suspect('a')
  t.equal(shown(), 'c')
  router.suspect('c')
  t.equal(shown(), 'abc', 'all are suspect: better one of them than none')
  router.trust('a')
  t.equal(shown(), 'a')
  setServers(['a', 'b', 'd'].map((id) => server(id)))
  t.equal(shown(), 'ad')
  router.trust('b')
  router.trust('c')
  t.equal(shown(), 'abd')
})

t.test('the default takes no suspects either', async (t) => {
  const { router, pick } = createRouter()
  router.suspect('a')
  router.suspect('c')
  for (let i = 0; i < 20; i++) t.equal(pick(), 'b')
})

t.test('three time-outs in a row make a server suspect; an answer between them, or after, clears it', async (t) => {
  const { router } = createRouter()
  router.timedOut('a')
  router.timedOut('a')
  router.timedOut('b')
  t.equal(router.isSuspect('a'), false)
  router.answered('a')
  router.timedOut('a')
  router.timedOut('a')
  t.equal(router.isSuspect('a'), false)
  router.timedOut('a')
  t.equal(router.isSuspect('a'), true)
  t.equal(router.isSuspect('b'), false)
  router.answered('a')
  t.equal(router.isSuspect('a'), false)
  router.timedOut('a')
  t.equal(router.isSuspect('a'), false, 'counted from the beginning again')
})

t.test('a server that is gone is not remembered', async (t) => {
  const { router, setServers } = createRouter()
  for (let i = 0; i < 5; i++) router.timedOut('gone')
  router.suspect('gone')
  t.equal(router.isSuspect('gone'), false)
  router.suspect('a')
  setServers([server('b')])
  router.trust('a')
  setServers([server('a')])
  t.equal(router.isSuspect('a'), false)
})

t.test('picking at random allocates nothing while there are no suspects', async (t) => {
  const { router } = createRouter(() => 0)
  const call = routed()
  const pick = () => { for (let i = 0; i < 200_000; i++) router.pick('game', call) }
  pick()
  heapBytes()
  const before = process.memoryUsage().heapUsed
  pick()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(grown < 1024 * 1024, `${grown} bytes for 200,000 picks`)
})

import t from 'tap'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { encodeEntry } from '../../lib/cluster/discovery/entry.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { Subjects } from '../../lib/cluster/names.ts'
import { MemoryStore } from '../../lib/cluster/stores/memory.ts'
import { MemoryTransport } from '../../lib/cluster/transports/memory.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { eventually, workingClient, type BuildOptions, type RawClient, clusterIn } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { Lateness } from '../helpers/lateness.ts'
import { logSink } from '../helpers/log.ts'

const TOKEN = 'correct-horse-battery'
const headers = { authorization: `Bearer ${TOKEN}` }

const room = defineHandlers('room', { pushes: { onNote: Type.Object({ text: Type.String() }) } }, {
  enter: request({ body: Type.String(), response: Type.Null() }, async (uid, { session }) => {
    await session.bind(uid)
    return null
  })
})

/** Ids of sessions begin anywhere; here they are told as if they began at 1. */
const firstIds = new Map<string, number>()

function counted (text: string): string {
  return text.replace(/(front-[ab]):(\d{5,})/g, (_, id: string, n: string) => `${id}:${Number(n) - firstIds.get(id)! + 1}`)
}

function real (text: string): string {
  return text.replace(/(front-[ab]):(\d{1,4})(?!\d)/g, (_, id: string, n: string) => `${id}:${(firstIds.get(id) ?? 1) + Number(n) - 1}`)
}

async function twoFrontends (t: { teardown (fn: () => unknown): void }, options: BuildOptions = {}) {
  firstIds.clear()
  const bus = new MemoryBus()
  const cluster = clusterOf(t, { memory: bus })
  const common = { admin: { token: TOKEN }, handlers: [room], ...options }
  const a = await cluster.frontend({ serverId: 'front-a', ...common })
  const b = await cluster.frontend({ serverId: 'front-b', ...common })
  await eventually(() => clusterIn(a).discovery.get('front-b') !== undefined, 'a sees b')
  return { bus, cluster, a, b }
}

async function enter (app: FastifyInstance, uid: string): Promise<RawClient> {
  const client = await workingClient(app, { sys: { platform: 'mac', closeReason: true }, user: { password: 'canary' } })
  const { serverId, sessions } = app.pitaya
  if (!firstIds.has(serverId)) firstIds.set(serverId, [...sessions][0]!.id)
  client.request(1, 'connector.room.enter', JSON.stringify(uid))
  const answer = await client.answer(1)
  if (answer !== null) throw new Error(JSON.stringify(answer))
  return client
}

/** Status and JSON body. */
async function ask (app: FastifyInstance, method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object): Promise<[number, any]> {
  const { statusCode, body } = await app.inject({ method, url: real(`/admin${url}`), headers, ...payload === undefined ? {} : { payload } })
  return [statusCode, body === '' ? undefined : JSON.parse(counted(body))]
}

function ids (page: { sessions: Array<{ id: string }> }): string[] { return page.sessions.map(({ id }) => id) }

/** A frontend that others see, and that answers nothing. */
async function addGhost (bus: MemoryBus, app: FastifyInstance): Promise<void> {
  const transport = new MemoryTransport(bus)
  await transport.open({ onUp () {}, onDown () {}, onFatal () {}, onSlow () {} })
  transport.subscribe(new Subjects('pitaya').rpc('ghost'), () => {})
  const { discovery } = clusterIn(app)
  await new MemoryStore(bus, 'servers').create('ghost', encodeEntry({ server: { ...discovery.self, id: 'ghost', incarnation: 'g' }, leaseMs: 60_000 }))
  await eventually(() => discovery.get('ghost') !== undefined, 'the ghost is seen')
}

t.test('sessions of all frontends are listed by any server, a backend too', async (t) => {
  const { cluster, a, b } = await twoFrontends(t)
  const backend = await cluster.backend({ serverId: 'back', admin: { token: TOKEN } })
  for (const uid of ['ana', 'bo', 'cy']) await enter(a, uid)
  for (const uid of ['di', 'eve']) await enter(b, uid)
  for (const app of [a, b, backend]) {
    const all: string[] = []
    for (let query = ''; query !== 'end';) {
      const [status, page] = await ask(app, 'GET', `/sessions?limit=2${query}`)
      t.strictSame([status, page.total, page.missing], [200, 5, []])
      all.push(...ids(page))
      query = page.next === null ? 'end' : `&after=${page.next}`
    }
    t.strictSame(all, ['front-a:1', 'front-a:2', 'front-a:3', 'front-b:1', 'front-b:2'])
    const [, found] = await ask(app, 'GET', '/sessions?uid=di')
    t.strictSame([ids(found), found.total], [['front-b:1'], 5])
    const [, nobody] = await ask(app, 'GET', '/sessions?uid=nobody')
    t.strictSame(nobody, { sessions: [], total: 5, next: null, missing: [] })
  }
})

t.test('a session looks the same from every server, and is nowhere but at its address', async (t) => {
  const { a, b } = await twoFrontends(t)
  await enter(b, 'ana')
  const [status, row] = await ask(a, 'GET', '/sessions/front-b:1')
  t.equal(status, 200)
  t.strictSame({ ...row, ageSeconds: 0 }, {
    id: 'front-b:1', uid: 'ana', transport: 'memory', remoteAddress: '127.0.0.1', serializer: 'json', ageSeconds: 0, sys: { platform: 'mac' }
  })
  t.strictSame((await ask(b, 'GET', `/sessions/${firstIds.get('front-b')}`))[1].id, row.id)
  for (const id of ['front-a:1', 'front-b:2', 'front-c:1', '1']) {
    const [status, body] = await ask(a, 'GET', `/sessions/${id}`)
    t.strictSame([status, body.code], [404, 'PIT_ERR_SESSION_NOT_FOUND'], id)
  }
})

t.test('a session of another frontend is kicked, with its reason and one audit line', async (t) => {
  const { logger, lines } = logSink()
  const { a, b } = await twoFrontends(t, { fastify: { logger } })
  const client = await enter(b, 'ana')
  t.equal((await ask(a, 'DELETE', '/sessions/front-b:1?reason=spam'))[0], 204)
  t.strictSame(await client.closed(), { code: 4504, reason: 'spam' })
  t.strictSame((await ask(a, 'DELETE', '/sessions/front-b:1'))[0], 404)
  t.strictSame(audits(lines).map((line) => JSON.parse(counted(JSON.stringify(line)))), [
    { action: 'session.kick', target: 'front-b:1', uid: 'ana', reason: 'spam', outcome: 'done' },
    { action: 'session.kick', target: 'front-b:1', outcome: 'not-found' }
  ])
})

t.test('users are pushed to and kicked wherever they are', async (t) => {
  const { a, b } = await twoFrontends(t)
  const client = await enter(b, 'ana')
  t.strictSame(await ask(a, 'POST', '/users/ana/push', { route: 'onNote', data: { text: 'hi' } }), [204, undefined])
  const push = await client.message()
  t.strictSame([push.route, push.data.toString()], ['onNote', '{"text":"hi"}'])
  t.strictSame(await ask(a, 'POST', '/users/ana/kick', { reason: 'bye' }), [204, undefined])
  await client.next(PacketType.kick)
  t.strictSame(await client.closed(), { code: 4504, reason: 'bye' })
  for (const [action, body] of [['push', { route: 'onNote', data: { text: 'hi' } }], ['kick', {}]] as const) {
    const [status, { code }] = await ask(a, 'POST', `/users/ana/${action}`, body)
    t.strictSame([status, code], [404, 'PIT_ERR_SESSION_NOT_FOUND'])
  }
})

t.test('a server that is cut off shows its own sessions and names those it misses, at once', async (t) => {
  const { logger, lines } = logSink()
  const { bus, a, b } = await twoFrontends(t, { fastify: { logger } })
  await enter(a, 'ana')
  const bo = await enter(b, 'bo')
  bus.disconnect(clusterIn(a).transport as MemoryTransport)

  const [status, page] = await ask(a, 'GET', '/sessions')
  t.strictSame([status, ids(page), page.total, page.next, page.missing], [200, ['front-a:1'], 1, null, ['front-b']])
  for (const [method, url, body, expected] of [
    ['GET', '/sessions/front-b:1', undefined, [503, 'PIT_ERR_CLUSTER_DOWN', 'the cluster cannot be reached']],
    ['DELETE', '/sessions/front-b:1', undefined, [503, 'PIT_ERR_CLUSTER_DOWN', 'the cluster cannot be reached']],
    ['POST', '/users/bo/kick', {}, [503, 'PIT_ERR_CLUSTER_DOWN', 'the cluster cannot be reached']],
    ['POST', '/users/bo/push', { route: 'onNote', data: { text: '' } }, [503, 'PIT_ERR_CLUSTER_DOWN', 'the cluster cannot be reached']]
  ] as const) {
    const [status, { code, message }] = await ask(a, method, url, body)
    t.strictSame([status, code, message], expected, `${method} ${url}`)
  }
  t.strictSame(audits(lines).map(({ action, target, outcome }) => counted(`${action} ${target}: ${outcome}`)), [
    'session.kick front-b:1: unknown', 'user.kick bo: unknown', 'user.push bo: unknown'
  ])
  t.equal(lines.filter(({ msg }) => msg === 'an admin route failed').length, 0, 'which is no fault of this server')
  t.strictSame((await ask(a, 'POST', '/users/ana/kick'))[0], 204, 'its own users are reached')
  t.equal(bo.isClosed, false)

  // The other one sees as much of it: nobody listens there.
  const [, other] = await ask(b, 'GET', '/sessions')
  t.strictSame([ids(other), other.missing], [['front-b:1'], ['front-a']])
  bus.reconnect()
  await eventually(() => clusterIn(a).transport.isUp, 'a is back')
  t.strictSame(ids((await ask(a, 'GET', '/sessions'))[1]), ['front-b:1'])
})

t.test('a frontend that does not answer costs two seconds and its rows', async (t) => {
  const { bus, a, b } = await twoFrontends(t)
  await enter(a, 'ana')
  await enter(b, 'bo')
  await addGhost(bus, a)
  const late = new Lateness(t)
  const startedAt = performance.now()
  const [[status, page], [, found], get, kick] = await Promise.all([
    ask(a, 'GET', '/sessions?limit=1'), ask(a, 'GET', '/sessions?uid=bo'), ask(a, 'GET', '/sessions/ghost:1'), ask(a, 'DELETE', '/sessions/ghost:1')
  ])
  const tookMs = performance.now() - startedAt
  t.strictSame([status, ids(page), page.next, page.total, page.missing], [200, ['front-a:1'], 'front-a:1', 2, ['ghost']])
  t.strictSame([ids(found), found.missing], [['front-b:1'], ['ghost']])
  for (const [status, { code }] of [get, kick]) t.strictSame([status, code], [504, 'PIT_ERR_RPC_TIMEOUT'])
  t.comment(`${tookMs.toFixed(0)} ms`)
  t.ok(tookMs >= 1900 && tookMs < 3500 + late.takeSumMs())
})

function audits (lines: Array<Record<string, unknown>>): Array<Record<string, unknown>> {
  return lines.filter((line) => line.audit === true)
    .map(({ audit, remoteAddress, level, time, pid, hostname, reqId, msg, serverId, serverType, ...fields }) => fields)
}

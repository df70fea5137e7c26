import t from 'tap'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify'
import { defineHandlers, definePitaya, notify, raw, request } from '../../lib/handler/define.ts'
import pitaya from '../../plugins/pitaya.ts'
import { bearerAuth } from '../../routes/admin/auth.ts'
import { build, eventually, rawClient, workingClient, type RawClient } from '../helpers/app.ts'
import { cpuMs } from '../helpers/lateness.ts'
import { logSink } from '../helpers/log.ts'

const TOKEN = 'correct-horse-battery'
const AUTH = { authorization: `Bearer ${TOKEN}` }
const JSON_TYPE = { ...AUTH, 'content-type': 'application/json' }

const Data = Type.Object({ level: Type.Integer() })
const room = definePitaya({ session: Data }).handlers('room', {
  pushes: { note: Type.Object({ text: Type.String() }), bytes: raw }
}, {
  enter: request({ body: Type.Object({ uid: Type.String() }), response: Type.Null() }, async ({ uid }, { session }) => {
    await session.bind(uid)
    session.set({ level: 3 })
    return null
  }),
  shout: notify(() => {})
})

async function buildAdmin (t: { teardown (fn: () => unknown): void }, options: Parameters<typeof build>[1] = {}): Promise<FastifyInstance> {
  return await build(t, { serverId: 'lobby-1', admin: { token: TOKEN }, handlers: [room], ...options })
}

async function enter (app: FastifyInstance, uid: string, handshake?: object): Promise<RawClient> {
  const client = await workingClient(app, { sys: { platform: 'mac', closeReason: true }, user: { password: 'canary-user' }, ...handshake })
  client.request(1, 'room.enter', { uid })
  await client.answer(1)
  return client
}

function get (app: FastifyInstance, url: string, options: InjectOptions = {}) {
  return app.inject({ url, headers: AUTH, ...options })
}

t.test('sessions are listed a page at a time, in order of their ids', async (t) => {
  const app = await buildAdmin(t)
  for (const uid of ['ana', 'bo', 'cy', 'di', 'eve']) await enter(app, uid)
  const first = (await get(app, '/admin/sessions?limit=2')).json()
  t.equal(first.total, 5)
  t.strictSame(first.sessions.map(({ id, uid }: { id: string, uid: string }) => [id, uid]), [['lobby-1:1', 'ana'], ['lobby-1:2', 'bo']])
  const second = (await get(app, `/admin/sessions?limit=2&after=${first.next}`)).json()
  t.strictSame(second.sessions.map(({ uid }: { uid: string }) => uid), ['cy', 'di'])
  const last = (await get(app, `/admin/sessions?limit=2&after=${second.next}`)).json()
  t.strictSame(last.sessions.map(({ uid }: { uid: string }) => uid), ['eve'])
  t.equal(last.next, null)
})

t.test('sessions are filtered by uid', async (t) => {
  const app = await buildAdmin(t, { session: { policy: 'allow' } })
  for (const uid of ['ana', 'bo', 'ana', 'ana']) await enter(app, uid)
  const page = (await get(app, '/admin/sessions?uid=ana&limit=2')).json()
  t.strictSame(page.sessions.map(({ id }: { id: string }) => id), ['lobby-1:1', 'lobby-1:3'])
  t.strictSame((await get(app, `/admin/sessions?uid=ana&after=${page.next}`)).json().sessions.length, 1)
  t.strictSame((await get(app, '/admin/sessions?uid=nobody')).json(), { sessions: [], total: 4, next: null, missing: [] })
})

t.test('a session is found by its address and by its id alone', async (t) => {
  const app = await buildAdmin(t)
  await enter(app, 'ana')
  const expected = {
    id: 'lobby-1:1',
    uid: 'ana',
    transport: 'memory',
    remoteAddress: '127.0.0.1',
    serializer: 'json',
    ageSeconds: 0,
    sys: { platform: 'mac' },
    data: { level: 3 }
  }
  for (const id of ['lobby-1:1', 'lobby-1%3A1', '1']) {
    const response = await get(app, `/admin/sessions/${id}`)
    t.equal(response.statusCode, 200)
    t.strictSame(response.json(), expected)
  }
  for (const id of ['2', 'lobby-1:2', 'other:1']) {
    const response = await get(app, `/admin/sessions/${id}`)
    t.equal(response.statusCode, 404)
    t.strictSame(response.json(), { statusCode: 404, code: 'PIT_ERR_SESSION_NOT_FOUND', error: 'Not Found', message: 'session not found' })
  }
})

t.test('handshake user data and undeclared session data are never shown', async (t) => {
  const free = defineHandlers('room', {}, {
    enter: request({ body: Type.Object({ uid: Type.String() }), response: Type.Null() }, async ({ uid }, { session }) => {
      await session.bind(uid)
      session.set({ secret: 'canary-data' })
      return null
    })
  })
  const app = await buildAdmin(t, { handlers: [free] })
  await enter(app, 'ana')
  for (const url of ['/admin/sessions', '/admin/sessions/1', '/admin/handlers']) t.notMatch((await get(app, url)).body, /canary/)
})

t.test('bad ids, cursors and limits are 400', async (t) => {
  const app = await buildAdmin(t)
  const bad = ['?limit=0', '?limit=101', '?limit=x', '?after=x', '?after=1', '?after=lobby-1:-1', '?after=lobby-1:x', '?uid=', '?unknown=1', '?uid=a&uid=b', '/x', '/a:b:1', '/1e3', `/${'9'.repeat(16)}`]
  for (const url of bad) {
    const response = await get(app, `/admin/sessions${url}`)
    t.equal(response.statusCode, 400, url)
    t.equal(response.json().code, 'FST_ERR_VALIDATION')
  }
})

t.test('DELETE kicks one session and gives it the reason', async (t) => {
  const { logger, lines } = logSink()
  const app = await buildAdmin(t, { fastify: { logger } })
  const client = await enter(app, 'ana')
  const response = await app.inject({ method: 'DELETE', url: '/admin/sessions/lobby-1:1', query: { reason: 'spam, again' }, headers: AUTH })
  t.equal(response.statusCode, 204)
  t.equal(response.body, '')
  t.strictSame(await client.closed(), { code: 4504, reason: 'spam, again' })
  const again = await app.inject({ method: 'DELETE', url: '/admin/sessions/1', headers: JSON_TYPE })
  const withBody = await app.inject({ method: 'DELETE', url: '/admin/sessions/1', headers: JSON_TYPE, payload: { reason: 'x' } })
  t.equal(withBody.statusCode, 400, 'a reason in the body would be lost')
  t.equal(again.statusCode, 404)
  t.strictSame(audits(lines), [
    { audit: true, action: 'session.kick', target: 'lobby-1:1', uid: 'ana', reason: 'spam, again', outcome: 'done', remoteAddress: '127.0.0.1' },
    { audit: true, action: 'session.kick', target: '1', outcome: 'not-found', remoteAddress: '127.0.0.1' }
  ])
})

t.test('a reason has 1 to 123 bytes', async (t) => {
  const app = await buildAdmin(t)
  const client = await enter(app, 'ana')
  for (const reason of ['', 'x'.repeat(124), 'é'.repeat(62)]) {
    const byQuery = await app.inject({ method: 'DELETE', url: '/admin/sessions/1', query: { reason }, headers: AUTH })
    const byBody = await app.inject({ method: 'POST', url: '/admin/users/ana/kick', payload: { reason }, headers: AUTH })
    t.strictSame([byQuery.statusCode, byBody.statusCode], [400, 400])
  }
  t.equal(client.isClosed, false)
  const reason = 'é'.repeat(61) + 'x'
  t.equal((await app.inject({ method: 'POST', url: '/admin/users/ana/kick', payload: { reason }, headers: AUTH })).statusCode, 204)
  t.strictSame(await client.closed(), { code: 4504, reason })
})

t.test('a uid is kicked with all its sessions', async (t) => {
  const { logger, lines } = logSink()
  const app = await buildAdmin(t, { session: { policy: 'allow' }, fastify: { logger } })
  const clients = [await enter(app, 'ana b/c'), await enter(app, 'ana b/c')]
  const url = `/admin/users/${encodeURIComponent('ana b/c')}/kick`
  t.equal((await app.inject({ method: 'POST', url, headers: AUTH })).statusCode, 204, 'without a body')
  for (const client of clients) t.strictSame(await client.closed(), { code: 4504, reason: 'kicked' })
  t.equal((await app.inject({ method: 'POST', url, headers: JSON_TYPE })).statusCode, 404, 'with an empty body')
  t.strictSame(audits(lines).map(({ target, outcome }) => [target, outcome]), [['ana b/c', 'done'], ['ana b/c', 'not-found']])
})

t.test('a declared push that fits reaches the user', async (t) => {
  const { logger, lines } = logSink()
  const app = await buildAdmin(t, { fastify: { logger } })
  const client = await enter(app, 'ana')
  const push = (uid: string, payload: object) => app.inject({ method: 'POST', url: `/admin/users/${uid}/push`, headers: AUTH, payload })
  t.equal((await push('ana', { route: 'note', data: { text: 'hello' } })).statusCode, 204)
  const message = await client.message()
  t.equal(message.route, 'note')
  t.strictSame(JSON.parse(message.data.toString()), { text: 'hello' })

  t.equal((await push('bo', { route: 'note', data: { text: 'hello' } })).statusCode, 404, 'no such user')
  const unknown = await push('ana', { route: 'nope', data: {} })
  t.strictSame([unknown.statusCode, unknown.json().code], [404, 'PIT_ERR_PUSH_UNKNOWN'])
  for (const data of [{}, { text: 5 }, null, 'x', [1]]) {
    const misfit = await push('ana', { route: 'note', data })
    t.strictSame([misfit.statusCode, misfit.json().code], [400, 'PIT_ERR_PUSH_BODY'])
  }
  t.equal((await push('ana', { route: 'bytes', data: 'x' })).statusCode, 400)
  t.equal((await push('ana', { data: {} })).statusCode, 400, 'no route')
  t.equal((await push('ana', { route: 'note', data: { text: 'x'.repeat(70_000) } })).statusCode, 413)
  t.strictSame(audits(lines).map(({ outcome }) => outcome), ['done', 'not-found', ...new Array(7).fill('refused')])
})

t.test('handlers and pushes are listed with their schemas', async (t) => {
  const app = await buildAdmin(t)
  const listing = (await get(app, '/admin/handlers')).json()
  t.equal(listing.serverType, 'lobby')
  t.strictSame(listing.handlers.map(({ route, kind }: { route: string, kind: string }) => [route, kind]), [['lobby.room.enter', 'request'], ['lobby.room.shout', 'notify']])
  t.match(listing.handlers[0].body, { type: 'object', required: ['uid'] })
  t.strictSame([listing.handlers[1].body, listing.handlers[1].response], [null, null])
  t.match(listing.pushes, [{ route: 'note', body: { type: 'object' } }, { route: 'bytes', body: { kind: 'raw' } }])
})

t.test('admin without token and auth does not start', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(pitaya, { acceptors: false, admin: {} }) }, { code: 'PIT_ERR_ADMIN_OPEN' })
})

t.test('a token that no header can carry does not start', async (t) => {
  for (const token of ['', 'a token with spaces in it', 'sixteen-chars-and\n', 'tökentökentökentöken']) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(pitaya, { acceptors: false, admin: { token } }) }, { code: 'PIT_ERR_OPTIONS' })
  }
})

t.test('every failed login is the same 401', async (t) => {
  const app = await buildAdmin(t)
  const tried = [undefined, 'Bearer', 'Bearer ', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`]
  const answers = []
  for (const authorization of tried) {
    const response = await app.inject({ url: '/admin/sessions', headers: { ...authorization === undefined ? {} : { authorization } } })
    t.equal(response.statusCode, 401)
    t.equal(response.headers['www-authenticate'], 'Bearer')
    answers.push(response.body)
  }
  t.equal(new Set(answers).size, 1)
  t.strictSame(JSON.parse(answers[0]!), { statusCode: 401, code: 'PIT_ERR_ADMIN_AUTH', error: 'Unauthorized', message: 'missing or wrong bearer token' })
})

t.test('after five failures an address waits, others do not', async (t) => {
  const { logger, lines } = logSink()
  const app = await buildAdmin(t, { fastify: { logger } })
  const tryWith = (remoteAddress: string, token: string) =>
    app.inject({ url: '/admin/handlers', remoteAddress, headers: { authorization: `Bearer ${token}` } })
  for (let i = 0; i < 5; i++) t.equal((await tryWith('10.0.0.1', `guess-${i}`)).statusCode, 401)
  for (const token of ['guess-6', TOKEN]) {
    const response = await tryWith('10.0.0.1', token)
    t.equal(response.statusCode, 429)
    t.equal(response.json().code, 'PIT_ERR_ADMIN_RATE')
    t.ok(Number(response.headers['retry-after']) > 50)
  }
  t.equal((await tryWith('10.0.0.2', TOKEN)).statusCode, 200)
  t.strictSame(audits(lines), [{ audit: true, action: 'login', outcome: 'locked', remoteAddress: '10.0.0.1' }])
})

t.test('the wait ends with the minute, and addresses remembered are bounded', async (t) => {
  let now = 0
  const hook = bearerAuth(TOKEN, () => now) as unknown as (request: object, reply: object, done: (error?: { code: string }) => void) => void
  const attempt = (ip: string): string | undefined => {
    let code: string | undefined
    const log = { warn () {} }
    hook({ ip, headers: {}, log }, { header () {} }, (error) => { code = error?.code })
    return code
  }
  for (let i = 0; i < 5; i++) attempt('a')
  t.equal(attempt('a'), 'PIT_ERR_ADMIN_RATE')
  now = 60_000
  t.equal(attempt('a'), 'PIT_ERR_ADMIN_AUTH')
  for (let i = 0; i < 4; i++) attempt('a')
  t.equal(attempt('a'), 'PIT_ERR_ADMIN_RATE')
  for (let i = 0; i < 10_000; i++) attempt(`b${i}`)
  t.equal(attempt('a'), 'PIT_ERR_ADMIN_AUTH', 'the oldest address made room')
})

t.test('the own auth of the host guards instead of a token, or beside it', async (t) => {
  const auth = async (request: { headers: Record<string, unknown> }) => {
    if (request.headers['x-operator'] !== 'yes') throw Object.assign(new Error('operators only'), { statusCode: 403, code: 'NOT_OPERATOR' })
  }
  const app = await buildAdmin(t, { admin: { auth } })
  const refused = await app.inject('/admin/sessions')
  t.strictSame([refused.statusCode, refused.json().code], [403, 'NOT_OPERATOR'])
  t.equal((await app.inject({ url: '/admin/sessions', headers: { 'x-operator': 'yes' } })).statusCode, 200)
  const both = await buildAdmin(t, { admin: { auth, token: TOKEN } })
  t.equal((await both.inject({ url: '/admin/sessions', headers: { 'x-operator': 'yes' } })).statusCode, 401)
  t.equal((await both.inject({ url: '/admin/sessions', headers: AUTH })).statusCode, 403)
  t.equal((await both.inject({ url: '/admin/sessions', headers: { ...AUTH, 'x-operator': 'yes' } })).statusCode, 200)
})

t.test('what an auth hook throws by accident stays in the log', async (t) => {
  for (const thrown of [new Error('canary'), 'canary', null, { statusCode: 200 }]) {
    const app = await buildAdmin(t, { admin: { auth: async () => { throw thrown } } })
    const response = await app.inject('/admin/sessions')
    t.equal(response.statusCode, 500)
    t.notMatch(response.body, /canary/)
  }
})

t.test('every answer below the prefix forbids caching and sniffing, and hides what there is from strangers', async (t) => {
  const app = await buildAdmin(t)
  const answers = [
    await get(app, '/admin/sessions'), await get(app, '/admin/sessions/99'), await get(app, '/admin/sessions?limit=x'),
    await get(app, '/admin/nothing-here'), await app.inject('/admin/nothing-here'), await app.inject('/admin/sessions')
  ]
  t.strictSame(answers.map(({ statusCode }) => statusCode), [200, 404, 400, 404, 401, 401])
  for (const { headers } of answers) {
    t.equal(headers['cache-control'], 'no-store')
    t.equal(headers['x-content-type-options'], 'nosniff')
    t.equal(headers['access-control-allow-origin'], undefined)
  }
})

t.test('a foreign page cannot act: no body but JSON, no credentials but the header', async (t) => {
  const app = await buildAdmin(t)
  const client = await enter(app, 'ana')
  const url = '/admin/users/ana/kick'
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
    const response = await app.inject({ method: 'POST', url, headers: { ...AUTH, 'content-type': type }, payload: '{}' })
    t.equal(response.statusCode, 415, type)
  }
  const byCookie = await app.inject({ method: 'POST', url: `${url}?token=${TOKEN}`, headers: { cookie: `token=${TOKEN}; authorization=Bearer ${TOKEN}` } })
  t.equal(byCookie.statusCode, 401)
  t.equal((await app.inject({ method: 'OPTIONS', url, headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' } })).statusCode, 401)
  t.equal(client.isClosed, false)
})

t.test('the routes do not depend on the validators and parsers of the host', async (t) => {
  const app = await buildAdmin(t, {
    setUp: (app) => {
      app.setValidatorCompiler(() => () => { throw new Error('not this one') })
      app.setErrorHandler((_, __, reply) => { reply.code(418).send('host') })
    }
  })
  t.equal((await get(app, '/admin/sessions?limit=10')).statusCode, 200)
  t.equal((await get(app, '/admin/sessions?limit=1000')).statusCode, 400)
})

t.test('one mutation is one log line, whatever the names hold', async (t) => {
  const { logger, lines, raw } = logSink()
  const app = await buildAdmin(t, { fastify: { logger } })
  const names = ['a\r\nb', '\u001b[31mred', 'a\u2028b\u2029c', '{"level":60}\n', '\u202egnp', '%0a', '\u0085']
  for (const name of names) {
    const before = raw.length
    await app.inject({ method: 'POST', url: `/admin/users/${encodeURIComponent(name)}/kick`, headers: { ...AUTH, 'user-agent': 'x' } })
    const written = raw.slice(before).join('').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line))
    t.equal(written.filter(({ audit }) => audit === true).length, 1)
    t.equal(raw.slice(before).join('').includes('\u001b'), false)
  }
  t.strictSame(audits(lines).map(({ target }) => target), names)
})

t.test('a list of 10,000 sessions holds up the event loop for less than 20 ms', async (t) => {
  const app = await buildAdmin(t, { limits: { connectionsPerSecond: 1e6, handshakeMs: 60_000 } })
  for (let i = 0; i < 10_000; i++) rawClient(app)
  t.equal(app.pitaya.stats.sessions, 10_000)
  await get(app, '/admin/sessions')
  const durations = []
  for (let after: string | null = 'lobby-1:0'; after !== null;) {
    const from = cpuMs()
    const response = await get(app, `/admin/sessions?limit=100&after=${after}`)
    durations.push(cpuMs() - from)
    after = response.json<{ next: string | null }>().next
  }
  t.equal(durations.length, 100)
  durations.sort((a, b) => a - b)
  t.comment(`a page took ${durations[50]!.toFixed(1)} ms, 95 of 100 at most ${durations[95]!.toFixed(1)} ms`)
  t.ok(durations[50]! < 20)
  await eventually(() => app.pitaya.stats.connections === 10_000, 'all of them still there')
})

function audits (lines: Array<Record<string, unknown>>): Array<Record<string, unknown>> {
  return lines.filter((line) => line.audit === true)
    .map(({ level, time, pid, hostname, reqId, msg, serverId, serverType, ...fields }) => fields)
}

import t from 'tap'
import type { InjectOptions } from 'fastify'
import { Type } from '@sinclair/typebox'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { build, workingClient } from '../helpers/app.ts'
import { FUZZ_TIMEOUT_MS, fuzzRuns, fuzzSeed, Mutator, Random } from '../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const TOKEN = 'correct-horse-battery'
const METHODS = ['GET', 'GET', 'POST', 'POST', 'POST', 'DELETE', 'HEAD', 'PUT', 'PATCH', 'OPTIONS'] as const
const PATHS = ['/admin/sessions', '/admin/sessions/1', '/admin/sessions/lobby:2', '/admin/users/ana/kick', '/admin/users/ana/push', '/admin/handlers', '/admin/servers', '/admin/x', '/healthz', '/readyz', '/admin']
const QUERIES = ['', '?limit=5', '?limit=1e9', '?after=lobby:3&uid=ana', '?after=x:0&limit=2', '?after=:', '?reason=x', '?__proto__=1', '?limit[]=1&limit=2', '?uid=%00', '?%', '?a=%zz', '?reason=' + 'é'.repeat(99)]
const TYPES = ['application/json', 'application/json; charset=utf-8', 'application/json;charset', 'text/plain', 'a/b; "', '\t', 'application/json\t;', '__proto__', 'multipart/form-data', 'application/x-www-form-urlencoded', ';', 'application/json, text/html']
const BODIES = ['', '{}', '{"reason":"x"}', '{"route":"onMessage","data":{"name":"a","content":"b"}}', '{"__proto__":{"x":1}}', '{"constructor":{"prototype":{}}}', '[[[[', 'null', '"x"', '{"route":"__proto__","data":1}', '{"route":"constructor","data":{}}', '{"route":"onMessage","data":' + '['.repeat(2000) + ']'.repeat(2000) + '}']

const Message = Type.Object({ name: Type.String(), content: Type.String() })
const room = defineHandlers('room', { pushes: { onMessage: Message } }, {
  enter: request({ response: Type.Null() }, async (_, { session }) => { await session.bind('ana'); return null })
})

t.test('no HTTP input makes the admin routes fail', async (t) => {
  const seed = fuzzSeed()
  const runs = Math.min(100_000, fuzzRuns(2))
  t.comment(`${runs} requests, SEED=${seed}`)
  const random = new Random(seed)
  const bodies = new Mutator(random, BODIES.map((body) => Buffer.from(body)))
  const paths = new Mutator(random, PATHS.map((path) => Buffer.from(path)), { maxBytes: 300 })
  const app = await build(t, { serverId: 'lobby', admin: { token: TOKEN }, ops: true, handlers: [room] })
  const statuses = new Map<number, number>()
  for (let i = 0; i < runs; i++) {
    if (app.pitaya.stats.sessions === 0) {
      const client = await workingClient(app)
      client.request(1, 'room.enter')
      await client.answer(1)
    }
    const request: InjectOptions = {
      method: random.pick(METHODS),
      url: (random.int(3) > 0 ? random.pick(PATHS) : toPath(paths.next())) + random.pick(QUERIES),
      remoteAddress: `10.${random.int(256)}.${random.int(256)}.${random.int(256)}`,
      headers: {
        authorization: random.int(8) > 0 ? `Bearer ${TOKEN}` : random.pick(['', 'Bearer', 'Bearer \u00ff', 'Basic Og==', `bearer  ${TOKEN}`]),
        ...random.int(2) > 0 ? { 'content-type': random.pick(TYPES) } : {}
      },
      ...random.int(2) > 0 ? { payload: Buffer.from(random.int(2) > 0 ? random.pick(BODIES) : bodies.next()) } : {}
    }
    const { statusCode, body, headers } = await app.inject(request)
    statuses.set(statusCode, (statuses.get(statusCode) ?? 0) + 1)
    const isFine = statusCode < 500 && (statusCode < 400 || request.method === 'HEAD' || (JSON.parse(body) as { statusCode: number }).statusCode === statusCode)
    if (!isFine || headers['access-control-allow-origin'] !== undefined) t.fail(`${statusCode} ${body} to ${JSON.stringify(request)}`)
  }
  t.comment([...statuses].map(([status, count]) => `${status}: ${count}`).join(', '))
  t.ok(['200', '204', '400', '401', '404', '415'].every((status) => statuses.has(Number(status))), 'all kinds of answers were seen')
  t.equal((await app.inject({ url: '/admin/sessions', headers: { authorization: `Bearer ${TOKEN}` } })).statusCode, 200)
})

/** A path that `inject` takes: it would read two slashes as a host. */
function toPath (bytes: Uint8Array): string {
  return '/' + Buffer.from(bytes).toString('latin1').replace(/[^\x21-\x7e]|\\/g, encodeURIComponent).replace(/^\/+/, '')
}

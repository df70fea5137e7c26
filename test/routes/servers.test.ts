import t from 'tap'
import { hostname } from 'node:os'
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { build, eventually, clusterIn } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const admin = { token: 'correct-horse-battery' }
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }

async function servers (app: FastifyInstance): Promise<any> {
  const response = await app.inject({ url: '/admin/servers', headers: { authorization: `Bearer ${admin.token}` } })
  if (response.statusCode !== 200) throw new Error(response.body)
  return response.json()
}

t.test('a server alone lists itself', async (t) => {
  const app = await build(t, { serverId: 'lobby-1', admin })
  const { servers: [self, ...others], ...rest } = await servers(app)
  t.match(self.incarnation, /^[\w-]+$/)
  t.strictSame(self, {
    id: 'lobby-1',
    type: 'lobby',
    frontend: true,
    hostname: hostname(),
    version,
    metadata: {},
    incarnation: self.incarnation,
    load: 0,
    isSelf: true,
    draining: false,
    contract: { fingerprint: self.contract.fingerprint, breaks: [] }
  })
  t.match(self.contract.fingerprint, /^[\w-]{16}$/)
  t.strictSame([others, rest], [[], { connected: true, stale: false }])
})

t.test('all servers list all servers, in order of their ids', async (t) => {
  const cluster = clusterOf(t)
  const front = await cluster.frontend({ serverId: 'b-front', admin, cluster: { metadata: { region: 'eu' } } })
  const back = await cluster.backend({ serverId: 'a-back', admin })
  for (const app of [front, back]) {
    await eventually(() => clusterIn(app).discovery.all().length === 2, 'both see both')
    const listing = await servers(app)
    t.strictSame(
      listing.servers.map(({ id, type, frontend, metadata, isSelf }: Record<string, unknown>) => [id, type, frontend, metadata, isSelf]),
      [['a-back', 'chat', false, {}, app === back], ['b-front', 'connector', true, { region: 'eu' }, app === front]]
    )
  }
})

t.test('a server that is cut off keeps its list and says so', async (t) => {
  const bus = new MemoryBus()
  const cluster = clusterOf(t, { memory: bus, leaseMs: 3000 })
  const a = await cluster.frontend({ serverId: 'a', admin })
  const b = await cluster.frontend({ serverId: 'b', admin })
  const state = async () => {
    const { servers: all, ...rest } = await servers(a)
    return [all.map(({ id }: { id: string }) => id), rest]
  }
  await eventually(() => clusterIn(a).discovery.all().length === 2, 'a sees b')
  t.strictSame(await state(), [['a', 'b'], { connected: true, stale: false }])
  bus.disconnect()
  await b.close()
  t.strictSame(await state(), [['a', 'b'], { connected: false, stale: true }])
  bus.reconnect()
  await eventually(() => clusterIn(a).discovery.all().length === 1, 'the lease of b ended')
  t.strictSame(await state(), [['a'], { connected: true, stale: false }])
})

t.test('a server that drains is marked', async (t) => {
  const app = await build(t, { serverId: 'lobby-1', admin })
  await app.pitaya.drain({ timeoutMs: 1000 })
  const { servers: all } = await servers(app)
  t.strictSame(all.map(({ id, draining }: Record<string, unknown>) => [id, draining]), [['lobby-1', true]])
})

import t from 'tap'
import { setImmediate as turn } from 'node:timers/promises'
import * as v8 from 'node:v8'
import type { FastifyInstance } from 'fastify'
import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, PitayaError, request } from '../../../lib/handler/define.ts'
import { Call } from '../../../lib/handler/call.ts'
import type { MemoryGroups } from '../../../lib/groups/memory.ts'
import type { BindPolicy } from '../../../lib/session/pool.ts'
import { Session } from '../../../lib/session/session.ts'
import { build, eventually, rawClient, sessionPool, type RawClient } from '../../helpers/app.ts'
import { fuzzRuns, fuzzSeed, FUZZ_TIMEOUT_MS, Random } from '../../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const TASKS = 8
const CLIENTS_PER_TASK = 12
const queryObjects = (v8 as unknown as { queryObjects (constructor: unknown, options: { format: 'count' }): number }).queryObjects

const inMemory = () => queryObjects(Session, { format: 'count' }) + queryObjects(Call, { format: 'count' })
/** Those of subclasses are counted too. */
const PROTOTYPES = inMemory()

const storm = defineHandlers('storm', { pushes: { onAny: Type.String() } }, {
  bind: request({ body: Type.String() }, (uid, { session }) => session.bind(uid)),
  bindSlowly: request({ body: Type.String() }, async (uid, { session }) => { await turn(); await session.bind(uid); await turn() }),
  join: request({ body: Type.String() }, async (name, { session, groups }) => {
    await groups.add(name, session.uid)
    await groups.broadcast(name, 'onAny', name)
  }),
  echo: request({ body: Type.String(), response: Type.String() }, (text) => text),
  later: request({ body: Type.String(), response: Type.String(), concurrent: true }, async (text) => { await turn(); return text }),
  leave: notify((_, { session }) => session.close())
})

const errors = (error: unknown): void => { if (!(error instanceof PitayaError)) throw error }

/** One task's clients, and what it does with them: 17 operations. */
function operations (app: FastifyInstance, random: Random) {
  const { pitaya } = app
  const clients: RawClient[] = []
  const uid = () => `u${random.int(20)}`
  const group = () => `g${random.int(5)}`
  const some = () => clients[random.int(clients.length)]
  const session = () => random.pick([...pitaya.sessions.page(random.int(100_000), 8), undefined])
  const take = () => clients.splice(random.int(clients.length), 1)[0]
  const ignore = (promise: Promise<unknown>) => { promise.catch(errors) }
  let id = 1
  const steps: Array<() => void> = [
    () => {
      if (clients.length >= CLIENTS_PER_TASK) clients.shift()!.close()
      const client = rawClient(app)
      clients.push(client)
      client.greet().catch(() => {})
    },
    () => some()?.request(id++, 'storm.bind', JSON.stringify(uid())),
    () => some()?.request(id++, 'storm.bindSlowly', JSON.stringify(uid())),
    () => some()?.request(id++, 'storm.join', JSON.stringify(group())),
    () => some()?.request(id++, 'storm.echo', '"x"'),
    () => some()?.request(id++, 'storm.later', '"x"'),
    () => some()?.notify('storm.leave'),
    () => some()?.writeHex('04000002 ffff'),
    () => take()?.close(),
    () => take()?.end.destroy(),
    () => { const one = session(); if (one !== undefined) ignore(one.bind(uid())) },
    () => session()?.kick('storm'),
    () => { try { session()?.set({ n: random.int(100) }) } catch (error) { errors(error) } },
    () => ignore(pitaya.push([uid(), uid()], 'onAny', 'x')),
    () => ignore(pitaya.kick(uid())),
    () => ignore(random.int(2) === 0 ? pitaya.groups.add(group(), uid()) : pitaya.groups.remove(group(), uid())),
    () => {
      const ttlMs = random.pick([30, undefined])
      ignore(random.int(4) === 0 ? pitaya.groups.delete(group()) : pitaya.groups.create(group(), { ttlMs }))
    }
  ]
  return { clients, steps }
}

for (const policy of ['kick-old', 'refuse-new', 'allow'] satisfies BindPolicy[]) {
  t.test(`a storm of binds, kicks, closes, pushes and groups leaves nothing behind (policy ${policy})`, async (t) => {
    const seed = fuzzSeed()
    t.comment(`SEED=${seed}`)
    const random = new Random(seed)
    const app = await build(t, {
      handlers: [storm],
      session: {
        policy,
        onBind: () => random.int(8) === 0 ? turn() : undefined,
        afterBind: () => {
          if (random.int(50) === 0) throw new PitayaError('STORM')
          return random.int(8) === 0 ? turn() : undefined
        }
      },
      limits: { ratePerSecond: 0, connectionsPerSecond: 1_000_000 }
    })
    // A tenth of the fuzz count is the steps of one task: 100,000 in CI, shared by the three policies.
    const steps = Math.ceil(fuzzRuns(10) / 3)
    let closed = 0
    app.pitaya.sessions.onClose(() => { closed++ })
    await Promise.all(Array.from({ length: TASKS }, async () => {
      const task = operations(app, random)
      task.steps[0]!()
      for (let i = 0; i < steps; i++) {
        random.pick(task.steps)()
        if (random.int(6) === 0) await turn()
      }
      for (const client of task.clients) client.close()
    }))
    await eventually(() => app.pitaya.stats.connections === 0 && app.pitaya.stats.running === 0, 'every client to be gone')
    t.strictSame(app.pitaya.stats, { connections: 0, sessions: 0, running: 0, waiting: 0, abandoned: 0, pending: 0 })
    t.equal(sessionPool(app).boundUids, 0)
    t.ok(closed > steps / 10, `${closed} sessions`)
    for (let i = 0; i < 5; i++) {
      t.ok(await app.pitaya.groups.count(`g${i}`).catch(() => 0) === 0)
      await app.pitaya.groups.delete(`g${i}`).catch(errors)
    }
    t.equal((app.pitaya.groups as unknown as MemoryGroups).size, 0)
    await eventually(() => inMemory() === PROTOTYPES, 'no session and no call in memory')
  })
}

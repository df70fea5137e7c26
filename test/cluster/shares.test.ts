import { once } from 'node:events'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { eventually, workingClient, type RawClient, clusterIn } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const answer = { response: Type.Integer() }
const DISPATCH = 32
/** What a place that is waited for would cost. */
const HANDLER_MS = 3000

t.test('a server that answers nobody holds up neither local routes nor those of another server', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const stuck = defineHandlers('stuck', {
    wait: request(answer, async (_, { signal }) => { await once(signal, 'abort'); return 0 })
  })
  await backend({ serverType: 'dead', handlers: [stuck], limits: { handlerMs: 60_000 } })
  await backend({ serverType: 'good', handlers: [defineHandlers('quick', { one: request(answer, () => 1) })] })
  const app = await frontend({
    concurrency: { handler: { dispatch: DISPATCH } },
    limits: { handlerMs: HANDLER_MS },
    handlers: [defineHandlers('here', { two: request({ ...answer }, async () => 2) })]
  })
  const stalled: RawClient[] = []
  for (let i = 0; i < 100; i++) {
    const client = await workingClient(app)
    client.request(1, 'dead.stuck.wait')
    client.request(2, 'dead.stuck.wait')
    stalled.push(client)
  }
  await eventually(() => app.pitaya.stats.running === DISPATCH / 4, 'one server holds a quarter of the places')
  const client = await workingClient(app)
  let slowest = 0
  for (let id = 1; id <= 50; id++) {
    const startedAt = performance.now()
    client.request(id, id % 2 === 0 ? 'good.quick.one' : 'here.two')
    t.equal(await client.answer(id), id % 2 === 0 ? 1 : 2)
    slowest = Math.max(slowest, performance.now() - startedAt)
  }
  t.comment(`slowest ${slowest.toFixed(1)} ms`)
  t.ok(slowest < HANDLER_MS / 2, 'none waited for a place')
  const codes = new Map<string, number>()
  for (const client of stalled.slice(0, 100)) {
    for (const id of [1, 2]) {
      const { code } = await client.answer(id)
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
  }
  t.comment(JSON.stringify([...codes]))
  t.strictSame([...codes.keys()].sort(), ['PIT-503', 'PIT-504'], 'those that had a place, and those that waited for one')
  await eventually(() => app.pitaya.stats.running === 0 && app.pitaya.stats.waiting === 0 && app.pitaya.stats.pending === 0, 'nothing is left')
})

t.test('of two servers of one type, the one that leaves gives what waits for it to the other', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const handlers = [defineHandlers('slow', {
    wait: request({ ...answer, deadlineMs: 60_000 }, async (_, { signal }) => { await once(signal, 'abort'); return 0 })
  })]
  const dead = await backend({ serverId: 'a', handlers, closeMs: 500 })
  const app = await frontend({ concurrency: { handler: { dispatch: 8 } }, limits: { handlerMs: 5000 } })
  const clients = await Promise.all(Array.from({ length: 10 }, async () => {
    const client = await workingClient(app)
    client.request(1, 'chat.slow.wait')
    return client
  }))
  await eventually(() => app.pitaya.stats.running === 2, 'two hold a place')
  await backend({ serverId: 'b', handlers: [defineHandlers('slow', { wait: request(answer, () => 7) })] })
  // As it is closed at the end of a drain that did not wait for these two.
  await clusterIn(dead).close()
  const answers = await Promise.all(clients.map(async (client) => await client.answer(1)))
  t.strictSame(answers.map((answer) => answer.code ?? answer).sort(), [7, 7, 7, 7, 7, 7, 7, 7, 'PIT-503', 'PIT-503'])
})

import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { HandlerSession } from '../../lib/handler/types.ts'
import { eventually, rawClient, sessionPool, workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const Any = Type.Unsafe<any>({})
const pushes = { onText: Type.String() }
type Act = (session: HandlerSession<typeof pushes>, body: any) => unknown

/** A backend whose handler does what the test says. */
const acting = (acts: Record<string, Act>) => defineHandlers('act', { pushes }, Object.fromEntries(Object.entries(acts).map(([name, act]) => {
  return [name, request({ body: Any, response: Any }, async (body, { session }) => await act(session as never, body) ?? {})]
})))
const serializers = ['json' as const]

t.test('what a backend sets is its own until it is pushed to the front, and then by key', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const acts = {
    set: (session: any, patch: any) => { session.set(patch) },
    push: async (session: any, patch: any) => {
      session.set(patch)
      return await session.pushToFront()
    },
    remove: async (session: any) => {
      session.set({ a: undefined })
      await session.pushToFront()
    },
    both: async (session: any, other: any) => {
      // Meanwhile another request changes the same key: the frontend does it here.
      session.set({ a: 'mine', c: 1 })
      sessionPool(front).get(session.id)!.set(other)
      return await session.pushToFront()
    },
    data: (session: any) => session.data
  }
  await backend({ serializers, handlers: [acting(acts)] })
  const front = await frontend({ serializers })
  const client = await workingClient(front)
  let id = 0
  const call = async (name: string, body: unknown = {}) => {
    client.request(++id, `chat.act.${name}`, body)
    return await client.answer(id)
  }
  await call('set', { a: 1 })
  t.strictSame(await call('data'), {})
  t.strictSame(await call('push', { a: 1 }), { overwritten: [] })
  t.strictSame(await call('push', { b: 2 }), { overwritten: [] })
  t.strictSame(await call('data'), { a: 1, b: 2 })
  t.strictSame(await call('both', { a: 'theirs', d: 4 }), { overwritten: ['a'] }, 'the later one counts, and is told')
  t.strictSame(await call('data'), { a: 'mine', b: 2, c: 1, d: 4 })
  await call('remove')
  t.strictSame(await call('data'), { b: 2, c: 1, d: 4 })
  t.match(await call('push', { big: 'x'.repeat(5000) }), { code: 'PIT-413' })
})

t.test('a backend binds, kicks and closes; what it may not do is refused with a reason', async (t) => {
  const { frontend, backend } = clusterOf(t)
  let refused: any
  await backend({
    serializers,
    handlers: [acting({
      bind: async (session, uid) => { await session.bind(uid); return session.uid },
      onClose: (session) => { try { session.onClose(() => {}) } catch (error) { refused = error } },
      kick: (session) => { session.kick('enough') },
      close: (session) => { session.close() }
    })]
  })
  const app = await frontend({ serializers })
  const ana = await workingClient(app, { sys: { closeReason: true } })
  ana.request(1, 'chat.act.bind', '"ana"')
  t.equal(await ana.answer(1), 'ana')
  ana.request(2, 'chat.act.bind', '"eve"')
  t.match(await ana.answer(2), { code: 'PIT-409' })
  ana.request(3, 'chat.act.onClose')
  await ana.answer(3)
  t.match(refused, { code: 'PIT_ERR_SESSION_COPY', message: /not allowed on backend servers/ })
  ana.request(4, 'chat.act.kick')
  t.match(await ana.closed(), { code: 4504, reason: 'enough' })
  const bob = await workingClient(app)
  bob.request(1, 'chat.act.close')
  t.equal((await bob.closed()).code, 1000)
})

t.test('a session copy kept past its answer pushes by uid, and refuses changes', async (t) => {
  const { frontend, backend } = clusterOf(t)
  let kept: any
  await backend({ serializers, handlers: [acting({ keep: async (session) => { kept = session; await session.bind('ana') } })] })
  const app = await frontend({ serializers })
  const first = await workingClient(app)
  first.request(1, 'chat.act.keep')
  await first.answer(1)
  for (const act of [() => kept.set({ a: 1 }), () => kept.bind('b'), () => kept.pushToFront()]) {
    await t.rejects(async () => await act(), { code: 'PIT_ERR_SESSION_COPY' })
  }
  t.equal(kept.push('onText', 'still there?'), true)
  t.equal((await first.message()).data.toString(), '"still there?"')
})

t.test('pushes and kicks reach uids on any frontend, and say whom they reached', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const back = await backend({ serializers, handlers: [acting({ bind: (session, uid) => session.bind(uid) })] })
  const fronts = [await frontend({ serializers }), await frontend({ serializers })]
  const clients = await Promise.all(['ana', 'bob'].map(async (uid, i) => {
    const client = await workingClient(fronts[i]!)
    client.request(1, 'chat.act.bind', JSON.stringify(uid))
    await client.answer(1)
    return client
  }))
  t.strictSame(await back.pitaya.push(['ana', 'bob', 'eve'], 'onText', 'hi'), { delivered: [], notConnected: ['eve'], unknown: ['ana', 'bob'] })
  for (const client of clients) t.equal((await client.message()).data.toString(), '"hi"')
  t.strictSame(await back.pitaya.push(['ana', 'bob', 'eve'], 'onText', 'ho', { confirm: true }), {
    delivered: ['ana', 'bob'], notConnected: ['eve'], unknown: []
  })
  for (const client of clients) t.equal((await client.message()).data.toString(), '"ho"')
  // Kicked by the other frontend.
  t.strictSame(await fronts[0]!.pitaya.kick('bob', 'bye', { confirm: true }), { delivered: ['bob'], notConnected: [], unknown: [] })
  t.equal((await clients[1]!.closed()).code, 4504)
  await eventually(() => sessionPool(fronts[1]!).size === 0, 'bob is gone')
  t.strictSame((await back.pitaya.push('bob', 'onText', 'gone', { confirm: true })).notConnected, ['bob'])
})

t.test('a uid that binds on another frontend is replaced on the first, and pushes follow it', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const back = await backend({ serializers, handlers: [acting({ bind: (session, uid) => session.bind(uid) })] })
  const old = await workingClient(await frontend({ serializers }))
  old.request(1, 'chat.act.bind', '"ana"')
  await old.answer(1)
  await back.pitaya.push('ana', 'onText', '1')
  t.equal((await old.message()).data.toString(), '"1"')
  const client = await workingClient(await frontend({ serializers }))
  client.request(1, 'chat.act.bind', '"ana"')
  await client.answer(1)
  t.equal((await old.closed()).code, 4501)
  // What the backend remembers is wrong by now: the frontend passes it on.
  await back.pitaya.push('ana', 'onText', '2')
  t.equal((await client.message()).data.toString(), '"2"')
  t.strictSame(await back.pitaya.push('ana', 'onText', '3', { confirm: true }), { delivered: ['ana'], notConnected: [], unknown: [] })
})

t.test('hooks hear of sessions bound and closed anywhere: one server of each type, or every one', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const heard: string[] = []
  const handlers = [acting({ bind: (session, uid) => session.bind(uid) })]
  for (const name of ['a', 'b']) {
    await backend({
      serverId: name,
      serializers,
      handlers,
      setUp: (app) => {
        app.pitaya.sessions.onBound(({ uid }) => { heard.push(`bound ${uid}`) })
        app.pitaya.sessions.onClosed(({ uid, frontendId }) => { heard.push(`${name} closed ${uid} ${frontendId}`) }, { every: true })
      }
    })
  }
  const app = await frontend({ serverId: 'front', serializers })
  const client = rawClient(app)
  await client.greet()
  client.request(1, 'chat.act.bind', '"ana"')
  await client.answer(1)
  client.close()
  await eventually(() => heard.length === 3, 'three are told')
  t.strictSame(heard.sort(), ['a closed ana front', 'b closed ana front', 'bound ana'])
})

import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t, { type Test } from 'tap'
import { defineHandlers, PitayaError, request } from '../../lib/handler/define.ts'
import pitaya from '../../plugins/pitaya.ts'
import { build } from '../helpers/app.ts'

/** A structure whose one method answers the trail that hooks left. */
const trail = (name: string) => defineHandlers(name, { before: [leave('structure')], after: [arrive('structure')] }, {
  ask: request({ body: Type.Array(Type.String()), response: Type.Array(Type.String()), before: [leave('method')], after: [arrive('method')] },
    (trail) => [...trail, 'handler'])
})
const leave = (mark: string) => (trail: any): any => [...trail, `before ${mark}`]
const arrive = (mark: string) => (outcome: any): any => ({ result: [...outcome.result, `after ${mark}`] })
const mark = ({ pitaya }: Pick<FastifyInstance, 'pitaya'>, name: string) => pitaya.before(leave(name)).after(arrive(name))
const around = (...names: string[]) => [...names.map((name) => `before ${name}`), 'handler', ...names.map((name) => `after ${name}`)]

async function ask (app: Pick<FastifyInstance, 'pitaya'>, name: string): Promise<string[]> {
  const client = await app.pitaya.inject()
  return await client.request(`${name}.ask`, [])
}

t.test('hooks apply to the handlers of their scope and its children: global, scope, structure, method', async (t) => {
  const app = await build(t, {
    setUp: async (app) => {
      mark(app, 'global')
      app.pitaya.register(trail('top'))
      await app.register(async (outer) => {
        mark(outer, 'outer')
        outer.pitaya.register(trail('outer'))
        await outer.register(async (inner) => {
          mark(inner, 'inner')
          inner.pitaya.register(trail('inner'))
        })
      })
      await app.register(async (sibling) => {
        mark(sibling, 'sibling')
        sibling.pitaya.register(trail('sibling'))
      })
    }
  })
  t.strictSame(await ask(app, 'top'), around('global', 'structure', 'method'))
  t.strictSame(await ask(app, 'outer'), around('global', 'outer', 'structure', 'method'))
  t.strictSame(await ask(app, 'inner'), around('global', 'outer', 'inner', 'structure', 'method'))
  t.strictSame(await ask(app, 'sibling'), around('global', 'sibling', 'structure', 'method'))
})

t.test('a hook added after the handlers, or after a child scope, still applies', async (t) => {
  const app = await build(t, {
    setUp: async (app) => {
      app.pitaya.register(trail('top'))
      await app.register(async (child) => {
        child.pitaya.register(trail('child'))
        mark(child, 'late child')
      })
      mark(app, 'late')
    }
  })
  t.strictSame(await ask(app, 'top'), around('late', 'structure', 'method'))
  t.strictSame(await ask(app, 'child'), around('late', 'late child', 'structure', 'method'))
})

t.test('a plugin that breaks encapsulation adds to its parent\'s scope', async (t) => {
  const app = await build(t, {
    setUp: async (app) => {
      await app.register(fp(async (same) => { mark(same, 'shared') }))
      app.pitaya.register(trail('top'))
    }
  })
  t.strictSame(await ask(app, 'top'), around('shared', 'structure', 'method'))
})

t.test('raw hooks are scoped like the others', async (t) => {
  const app = await build(t, {
    setUp: async (app) => {
      app.pitaya.register(trail('top'))
      await app.register(async (child) => {
        child.pitaya.before(() => { throw new PitayaError('NO') }, { raw: true })
        child.pitaya.after((bytes) => Buffer.from(JSON.stringify({ sealed: bytes.length })), { raw: true })
        child.pitaya.register(trail('child'))
      })
    }
  })
  t.strictSame(await ask(app, 'top'), around('structure', 'method'))
  await t.rejects(ask(app, 'child'), { code: 'NO' })
})

t.test('nothing can be registered once the app is ready, in any scope', async (t) => {
  const scopes: FastifyInstance[] = []
  const app = await build(t, { setUp: async (app) => { await app.register(async (child) => { scopes.push(child) }) } })
  for (const scope of [app, scopes[0]!]) {
    const hook = () => {}
    for (const [name, act] of [
      ['register', () => scope.pitaya.register(trail('late'))],
      ['before', () => scope.pitaya.before(hook)],
      ['after', () => scope.pitaya.after(hook)]
    ] as const) t.throws(act, { code: 'PIT_ERR_STARTED', message: new RegExp(`app\\.pitaya\\.${name}\\(\\)`) })
  }
})

t.test('what is no function is no hook: a start error, not one per message', async (t) => {
  await build(t, {
    setUp: (app) => {
      t.throws(() => app.pitaya.before('auth' as any), { code: 'PIT_ERR_HANDLER', message: /before/ })
      t.throws(() => app.pitaya.after(undefined as any, { raw: true }), { code: 'PIT_ERR_HANDLER', message: /after/ })
    }
  })
})

t.test('two structures of one name are a start error, also from different scopes', async (t) => {
  await build(t, {
    setUp: async (app) => {
      app.pitaya.register(trail('one'))
      t.throws(() => app.pitaya.register(trail('two'), trail('two')), { code: 'PIT_ERR_DUPLICATE_HANDLERS', message: /two/ })
      await app.register(async (child) => {
        t.throws(() => child.pitaya.register(trail('one')), { code: 'PIT_ERR_DUPLICATE_HANDLERS' })
      })
    }
  })
})

/** What every server of the tests below has. */
const room = (tag: string) => defineHandlers('room', { pushes: { onText: Type.String() } }, {
  join: request({ body: Type.String(), response: Type.String() }, async (uid, { session, groups }) => {
    await session.bind(uid)
    await groups.add('lobby', uid)
    return tag
  })
})

async function assertApart (t: Test, one: Pick<FastifyInstance, 'pitaya'>, two: Pick<FastifyInstance, 'pitaya'>): Promise<void> {
  const clients = [await one.pitaya.inject(), await two.pitaya.inject()]
  const heard: string[][] = [[], []]
  for (const [i, client] of clients.entries()) client.on('onText', (text) => { heard[i]!.push(text) })
  t.equal(await clients[0]!.request('room.join', 'ana'), 'one')
  t.equal(await clients[1]!.request('room.join', 'ana'), 'two')
  t.equal(clients[0]!.closed, undefined, 'the same uid on the other server replaces nobody')
  t.equal(one.pitaya.sessions.size, 1)
  t.equal(two.pitaya.sessions.size, 1)
  await one.pitaya.groups.broadcast('lobby', 'onText', 'for one')
  await two.pitaya.push('ana', 'onText', 'for two')
  // An answer comes after the pushes before it.
  await Promise.all(clients.map((client) => t.rejects(client.request('room.join', 'ana'))))
  t.strictSame(heard, [['for one'], ['for two']])
  await one.pitaya.kick('ana')
  await new Promise<void>((resolve) => { clients[0]!.onClose(() => resolve()) })
  t.equal(clients[1]!.closed, undefined)
  t.strictSame(await one.pitaya.groups.members('lobby').catch(() => []), [])
  t.strictSame(await two.pitaya.groups.members('lobby'), ['ana'])
  t.equal(one.pitaya.isDraining, false)
  await one.pitaya.drain()
  t.equal(two.pitaya.isDraining, false)
  t.equal(await (await two.pitaya.inject()).request('room.join', 'bob'), 'two')
}

t.test('two apps in one process share nothing', async (t) => {
  const [one, two] = [await build(t, { handlers: [room('one')] }), await build(t, { handlers: [room('two')] })]
  t.not(one.pitaya.serverId, two.pitaya.serverId)
  await assertApart(t, one, two)
})

t.test('two servers in two scopes of one app share nothing', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const scopes: FastifyInstance[] = []
  for (const tag of ['one', 'two']) {
    await app.register(async (scope) => {
      await scope.register(pitaya, { serverType: tag, acceptors: false })
      scope.pitaya.before(() => {}).register(room(tag))
      scopes.push(scope)
    })
  }
  await app.ready()
  t.equal(app.hasDecorator('pitaya'), false)
  await assertApart(t, scopes[0]!, scopes[1]!)
})

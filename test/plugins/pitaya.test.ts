import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import t from 'tap'
import { defineHandlers, definePitaya, notify, PitayaError, request } from '../../lib/handler/define.ts'
import type { HandlerSession } from '../../lib/handler/types.ts'
import pitaya, { fastifyPitaya, PitayaError as Exported } from '../../plugins/pitaya.ts'
import { build, eventually, sessionPool } from '../helpers/app.ts'
import { defer } from '../helpers/core.ts'
import { logSink } from '../helpers/log.ts'

const chat = definePitaya({
  session: Type.Object({ score: Type.Integer(), name: Type.String() }),
  user: Type.Object({ name: Type.String(), token: Type.Optional(Type.String()) })
})

const room = chat.handlers('room', { pushes: { onMessage: Type.Object({ from: Type.String(), text: Type.String() }) } }, {
  join: request({ response: Type.Array(Type.String()) }, async (_, { session, groups }) => {
    await session.bind(session.handshake.user.name)
    session.set({ name: session.handshake.user.name, score: 0 })
    await groups.add('lobby', session.uid)
    return await groups.members('lobby')
  }),
  say: notify({ body: Type.String() }, async (text, { session, groups }) => {
    session.set({ score: (session.data.score ?? 0) + 1 })
    await groups.broadcast('lobby', 'onMessage', { from: session.uid, text })
  }),
  score: request({ response: Type.Integer() }, (_, { session }) => session.data.score ?? -1)
})

t.test('the plugin has its two usual names, and the errors applications throw', async (t) => {
  t.equal(pitaya, fastifyPitaya)
  t.equal(Exported, PitayaError)
})

t.test('clients chat through inject(): typed requests, notifies and pushes, without a port', async (t) => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP'))
  const before = sockets()
  const app = await build(t, { handlers: [room] })
  const [ana, bob] = await Promise.all(['ana', 'bob'].map((name) => app.pitaya.inject<[typeof room]>({ user: { name } })))
  t.strictSame(await ana!.request('room.join'), ['ana'])
  t.strictSame(await bob!.request('lobby.room.join'), ['ana', 'bob'])
  const heard: string[] = []
  for (const client of [ana!, bob!]) client.on('onMessage', ({ from, text }) => { heard.push(`${from}: ${text}`) })
  ana!.notify('room.say', 'hello')
  t.equal(await ana!.request('room.score'), 1)
  t.equal(await bob!.request('room.score'), 0)
  t.strictSame(heard, ['ana: hello', 'ana: hello'])
  t.strictSame(sockets(), before)
  t.equal(app.server.listening, false)
})

t.test('a handshake outside the declared user data is refused with the field', async (t) => {
  const app = await build(t, { handlers: [room] })
  await t.rejects(app.pitaya.inject({ user: { name: 5 } }), { code: 'PIT-400', metadata: { field: 'user/name' } })
  await t.rejects(app.pitaya.inject(), { code: 'PIT-400' })
  t.equal(app.pitaya.stats.sessions, 0)
})

t.test('a validator binds uid and data before the answer, and its bind obeys the policy', async (t) => {
  const app = await build(t, {
    handlers: [room],
    session: { policy: 'refuse-new' },
    handshake: { validators: { login: async ({ user }) => ({ uid: user.name, data: { score: 7, secret: 'undeclared' } }) } }
  })
  const ana = await app.pitaya.inject<[typeof room]>({ user: { name: 'ana' } })
  const [session] = app.pitaya.sessions.ofUid('ana')
  t.strictSame(session!.data, { score: 7 })
  t.equal(await ana.request('room.score'), 7)
  await t.rejects(app.pitaya.inject({ user: { name: 'ana' } }), { code: 'PIT-409', message: 'uid is bound to another session' })
  t.equal(app.pitaya.stats.sessions, 1)
})

t.test('hooks on bind, after bind and close may be given as options or to the sessions', async (t) => {
  const order: string[] = []
  const visit = (name: string) => (session: HandlerSession, uid?: string) => { order.push(`${name} ${uid ?? session.uid}`) }
  const app = await build(t, {
    handlers: [room],
    session: { onBind: visit('option bind'), afterBind: visit('option after'), onClose: visit('option close') },
    setUp: ({ pitaya: { sessions } }) => {
      sessions.onBind(visit('bind'))
      sessions.afterBind(visit('after'))
      sessions.onClose(visit('close'))
    }
  })
  const client = await app.pitaya.inject({ user: { name: 'ana' } })
  await client.request('room.join')
  client.close()
  await eventually(() => app.pitaya.stats.sessions === 0, 'the session to close')
  t.strictSame(order, ['option bind ana', 'bind ana', 'option after ana', 'after ana', 'option close ana', 'close ana'])
})

t.test('a bind hook refuses with its own words; the session goes on unbound', async (t) => {
  const app = await build(t, {
    handlers: [room],
    session: { onBind: (_, uid) => { if (uid === 'eve') throw new PitayaError('BANNED', 'go away') } }
  })
  const client = await app.pitaya.inject({ user: { name: 'eve' } })
  await t.rejects(client.request('room.join'), { code: 'BANNED', message: 'go away' })
  t.equal(await client.request('room.score'), -1)
  t.equal(sessionPool(app).boundUids, 0)
})

t.test('a bind hook that pushes reaches the client before the answer of its bind', async (t) => {
  const app = await build(t, {
    handlers: [room],
    session: { afterBind: (session, uid) => { session.push('onMessage', { from: 'server', text: `welcome ${uid}` }) } }
  })
  const client = await app.pitaya.inject<[typeof room]>({ user: { name: 'ana' } })
  const order: string[] = []
  client.on('onMessage', ({ text }) => { order.push(text) })
  await client.request('room.join')
  order.push('joined')
  t.strictSame(order, ['welcome ana', 'joined'])
})

t.test('a session closed while its handler runs: the signal fires, callbacks run, the answer is dropped', async (t) => {
  const gate = defer<void>()
  const seen: string[] = []
  const app = await build(t, {
    handlers: [defineHandlers('room', { pushes: { onText: Type.String() } }, {
      wait: request(async (_, { session, signal }) => {
        session.onClose(() => { seen.push(`closed ${signal.aborted}`) })
        signal.addEventListener('abort', () => { seen.push('aborted') })
        await gate.promise
        seen.push(`still running ${session.isClosed} ${session.push('onText', 'hi')}`)
      })
    })]
  })
  const client = await app.pitaya.inject()
  const answer = client.request('room.wait')
  answer.catch(() => {})
  await eventually(() => app.pitaya.stats.running === 1, 'the handler to run')
  client.close()
  await eventually(() => app.pitaya.stats.connections === 0, 'the client to be gone')
  gate.resolve()
  await eventually(() => app.pitaya.stats.running === 0, 'the handler to end')
  t.strictSame(seen, ['aborted', 'closed true', 'still running true false'])
  await t.rejects(answer, { code: 'PIT_ERR_CLIENT_CLOSED' })
})

t.test('what cannot start fails the start, by name', async (t) => {
  const start = async (options: object, setUp: (app: Awaited<ReturnType<typeof build>>) => void = () => {}) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(pitaya, { acceptors: false, ...options })
    setUp(app as never)
    await app.ready()
  }
  await t.rejects(start({ limits: { typo: 1 } }), { code: 'PIT_ERR_OPTIONS', message: /limits\.typo/ })
  await t.rejects(start({ acceptors: undefined }), { code: 'PIT_ERR_NO_ACCEPTOR' })
  await t.rejects(start({ serializers: ['json', 'json'] }), { code: 'PIT_ERR_DUPLICATE_SERIALIZER' })
  await t.rejects(start({}, (app) => app.pitaya.register(room, room)), { code: 'PIT_ERR_DUPLICATE_HANDLERS' })
  const other = { data: Type.Object({ other: Type.String() }) }
  await t.rejects(start({ session: other }, (app) => app.pitaya.register(room)), { code: 'PIT_ERR_SCHEMA' })
  const body = Type.Union([Type.Object({ a: Type.Integer() }), Type.Object({ b: Type.Integer() })])
  const unmapped = defineHandlers('odd', { ask: request({ body }, () => {}) })
  const refused = (place: string): RegExp => new RegExp(`^fastify-pitaya: ${place}: (?!.*fastify-pitaya).* \\(serializer "avro"; .*option serializers\\)$`)
  await t.rejects(start({}, (app) => app.pitaya.register(unmapped)), { code: 'PIT_ERR_SCHEMA', message: refused('game\\.odd\\.ask\\.body') })
  const pushing = defineHandlers('odd', { pushes: { onOdd: body } }, {})
  await t.rejects(start({}, (app) => app.pitaya.register(pushing)), { code: 'PIT_ERR_SCHEMA', message: refused('push\\.onOdd') })
  for (const wrong of [undefined, null, 'room', { foo: 1 }, () => {}]) {
    const message = 'fastify-pitaya: handler app.pitaya.register(): takes what defineHandlers(name, methods) returns'
    await t.rejects(start({}, (app) => app.pitaya.register(wrong as never)), { code: 'PIT_ERR_HANDLER', message })
  }
  const twice = (app: Awaited<ReturnType<typeof build>>) => { app.register(pitaya, { acceptors: false }) }
  await t.rejects(start({}, twice), { code: 'PIT_ERR_REGISTERED' })
  await t.rejects(start({}, (app) => { app.register(async (scope) => twice(scope)) }), { code: 'PIT_ERR_REGISTERED' })
  await start({ serializers: ['json'] }, (app) => app.pitaya.register(unmapped))
})

t.test('a handler that blocks the event loop is named in the log, and no client is closed for it', async (t) => {
  const { logger, lines } = logSink()
  const gate = defer()
  const app = await build(t, {
    fastify: { logger },
    heartbeatSeconds: 0.5,
    limits: { handlerMs: 1250 },
    handlers: [defineHandlers('room', {
      block: request(() => { for (const end = performance.now() + 1500; performance.now() < end;); }),
      other: request(() => gate.promise)
    })]
  })
  const [one, two] = [await app.pitaya.inject(), await app.pitaya.inject()]
  const other = two.request('room.other')
  await eventually(() => app.pitaya.stats.running === 1, 'the other handler to run')
  await one.request('room.block')
  gate.resolve()
  await other
  const isLag = ({ msg }: Record<string, unknown>) => String(msg).includes('event loop was blocked')
  await eventually(() => lines.some(isLag), 'the warning')
  const line = lines.find(isLag)!
  t.equal(line.level, 40)
  t.equal(line.route, 'lobby.room.block')
  t.ok((line.lagMs as number) > 1000)
  t.equal(one.closed ?? two.closed, undefined)
})

t.test('registered twice in one scope it says so', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(pitaya, { acceptors: false })
  await t.rejects(async () => { await app.register(pitaya, { acceptors: false }) }, /pitaya/)
})

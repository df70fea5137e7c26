/** Remotes from one server to another, as applications use them. */
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { defineHandlers, defineRemotes, PitayaError, raw, request, type RemoteContext } from '../../lib/handler/define.ts'
import { routing } from '../../plugins/pitaya.ts'
import { eventually, workingClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'

const match = defineRemotes('match', {
  create: {
    body: Type.Object({ mode: Type.String({ maxLength: 8 }), size: Type.Optional(Type.Integer()) }),
    response: Type.Object({ id: Type.String(), by: Type.String() })
  },
  fail: { body: Type.String() },
  hang: { deadlineMs: 100 },
  patient: { deadlineMs: 60_000 },
  bytes: { body: raw, response: raw },
  where: { response: Type.String() },
  hop: { response: Type.Record(Type.String(), Type.String()) }
})
const never = (_: undefined, { signal }: RemoteContext) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))

function serve (app: FastifyInstance, more: Partial<Record<keyof typeof match.methods, any>> = {}): void {
  app.pitaya.remotes(match, {
    create: ({ mode, size = 1 }, { caller }) => ({ id: `${mode}-${size}`, by: caller }),
    fail: (what) => { throw what === 'mine' ? new PitayaError('GAME-1', 'no luck', { why: 'dice' }) : new Error('secret') },
    hang: never,
    patient: never,
    bytes: (bytes) => bytes,
    where: () => app.pitaya.serverId,
    hop: (_, { propagated }) => ({ ...propagated }),
    ...more
  })
}

/** The code on the wire of what a call rejects with. */
async function failureOf (call: Promise<unknown>): Promise<string> {
  return await call.then(() => '', (error: PitayaError) => error.wireCode)
}

/** Servers of type game, and one of type connector that calls them. */
async function setUp (t: Parameters<typeof clusterOf>[0], ids = ['game-1'], setUpCaller: (app: FastifyInstance) => void = () => {}) {
  const cluster = clusterOf(t)
  // Deadlines alone do not keep the process.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  const games = await Promise.all(ids.map((serverId) => cluster.backend({ serverId, serverType: 'game', closeMs: 500, setUp: (app) => serve(app) })))
  const caller = await cluster.frontend({ serverId: 'caller', setUp: setUpCaller, closeMs: 500 })
  return { ...cluster, games, caller, game: caller.pitaya.remote('game', match) }
}

t.test('a contract is called as if it were here: typed both ways, checked both ways', async (t) => {
  const { game, caller } = await setUp(t)
  t.strictSame(await game.create({ mode: 'duel' }), { id: 'duel-1', by: 'caller' })
  t.strictSame(await game.create({ mode: 'duel', size: 4 }), { id: 'duel-4', by: 'caller' })
  await t.rejects(game.create({ mode: 5 } as any), { code: 'PIT_ERR_REMOTE', message: /game\.match\.create/ })
  await t.rejects(game.create({ mode: 'much too long' }), { code: 'PIT_ERR_REMOTE' })
  t.strictSame([...await game.bytes(Uint8Array.of(1, 2, 3))], [1, 2, 3])
  t.strictSame(Buffer.from(await caller.pitaya.rpc('game.match.bytes', Buffer.from('hi'))).toString(), 'hi')
  t.equal(caller.pitaya.stats.pending, 0)
})

t.test('errors keep code, message and metadata; what is no error for callers stays in the log', async (t) => {
  const { game, caller } = await setUp(t)
  await t.rejects(game.fail('mine'), { code: 'GAME-1', message: 'no luck', metadata: { why: 'dice' } })
  await t.rejects(game.fail('bug'), { code: 'PIT-500', message: 'internal error', statusCode: 500 })
  await t.rejects(caller.pitaya.rpc('game.match.nope', Buffer.from('')), { code: 'PIT-404', metadata: { route: 'game.match.nope' } })
  await t.rejects(caller.pitaya.rpc('game.match.fail', Buffer.from([0xff])), { code: 'PIT-400' })
})

t.test('a call ends at its deadline: the method\'s, or the caller\'s', async (t) => {
  const { game, caller, games } = await setUp(t)
  t.equal(await failureOf(game.hang()), 'PIT-504')
  t.equal(await failureOf(game.patient(undefined, { timeoutMs: 50 })), 'PIT-504')
  for (const timeoutMs of [0, NaN, Infinity]) await t.rejects(game.patient(undefined, { timeoutMs }), { code: 'PIT_ERR_REMOTE' })
  await eventually(() => games[0]!.pitaya.stats.running === 0, 'the deadline has travelled along')
  t.equal(caller.pitaya.stats.pending, 0)
})

t.test('a call asks one server, or the one that the type\'s routing function says', async (t) => {
  const { game, caller } = await setUp(t, ['game-1', 'game-2', 'game-3'], (app) => { app.pitaya.route('game', routing.hashUid()) })
  for (const serverId of ['game-1', 'game-2', 'game-3']) t.equal(await game.where(undefined, { serverId }), serverId)
  for (const key of ['a', 'b', 'c', 'd']) {
    const first = await game.where(undefined, { key })
    for (let i = 0; i < 5; i++) t.equal(await game.where(undefined, { key }), first)
  }
  await t.rejects(game.where(undefined, { serverId: 'game-4' }), { code: 'PIT_ERR_SERVER_UNKNOWN' })
  await t.rejects(game.where(undefined, { serverId: 'caller' }), { code: 'PIT_ERR_SERVER_UNKNOWN' }, 'of another type')
  await t.rejects(caller.pitaya.remote('none', match).where(), { code: 'PIT_ERR_NO_SERVER' })
  t.throws(() => caller.pitaya.route('game', routing.random()), { code: 'PIT_ERR_STARTED' })
})

t.test('a server without another of its type serves itself, by type and by id', async (t) => {
  const { games } = await setUp(t)
  const [app] = games
  t.equal(await app!.pitaya.remote('game', match).where(), 'game-1')
  t.equal(await app!.pitaya.remote('game', match).where(undefined, { serverId: 'game-1' }), 'game-1')
  t.equal((await app!.pitaya.remote('game', match).create({ mode: 'self' })).by, 'game-1')
  await t.rejects(app!.pitaya.remote('game', match).fail('mine'), { code: 'GAME-1', metadata: { why: 'dice' } })
})

t.test('hooks of the scopes around a remote see what goes in and what comes out', async (t) => {
  const cluster = clusterOf(t)
  const seen: string[] = []
  await cluster.backend({
    serverType: 'game',
    setUp: async (app) => {
      app.pitaya.beforeRemote((body: any, { route }) => { seen.push(`outer ${route} ${body?.mode}`) })
      app.pitaya.afterRemote((outcome) => { seen.push(outcome.error === undefined ? 'went well' : `failed ${(outcome.error as PitayaError).code}`) })
      await app.register(async (scope) => {
        scope.pitaya.beforeRemote((body: any) => body?.mode === undefined ? undefined : { ...body, size: 9 })
        serve(scope)
      })
      app.pitaya.remotes(defineRemotes('other', { ping: {} }), { ping () {} })
    }
  })
  const caller = await cluster.frontend()
  const game = caller.pitaya.remote('game', match)
  t.equal((await game.create({ mode: 'duel' })).id, 'duel-9')
  await t.rejects(game.fail('mine'), { code: 'GAME-1' })
  await caller.pitaya.remote('game', defineRemotes('other', { ping: {} })).ping()
  t.strictSame(seen, [
    'outer game.match.create duel', 'went well', 'outer game.match.fail undefined', 'failed GAME-1', 'outer game.other.ping undefined', 'went well'
  ])
})

t.test('what is propagated goes from hop to hop, as far as each hands it on', async (t) => {
  const cluster = clusterOf(t)
  await cluster.backend({ serverType: 'deep', setUp: (app) => serve(app) })
  await cluster.backend({
    serverType: 'game',
    setUp: (app) => {
      const deep = app.pitaya.remote('deep', match)
      serve(app, { hop: async (_: undefined, { propagated }: RemoteContext) => await deep.hop(undefined, { propagated: { ...propagated, second: '2' } }) })
    }
  })
  const front = await cluster.frontend({
    serializers: ['json'],
    setUp: (app) => {
      const game = app.pitaya.remote('game', match)
      app.pitaya.register(defineHandlers('room', {
        trace: request({ response: Type.Unsafe<any>({}) }, async () => await game.hop(undefined, { propagated: { trace: '1' } }))
      }))
    }
  })
  const client = await workingClient(front)
  client.request(1, 'room.trace')
  t.strictSame(await client.answer(1), { trace: '1', second: '2' })
  const game = front.pitaya.remote('game', match)
  await t.rejects(game.hop(undefined, { propagated: { big: 'x'.repeat(5000) } }), { code: 'PIT_ERR_RPC' })
  t.strictSame(await game.hop(), { second: '2' })
})

t.test('a call in flight to a server that is lost fails, and so do calls while the cluster cannot be reached', async (t) => {
  const { game, games, caller } = await setUp(t)
  const failing = failureOf(game.patient())
  await eventually(() => games[0]!.pitaya.stats.running === 1, 'it runs')
  await games[0]!.close()
  t.equal(await failing, 'PIT-503')
  t.equal(await failureOf(game.where()), 'PIT-503')
  t.match(caller.pitaya.stats, { pending: 0, running: 0 })
})

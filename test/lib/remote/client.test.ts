import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineRemotes, raw } from '../../../lib/handler/define.ts'
import { RemoteClients } from '../../../lib/remote/client.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { createRemotes } from '../../helpers/remotes.ts'

const Name = Type.Object({ name: Type.String({ maxLength: 8 }), note: Type.Optional(Type.String()) })
const match = defineRemotes('match', {
  greet: { body: Name, response: Name, deadlineMs: 300 },
  maybe: { response: Type.Union([Type.Integer(), Type.Null()]) },
  ping: {},
  bytes: { body: raw, response: raw }
})

function serve () {
  const remotes = createRemotes()
  remotes.service.register(match, { greet: (body) => ({ ...body, secret: 1 }), maybe: () => null, ping () {}, bytes: (bytes) => bytes })
  remotes.service.compile()
  return { ...remotes, game: remotes.clients.of('game', match) }
}

/** A client of a server that answers what it is told to. */
function against (answer: Uint8Array) {
  const calls: Uint8Array[] = []
  const send = async (_: string, data: Uint8Array) => { calls.push(new Uint8Array(data)); return answer }
  return { calls, game: new RemoteClients({ serializer: createAvroSerializer(), send }).of('game', match) }
}

t.test('bodies and responses come out as they went in, without undeclared properties', async (t) => {
  const { game } = serve()
  t.strictSame(await game.greet({ name: 'ana' }), { name: 'ana' })
  t.strictSame(await game.greet({ name: 'ana', note: 'x', other: 1 } as any), { name: 'ana', note: 'x' })
  t.equal(await game.maybe(), null)
  t.equal(await game.ping(), undefined)
  t.strictSame(await game.bytes(Uint8Array.of(0, 255)), Uint8Array.of(0, 255))
})

t.test('many calls at once do not mix up their bytes', async (t) => {
  const { game } = serve()
  const names = Array.from({ length: 100 }, (_, i) => `n${i}`)
  const answers = await Promise.all(names.map((name) => game.greet({ name })))
  t.strictSame(answers.map(({ name }) => name), names)
})

t.test('route, options and time-out reach the sender: the caller\'s, else the method\'s, else the server\'s', async (t) => {
  const { game, sent } = serve()
  const options = { serverId: 'game-7', timeoutMs: 50, key: 'ana', propagated: { trace: '1' } }
  await game.greet({ name: 'ana' }, options)
  await game.greet({ name: 'ana' })
  await game.ping()
  t.strictSame(sent, [
    { route: 'game.match.greet', options, timeoutMs: 50 },
    { route: 'game.match.greet', options: {}, timeoutMs: 300 },
    { route: 'game.match.ping', options: {}, timeoutMs: undefined }
  ])
})

t.test('a body that does not fit is refused before it is sent', async (t) => {
  const { calls, game } = against(new Uint8Array(0))
  for (const body of [{ name: 'much too long' }, {}, undefined, { name: 1 }, null]) {
    await t.rejects(game.greet(body as any), { code: 'PIT_ERR_REMOTE', message: /remote game\.match\.greet: body/ })
  }
  await t.rejects(game.bytes('text' as any), { code: 'PIT_ERR_REMOTE', message: /a raw body must be a Uint8Array/ })
  for (const timeoutMs of [0, -1, 1.5, NaN, Infinity, 86_400_001, '5']) {
    await t.rejects(game.ping(undefined, { timeoutMs: timeoutMs as number }), { code: 'PIT_ERR_REMOTE', message: /timeoutMs must be a whole number/ })
  }
  t.equal(calls.length, 0)
})

t.test('a response that cannot be read rejects; without a declared response whatever comes is ignored', async (t) => {
  const { game } = against(Uint8Array.of(255, 255, 255))
  await t.rejects(game.greet({ name: 'ana' }), { code: 'PIT_ERR_REMOTE', message: /its response cannot be read: invalid Avro data/ })
  t.equal(await game.ping(), undefined)
})

t.test('a client is made once per contract and server type, and has the contract\'s methods only', async (t) => {
  const { clients, game } = serve()
  t.equal(clients.of('game', match), game)
  const lobby = clients.of('lobby', match)
  t.not(lobby, game)
  t.strictSame(Object.keys(game), ['greet', 'maybe', 'ping', 'bytes'])
  for (const name of ['constructor', 'then', 'toString']) t.equal((game as any)[name], undefined)
  t.ok(Object.isFrozen(game))
  await t.rejects(lobby.ping(), { code: 'PIT-404' })
})

t.test('what is no contract or no server type is refused', async (t) => {
  const clients = new RemoteClients({ serializer: createAvroSerializer(), send: async (_, data) => data })
  const of = clients.of.bind(clients) as any
  for (const args of [['game'], ['game', {}], ['game', 'match'], ['', match], ['a.b', match], [undefined, match], ['*', match], ['x'.repeat(65), match]]) {
    t.throws(() => of(...args), { code: 'PIT_ERR_REMOTE' })
  }
})

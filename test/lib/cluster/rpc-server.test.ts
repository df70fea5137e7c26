/** What a server makes of requests of others: good, odd and hostile ones. Each is answered once. */
import { once } from 'node:events'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { RpcType } from '../../../lib/cluster/envelopes/envelope.ts'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { defineHandlers, defineRemotes, notify, PitayaError, request } from '../../../lib/handler/define.ts'
import { build, clusterIn, eventually } from '../../helpers/app.ts'
import { intruderOn, told } from '../../helpers/intruder.ts'

const Any = Type.Unsafe<any>({})
const room = defineHandlers('room', {}, {
  data: request({ response: Any }, (_, { session }) => session.data),
  handshake: request({ response: Any }, (_, { session }) => session.handshake),
  context: request({ response: Any }, (_, { propagated }) => propagated),
  large: request({ response: Type.String() }, () => 'x'.repeat(1_100_000)),
  echo: request({ body: Type.String(), response: Type.String() }, (text) => text),
  fail: request(() => { throw new PitayaError('GAME-1', 'no luck', { why: 'dice' }) }),
  hold: request(async (_, { signal }) => { await once(signal, 'abort') }),
  tell: notify({ body: Type.String() }, (text) => { if (text === 'bad') throw new Error('mine') })
})
const match = defineRemotes('match', { large: { response: Type.String() } })

async function backendWith (t: Parameters<typeof build>[0], options: Parameters<typeof build>[1] = {}) {
  const bus = new MemoryBus()
  const lines: any[] = []
  const app = await build(t, {
    serverId: 'back',
    serverType: 'chat',
    frontend: false,
    serializers: ['json'],
    cluster: { memory: bus },
    handlers: [room],
    closeMs: 500,
    fastify: { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } },
    setUp: (app) => { app.pitaya.remotes(match, { large: () => 'x'.repeat(1_100_000) }) },
    ...options
  })
  const intruder = await intruderOn(t, bus)
  const subject = intruder.subjects.rpc('back')
  const ask = async (...args: Parameters<typeof intruder.request>) => {
    const answers = await intruder.ask(subject, intruder.request(...args))
    if (answers.length !== 1) throw new Error(`answered ${answers.length} times`)
    return { ...answers[0]!, told: told(answers[0]) }
  }
  return { app, lines, intruder, subject, ask }
}

t.test('a forwarded message is answered with its handler\'s bytes, a notify with none', async (t) => {
  const { ask } = await backendWith(t)
  t.match(await ask({ route: 'chat.room.echo' }, '"hi"', {}), { isError: false, told: 'hi', error: undefined })
  t.match(await ask({ route: 'chat.room.fail' }, '', {}), { isError: true, told: { code: 'GAME-1', msg: 'no luck', metadata: { why: 'dice' } } })
  for (const text of ['"good"', '"bad"', '5']) t.match(await ask({ route: 'chat.room.tell', isNotify: true }, text, {}), { isError: false, told: '' })
  t.strictSame((await ask({ route: 'chat.room.context', context: { trace: '1' } }, '', {})).told, { trace: '1' })
  t.match((await ask({ route: 'chat.room.nope' }, '', {})).error, { code: 'PIT-404', msg: 'pitaya/handler: chat.room.nope not found' })
  t.match((await ask({ route: 'chat.room.tell' }, '"x"', {})).error, { code: 'PIT-400' })
})

t.test('what cannot be read is answered without a word of how servers write to each other, and logged in part', async (t) => {
  const { ask, intruder, subject, lines } = await backendWith(t)
  const unreadable = [Buffer.from(''), Buffer.from('\u0000'), Buffer.alloc(1000, 0xff), intruder.request({ route: 'chat.room.echo' }, '"hi"', {}).subarray(0, 20)]
  for (const bytes of unreadable) t.strictSame((await intruder.ask(subject, bytes)).map((answer) => answer?.error), [{ code: 'PIT-500', msg: 'internal error', metadata: undefined }])
  t.match((await ask({ route: 'chat.room.echo' }, '"hi"')).error, { code: 'PIT-500', msg: 'internal error' }, 'no session')
  t.match((await ask({ route: 'chat.room.echo', frontend: '' }, '"hi"', {})).error, { code: 'PIT-500', msg: 'internal error' }, 'no frontend')
  t.match((await ask({ route: 'chat.room.echo' }, '"hi"', { serializer: 'avro' })).error, { code: 'PIT-500', msg: 'internal error' }, 'not offered')
  t.ok(lines.length > 0 && lines.every(({ hex }) => hex.length <= 128))
  t.match((await ask({ route: 'chat.room.echo' }, '"still"', {})).told, 'still')
})

t.test('session parts of the wrong shape fail their own message, and only if its handler looks at them', async (t) => {
  const { ask, app } = await backendWith(t)
  const deep = '['.repeat(20_000) + ']'.repeat(20_000)
  for (const part of ['null', '[1]', '5', '"x"', '{', '', `{"a":${deep}`]) {
    t.match(await ask({ route: 'chat.room.data' }, '', { data: part }), { isError: true, told: { code: 'PIT-500', msg: 'internal error' } }, part.slice(0, 9))
    t.match(await ask({ route: 'chat.room.handshake' }, '', { sys: part }), { isError: true, told: { code: 'PIT-500', msg: 'internal error' } })
    t.equal((await ask({ route: 'chat.room.echo' }, '"hi"', { data: part, sys: part, user: '{' })).told, 'hi')
  }
  for (const key of ['__proto__', '\\u005f_proto__']) {
    t.strictSame((await ask({ route: 'chat.room.data' }, '', { data: `{"${key}":{"admin":true},"a":1}` })).told, { a: 1 })
  }
  t.equal(({} as any).admin, undefined)
  t.equal(app.pitaya.stats.running, 0)
})

t.test('an answer that is too large for the carrier is an error instead', async (t) => {
  const { ask } = await backendWith(t)
  t.match((await ask({ route: 'chat.room.large' }, '', {})).error, { code: 'PIT-500', msg: 'the answer could not be encoded' })
  const user = { type: RpcType.user, frontend: '' }
  t.match((await ask({ ...user, route: 'match.large' })).error, { code: 'PIT-413' })
  t.match((await ask({ ...user, route: 'match.nope' })).error, { code: 'PIT-404' })
})

t.test('a fault of the server\'s own is answered too', async (t) => {
  const { ask, app, lines } = await backendWith(t)
  const { dispatcher } = clusterIn(app).parts.forwarder.service
  dispatcher.submit = () => { throw new TypeError('mine') }
  t.match((await ask({ route: 'chat.room.echo' }, '"hi"', {})).error, { code: 'PIT-500', msg: 'internal error' })
  t.match(lines, [{ msg: 'a request of another server failed', err: { message: 'mine' } }])
})

t.test('a server with no place answers what waits too long, and at once what is too large to wait', async (t) => {
  const { ask, app } = await backendWith(t, { concurrency: { handler: { dispatch: 1 } } })
  const holding = ask({ route: 'chat.room.hold', remainingMs: 500 }, '', {})
  await eventually(() => app.pitaya.stats.running === 1, 'the place is taken')
  t.match((await ask({ route: 'chat.room.echo', remainingMs: 100 }, JSON.stringify('x'.repeat(200_000)), {})).told, { code: 'PIT-503' })
  t.match((await ask({ route: 'chat.room.echo', remainingMs: 50 }, '"x"', {})).told, { code: 'PIT-503' })
  t.match((await holding).told, { code: 'PIT-504' })
  t.match(app.pitaya.stats, { running: 0, waiting: 0 })
})

t.test('a request without a reply subject is handled, and one to a closed server is known to reach nobody', async (t) => {
  const { intruder, subject, ask, app } = await backendWith(t)
  intruder.transport.publish(subject, intruder.request({ route: 'chat.room.echo' }, '"hi"', {}))
  intruder.transport.publish(subject, Buffer.from('?'))
  t.equal((await ask({ route: 'chat.room.echo' }, '"hi"', {})).told, 'hi')
  clusterIn(app).parts.server.close()
  t.strictSame(await intruder.ask(subject, intruder.request({ route: 'chat.room.echo' }, '"hi"', {})), [undefined])
})

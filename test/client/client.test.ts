import { Type } from '@sinclair/typebox'
import t from 'tap'
import { connect, connectOver } from '../../client/client.ts'
import { defineHandlers, notify, PitayaError, raw, request } from '../../lib/handler/define.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { build, eventually } from '../helpers/app.ts'
import { closeOf, connected, FakeTransport, WELCOME } from './fake-transport.ts'

const Point = Type.Object({ x: Type.Integer() })
const room = defineHandlers('room', { pushes: { onPoint: Point, onBytes: raw } }, {
  echo: request({ body: Point, response: Point }, (body) => body),
  nothing: request(() => {}),
  bytes: request({ body: raw, response: raw }, (body) => body),
  full: request(() => { throw new PitayaError('FULL', 'no seats', { seats: '0' }) }),
  hang: request(() => new Promise<void>(() => {})),
  push: notify({ body: Point }, (point, { session }) => { session.push('onPoint', point) }),
  pushBytes: notify({ body: raw }, (bytes, { session }) => { session.push('onBytes', bytes) }),
  leave: notify((_, { session }) => session.close()),
  kick: notify((_, { session }) => session.kick('enough'))
})

const serve = (t: { teardown (fn: () => unknown): void }) => build(t, { handlers: [room], closeMs: 200 })

t.test('requests are answered, typed by the handlers they reach', async (t) => {
  const client = await (await serve(t)).pitaya.inject<[typeof room]>()
  const point = await client.request('room.echo', { x: 1 })
  t.equal(point.x, 1)
  t.strictSame(await client.request('lobby.room.echo', { x: 2 }), { x: 2 })
  t.equal(await client.request('room.nothing'), undefined)
})

t.test('requests in flight are matched by id, whatever the order of the answers', async (t) => {
  const { transport, client } = await connected()
  const [one, two] = [client.request('a.b'), client.request('a.c')]
  transport.reply(2, '"two"')
  transport.reply(7, '"nobody asked"')
  transport.reply(1, '"one"')
  transport.reply(1, '"again"')
  t.strictSame(await Promise.all([one, two]), ['one', 'two'])
})

t.test('an error of the server rejects with its code, text and metadata', async (t) => {
  const client = await (await serve(t)).pitaya.inject()
  await t.rejects(client.request('room.full'), { code: 'FULL', message: 'no seats', metadata: { seats: '0' } })
  await t.rejects(client.request('room.none'), { code: 'PIT-404' })
  await t.rejects(client.request('room.echo', { x: 'one' }), { code: 'PIT-400', metadata: { field: '/x' } })
})

t.test('notifies reach their handlers, and pushes their listeners until these are ended', async (t) => {
  const client = await (await serve(t)).pitaya.inject<[typeof room]>()
  const seen: string[] = []
  const end = client.on('onPoint', ({ x }) => { seen.push(`a${x}`) })
  client.on('onPoint', ({ x }) => { seen.push(`b${x}`) })
  client.notify('room.push', { x: 1 })
  await client.request('room.nothing')
  end()
  client.notify('room.push', { x: 2 })
  await client.request('room.nothing')
  t.strictSame(seen, ['a1', 'b1', 'b2'])
})

t.test('raw routes and pushes named in the options are bytes of their own', async (t) => {
  const client = await (await serve(t)).pitaya.inject({ raw: ['room.bytes', 'onBytes'] })
  const sent = Uint8Array.of(0, 255, 123)
  const answer = await client.request('room.bytes', sent)
  t.strictSame([...answer], [...sent])
  t.equal(answer.constructor, Uint8Array)
  const pushed = new Promise<Uint8Array>((resolve) => { client.on('onBytes', resolve) })
  client.notify('room.pushBytes', sent)
  t.strictSame([...await pushed], [...sent])
})

t.test('an answer that is not JSON rejects its request alone', async (t) => {
  const client = await (await serve(t)).pitaya.inject()
  await t.rejects(client.request('room.bytes', Uint8Array.of(255)), { code: 'PIT_ERR_BODY', message: /room\.bytes/ })
  t.equal(await client.request('room.nothing'), undefined)
})

t.test('a request without an answer in time rejects; its late answer is ignored', async (t) => {
  const app = await serve(t)
  const client = await app.pitaya.inject({ timeoutMs: 20 })
  await t.rejects(client.request('room.hang'), { code: 'PIT_ERR_CLIENT_TIMEOUT', wireCode: 'PIT-504', message: /20/ })
  const { transport, client: other } = await connected({ timeoutMs: 10 })
  await t.rejects(other.request('a.b'), { code: 'PIT_ERR_CLIENT_TIMEOUT' })
  transport.reply(1, '1')
  t.equal(transport.isClosed, false)
})

t.test('what cannot be sent rejects at once and leaves nothing pending', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const { transport, client } = await connected()
  const before = timers()
  const sent = transport.sent.length
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  for (const body of [cycle, 1n, { toJSON () { throw new TypeError('no') } }]) {
    await t.rejects(client.request('a.b', body), TypeError)
    t.throws(() => client.notify('a.b', body), TypeError)
  }
  await t.rejects(client.request('x'.repeat(256)), { code: 'PIT_ERR_ROUTE_SIZE' })
  t.equal(timers(), before)
  t.equal(transport.sent.length, sent)
})

t.test('a listener that throws is reported, and costs neither the others their message nor the connection', async (t) => {
  const { transport, client } = await connected()
  const reported: unknown[] = []
  // As an uncaught error is reported, without ending this test.
  const uncaught = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => reported.push(error.message))
  t.teardown(() => {
    process.removeAllListeners('uncaughtException')
    for (const listener of uncaught) process.on('uncaughtException', listener)
  })
  const seen: string[] = []
  client.on('onText', () => { throw new Error('mine') })
  client.on('onText', (text) => { seen.push(text) })
  client.onClose(() => { throw new Error('mine too') })
  client.onClose(() => { seen.push('closed') })
  transport.push('onText', '"hi"')
  t.strictSame(seen, ['hi'])
  t.equal(transport.isClosed, false)
  client.close()
  await closeOf(client)
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(seen, ['hi', 'closed'])
  t.strictSame(reported, ['mine', 'mine too'])
})

t.test('the end of a connection rejects what is pending, and tells code and reason', async (t) => {
  const app = await serve(t)
  for (const [route, code, reason] of [['room.leave', 1000, 'closed'], ['room.kick', 4504, 'enough']] as const) {
    const client = await app.pitaya.inject()
    const pending = client.request('room.hang')
    const kick = app.pitaya.sessions.page(0, 10).at(-1)
    if (route === 'room.kick') kick!.kick('enough')
    else kick!.close()
    await t.rejects(pending, { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: String(code), reason } })
    t.strictSame(client.closed, { code, reason })
    t.strictSame(await closeOf(client), { code, reason }, 'told at once when it has ended')
    await t.rejects(client.request('room.nothing'), { code: 'PIT_ERR_CLIENT_CLOSED' })
    t.throws(() => client.notify('room.leave'), { code: 'PIT_ERR_CLIENT_CLOSED' })
  }
})

t.test('a close listener can be ended, and close() is harmless twice', async (t) => {
  const app = await serve(t)
  const client = await app.pitaya.inject()
  client.onClose(() => t.fail('ended'))()
  client.close()
  client.close()
  await closeOf(client)
  await eventually(() => app.pitaya.stats.connections === 0, 'the server to see it')
  t.equal(app.pitaya.stats.sessions, 0)
})

t.test('a refused handshake rejects with the server\'s error', async (t) => {
  const app = await build(t, { handshake: { validators: { version: () => { throw new PitayaError('UPDATE', 'too old', { url: 'x' }) } } } })
  await t.rejects(app.pitaya.inject(), { code: 'UPDATE', message: 'too old', metadata: { url: 'x' } })
  t.equal(app.pitaya.stats.sessions, 0)
})

t.test('a full server\'s refusal says when to come back', async (t) => {
  const app = await build(t, { limits: { connections: 1 } })
  await app.pitaya.inject()
  await t.rejects(app.pitaya.inject(), { code: 'PIT-503', message: 'server is full', metadata: { retryAfterMs: '1000' } })
})

t.test('a handshake that is never answered, or ended, rejects', async (t) => {
  const silent = new FakeTransport()
  await t.rejects(connectOver(silent, { connectMs: 10 }), { code: 'PIT_ERR_CLIENT_TIMEOUT', message: 'no answer within 10 ms', statusCode: 504 })
  t.equal(silent.isClosed, true)
  const gone = new FakeTransport()
  gone.end(4001, 'server is shutting down')
  await t.rejects(connectOver(gone), { code: 'PIT_ERR_CLIENT_CLOSED', metadata: { code: '4001' } })
})

t.test('a WebSocket that does not open rejects', async (t) => {
  class Dead {
    binaryType = ''
    onopen = null
    onmessage = null
    onerror = null
    onclose: ((event: object) => void) | null = null
    constructor () { setImmediate(() => this.onclose?.({ code: 1006, reason: '' })) }
    send (): void {}
    close (): void {}
  }
  await t.rejects(connect('ws://game.example', { WebSocket: Dead }), {
    code: 'PIT_ERR_CLIENT_CLOSED', message: 'no connection to ws://game.example: close code 1006', statusCode: 498
  })
})

t.test('what no server sends ends the connection without a throw', async (t) => {
  for (const answer of ['04000001ff', '0100000130', '0600000000', '0400000202 2e']) {
    const transport = new FakeTransport()
    const ready = connectOver(transport)
    ready.catch(() => {})
    if (!answer.startsWith('01')) { transport.answer(PacketType.handshake, WELCOME); await ready }
    transport.handler.onData(Buffer.from(answer.replaceAll(' ', ''), 'hex'))
    t.equal(transport.isClosed, true, answer)
  }
})

t.test('the route dictionary of the handshake shortens both ways', async (t) => {
  const app = await build(t, { handlers: [room], dictionary: 'auto' })
  const client = await app.pitaya.inject<[typeof room]>()
  t.ok(client.answer!.dict.size > 0)
  const pushed = new Promise<{ x: number }>((resolve) => { client.on('onPoint', resolve) })
  t.strictSame(await client.request('room.echo', { x: 3 }), { x: 3 })
  client.notify('room.push', { x: 4 })
  t.strictSame(await pushed, { x: 4 })
})

t.test('heartbeats go out at the server\'s interval, and silence ends the connection', async (t) => {
  const transport = new FakeTransport()
  const ready = connectOver(transport)
  const beats = () => transport.packets.filter(({ type }) => type === PacketType.heartbeat).length
  transport.write = (bytes) => {
    transport.sent.push(bytes)
    if (beats() > 0 && beats() < 4) transport.answer(PacketType.heartbeat, '')
  }
  transport.answer(PacketType.handshake, '{"code":200,"sys":{"heartbeat":0.1,"dict":{},"serializer":"json"}}')
  const client = await ready
  const keepsTheTest = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(keepsTheTest))
  await closeOf(client)
  t.ok(beats() >= 4, `${beats()}`)
  t.equal(transport.isClosed, true)
})

t.test('compressed answers are inflated, with the option inflate and without', async (t) => {
  const app = await build(t, { handlers: [defineHandlers('big', { ask: request({ response: Type.String() }, () => 'x'.repeat(5000)) })], compression: true })
  const client = await app.pitaya.inject()
  t.equal((await client.request('big.ask')).length, 5000)
  const streaming = await app.pitaya.inject({ inflate: undefined })
  t.equal((await streaming.request('big.ask')).length, 5000)
})

t.test('a request may have a deadline and a signal of its own', async (t) => {
  const { transport, client } = await connected()
  await t.rejects(client.request('a.b', {}, { timeoutMs: 5 }), { code: 'PIT_ERR_CLIENT_TIMEOUT', message: 'no answer within 5 ms' })
  const controller = new AbortController()
  const asked = client.request('a.b', {}, { signal: controller.signal })
  const other = client.request('a.c')
  controller.abort(new Error('not wanted any more'))
  await t.rejects(asked, { message: 'not wanted any more' })
  await t.rejects(client.request('a.b', {}, { signal: controller.signal }), { message: 'not wanted any more' })
  transport.reply(2, '1')
  transport.reply(3, '2')
  t.equal(await other, 2)
  t.equal(transport.packets.filter(({ type }) => type === PacketType.data).length, 3, 'what was aborted before was not sent')
})

t.test('a push can be looped over: what waits is bounded, and ends with the client', async (t) => {
  const { transport, client } = await connected()
  const seen: unknown[] = []
  for await (const value of burst(client.pushes('onText'))) {
    seen.push(value)
    if (seen.length === 3) break
  }
  t.strictSame(seen, [1, 2, 3])
  const late = client.pushes('onText', { limit: 2 })
  for (const i of [1, 2, 3, 4]) transport.push('onText', String(i))
  client.close()
  const rest: unknown[] = []
  for await (const value of late) rest.push(value)
  t.strictSame(rest, [3, 4])
  t.equal(late.dropped, 2)
  t.strictSame(await client.pushes('onText').next(), { done: true, value: undefined })

  function burst<I> (pushes: I): I {
    for (const i of [1, 2, 3, 4]) transport.push('onText', String(i))
    return pushes
  }
})

t.test('a loop over a push waits for the next, and hears the end while it waits', async (t) => {
  const { transport, client } = await connected()
  const pushes = client.pushes('onText')
  const [first, second] = [pushes.next(), pushes.next()]
  transport.push('onText', '"hi"')
  t.strictSame(await first, { done: false, value: 'hi' })
  transport.end(1000, '')
  t.strictSame(await second, { done: true, value: undefined })
})

t.test('a connection ends once, by what came first', async (t) => {
  const { transport, client } = await connected()
  let closes = 0
  client.onClose(() => { closes++ })
  transport.end(4001, 'a')
  transport.end(4002, 'b')
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
  t.equal(closes, 1)
  t.strictSame(client.closed, { code: 4001, reason: 'a' })
})

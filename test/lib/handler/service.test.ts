import t from 'tap'
import { Type } from '@sinclair/typebox'
import { channels } from '../../../lib/channels.ts'
import { defineHandlers, notify, PitayaError, raw, request } from '../../../lib/handler/define.ts'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import { createCore } from '../../helpers/core.ts'

const Point = Type.Object({ x: Type.Integer(), y: Type.Optional(Type.Integer()) })
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

t.test('several structures with several methods each are reached by their full and their short routes', async (t) => {
  const one = defineHandlers('one', {
    a: request({ response: Type.String() }, (_, { route }) => route),
    b: request({ response: Type.String() }, (_, { route }) => route)
  })
  const two = defineHandlers('two', { a: request({ response: Type.String() }, (_, { route }) => route) })
  const { connect, call, service } = createCore([one, two])
  const { session, client } = connect()
  const routes = ['one.a', 'lobby.one.b', 'two.a', 'lobby.two.a']
  for (const [i, route] of routes.entries()) call(session, i + 1, route)
  t.strictSame(client.answers.map(({ data }) => JSON.parse(data)), ['lobby.one.a', 'lobby.one.b', 'lobby.two.a', 'lobby.two.a'])
  t.strictSame(service.handlers.map(({ route }) => route), ['lobby.one.a', 'lobby.one.b', 'lobby.two.a'])
})

t.test('a second structure of the same name is refused at registration', async (t) => {
  const { service } = createCore([defineHandlers('room', { a: request(() => {}) })])
  t.throws(() => service.register(defineHandlers('room', { b: request(() => {}) }), []), { code: 'PIT_ERR_DUPLICATE_HANDLERS', message: /room/ })
})

t.test('a push declared with two schemas is refused at registration; the same schema twice is fine', async (t) => {
  const { service } = createCore([defineHandlers('one', { pushes: { onMove: Point } }, {})])
  service.register(defineHandlers('two', { pushes: { onMove: Type.Object({ ...Point.properties }) } }, {}), [])
  t.throws(() => service.register(defineHandlers('three', { pushes: { onMove: Type.String() } }, {}), []),
    { code: 'PIT_ERR_DUPLICATE_PUSH', message: /onMove/ })
  t.throws(() => service.register(defineHandlers('four', { pushes: { onMove: raw } }, {}), []), { code: 'PIT_ERR_DUPLICATE_PUSH' })
})

t.test('a notify is handled and never answered, by a notify method or a request method', async (t) => {
  const seen: unknown[] = []
  const { connect, tell } = createCore([defineHandlers('room', {
    tell: notify({ body: Point }, (body) => { seen.push(body); return { any: 'thing' } }),
    ask: request({ body: Point, response: Point }, (body) => { seen.push(body); return body })
  })])
  const { session, client } = connect()
  tell(session, 'room.tell', { x: 1 })
  tell(session, 'room.ask', { x: 2 })
  t.strictSame(seen, [{ x: 1 }, { x: 2 }])
  t.strictSame(client.answers, [])
})

t.test('a request to a notify method is answered PIT-400 without running it', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', { tell: notify(() => t.fail('ran')) })])
  const { session, client } = connect()
  call(session, 7, 'room.tell')
  t.equal(client.answers[0]!.id, 7)
  t.match(JSON.parse(client.answers[0]!.data), { code: 'PIT-400', msg: 'tried to request a notify route' })
})

const bodies = {
  none: { schema: undefined, sent: bytes('{"ignored":1}'), got: undefined },
  typed: { schema: Point, sent: bytes('{"x":1,"z":3}'), got: { x: 1 } },
  raw: { schema: raw, sent: bytes('\u0001not json'), got: bytes('\u0001not json') }
}
const responses = {
  none: { schema: undefined, result: { whatever: 1 }, answered: '' },
  typed: { schema: Point, result: { x: 5, y: 6, secret: 1 }, answered: '{"x":5,"y":6}' },
  raw: { schema: raw, result: bytes('\u0002raw'), answered: '\u0002raw' }
}
for (const [bodyKind, body] of Object.entries(bodies)) {
  for (const [responseKind, response] of Object.entries(responses)) {
    t.test(`a request may have a ${bodyKind} body and a ${responseKind} response`, async (t) => {
      let got: unknown
      const handle = (body: unknown): any => { got = body instanceof Uint8Array ? body.slice() : body; return response.result }
      const { connect, call } = createCore([defineHandlers('room', {
        ask: request({ body: body.schema, response: response.schema } as any, handle)
      })])
      const { session, client } = connect()
      call(session, 1, 'room.ask', body.sent)
      t.strictSame(got, body.got)
      t.strictSame(client.answers, [{ id: 1, data: response.answered, isError: false }])
    })
  }
}

t.test('pushes are typed or raw, whatever the messages are', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', { pushes: { onMove: Point, onBytes: raw } }, {
    go: request({ body: raw }, (body, { session }) => {
      session.push('onMove', { x: 1, secret: 2 } as any)
      session.push('onBytes', body)
    })
  })])
  const { session, client } = connect()
  call(session, 1, 'room.go', bytes('\u0003'))
  t.strictSame(client.pushes, ['{"x":1}', '\u0003'])
})

t.test('a push that is not declared, or does not fit, throws to its caller and sends nothing', async (t) => {
  const { connect } = createCore([defineHandlers('room', { pushes: { onMove: Point, onBytes: raw } }, {})])
  const { session, client } = connect()
  t.throws(() => session.push('onOther', {}), { code: 'PIT_ERR_PUSH_UNKNOWN', message: /onOther/ })
  t.throws(() => session.push('onMove', { x: 'one' }), { code: 'PIT_ERR_PUSH_BODY', message: /onMove/ })
  t.throws(() => session.push('onBytes', 'text'), { code: 'PIT_ERR_PUSH_BODY' })
  t.strictSame(client.pushes, [])
})

t.test('an empty answer must be meant: null and undefined are PIT-000 unless the schema allows null', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', {
    nothing: request({ response: Point }, () => undefined as any),
    never: request({ response: Point }, async () => null as any),
    maybe: request({ response: Type.Union([Point, Type.Null()]) }, () => null),
    forgot: request({ response: Type.Union([Point, Type.Null()]) }, () => undefined as any),
    bytes: request({ response: raw }, () => null as any)
  })])
  const { session, client } = connect()
  for (const [i, method] of ['nothing', 'never', 'maybe', 'forgot', 'bytes'].entries()) {
    call(session, i + 1, `room.${method}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(client.outcomes, ['PIT-000', 'PIT-000', 'ok', 'PIT-000', 'PIT-000'])
  t.match(JSON.parse(client.answers[0]!.data), { msg: 'reply must not be null' })
  t.equal(client.answers[2]!.data, 'null')
})

t.test('a response that does not fit its schema is PIT-500, and only the log knows why', async (t) => {
  const { connect, call, lines } = createCore([defineHandlers('room', {
    typed: request({ response: Point }, () => ({ x: 'secret' }) as any),
    raw: request({ response: raw }, () => 'secret' as any)
  })])
  const { session, client } = connect()
  call(session, 1, 'room.typed')
  call(session, 2, 'room.raw')
  t.strictSame(client.outcomes, ['PIT-500', 'PIT-500'])
  for (const { data } of client.answers) t.notMatch(data, /secret|integer|Uint8Array|\/x/)
  t.equal(lines.length, 2)
  t.match(lines[0]!.fields.err.message, /x must be integer/)
  t.match(lines[1]!.fields.err.message, /Uint8Array/)
  t.notMatch(JSON.stringify(lines.map(({ fields }) => fields.err.message)), /secret/)
})

t.test('a body that does not fit is PIT-400 with the field, and the handler does not run', async (t) => {
  const drops: unknown[] = []
  const onDrop = (drop: object) => drops.push(drop)
  channels.drop.subscribe(onDrop)
  t.teardown(() => channels.drop.unsubscribe(onDrop))
  const { connect, call, tell } = createCore([defineHandlers('room', {
    ask: request({ body: Point }, () => { t.fail('ran') }),
    tell: notify({ body: Point }, () => { t.fail('ran') })
  })])
  const { session, client } = connect()
  call(session, 1, 'room.ask', { x: 'one' })
  call(session, 2, 'room.ask', bytes('{"x":'))
  tell(session, 'room.tell', { x: 1.5 })
  t.strictSame(client.outcomes, ['PIT-400', 'PIT-400'])
  t.match(JSON.parse(client.answers[0]!.data), { metadata: { field: '/x' } })
  t.match(drops, [{ what: 'notify', why: 'bad-body', route: 'lobby.room.tell' }])
})

t.test('an unknown handler, an unknown server type and a response from a client are answered', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', { join: request(() => {}) })])
  const { session, client } = connect()
  for (const [i, route] of ['room.leave', 'lobby.room.leave', 'hall.join', '__proto__.join', 'constructor.constructor', 'game.room.join'].entries()) {
    call(session, i + 1, route)
  }
  t.strictSame(client.outcomes, ['PIT-404', 'PIT-404', 'PIT-404', 'PIT-404', 'PIT-404', 'PIT-503'])
  t.match(JSON.parse(client.answers[0]!.data), { msg: 'pitaya/handler: lobby.room.leave not found' })
})

t.test('a route over its own rate is answered PIT-429, per session', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', {
    slow: request({ ratePerSecond: 2 }, () => {}),
    free: request(() => {})
  })])
  const [one, two] = [connect(), connect()]
  for (let id = 1; id <= 6; id++) call(one.session, id, 'room.slow')
  call(one.session, 7, 'room.free')
  call(two.session, 1, 'room.slow')
  t.strictSame(one.client.outcomes, ['ok', 'ok', 'ok', 'ok', 'PIT-429', 'PIT-429', 'ok'])
  t.strictSame(two.client.outcomes, ['ok'])
})

t.test('a PitayaError is public as it was thrown', async (t) => {
  const { connect, call, lines } = createCore([defineHandlers('room', {
    full: request(() => { throw new PitayaError('ROOM-FULL', 'no seats left', { seats: '0' }) }),
    later: request(async () => { throw new PitayaError('LATER') })
  })])
  const { session, client } = connect()
  call(session, 1, 'room.full')
  call(session, 2, 'room.later')
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(JSON.parse(client.answers[0]!.data), { code: 'ROOM-FULL', msg: 'no seats left', metadata: { seats: '0' } })
  t.match(JSON.parse(client.answers[1]!.data), { code: 'LATER' })
  t.strictSame(lines, [])
})

t.test('each session is answered in its own serializer', async (t) => {
  const json = createJsonSerializer()
  const shout = {
    name: 'shout',
    compile: (...args: Parameters<typeof json.compile>) => {
      const codec = json.compile(...args)
      const encode = (value: unknown) => bytes(Buffer.from(codec.encode(value)).toString().toUpperCase())
      return { encode, decode: codec.decode.bind(codec) }
    },
    encodeError: () => bytes('ERROR')
  }
  const { connect, call } = createCore([defineHandlers('room', {
    name: request({ response: Type.String() }, (_, { session }) => session.serializer),
    fail: request(() => { throw new Error('no') })
  })], { serializers: [json, shout] })
  const [plain, loud] = [connect(0), connect(1)]
  for (const { session } of [plain, loud]) {
    call(session, 1, 'room.name')
    call(session, 2, 'room.fail')
  }
  t.equal(plain.client.answers[0]!.data, '"json"')
  t.strictSame(plain.client.outcomes, ['ok', 'PIT-500'])
  t.strictSame(loud.client.answers.map(({ data }) => data), ['"SHOUT"', 'ERROR'])
})

t.test('a schema that a serializer cannot map is a start error that names the method', async (t) => {
  const picky = { ...createJsonSerializer(), name: 'picky', compile: () => { throw new Error('no such thing') } }
  t.throws(() => createCore([defineHandlers('room', { ask: request({ body: Point }, () => {}) })], { serializers: [picky] }), /no such thing/)
})

t.test('a blocked event loop is told with the route that ran last', async (t) => {
  const lags: object[] = []
  const onLag = (lag: object) => lags.push(lag)
  channels.lag.subscribe(onLag)
  t.teardown(() => channels.lag.unsubscribe(onLag))
  const { connect, call, wheel, lines } = createCore([defineHandlers('room', { block: request(() => {}) })])
  const { session } = connect()
  call(session, 1, 'room.block')
  wheel.onLag?.(5000)
  t.match(lags, [{ lagMs: 5000, route: 'lobby.room.block', serverId: 'test' }])
  t.match(lines, [{ level: 'warn', fields: { lagMs: 5000, route: 'lobby.room.block' } }])
})

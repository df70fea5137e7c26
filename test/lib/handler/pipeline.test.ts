import t from 'tap'
import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, PitayaError, raw, request } from '../../../lib/handler/define.ts'
import type { AfterHook, BeforeHook, PipelineSteps, RawHook } from '../../../lib/handler/types.ts'
import { createCore } from '../../helpers/core.ts'

const Text = Type.String()
const encode = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)))
const decode = (bytes: Uint8Array): any => JSON.parse(Buffer.from(bytes).toString())

/** One level of a pipeline, from what it is given. */
function level (steps: Partial<PipelineSteps>): PipelineSteps {
  return { before: [], after: [], rawBefore: [], rawAfter: [], ...steps }
}

for (const kind of ['sync', 'async'] as const) {
  t.test(`${kind} hooks run in the order global, scope, structure, method, before and after, raw outside of typed`, async (t) => {
    const order: string[] = []
    const visit = (name: string): any => kind === 'sync' ? () => { order.push(name) } : async () => { await null; order.push(name) }
    const levels = ['global', 'scope'].map((name) => level({
      before: [visit(`${name} before 1`), visit(`${name} before 2`)],
      after: [visit(`${name} after`)],
      rawBefore: [visit(`${name} raw before`)],
      rawAfter: [visit(`${name} raw after`)]
    }))
    const { connect, call, dispatcher } = createCore([defineHandlers('room', { before: [visit('structure before')], after: [visit('structure after')] }, {
      ask: request({ before: [visit('method before')], after: [visit('method after')] }, () => { order.push('handler') })
    })], { levels })
    const { session, client } = connect()
    call(session, 1, 'room.ask')
    if (kind === 'sync') t.equal(client.answers.length, 1, 'answered in the same tick')
    await dispatcher.idle()
    t.strictSame(order, [
      'global raw before', 'scope raw before',
      'global before 1', 'global before 2', 'scope before 1', 'scope before 2', 'structure before', 'method before',
      'handler',
      'global after', 'scope after', 'structure after', 'method after',
      'global raw after', 'scope raw after'
    ])
    t.strictSame(client.outcomes, ['ok'])
  })
}

t.test('synchronous and asynchronous hooks mix; only the asynchronous ones wait', async (t) => {
  const order: string[] = []
  const sync = (name: string) => () => { order.push(name) }
  const async = (name: string) => async () => { await null; order.push(name) }
  const levels = [level({ before: [sync('1'), async('2'), sync('3')], after: [async('5'), sync('6')] })]
  const { connect, call, dispatcher } = createCore([defineHandlers('room', { ask: request(() => { order.push('4') }) })], { levels })
  const { session, client } = connect()
  call(session, 1, 'room.ask')
  t.strictSame(order, ['1'])
  await dispatcher.idle()
  t.strictSame(order, ['1', '2', '3', '4', '5', '6'])
  t.strictSame(client.outcomes, ['ok'])
})

t.test('without hooks a handler has two or three steps, so that what nobody registered costs nothing', async (t) => {
  const { service } = createCore([defineHandlers('room', { ask: request(() => {}) })], { levels: [level({}), level({})] })
  t.equal(service.handlers[0]!.steps.length, 3)
})

/** Asks once, with these hooks around a handler that answers `handled <body>`. */
async function ask (steps: Partial<PipelineSteps>, handle: (body: string) => any = (body) => `handled ${body}`) {
  const seen: string[] = []
  const { connect, call, dispatcher, lines } = createCore([defineHandlers('room', {
    ask: request({ body: Text, response: Text }, (body) => { seen.push(body); return handle(body) })
  })], { levels: [level(steps)] })
  const { session, client } = connect()
  call(session, 1, 'room.ask', 'body')
  await dispatcher.idle()
  const { data, isError } = client.answers[0]!
  return { seen, isError, lines, answer: JSON.parse(data) }
}

for (const [kind, wrap] of [['sync', (value: unknown) => value], ['async', async (value: unknown) => value]] as const) {
  t.test(`a ${kind} before-function may replace the message; undefined leaves it`, async (t) => {
    const { seen, answer } = await ask({ before: [(body) => wrap(`${body}+`) as any, () => wrap(undefined) as any, (body) => wrap(`${body}+`) as any] })
    t.strictSame(seen, ['body++'])
    t.equal(answer, 'handled body++')
  })

  t.test(`a ${kind} raw before-function may replace the bytes before they are decoded and checked`, async (t) => {
    const rawBefore: RawHook[] = [(bytes) => wrap(encode(`${decode(bytes)}!`)) as any, () => wrap(undefined) as any]
    t.equal((await ask({ rawBefore })).answer, 'handled body!')
    t.match(await ask({ rawBefore: [() => wrap(encode(5)) as any] }), { isError: true, seen: [], answer: { code: 'PIT-400' } })
  })

  t.test(`a ${kind} after-function may replace the result, or turn it into an error`, async (t) => {
    t.equal((await ask({ after: [(outcome) => wrap({ result: `${outcome.result}!` }) as any] })).answer, 'handled body!')
    t.match(await ask({ after: [() => wrap({ error: new PitayaError('NO', 'no') }) as any] }), { isError: true, answer: { code: 'NO', msg: 'no' } })
  })

  t.test(`a ${kind} after-function sees the error and may answer instead`, async (t) => {
    const fail = () => { throw new PitayaError('NO', 'no') }
    const errors: unknown[] = []
    const look: AfterHook = (outcome) => { errors.push((outcome.error as PitayaError).code) }
    const heal: AfterHook = (outcome) => wrap(outcome.error === undefined ? undefined : { result: 'healed' }) as any
    t.strictSame(await ask({ after: [look, heal] }, fail).then(({ answer, isError }) => ({ answer, isError })), { answer: 'healed', isError: false })
    t.equal((await ask({ after: [heal] }, async () => fail())).answer, 'healed')
    t.strictSame(errors, ['NO'])
  })

  t.test(`a ${kind} raw after-function may replace the bytes of an answer or an error`, async (t) => {
    const rawAfter: RawHook[] = [(bytes) => wrap(encode({ wrapped: decode(bytes) })) as any, () => wrap(undefined) as any]
    t.strictSame((await ask({ rawAfter })).answer, { wrapped: 'handled body' })
    const refused = await ask({ rawAfter }, () => { throw new PitayaError('NO', 'no') })
    t.match(refused, { isError: true, answer: { wrapped: { code: 'NO' } } })
  })

  t.test(`an error from a ${kind} before-function stops everything: it is the answer, and after-functions do not run`, async (t) => {
    const refuse = () => kind === 'sync' ? (() => { throw new PitayaError('BAN', 'go away') })() : Promise.reject(new PitayaError('BAN', 'go away'))
    const never = () => { t.fail('ran') }
    for (const steps of [{ before: [refuse, never] }, { rawBefore: [refuse, never] as any, before: [never] }]) {
      const { seen, isError, answer } = await ask({ ...steps, after: [never], rawAfter: [never as RawHook] })
      t.strictSame(seen, [])
      t.equal(isError, true)
      t.match(answer, { code: 'BAN', msg: 'go away' })
    }
  })

  t.test(`what a ${kind} after-function throws becomes the error, for those after it too`, async (t) => {
    const boom = () => kind === 'sync' ? (() => { throw new PitayaError('BOOM', 'boom') })() : Promise.reject(new PitayaError('BOOM', 'boom'))
    const seen: unknown[] = []
    const look: AfterHook = ({ error }) => { seen.push((error as PitayaError | undefined)?.code) }
    const { isError, answer } = await ask({ after: [look, boom, look], rawAfter: [(bytes) => encode({ wrapped: decode(bytes) })] })
    t.strictSame(seen, [undefined, 'BOOM'])
    t.equal(isError, true)
    t.match(answer, { wrapped: { code: 'BOOM' } })
  })

  t.test(`a ${kind} hook of any stage that throws something private is PIT-500, with the stack in the log`, async (t) => {
    const boom: any = () => kind === 'sync' ? (() => { throw new Error('secret') })() : Promise.reject(new Error('secret'))
    for (const stage of ['before', 'rawBefore', 'after', 'rawAfter'] as const) {
      const { isError, answer, lines } = await ask({ [stage]: [boom] })
      t.equal(isError, true)
      t.match(answer, { code: 'PIT-500', msg: 'internal error' })
      t.match(lines, [{ level: 'error', fields: { err: { message: 'secret' } } }])
    }
  })

  t.test(`a ${kind} hook that returns the wrong type is PIT-500, and the log says which`, async (t) => {
    for (const [stage, value] of [['rawBefore', 'text'], ['rawAfter', 5], ['after', 5], ['after', 'text'], ['after', null]] as const) {
      const { answer, lines } = await ask({ [stage]: [() => wrap(value)] })
      t.match(answer, { code: 'PIT-500' })
      t.match(lines[0]!.fields.err.message, stage === 'after' ? /must return { result } or { error }/ : /must return a Uint8Array/)
    }
    t.match(await ask({ after: [() => wrap({}) as any] }), { answer: { code: 'PIT-000' } }, 'an outcome without result is an empty answer')
    const unfit = await ask({ after: [() => wrap({ result: 5 }) as any] })
    t.match(unfit.answer, { code: 'PIT-500', msg: 'the answer could not be encoded' })
  })
}

for (const stage of ['before', 'rawBefore', 'after', 'rawAfter'] as const) {
  t.test(`a hook that hangs in stage ${stage} is answered PIT-504, and the next message starts`, async (t) => {
    const { connect, call, pass, service, dispatcher } = createCore([defineHandlers('room', {
      ask: request({ deadlineMs: 100, response: Text }, () => 'x')
    })], { levels: [level({ [stage]: [() => new Promise(() => {})] })] })
    const { session, client } = connect()
    call(session, 1, 'room.ask')
    call(session, 2, 'room.ask')
    await pass(175)
    t.strictSame(client.outcomes, ['PIT-504'])
    t.equal(dispatcher.running, 1)
    await pass(175)
    t.strictSame(client.outcomes, ['PIT-504', 'PIT-504'])
    t.equal(service.abandonedCalls, 2)
  })
}

t.test('a hook that throws nothing at all is still an error', async (t) => {
  // eslint-disable-next-line no-throw-literal
  const nothing = () => { throw undefined }
  t.match(await ask({ before: [nothing] }), { answer: { code: 'PIT-500' } })
  t.match(await ask({ after: [nothing] }), { answer: { code: 'PIT-500' } })
  t.match(await ask({ after: [() => {}] }, nothing), { answer: { code: 'PIT-500' } })
})

t.test('hooks of notifies run too: typed ones see the outcome, raw after-functions have no bytes to see', async (t) => {
  const order: string[] = []
  const { connect, tell, dispatcher, lines } = createCore([defineHandlers('room', {
    tell: notify({ body: Text, after: [({ error }) => { order.push(`after ${(error as Error | undefined)?.message ?? 'ok'}`) }] }, (body) => {
      order.push(body)
      if (body === 'fail') throw new Error('failed')
    })
  })], { levels: [level({ before: [(body) => `${body}`], rawAfter: [() => { t.fail('ran') }] })] })
  const { session, client } = connect()
  tell(session, 'room.tell', 'fine')
  tell(session, 'room.tell', 'fail')
  await dispatcher.idle()
  t.strictSame(order, ['fine', 'after ok', 'fail', 'after failed'])
  t.strictSame(client.answers, [])
  t.match(lines, [{ level: 'error', fields: { err: { message: 'failed' } } }])
})

t.test('hooks get the same context as the handler, and may use the session', async (t) => {
  const contexts = new Set<unknown>()
  const remember: BeforeHook = (_, context) => { contexts.add(context) }
  const { connect, call, dispatcher } = createCore([defineHandlers('room', {
    ask: request({ response: Text, after: [(_, context) => { contexts.add(context) }] }, (_, context) => {
      contexts.add(context)
      return context.session.uid
    })
  })], { levels: [level({ before: [remember, (_, { session }) => session.bind('ana')], rawBefore: [(_, context) => { contexts.add(context) }] })] })
  const { session, client } = connect()
  call(session, 1, 'room.ask')
  await dispatcher.idle()
  t.equal(contexts.size, 1)
  t.equal(client.answers[0]!.data, '"ana"')
})

t.test('raw before-functions see the bytes of raw bodies as they are', async (t) => {
  const { connect, call } = createCore([defineHandlers('room', {
    ask: request({ body: raw, response: raw, before: [(body) => new Uint8Array([...body, 3])] }, (body) => body)
  })], { levels: [level({ rawBefore: [(bytes) => new Uint8Array([...bytes, 2])], rawAfter: [(bytes) => new Uint8Array([...bytes, 4])] })] })
  const { session, client } = connect()
  call(session, 1, 'room.ask', new Uint8Array([1]))
  t.equal(client.answers[0]!.data, '\u0001\u0002\u0003\u0004')
})

t.test('a raw after-function may keep the bytes: the serializer\'s buffer is not lent to it', async (t) => {
  const kept: Uint8Array[] = []
  const { connect, call } = createCore([defineHandlers('room', { ask: request({ body: Text, response: Text }, (body) => body) })],
    { levels: [level({ rawAfter: [(bytes) => { kept.push(bytes) }] })] })
  const { session } = connect()
  call(session, 1, 'room.ask', 'first')
  call(session, 2, 'room.ask', 'other')
  t.strictSame(kept.map(decode), ['first', 'other'])
})

t.test('a before-function that closes the session ends the message without an answer', async (t) => {
  const { connect, call, dispatcher, sessions } = createCore([defineHandlers('room', { ask: request(() => {}) })],
    { levels: [level({ before: [(_, { session }) => session.close()] })] })
  const { session, client } = connect()
  call(session, 1, 'room.ask')
  t.equal(client.closedWith, 'normal')
  t.strictSame(client.answers, [])
  t.equal(dispatcher.running, 0)
  t.equal(sessions.size, 0)
})

// Compiled, never run: what handler structures accept, and what they refuse.
import { Type } from '@sinclair/typebox'
import {
  definePitaya, defineHandlers, notify, raw, request,
  type HandlerContext, type Handlers, type HandlersDefinition, type NotifyMethod, type Outcome, type RequestMethod
} from '../../lib/handler/define.ts'
import type { Equal, Expect } from './check.ts'
import type { room } from './room.ts'

const Message = Type.Object({ name: Type.String(), content: Type.String() })
interface Chat { name: string, content: string }
const State = Type.Object({ state: Type.Union([Type.Literal('on'), Type.Literal('off')]) })
const Answer = Type.Object({ code: Type.Integer() })
const is = <A, B>(...same: Equal<A, B> extends true ? [] : ['types differ']) => same

// every result is a HandlersDefinition, keeps its literals, and is free of the context type
export const definition: HandlersDefinition = null as unknown as typeof room
export const chat = defineHandlers('chat', { pushes: { onMessage: Message } }, {
  join: request({ response: Answer }, () => ({ code: 0 })),
  say: notify({ body: Message }, () => {})
})
is<typeof chat, Handlers<'chat', { onMessage: typeof Message }, {
  readonly join: RequestMethod<undefined, typeof Answer>
  readonly say: NotifyMethod<typeof Message>
}>>()

// bodies
defineHandlers('bodies', {
  typed: request({ body: Message, response: Message }, (message) => {
    is<typeof message, Chat>()
    return message
  }),
  none: request((body) => is<typeof body, undefined>() && undefined),
  noneWithOptions: notify({ concurrent: true }, (body) => is<typeof body, undefined>()),
  bytes: request({ body: raw, response: raw }, (bytes) => {
    is<typeof bytes, Uint8Array>()
    return bytes
  }),
  mixed: request({ body: raw, response: Answer }, async (bytes) => ({ code: bytes.length })),
  optional: notify({ body: Type.Object({ at: Type.Optional(Type.Integer()) }) }, (body) => is<typeof body, { at?: number }>())
})

// answers
defineHandlers('answers', {
  literal: request({ response: State }, () => ({ state: 'on' })),
  literalWithBody: request({ body: Message, response: State }, (message) => ({ state: message.name === '' ? 'off' : 'on' })),
  literalAsync: request({ response: State }, async (_, { session }) => {
    await session.bind('ana')
    return { state: 'on' }
  }),
  // @ts-expect-error no such state
  literalWrong: request({ response: State }, () => ({ state: 'broken' })),
  none: request(async () => {}),
  // @ts-expect-error wrong field type
  wrong: request({ response: Answer }, () => ({ code: 'zero' })),
  // @ts-expect-error wrong field type in a promise
  wrongAsync: request({ response: Answer }, async () => ({ code: 'zero' })),
  // @ts-expect-error missing field
  missing: request({ response: Answer }, () => ({})),
  // @ts-expect-error a declared answer is not optional
  nothing: request({ response: Answer }, () => {}),
  // @ts-expect-error no answer declared
  undeclared: request({ body: Message }, () => ({ code: 0 })),
  // @ts-expect-error no answer declared, no options
  undeclaredBare: request(() => ({ code: 0 })),
  // @ts-expect-error raw answers are bytes
  notBytes: request({ response: raw }, () => 'text'),
  // a notify's result is ignored, so one-liners are fine
  ignored: notify((_, { session }) => session.isClosed)
})

// options
defineHandlers('options', {
  all: request({
    body: Message, response: Answer, concurrent: true, deadlineMs: 100, ratePerSecond: 5, before: [], after: []
  }, () => ({ code: 0 })),
  // @ts-expect-error misspelt
  misspelt: request({ bodi: Message }, () => {}),
  // @ts-expect-error a notify has no response
  noResponse: notify({ response: Answer }, () => {}),
  // @ts-expect-error not a schema
  noSchema: notify({ body: { type: 'object' } }, () => {}),
  // @ts-expect-error milliseconds are a number
  deadline: notify({ deadlineMs: '5s' }, () => {})
})
// @ts-expect-error misspelt
defineHandlers('options', { push: { onMessage: Message } }, { none: request(() => {}) })
// @ts-expect-error a method is made by request or notify
defineHandlers('options', { bare: () => {} })
// @ts-expect-error nor by hand
defineHandlers('options', { byHand: { kind: 'request', handle: () => {} } })
// @ts-expect-error methods are missing
defineHandlers('options')

// pushes: only declared ones, with their payload
defineHandlers('pushes', { pushes: { onMessage: Message, onBytes: raw } }, {
  say: notify({ body: Message }, (message, context) => {
    is<typeof context, HandlerContext<{ onMessage: typeof Message, onBytes: typeof raw }>>()
    context.session.push('onMessage', message)
    context.session.push('onBytes', new Uint8Array(1))
    // @ts-expect-error undeclared
    context.session.push('onOther', message)
    // @ts-expect-error wrong payload
    context.session.push('onMessage', { name: 'ana' })
    // @ts-expect-error raw pushes are bytes
    context.session.push('onBytes', message)
    // @ts-expect-error undeclared
    context.groups.broadcast('lobby', 'onOther', message)
    // @ts-expect-error wrong payload
    context.groups.broadcast('lobby', 'onMessage', { name: 'ana', content: 1 })
    // @ts-expect-error wrong payload
    context.groups.multicast('lobby', 'onMessage', 'text', () => true)
    return context.groups.broadcast('lobby', 'onMessage', message)
  })
})
defineHandlers('silent', {
  // @ts-expect-error no push is declared
  say: notify((_, { session }) => session.push('onMessage', {}))
})
defineHandlers('silent', {}, {
  // @ts-expect-error no push is declared
  say: notify((_, { session }) => session.push('onMessage', {}))
})

// hooks are typed like the handler
defineHandlers('hooks', {
  pushes: { onMessage: Message },
  before: [(body, { session }) => { is<typeof body, unknown>(); session.push('onMessage', { name: '', content: '' }) }],
  after: [(outcome) => { is<typeof outcome, Outcome<unknown>>() }]
}, {
  say: request({
    body: Message,
    response: Answer,
    before: [
      (body, { session }) => { is<typeof body, Chat>(); session.push('onMessage', body) },
      (body) => ({ ...body, name: body.name.trim() }),
      // @ts-expect-error undeclared
      (body, { session }) => { session.push('onOther', body) }
    ],
    after: [(outcome) => outcome.error === undefined ? { result: { code: outcome.result.code + 1 } } : undefined]
  }, (message) => ({ code: message.name.length })),
  // @ts-expect-error the replacement is no such message
  wrong: notify({ body: Message, before: [() => ({ name: 1 })] }, () => {}),
  // @ts-expect-error unknown field
  unknown: notify({ body: Message, before: [(body) => { body.other() }] }, () => {})
})

// session data and handshake user data
const Session = Type.Object({ level: Type.Integer(), nick: Type.String() })
const User = Type.Object({ token: Type.String() })
export const app = definePitaya({ session: Session, user: User })
export const typed = app.handlers('typed', { pushes: { onMessage: Message } }, {
  read: request({ response: Answer }, (_, { session }) => {
    is<typeof session.data, Readonly<{ level?: number, nick?: string }>>()
    is<typeof session.handshake.user, { token: string }>()
    session.set({ level: 1 })
    // @ts-expect-error wrong type
    session.set({ level: 'one' })
    // @ts-expect-error undeclared
    session.set({ other: 1 })
    // @ts-expect-error read only
    session.data.level = 1
    // @ts-expect-error undeclared push
    session.push('onOther', {})
    return { code: session.data.level ?? 0 }
  })
})
app.handlers('noPushes', { read: notify((_, { session }) => session.data.nick?.trim()) })
definePitaya({ user: User }).handlers('userOnly', {
  read: notify((_, { session }) => is<typeof session.data.any, unknown>() && session.handshake.user.token)
})
definePitaya().handlers('plain', { read: notify((_, { session }) => is<typeof session.handshake.user, unknown>()) })
defineHandlers('plain', { read: notify((_, { session }) => is<typeof session.data.any, unknown>()) })
// @ts-expect-error misspelt
definePitaya({ sessions: Session })
// @ts-expect-error not a schema
definePitaya({ session: { level: 1 } })

// made by a factory
interface Db { find (name: string): Promise<number> }
export const withDb = (db: Db) => defineHandlers('scores', {
  best: request({ body: Message, response: Answer }, async ({ name }) => ({ code: await db.find(name) }))
})
is<ReturnType<typeof withDb>['methods']['best'], RequestMethod<typeof Message, typeof Answer>>()

// error codes: kept as literals, beside any other option
export const shop = defineHandlers('shop', {
  buy: request({ body: Message, response: Answer, errors: ['SHOP-001', 'SHOP-002'] }, ({ name }) => ({ code: name.length })),
  sell: request({ errors: ['SHOP-003'] as const }, () => {}),
  look: request(() => {}),
  // @ts-expect-error a code is a text
  numbers: request({ errors: [1] }, () => {}),
  // @ts-expect-error a notify answers no errors
  leave: notify({ errors: ['SHOP-004'] }, () => {})
})
is<typeof shop['methods']['buy'], RequestMethod<typeof Message, typeof Answer, 'SHOP-001' | 'SHOP-002'>>()
is<typeof shop['methods']['sell'], RequestMethod<undefined, undefined, 'SHOP-003'>>()
is<typeof shop['methods']['look'], RequestMethod<undefined, undefined>>()

// a handler written on its own names its context
const say = (message: Chat, { session }: HandlerContext<{ onMessage: typeof Message }>) => session.push('onMessage', message)
export const apart = defineHandlers('apart', { pushes: { onMessage: Message } }, { say: notify({ body: Message }, say) })
defineHandlers('apart', {
  // @ts-expect-error its push is not declared here
  say: notify({ body: Message }, say)
})

export type Checks = [
  Expect<Equal<typeof room['name'], 'room'>>,
  Expect<Equal<keyof typeof room['methods'], 'join' | 'message'>>
]

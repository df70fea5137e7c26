// Compiled, never run: what a client derived from handler structures accepts, and what it refuses.
import { Type } from '@sinclair/typebox'
import { connect, connectOver, type ClientTransport, type Connected, type PushIterator } from '../../client/client.ts'
import { connectTcp } from '../../client/tcp.ts'
import { defineHandlers, notify, PitayaError, raw, request, type ClashingPushes, type ClientOf, type ErrorsOf } from '../../lib/handler/define.ts'
import type { Pitaya } from '../../plugins/pitaya.ts'
import type { Equal } from './check.ts'
import type { withDb } from './define.ts'
import type { room } from './room.ts'

declare function use (value: unknown): void
const is = <A, B>(...same: Equal<A, B> extends true ? [] : ['types differ']) => same

export const files = defineHandlers('files', { pushes: { onChunk: raw } }, {
  put: request({ body: raw, response: Type.Object({ size: Type.Integer() }) }, (bytes) => ({ size: bytes.length })),
  touch: request(() => {}),
  close: notify(() => {})
})

declare const client: ClientOf<[typeof room, typeof files, ReturnType<typeof withDb>]>
const message = { name: 'ana', content: 'hi' }

// answers, short and with a server type in front
export const joined = await client.request('room.join')
is<typeof joined, { code: number, result: string }>()
export const { result } = await client.request('chat.room.join')
is<typeof result, string>()
export const touched = await client.request('game.files.touch', undefined)
is<typeof touched, undefined>()
export const { size } = await client.request('files.put', new Uint8Array(1))
is<typeof size, number>()
export const { code } = await client.request('scores.best', message)
is<typeof code, number>()

client.notify('room.message', message)
client.notify('chat.room.message', message)
client.notify('files.close')
client.notify('game.files.close')

const off = client.on('onMessage', (message) => { is<typeof message, { name: string, content: string }>() })
off()
client.on('onChunk', (bytes) => { is<typeof bytes, Uint8Array>() })

// @ts-expect-error unknown method
client.request('room.leave')
// @ts-expect-error unknown handler
client.request('lobby.join')
// @ts-expect-error unknown method behind a server type
client.request('chat.room.leave')
// @ts-expect-error two server types
client.request('a.chat.room.join')
// @ts-expect-error not a route
client.request('join')
// @ts-expect-error a notify is not requested
client.request('room.message', message)
// @ts-expect-error nor behind a server type
client.request('chat.room.message', message)
// @ts-expect-error a request is not notified
client.notify('room.join')
// @ts-expect-error no body declared
client.request('room.join', {})
// @ts-expect-error no body declared
client.request('chat.room.join', message)
// @ts-expect-error body missing
client.notify('room.message')
// @ts-expect-error body missing behind a server type
client.notify('chat.room.message')
// @ts-expect-error wrong field
client.notify('room.message', { name: 'ana', content: 1 })
// @ts-expect-error field missing behind a server type
client.notify('chat.room.message', { name: 'ana' })
// @ts-expect-error undeclared field
client.notify('room.message', { ...message, other: 1 })
// @ts-expect-error raw bodies are bytes
client.request('files.put', 'text')
// @ts-expect-error undeclared field of an answer
export const unknown = joined.other
// @ts-expect-error wrong type of an answer
export const wrong: string = (await client.request('room.join')).code
// @ts-expect-error unknown push
client.on('onOther', () => {})
// @ts-expect-error wrong payload
client.on('onMessage', (message: number) => message)

// one push, two payloads: the type of the client names it
const say = () => notify(() => {})
export const a = defineHandlers('a', { pushes: { onMembers: Type.Array(Type.String()), same: Type.Boolean() } }, { say: say() })
export const b = defineHandlers('b', { pushes: { onMembers: Type.Object({ members: Type.Array(Type.String()) }), same: Type.Boolean() } }, { say: say() })
export const c = defineHandlers('c', { pushes: { same: Type.Boolean(), wide: Type.Object({ a: Type.String() }) } }, { say: say() })
export const d = defineHandlers('d', { pushes: { wide: Type.Object({ a: Type.String(), b: Type.Optional(Type.String()) }) } }, { say: say() })
is<ClientOf<[typeof a, typeof b]>, ClashingPushes<'onMembers'>>()
is<ClientOf<[typeof a, typeof c, typeof b]>, ClashingPushes<'onMembers'>>()
is<ClientOf<[typeof c, typeof d]>, ClashingPushes<'wide'>>()
declare const clashing: ClientOf<[typeof a, typeof b]>
// @ts-expect-error no client, but the name of the clash
clashing.on('same', () => {})
declare const agreeing: ClientOf<[typeof a, typeof c]>
agreeing.on('same', (value) => { is<typeof value, boolean>() })

// codes of a route's errors
export const shop = defineHandlers('shop', {
  buy: request({ body: Type.String(), response: Type.Integer(), errors: ['SHOP-001', 'SHOP-002'] }, () => 1),
  sell: request({ errors: ['SHOP-001', 'SHOP-003'] }, () => {}),
  look: request(() => {})
})
is<ErrorsOf<[typeof room, typeof shop], 'shop.buy'>, 'SHOP-001' | 'SHOP-002'>()
is<ErrorsOf<[typeof room, typeof shop], 'shop.look' | 'room.join'>, never>()
is<ErrorsOf<[typeof shop]>, 'SHOP-001' | 'SHOP-002' | 'SHOP-003'>()
// @ts-expect-error no such route
export type NoRoute = ErrorsOf<[typeof shop], 'shop.steal'>
export function explain (error: unknown): string {
  if (!(error instanceof PitayaError)) throw error
  switch (error.code as ErrorsOf<[typeof shop], 'shop.buy'>) {
    case 'SHOP-001': return 'not enough gold'
    case 'SHOP-002': return 'sold out'
    // @ts-expect-error of another route
    case 'SHOP-003': return ''
    default: return error.message
  }
}
declare const buyer: ClientOf<[typeof shop]>
export const bought = await buyer.request('lobby.shop.buy', 'sword')
is<typeof bought, number>()

// deadlines and signals, after the body or in its place
client.request('room.join', undefined, { timeoutMs: 100, signal: new AbortController().signal })
client.request('chat.scores.best', message, { timeoutMs: 100 })
// @ts-expect-error unknown option
client.request('scores.best', message, { timeout: 100 })
// @ts-expect-error milliseconds are a number
client.request('chat.scores.best', message, { timeoutMs: '5s' })
// @ts-expect-error a notify is not answered, so it has no deadline
client.notify('room.message', message, { timeoutMs: 100 })

// pushes as streams
for await (const message of client.pushes('onMessage')) {
  is<typeof message, { name: string, content: string }>()
  use(message.content)
}
export const chunks = client.pushes('onChunk', { limit: 10 })
is<typeof chunks, PushIterator<Uint8Array>>()
is<typeof chunks.dropped, number>()
// @ts-expect-error unknown push
client.pushes('onOther')
// @ts-expect-error wrong payload
for await (const { size } of client.pushes('onMessage')) use(size)

// what connects gives that client, and what every client has
const connected = await connect<[typeof room, typeof files]>('ws://game.example', {
  user: async () => ({ token: '' }), reconnect: { minMs: 100, maxMs: 1000, attempts: 3 }, signal: new AbortController().signal
})
is<typeof connected, Connected<[typeof room, typeof files]>>()
export const { size: stored } = await connected.request('files.put', new Uint8Array(1))
is<typeof stored, number>()
connected.onClose(({ code, reason }) => { is<typeof code, number>(); is<typeof reason, string>() })
connected.onStateChange((state) => {
  if (state.name === 'waiting') is<typeof state.retryMs, number>()
  // @ts-expect-error only a state that waits has it
  else is<typeof state.retryMs, number>()
})
// @ts-expect-error unknown method
connected.request('room.leave')
// @ts-expect-error wrong body
connected.notify('chat.room.message', { name: 1, content: '' })
// @ts-expect-error unknown push
connected.pushes('onOther')
// @ts-expect-error misspelt
connect('ws://game.example', { reconect: true })
// @ts-expect-error milliseconds are a number
connect('ws://game.example', { reconnect: { minMs: '1s' } })
is<Awaited<ReturnType<typeof connectTcp<[typeof room, typeof files]>>>, typeof connected>()
declare const transport: ClientTransport
is<Awaited<ReturnType<typeof connectOver<[typeof room, typeof files]>>>, typeof connected>()
connectOver(() => transport)
connectOver(async (signal) => { is<typeof signal, AbortSignal>(); return transport })
// @ts-expect-error a port is needed
connectTcp({ host: 'game.example' })

// inject gives the same
declare const app: Pitaya
const injected = await app.inject<[typeof room, typeof files]>({ user: { token: '' }, remoteAddress: '192.0.2.7' })
is<typeof injected, typeof connected>()
// @ts-expect-error unknown method
injected.request('room.leave')

// without structures any route can be asked, and answers are any
const free = await connect('ws://game.example')
free.request('any.route.at', { all: 1 }, { timeoutMs: 5 }).then((answer) => is<typeof answer, any>())
for await (const anything of free.pushes('onWhatever')) use(anything.whatever)

// structures without pushes or methods
declare const silent: ClientOf<[ReturnType<typeof withDb>]>
// @ts-expect-error no push is declared
silent.on('onMessage', () => {})
// @ts-expect-error no notify is declared
silent.notify('scores.best', message)

// Compiled, never run: what a client derived from handler structures accepts, and what it refuses.
import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, raw, request, type ClashingPushes, type ClientOf } from '../../lib/handler/define.ts'
import type { Equal } from './check.ts'
import type { withDb } from './define.ts'
import type { room } from './room.ts'

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

// structures without pushes or methods
declare const silent: ClientOf<[ReturnType<typeof withDb>]>
// @ts-expect-error no push is declared
silent.on('onMessage', () => {})
// @ts-expect-error no notify is declared
silent.notify('scores.best', message)

// Compiled, never run: what contracts of remotes, their implementations and their callers accept, and what they refuse.
import { Type } from '@sinclair/typebox'
import {
  defineRemotes, raw, type RemoteClient, type RemoteContext, type RemoteImplementation, type RemoteMethod, type RemoteMethods, type Remotes
} from '../../lib/handler/define.ts'
import type { Equal } from './check.ts'

const Mode = Type.Object({ mode: Type.Union([Type.Literal('duel'), Type.Literal('team')]), size: Type.Optional(Type.Integer()) })
const Match = Type.Object({ id: Type.String() })
const State = Type.Object({ state: Type.Union([Type.Literal('on'), Type.Literal('off')]) })
const is = <A, B>(...same: Equal<A, B> extends true ? [] : ['types differ']) => same
/** As the facade takes and gives them. */
declare const app: {
  remotes<M extends RemoteMethods> (contract: Remotes<string, M>, implementation: NoInfer<RemoteImplementation<M>>): void
  remote<M extends RemoteMethods> (serverType: string, contract: Remotes<string, M>): RemoteClient<M>
}

// a contract is a Remotes, keeps its literals, and fills in what was left out
export const match = defineRemotes('match', {
  create: { body: Mode, response: Match },
  state: { body: Match, response: State, deadlineMs: 100 },
  end: { body: Match },
  count: { response: Type.Integer() },
  ping: {},
  store: { body: raw, response: raw }
})
is<typeof match, Remotes<'match', {
  readonly create: RemoteMethod<typeof Mode, typeof Match>
  readonly state: RemoteMethod<typeof Match, typeof State>
  readonly end: RemoteMethod<typeof Match, undefined>
  readonly count: RemoteMethod<undefined, ReturnType<typeof Type.Integer>>
  readonly ping: RemoteMethod<undefined, undefined>
  readonly store: RemoteMethod<typeof raw, typeof raw>
}>>()
export const contract: Remotes = match

// @ts-expect-error misspelt
defineRemotes('match', { create: { bodi: Mode } })
// @ts-expect-error misspelt beside good ones
defineRemotes('match', { create: { body: Mode, response: Match, deadLineMs: 5 } })
// @ts-expect-error not a schema
defineRemotes('match', { create: { body: { type: 'object' } } })
// @ts-expect-error milliseconds are a number
defineRemotes('match', { create: { deadlineMs: '5s' } })
// @ts-expect-error methods are missing
defineRemotes('match')

// implementations
const rest = { end () {}, count: () => 1, ping () {}, store: (bytes: Uint8Array) => bytes }
app.remotes(match, {
  create: async (body, context) => {
    is<typeof body, { mode: 'duel' | 'team', size?: number }>()
    is<typeof context, RemoteContext>()
    is<typeof context.propagated, Readonly<Record<string, string>>>()
    return { id: `${body.mode}-${context.caller}` }
  },
  state: ({ id }) => ({ state: id === '' ? 'off' : 'on' }),
  end: async (body) => { is<typeof body, { id: string }>() },
  count: (body) => { is<typeof body, undefined>(); return 1 },
  ping: () => {},
  store: (bytes) => { is<typeof bytes, Uint8Array>(); return bytes }
})
// @ts-expect-error no such state
app.remotes(match, { ...rest, create: () => ({ id: '' }), state: () => ({ state: 'broken' }) })
// @ts-expect-error wrong response
app.remotes(match, { ...rest, create: () => ({ id: 1 }), state: () => ({ state: 'on' }) })
// @ts-expect-error wrong response in a promise
app.remotes(match, { ...rest, create: async () => ({}), state: () => ({ state: 'on' }) })
// @ts-expect-error a declared response is not optional
app.remotes(match, { ...rest, create: () => {}, state: () => ({ state: 'on' }) })
// @ts-expect-error no response is declared
app.remotes(match, { ...rest, create: () => ({ id: '' }), state: () => ({ state: 'on' }), ping: () => 1 })
// @ts-expect-error raw responses are bytes
app.remotes(match, { ...rest, create: () => ({ id: '' }), state: () => ({ state: 'on' }), store: () => 'text' })
// @ts-expect-error a method is missing
app.remotes(match, { ...rest, create: () => ({ id: '' }) })
// @ts-expect-error a method too many
app.remotes(match, { ...rest, create: () => ({ id: '' }), state: () => ({ state: 'on' }), destroy: () => {} })
// @ts-expect-error another body
app.remotes(match, { ...rest, create: (body: { mode: number }) => ({ id: `${body.mode}` }), state: () => ({ state: 'on' }) })
// @ts-expect-error undeclared field of the body
app.remotes(match, { ...rest, create: (body) => ({ id: body.other }), state: () => ({ state: 'on' }) })

// callers
const game = app.remote('game', match)
export const created = await game.create({ mode: 'duel' }, { timeoutMs: 100, serverId: 'game-1', key: 'ana', propagated: { trace: '1' } })
is<typeof created, { id: string }>()
export const { state } = await game.state({ id: '1' })
is<typeof state, 'on' | 'off'>()
is<ReturnType<typeof game.end>, Promise<undefined>>()
is<ReturnType<typeof game.count>, Promise<number>>()
game.ping()
game.ping(undefined, { serverId: 'game-1' })
is<ReturnType<typeof game.store>, Promise<Uint8Array>>()
game.store(new Uint8Array(1))

// @ts-expect-error unknown method
game.destroy()
// @ts-expect-error wrong body
game.create({ mode: 'solo' })
// @ts-expect-error body missing
game.create()
// @ts-expect-error undeclared field
game.create({ mode: 'duel', other: 1 })
// @ts-expect-error no body is declared
game.count({})
// @ts-expect-error raw bodies are bytes
game.store('text')
// @ts-expect-error unknown option
game.ping(undefined, { timeout: 5 })
// @ts-expect-error undeclared field of the response
export const other = created.other
// @ts-expect-error wrong type of the response
export const wrong: number = (await game.create({ mode: 'duel' })).id
// @ts-expect-error not a contract
app.remote('game', { name: 'match' })

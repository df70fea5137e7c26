// The published package in the shapes that users have: a server with declarations, clients in Node and in a browser that know its types.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compileProject, emptyFolder, installPacked, linkPackages, openProject, writeProject } from '../helpers/packed.ts'

const folder = emptyFolder(t)
const server = join(folder, 'server')
const node = { module: 'NodeNext', moduleResolution: 'NodeNext', types: ['node'] }

const ROOM = `
import { Type } from '@sinclair/typebox'
import { definePitaya, defineHandlers, notify, raw, request } from 'fastify-pitaya/define'

const Message = Type.Object({ name: Type.String(), content: Type.String() })
const Level = Type.Object({ level: Type.Integer() })

export const room = defineHandlers('room', { pushes: { onMessage: Message, onBytes: raw } }, {
  join: request({ body: Level, response: Level, errors: ['ROOM-001', 'ROOM-002'] }, async (body, { session, groups }) => {
    await session.bind('ana')
    await groups.add('lobby', session.uid)
    return body
  }),
  upload: request({ body: raw, response: raw }, (bytes) => bytes),
  message: notify({ body: Message }, (message, { groups }) => groups.broadcast('lobby', 'onMessage', message))
})
export const game = definePitaya({ session: Level })
export const shop = (prices: Map<string, number>) => game.handlers('shop', {
  price: request({ body: Type.String(), response: Type.Union([Type.Integer(), Type.Null()]) }, (name) => prices.get(name) ?? null)
})

export function wrong (): void {
  defineHandlers('wrong', { pushes: { onMessage: Message } }, {
    // @ts-expect-error wrong answer
    join: request({ response: Level }, () => ({ level: 'one' })),
    // @ts-expect-error wrong use of the body
    message: notify({ body: Message }, ({ level }) => level),
    // @ts-expect-error undeclared push
    other: notify((_, { session }) => session.push('onOther', {})),
    // @ts-expect-error wrong payload of a push
    push: notify((_, { session }) => session.push('onMessage', { name: 'ana' }))
  })
}
`

const APP = `
import Fastify from 'fastify'
import { Type } from '@sinclair/typebox'
import pitaya from 'fastify-pitaya'
import { connect, connectOver } from 'fastify-pitaya/client'
import { connectTcp } from 'fastify-pitaya/client/tcp'
import { defineRemotes, type ErrorsOf } from 'fastify-pitaya/define'
import { room, shop } from './room.js'

export const match = defineRemotes('match', { create: { body: Type.Object({ mode: Type.String() }), response: Type.Integer() }, end: {} })
export const app = Fastify()
await app.register(pitaya, { acceptors: false })
app.pitaya.register(room, shop(new Map()))
app.pitaya.remotes(match, { create: ({ mode }) => mode.length, end () {} })
await app.ready()
export const injected = await app.pitaya.inject<[typeof room, ReturnType<typeof shop>]>()
export const untyped = await app.pitaya.inject()
export const remote = app.pitaya.remote('game', match)
export const price = await injected.request('shop.price', 'sword')
export const made: number = await remote.create({ mode: 'duel' })
export const messages = injected.pushes('onMessage')
export const connected = () => connect<[typeof room]>('ws://game.example')
export const overTcp = () => connectTcp<[typeof room]>({ port: 3251 })
export const over = connectOver
export type RoomErrors = ErrorsOf<[typeof room], 'room.join'>

// @ts-expect-error wrong body
remote.create({ mode: 1 })
// @ts-expect-error unknown remote
remote.destroy()
// @ts-expect-error wrong response
app.pitaya.remotes(match, { create: () => 'text', end () {} })
// @ts-expect-error wrong route
injected.request('shop.buy', 'sword')
`

/** The same program for all clients. @param show makes `show`, which takes a number */
const client = (room: string, show: string): string => `
import { connect, PitayaError } from 'fastify-pitaya/client'
import type { ErrorsOf } from 'fastify-pitaya/define'
import type { room, shop } from '${room}'

export const client = await connect<[typeof room, ReturnType<typeof shop>]>('wss://game.example/pitaya')
${show}
try {
  show((await client.request('room.join', { level: 1 })).level)
} catch (error) {
  if (!(error instanceof PitayaError)) throw error
  const code = error.code as ErrorsOf<[typeof room], 'room.join'>
  if (code === 'ROOM-001') show(1)
  // @ts-expect-error no code of this route
  if (code === 'ROOM-003') show(3)
}
show((await client.request('chat.room.upload', new Uint8Array(1))).length)
show(await client.request('shop.price', 'sword') ?? 0)
client.notify('room.message', { name: 'ana', content: 'hi' })
client.on('onMessage', ({ name }) => show(name.length))
for await (const bytes of client.pushes('onBytes')) show(bytes.length)

export function wrong (): void {
  // @ts-expect-error wrong route
  client.request('room.leave')
  // @ts-expect-error wrong route behind a server type
  client.request('chat.room.leave')
  // @ts-expect-error wrong body
  client.request('room.join', { level: 'one' })
  // @ts-expect-error no body
  client.request('room.join')
  // @ts-expect-error wrong use of the answer
  client.request('room.join', { level: 1 }).then(({ name }) => name)
  // @ts-expect-error bytes are bytes
  client.request('room.upload', 'text')
  // @ts-expect-error wrong body of a notify
  client.notify('room.message', { name: 'ana' })
  // @ts-expect-error wrong push
  client.on('onOther', () => {})
  // @ts-expect-error wrong use of a push
  client.on('onMessage', ({ level }) => level)
}
`
const BYTES = 'const show = (value: number) => Buffer.alloc(value).length'
const TITLE = 'const show = (value: number) => { document.title = value.toFixed(1) }'
const FOREIGN = /\/(fastify|@fastify|@types|avsc|nats|ws|pino|fast-json-stringify)\//

let problems: string[] = []

t.before(async () => {
  writeProject(server, { ...node, declaration: true, outDir: 'dist', rootDir: '.' }, { 'room.ts': ROOM, 'app.ts': APP })
  await installPacked(server)
  problems = compileProject(openProject(server))
})

t.test('a server project exports handlers, remotes and clients with declarations, which name only what is exported', async (t) => {
  t.strictSame(problems, [])
  const declared = ['room', 'app'].map((name) => readFileSync(join(server, `dist/${name}.d.ts`), 'utf8')).join('')
  t.notMatch(declared, /import\("(\.|[^"]*node_modules|fastify-pitaya\/(?!(define|client|client\/tcp)"))/)
  t.match(declared, /ErrorsOf/)
})

for (const [what, from, options] of [
  ['declarations', '../server/dist/room.js', {}],
  ['source', '../server/room.ts', { noEmit: true, allowImportingTsExtensions: true }]
] as const) {
  t.test(`a Node client knows the types of a server by its ${what}`, async (t) => {
    const project = join(folder, `node-${what}`)
    linkPackages(server, project, ['fastify-pitaya', '@sinclair/typebox', '@types/node', 'undici-types'])
    writeProject(project, { ...node, ...options }, { 'client.ts': client(from, BYTES) })
    const service = openProject(project)
    t.strictSame(compileProject(service), [])
    const files = service.getProgram()!.getSourceFiles().map(({ fileName }) => fileName)
    t.strictSame(files.filter((file) => FOREIGN.test(file) && !file.includes('/@types/node/')), [])
  })
}

t.test('a browser client does so without types of Node or of any server library, and its editor completes names', async (t) => {
  const project = join(folder, 'browser')
  linkPackages(server, project, ['fastify-pitaya', '@sinclair/typebox'])
  const text = client('../server/room.ts', TITLE)
  writeProject(project, {
    lib: ['ES2022', 'DOM'], types: [], module: 'ESNext', moduleResolution: 'bundler', noEmit: true, allowImportingTsExtensions: true
  }, { 'main.ts': text })
  t.strictSame(readdirSync(join(project, 'node_modules')).sort(), ['@sinclair', 'fastify-pitaya'])
  const service = openProject(project)
  t.strictSame(compileProject(service), [])
  const files = service.getProgram()!.getSourceFiles().map(({ fileName }) => fileName)
  t.ok(files.some((file) => file.endsWith('/server/room.ts')))
  t.strictSame(files.filter((file) => FOREIGN.test(file)), [])

  const complete = (call: string): string[] => {
    const at = text.indexOf(call) + call.length
    return service.getCompletionsAtPosition(join(project, 'main.ts'), at, {})!.entries.map(({ name }) => name).sort()
  }
  t.strictSame(complete("client.request('"), ['room.join', 'room.upload', 'shop.price'])
  t.strictSame(complete("client.notify('"), ['room.message'])
  t.strictSame(complete("client.on('"), ['onBytes', 'onMessage'])
  t.strictSame(complete("client.pushes('"), ['onBytes', 'onMessage'])
  t.strictSame(complete("code === '"), ['ROOM-001', 'ROOM-002'])
})

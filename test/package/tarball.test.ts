import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { emptyFolder, installPacked, writeProject } from '../helpers/packed.ts'
import { root } from '../helpers/vectors.ts'

const run = promisify(execFile)
const project = emptyFolder(t)
const modules = join(project, 'node_modules')
const installed = join(root, 'node_modules')

/** As applications write it; what they must not see is an error here. */
const PROGRAM = `
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import { Type } from '@sinclair/typebox'
import pitaya, { websocketOptions, type Pitaya, type Sessions } from 'fastify-pitaya'
import { connectOver } from 'fastify-pitaya/client'
import { defineHandlers, request } from 'fastify-pitaya/define'

export const room = defineHandlers('room', { pushes: { onJoin: Type.String() } }, {
  join: request({ body: Type.String(), response: Type.Integer() }, async (uid, { session }) => {
    await session.bind(uid)
    return session.id
  })
})
export const app = Fastify()
await app.register(pitaya, { acceptors: { websocket: { path: '/game' } } })
app.pitaya.register(room)
await app.ready()
const client = await app.pitaya.inject<[typeof room]>()
const id = await client.request('room.join', 'ana')
export const server: Pitaya = app.pitaya
export const sessions: Sessions = server.sessions
assert.equal(sessions.get(id)?.uid, 'ana')
assert.equal(websocketOptions.options.perMessageDeflate, false)
assert.equal(typeof connectOver, 'function')
await app.close()

export function hidden (): void {
  // @ts-expect-error: made by the plugin
  server.fork()
  // @ts-expect-error: called by the plugin
  server.ready()
  // @ts-expect-error: for the package's own tests
  server.openPair()
  // @ts-expect-error: of the pool
  sessions.create({}, 0)
  // @ts-expect-error: a uid is bound, not set
  sessions.ofUid('ana')[0]!.uid = 'eve'
  // @ts-expect-error: what the plugins share
  app.pitayaSessions.size
}
`

t.before(async () => {
  await installPacked(project)
  writeProject(project, { module: 'NodeNext', moduleResolution: 'NodeNext', declaration: true, types: ['node'] }, { 'program.ts': PROGRAM })
})

t.test('the package carries what it needs and nothing of the repository', async (t) => {
  const files = readdirSync(join(modules, 'fastify-pitaya'), { recursive: true, encoding: 'utf8' })
  const foreign = /^(out\/)?(routes\/chat|handlers|test|examples|bench|scripts|coverage|server\.|lib\/environment)|tsbuildinfo|^out-/
  t.strictSame(files.filter((file) => foreign.test(file)), [])
  for (const entry of ['plugins/pitaya', 'lib/handler/define', 'client/client']) {
    for (const file of [`out/${entry}.js`, `out/${entry}.d.ts`, `${entry}.ts`]) t.ok(files.includes(file), file)
  }
  for (const file of ['README.md', 'LICENSE', 'docs/architecture.md']) t.ok(files.includes(file), file)
})

t.test('a strict program compiles against it without types of WebSocket libraries, and runs', async (t) => {
  const { stdout } = await run(process.execPath, [join(installed, 'typescript/bin/tsc'), '--listFiles'], { cwd: project, maxBuffer: 1 << 24 })
    .catch((error: { stdout: string }) => error)
  t.strictSame(stdout.split('\n').filter((line) => /error TS|node_modules\/(@types\/)?(@fastify\/websocket|ws)\//.test(line)), [])
  const { stderr } = await run(process.execPath, ['program.js'], { cwd: project, timeout: 20_000 })
  t.equal(stderr, '')
})

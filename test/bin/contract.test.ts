/** `fastify-pitaya contract`, as a process of its own. */
import { Type } from '@sinclair/typebox'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import { clusterIn, eventually } from '../helpers/app.ts'
import { Child } from '../helpers/child.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { serve } from '../helpers/wire.ts'

interface Teardown { teardown (fn: () => unknown): void }

const PROGRAM = fileURLToPath(new URL('../../bin/pitaya.js', import.meta.url))
const DEFINE = pathToFileURL(fileURLToPath(new URL('../../lib/handler/define.js', import.meta.url))).href
const TYPEBOX = import.meta.resolve('@sinclair/typebox')
const token = 'correct-horse-battery'
const Text = Type.Object({ text: Type.String() })
const record = { type: 'record', name: 'T0', fields: [{ name: 'text', type: 'string' }] }
const room = defineHandlers('room', { pushes: { onText: Text } }, {
  say: request({ body: Text, response: raw, errors: ['SAY-001'] }, () => Buffer.alloc(0))
})
const routes = { 'room.say': { kind: 'request', body: record, response: 'raw', errors: ['SAY-001'] } }
const pushes = { onText: record }

const folder = mkdtempSync(join(tmpdir(), 'fastify-pitaya-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const moduleText = (body: string): string => `import { defineHandlers, raw, request } from '${DEFINE}'\nimport { Type } from '${TYPEBOX}'\n${body}`

interface Outcome { code: number | null, out: string, err: string }

async function run (t: Teardown, args: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const child = new Child(t, [PROGRAM, ...args], env)
  const code = await child.exited()
  return { code, out: child.stdout.join('\n'), err: child.stderr.join('\n') }
}

const portOf = (app: FastifyInstance): number => (app.server.address() as AddressInfo).port

t.test('from a server\'s admin routes, with the token of ADMIN_TOKEN', async (t) => {
  const { app } = await serve(t, { handlers: [room], admin: { token } })
  const url = `http://127.0.0.1:${portOf(app)}`
  const { set } = clusterIn(app).parts.schemas
  for (const given of [url, `${url}/admin`, `${url}/admin/`, `${url}/admin/contract`]) {
    const { code, out, err } = await run(t, ['contract', given], { ADMIN_TOKEN: token })
    t.strictSame([code, err], [0, ''])
    t.strictSame(JSON.parse(out), set)
  }
  t.strictSame([set.serverType, set.routes, set.pushes], ['lobby', routes, pushes])
  for (const [env, why] of [[{}, 'missing or wrong'], [{ ADMIN_TOKEN: 'wrong' }, 'missing or wrong'], [{ ADMIN_TOKEN: 'a b' }, 'printable ASCII']] as const) {
    const { code, out, err } = await run(t, ['contract', url], env)
    t.strictSame([code, out], [1, ''])
    t.match(err, new RegExp(`^[^\\n]*${why}[^\\n]*$`))
  }
  const { err } = await run(t, ['contract', `${url}/nothing`], { ADMIN_TOKEN: token })
  t.match(err, /there is no such route/)
})

t.test('from a server as a client, however large its contract is', async (t) => {
  const wide = Type.Object(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`a_field_with_a_name_${i}`, Type.Integer()])))
  const methods = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`m${i}`, request({ body: wide }, () => {})]))
  const { app, url } = await serve(t, {
    handlers: [room, defineHandlers('big', methods as any)],
    handshake: { user: Type.Object({ key: Type.Literal('open') }) }
  })
  const { code, out, err } = await run(t, ['contract', url, '--user', '{"key":"open"}'])
  t.strictSame([code, err], [0, ''])
  t.strictSame(JSON.parse(out), clusterIn(app).parts.schemas.set)
  const refused = await run(t, ['contract', url])
  t.strictSame([refused.code, refused.out], [1, ''])
  t.match(refused.err, /^ws:.*handshake.*\.$/)
})

t.test('the file of a frontend has what is behind it, and is the same from both sides', async (t) => {
  const cluster = clusterOf(t)
  await cluster.backend({ handlers: [room] })
  const app = await cluster.frontend({ admin: { token }, acceptors: { websocket: {} } })
  await eventually(() => clusterIn(app).parts.schemas.set.pushes.onText !== undefined, 'the backend is known')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const output = join(folder, 'contract.json')
  const { code, out } = await run(t, ['contract', `ws://127.0.0.1:${portOf(app)}/pitaya`, '-o', output])
  const text = readFileSync(output, 'utf8')
  const set = JSON.parse(text)
  t.equal(code, 0)
  t.equal(out, `${output}: 1 routes, 1 pushes, fingerprint ${set.fingerprint}`)
  t.strictSame([set.serverType, Object.keys(set.routes)], ['connector', ['chat.room.say']])
  const other = await run(t, ['contract', `http://127.0.0.1:${portOf(app)}`], { ADMIN_TOKEN: token })
  t.equal(`${other.out}\n`, text)
})

t.test('from modules, which may keep something open', async (t) => {
  const first = file('room.mjs', moduleText(`
    setInterval(() => {}, 1000)
    const Text = Type.Object({ text: Type.String() })
    export const limit = 5
    export const room = defineHandlers('room', { pushes: { onText: Text } }, {
      say: request({ body: Text, response: raw, errors: ['SAY-001'] }, () => {})
    })
  `))
  const second = file('shop.mjs', moduleText('export default defineHandlers(\'shop\', { buy: request(() => {}) })'))
  const { code, out, err } = await run(t, ['contract', first, second, '--type', 'lobby'])
  t.strictSame([code, err], [0, ''])
  const { fingerprint, ...set } = JSON.parse(out)
  t.strictSame(set, { version: 1, serverType: 'lobby', routes: { ...routes, 'shop.buy': { kind: 'request' } }, pushes })
  const { app } = await serve(t, { handlers: [room] })
  const alone = JSON.parse((await run(t, ['contract', first, '-t', 'lobby'])).out)
  t.equal(alone.fingerprint, clusterIn(app).parts.schemas.set.fingerprint, 'a server of that type has the same')
  t.not(alone.fingerprint, fingerprint)
})

t.test('what cannot be done is said in a sentence', async (t) => {
  const empty = file('empty.mjs', 'export const room = {}')
  const broken = file('broken.mjs', 'throw new Error("not today")')
  const typed = file('typed.xyz', 'export const room = 1')
  const any = file('any.mjs', moduleText('export const room = defineHandlers(\'room\', { any: request({ body: Type.Any() }, () => {}) })'))
  const same = file('same.mjs', moduleText('export const a = defineHandlers(\'room\', {}), b = defineHandlers(\'room\', {})'))
  const cases: Array<[string[], RegExp]> = [
    [['contract', empty], /empty\.mjs exports no handlers/],
    [['contract', broken], /broken\.mjs cannot be loaded: not today/],
    [['contract', typed], /give the compiled module/],
    [['contract', any], /room\.any\.body/],
    [['contract', same], /handlers "room" are registered twice/],
    [['contract', join(folder, 'none.mjs')], /none\.mjs is not there/],
    [['contract', 'http://127.0.0.1:1'], /cannot be reached/],
    [['contract', 'ws://127.0.0.1:1/pitaya'], /^ws:\/\/127\.0\.0\.1:1\/pitaya: /],
    [['contract', 'http://['], /is no url/],
    [['contract', 'ws://a', 'ws://b'], /One url/],
    [['contract', 'ws://a', '-t', 'x'], /--type is for modules/],
    [['contract', 'ws://a', '-u', '{'], /--user must be JSON/],
    [['contract', file('ok.mjs', moduleText('export default defineHandlers(\'room\', {})')), '-o', folder], /cannot be written/],
    [['contract', '--nope'], /--nope.*[^]*Usage/],
    [[], /^Usage/],
    [['deploy', 'x'], /^Usage/]
  ]
  const refuses = async ([args, why]: typeof cases[number]): Promise<void> => {
    const { code, out, err } = await run(t, args)
    t.strictSame([code, out], [1, ''], args.join(' '))
    t.match(err, why)
    t.notMatch(err, /\n +at /, 'no stack')
  }
  // Each has so long to end: not all of them at once.
  for (let at = 0; at < cases.length; at += 4) await Promise.all(cases.slice(at, at + 4).map(refuses))
  const help = await run(t, ['--help'])
  t.strictSame([help.code, help.err], [0, ''])
  t.match(help.out, /^Usage/)
})

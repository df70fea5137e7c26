/** Pitaya's own client against this server, where Go is installed and its modules are there. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { room } from '../../handlers/room.ts'
import { HOST, serve } from '../helpers/wire.ts'
import { root } from '../helpers/vectors.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'pitaya-go-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const program = join(folder, 'client')
// Never from the network: what is not in Go's module cache is a skip.
const { status } = spawnSync('go', ['build', '-o', program, '.'], {
  cwd: join(root, 'test/client/stock-go'), env: { ...process.env, GOPROXY: 'off' }, timeout: 120_000
})
const goTest = status === 0 ? {} : { skip: 'no Go, or not Pitaya\'s modules' }

for (const [what, options] of [
  ['as it is', {}],
  ['with numbered routes, and everything compressed', { dictionary: 'auto', compression: { minBytes: 1 } }]
] as const) {
  t.test(`Pitaya's Go client joins the demo's room unchanged, over TCP and WebSocket, ${what}`, goTest, async (t) => {
    const acceptors = { websocket: { path: '/' }, tcp: { port: 0, host: HOST } }
    const { tcpPort, url } = await serve(t, { serverType: 'chat', handlers: [room], acceptors, ...options })
    for (const args of [['tcp', `${HOST}:${tcpPort}`], ['ws', new URL(url).host]]) {
      const { stdout } = await run(program, args, { timeout: 20_000 })
      const messages = stdout.trim().split('\n').map((line) => JSON.parse(line) as { id: number, route: string, isError: boolean, data: string })
      const [joined, echoed, refused] = [1, 2, 3].map((id) => messages.find((message) => message.id === id))
      t.strictSame([joined?.isError, joined?.data], [false, '{"code":0,"result":"success"}'])
      t.strictSame([echoed?.isError, echoed?.data], [false, '{"name":"go","content":"hi"}'])
      t.strictSame([refused?.isError, refused?.data], [true, '{"code":"PIT-404","msg":"pitaya/handler: chat.room.none not found"}'])
      t.equal(messages.find(({ route }) => route === 'onMessage')?.data, '{"name":"go","content":"hi"}')
      t.match(messages.find(({ route }) => route === 'onMembers')?.data, /^\{"members":\["user-/)
    }
  })
}

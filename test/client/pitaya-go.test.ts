/** Against Pitaya's own server, where Go is installed and its modules are there: what our client takes and sends is what Pitaya means. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateSync } from 'node:zlib'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect, type Client, type WebSocketConstructor } from '../../client/client.ts'
import { connectTcp } from '../../client/tcp.ts'
import { freePort } from '../helpers/free-port.ts'
import { root } from '../helpers/vectors.ts'

const START_MS = 10_000
const folder = mkdtempSync(join(tmpdir(), 'pitaya-go-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const program = join(folder, 'pitaya-go')
// Never from the network: what is not in Go's module cache is a skip.
const { status } = spawnSync('go', ['build', '-o', program, '.'], {
  cwd: join(root, 'bench/peers/go'), env: { ...process.env, GOPROXY: 'off' }, timeout: 120_000
})

t.test('a Go server\'s answers and pushes, deflated as they come', status === 0 ? {} : { skip: 'no Go, or not Pitaya\'s modules' }, async (t) => {
  const [ws, tcp] = [await freePort(), await freePort()]
  const child = spawn(program, [], {
    env: { ...process.env, WS_ADDR: `127.0.0.1:${ws}`, TCP_ADDR: `127.0.0.1:${tcp}`, COMPRESSION: 'true' }, stdio: ['pipe', 'ignore', 'inherit']
  })
  t.teardown(async () => { child.kill('SIGKILL'); await once(child, 'close') })
  const options = { reconnect: false, WebSocket: WebSocket as unknown as WebSocketConstructor }
  const message = { name: 'ana', content: 'hi '.repeat(200) }
  let inflated = 0
  const inflate = (data: Uint8Array): Uint8Array => { inflated++; return inflateSync(data) }
  for (const open of [() => connect(`ws://127.0.0.1:${ws}`, options), () => connectTcp({ host: '127.0.0.1', port: tcp }, { ...options, inflate })]) {
    const client = await whenUp(open)
    const pushes = client.pushes('onMessage')
    t.strictSame(await client.request('room.join', {}), { code: 0, result: 'success' })
    t.strictSame(await client.request('room.echo', message), message)
    for (const content of ['1', '2', message.content, '4']) client.notify('room.message', { name: 'ana', content })
    const seen: string[] = []
    for await (const { content } of pushes) if (seen.push(content) === 4) break
    t.strictSame(seen.sort(), ['1', '2', message.content, '4'].sort())
    await t.rejects(client.request('room.none', {}), { code: 'PIT-404' })
    client.close()
  }
  t.ok(inflated >= 2, `${inflated} were deflated`)
})

async function whenUp (open: () => Promise<Client>): Promise<Client> {
  const deadline = performance.now() + START_MS
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

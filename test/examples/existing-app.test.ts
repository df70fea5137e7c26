import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import t from 'tap'
import Fastify from 'fastify'
import { WebSocket } from 'ws'
import { connect, type WebSocketConstructor } from '../../client/client.ts'
import { addPitaya, buildApp } from '../../examples/existing-app.ts'
import { logSink } from '../helpers/log.ts'

const headers = { authorization: 'Bearer ana-token' }
const AnasWebSocket = class extends WebSocket {
  constructor (url: string) { super(url, { headers }) }
} as unknown as WebSocketConstructor

t.test('an app that gets the plugin keeps its routes, its login and its WebSocket, and pushes to who logged in', async (t) => {
  const { logger, lines } = logSink()
  const app = await buildApp(Fastify({ logger }))
  t.teardown(() => app.close())
  await addPitaya(app)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const wsUrl = url.replace('http', 'ws')

  t.equal(await (await fetch(url, { headers })).text(), 'hello ana')
  t.equal(await (await fetch(`${url}/healthz`)).text(), 'fine')
  t.equal((await fetch(url)).status, 401)

  const echo = new WebSocket(`${wsUrl}/echo`, { headers })
  await once(echo, 'open')
  echo.send('still mine')
  t.equal(String((await once(echo, 'message'))[0]), 'still mine')
  echo.close()
  await once(echo, 'close')

  const client = await connect(`${wsUrl}/pitaya`, { WebSocket: AnasWebSocket })
  t.equal(await client.request('inbox.whoami'), 'ana')
  const news = new Promise((resolve) => client.on('news', resolve))
  const pushed = await app.inject({ method: 'POST', url: '/news/ana', headers, payload: { text: 'you have mail' } })
  t.strictSame(pushed.json(), { delivered: ['ana'], notConnected: [], unknown: [] })
  t.strictSame(await news, { text: 'you have mail' })
  client.close()

  const stranger = new WebSocket(`${wsUrl}/pitaya`)
  const error = await new Promise<Error>((resolve) => stranger.once('error', resolve))
  t.equal(error.message, 'Unexpected server response: 401')
  t.equal(lines.filter(({ level, msg }) => level === 40 && /websocketOptions/.test(String(msg))).length, 1, 'one warning names the options to pass')
})

t.test('from its login to the first push takes at most 25 added lines', async (t) => {
  const source = readFileSync(new URL('../../../examples/existing-app.ts', import.meta.url), 'utf8')
  const lines = source.slice(source.indexOf('const inbox')).split('\n').filter((line) => line.trim() !== '' && !/^\s*(\/\*\*|\/\/)/.test(line))
  const imports = source.split('\n').filter((line) => /^import .*(fastify-pitaya|typebox)/.test(line))
  t.ok(lines.length + imports.length <= 25, `${lines.length + imports.length} lines`)
})

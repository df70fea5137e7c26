import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { createAvroSerializer } from '../../lib/serializers/avro.ts'
import { deriveAvro } from '../../lib/serializers/avro-schema.ts'
import { reduceSchema } from '../../lib/serializers/schema.ts'
import { browserOptions, startBrowser } from '../helpers/browser.ts'
import { toHex } from '../helpers/vectors.ts'

const MODULES = new URL('../../', import.meta.url)
const POLICY = "default-src 'none'; script-src 'self'"

const Player = Type.Object({
  name: Type.String(),
  score: Type.Integer(),
  at: Type.Array(Type.Number()),
  team: Type.Optional(Type.Union([Type.Literal('red'), Type.Literal('blue')])),
  next: Type.Union([Type.Null(), Type.Record(Type.String(), Type.Boolean())])
})
const value = { name: 'ana é 日 🎮', score: 2 ** 50 + 1, at: [0.1, -1e300], team: 'blue', next: { a: true } }

t.test('a page that may not generate code encodes and decodes', browserOptions, async (t) => {
  const schema = deriveAvro(reduceSchema(Player, 'player'), 'player')
  const bytes = createAvroSerializer().compile(Player, 'player').encode(value)
  const url = await serve(t, `
    import { compileCodec } from '/lib/avro/codec.js'
    const output = document.querySelector('output')
    try {
      const codec = compileCodec(${JSON.stringify(schema)})
      const encoded = Array.from(codec.encode(${JSON.stringify(value)}))
      const decoded = codec.decode(Uint8Array.of(${Array.from(bytes)}))
      let canGenerate = true
      try { new Function('') } catch { canGenerate = false }
      output.value = JSON.stringify({ encoded, decoded, canGenerate })
    } catch (error) { output.value = JSON.stringify(String(error.stack)) }
    output.dataset.done = ''`)
  const page = await (await startBrowser(t)).newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(error.message))
  await page.goto(url)
  await page.locator('output[data-done]').waitFor({ timeout: 15_000 })
  const { encoded, decoded, canGenerate } = JSON.parse(await page.locator('output').textContent() ?? '')
  t.equal(toHex(Uint8Array.from(encoded)), toHex(bytes))
  t.strictSame(decoded, value)
  t.equal(canGenerate, false)
  t.strictSame(faults, [])
})

/** Serves a page with the script, and our compiled modules. */
async function serve (t: { teardown (fn: () => unknown): void }, script: string): Promise<string> {
  const page = '<!doctype html><title>Avro</title><output></output><script type="module" src="/page.js"></script>'
  const server: Server = createServer((request, response) => {
    const path = request.url!.slice(1)
    const send = (type: string, text: string | Buffer): void => { response.writeHead(200, { 'content-type': type, 'content-security-policy': POLICY }).end(text) }
    if (path === '') send('text/html', page)
    else if (path === 'page.js') send('text/javascript', script)
    else if (/^(client|lib)\/[\w/-]+\.js$/.test(path)) readFile(new URL(path, MODULES)).then((text) => send('text/javascript', text), () => response.writeHead(404).end())
    else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

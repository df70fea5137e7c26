import { fileURLToPath } from 'node:url'
import t from 'tap'
import { browserOptions, startBrowser } from '../helpers/browser.ts'
import { line, openWindow, say } from '../helpers/chat-window.ts'
import { Child, startServer } from '../helpers/child.ts'

// Six browsers, one after the other; tap's own limit is 30 s.
t.setTimeout(240_000)

const ADMIN_TOKEN = 'correct-horse-battery'
const headers = { authorization: `Bearer ${ADMIN_TOKEN}` }
const TCP_CLIENT = fileURLToPath(new URL('../../examples/raw-tcp-client.js', import.meta.url))

t.test('two windows and a raw TCP client chat in one room; an operator lists three sessions and kicks one, whose page says why', browserOptions, async (t) => {
  const { url, tcpPort } = await startServer(t, { ADMIN_TOKEN })
  const browser = await startBrowser(t)
  const ana = await openWindow(browser, url)
  const bo = await openWindow(browser, url, { colorScheme: 'dark' })
  const tcp = new Child(t, [TCP_CLIENT, String(tcpPort), 'tess'])
  await tcp.line((line) => /^in the room: (user-\w+(, )?){3}$/.test(line), 'the members')
  await line(ana.page, 'New user: user-').nth(1).waitFor()
  t.equal(await ana.page.locator('#members li').count(), 3)
  t.equal(await bo.page.locator('#members li').count(), 3)

  await say(ana.page, 'ana', 'hello from ana')
  await line(bo.page, 'hello from ana').waitFor()
  await say(bo.page, 'bo', 'hello from bo')
  await line(ana.page, 'hello from bo').waitFor()
  await tcp.line((line) => line === 'bo: hello from bo', 'what bo said')
  t.ok(tcp.stdout.includes('ana: hello from ana'))
  tcp.type('hello from tcp')
  await line(ana.page, 'tess').waitFor()
  await line(bo.page, 'hello from tcp').waitFor()

  const { sessions } = await (await fetch(`${url}/admin/sessions`, { headers })).json() as { sessions: Array<{ id: string, transport: string }> }
  t.strictSame(sessions.map(({ transport }) => transport), ['websocket', 'websocket', 'tcp'])
  const kicked = await fetch(`${url}/admin/sessions/${sessions[1]!.id}?reason=${encodeURIComponent('too loud <b>')}`, { method: 'DELETE', headers })
  t.equal(kicked.status, 204)
  await bo.page.getByRole('status').filter({ hasText: 'kicked: too loud <b>' }).waitFor()
  t.equal(await bo.page.getByRole('button', { name: 'Send' }).isDisabled(), true)

  await bo.page.keyboard.press('Enter')
  await bo.page.locator('#state[data-state="open"]').waitFor()
  await say(bo.page, 'bo', 'back again')
  await line(ana.page, 'back again').waitFor()
  t.strictSame([...ana.faults, ...bo.faults], [])
})

t.test('the page can be used by keyboard alone, and remembers the name', browserOptions, async (t) => {
  const { url } = await startServer(t)
  const { page, faults } = await openWindow(await startBrowser(t), url)
  const focused = () => page.evaluate('document.activeElement.id')
  t.equal(await focused(), 'content')
  await page.keyboard.press('Shift+Tab')
  t.equal(await focused(), 'name')
  await page.keyboard.press('ControlOrMeta+a')
  await page.keyboard.type('keys')
  await page.keyboard.press('Tab')
  await page.keyboard.type('no mouse here')
  await page.keyboard.press('Enter')
  await line(page, 'no mouse here').waitFor()
  t.equal(await focused(), 'content')
  await page.keyboard.press('Tab')
  t.equal(await focused(), 'send')
  t.equal(await page.getByRole('log', { name: 'Messages' }).getAttribute('tabindex'), '0')
  await page.reload()
  await page.locator('#state[data-state="open"]').waitFor()
  t.equal(await page.getByLabel('Name').inputValue(), 'keys')
  t.strictSame(faults, [])
})

t.test('light and dark follow the system, with readable contrast', browserOptions, async (t) => {
  const { url } = await startServer(t)
  const browser = await startBrowser(t)
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page } = await openWindow(browser, url, { colorScheme })
    for (const selector of ['body', '#state', '.note', '#send']) {
      const contrast = await page.evaluate<number>(`(${contrastOf.toString()})(${JSON.stringify(selector)})`)
      t.ok(contrast >= 4.5, `${colorScheme} ${selector}: ${contrast.toFixed(1)}`)
    }
    const background = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    t.equal(Number(/\d+/.exec(background)![0]) > 128, colorScheme === 'light')
  }
})

t.test('pages whose server went away say why, come back by themselves and go on', browserOptions, async (t) => {
  const server = await startServer(t)
  const browser = await startBrowser(t)
  const windows = [await openWindow(browser, server.url), await openWindow(browser, server.url)]
  const [ana, bo] = [windows[0]!.page, windows[1]!.page]
  await say(ana, 'ana', 'before')
  await line(bo, 'before').waitFor()
  // They say so until the next try fails, which may be before anybody looks.
  for (const page of [ana, bo]) {
    await page.evaluate(`new MutationObserver(() => { document.body.dataset.said += document.querySelector('[role=status]').textContent })
      .observe(document.querySelector('[role=status]'), { childList: true, characterData: true, subtree: true })`)
  }
  server.signal('SIGTERM')
  for (const page of [ana, bo]) await page.locator('body[data-said*="server is shutting down; trying again"]').waitFor()
  t.equal(await server.exited(), 0)
  await startServer(t, { PORT: new URL(server.url).port })
  for (const page of [ana, bo]) await page.locator('#state[data-state="open"]').waitFor()
  await say(ana, 'ana', 'here again')
  await line(bo, 'here again').waitFor()
  await say(bo, 'bo', 'me too')
  await line(ana, 'me too').waitFor()
})

t.test('the page speaks Avro where it may not generate code, and a new connection loads no schemas', browserOptions, async (t) => {
  const { url } = await startServer(t)
  const page = await (await startBrowser(t)).newPage()
  const greetings: string[] = []
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    const text = payload.toString()
    if (text.includes('"code":200')) greetings.push(text)
  }))
  page.setDefaultTimeout(30_000)
  await page.goto(url)
  await page.locator('#state[data-state="open"]').waitFor()
  // Later: what the browser evaluates for its debugger is free of the policy.
  const attempt = (code: string): string => `new Promise((resolve) => setTimeout(() => { try { resolve(${code}) } catch ({ name }) { resolve(name) } }))`
  t.equal(await page.evaluate(attempt('eval("1")')), 'EvalError')
  t.equal(await page.evaluate(attempt('new Function("return 1")()')), 'EvalError')
  await page.getByLabel('Message', { exact: true }).fill('by Avro')
  await page.keyboard.press('Enter')
  await line(page, 'by Avro').and(page.locator(':not([data-state])')).waitFor()
  await page.evaluate(`import('./modules/client/client.js').then(({ connect }) => connect('${url.replace('http', 'ws')}/', { serializer: 'avro' }))`)
  t.strictSame(greetings.map((text) => [text.includes('"serializer":"avro"'), text.includes('"fields"')]), [[true, true], [true, false]])
})

t.test('a server that compresses is understood', browserOptions, async (t) => {
  const { url, tcpPort } = await startServer(t, { PITAYA_COMPRESSION: 'true' })
  const { page, faults } = await openWindow(await startBrowser(t), url)
  const tcp = new Child(t, [TCP_CLIENT, String(tcpPort), 'tess'])
  await line(page, 'New user').waitFor()
  tcp.type('compressed '.repeat(150) + 'to the end')
  await line(page, 'compressed to the end').waitFor()
  t.strictSame(faults, [])
})

t.test('100 payloads as names and messages stay text: no dialog, no violation of the policy', browserOptions, async (t) => {
  const { url, tcpPort } = await startServer(t, { ADMIN_TOKEN })
  const { page, faults } = await openWindow(await startBrowser(t), url)
  const tcp = new Child(t, [TCP_CLIENT, String(tcpPort), '<img src=x onerror=alert(1)>'])
  await tcp.line((line) => line.startsWith('in the room'), 'the members')
  for (const payload of payloads) tcp.type(payload)
  tcp.type('the end')
  await line(page, 'the end').waitFor()
  const shown = await page.locator('#messages li p bdi:last-child').allTextContents()
  t.strictSame(payloads.filter((payload) => !shown.includes(payload)), [], 'all are shown as they came')
  t.equal(payloads.length, 100)
  t.equal(await page.locator('#messages img, #messages script, #messages svg, #messages a, #messages iframe').count(), 0)
  t.strictSame(faults, [])
})

const WRAPPERS = [
  (script: string) => `<img src=x onerror=${script}>`,
  (script: string) => `<script>${script}</script>`,
  (script: string) => `</script><script>${script}</script>`,
  (script: string) => `"><svg/onload=${script}>`,
  (script: string) => `javascript:${script}`,
  (script: string) => `<a href="javascript:${script}">x</a>`,
  (script: string) => `<iframe srcdoc="<script>${script}</script>">`,
  (script: string) => `\u2028<details open ontoggle=${script}>\u2029`,
  (script: string) => `\u202e<style onload=${script}>`,
  (script: string) => '`${' + script + '}`{{' + script + '}}'
]
const SCRIPTS = ['alert(1)', 'alert`2`', 'window.alert(3)', "confirm('4')", 'prompt(5)', 'top.alert(6)', "eval('alert(7)')", 'setTimeout(alert)', "fetch('//evil.example')", "import('data:text/javascript,alert(8)')"]
const payloads = WRAPPERS.flatMap((wrap) => SCRIPTS.map(wrap))

/** Runs in the page: the contrast of an element's text with what is behind it (WCAG 2). */
function contrastOf (selector: string): number {
  const { document, getComputedStyle } = globalThis as any
  const luminance = (color: string): number => {
    const [r, g, b] = color.match(/[\d.]+/g)!.slice(0, 3).map((value) => {
      const part = Number(value) / 255
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
  }
  const element = document.querySelector(selector)
  let behind = element
  while (/rgba\(.*, 0\)/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement
  const text = luminance(getComputedStyle(element).color)
  const ground = luminance(getComputedStyle(behind).backgroundColor)
  return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05)
}

import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { browserOptions, startBrowser } from '../helpers/browser.ts'
import { line, openWindow, say } from '../helpers/chat-window.ts'
import { Child } from '../helpers/child.ts'
import { natsTest } from '../helpers/nats.ts'
import { root } from '../helpers/vectors.ts'

// Five servers and two windows; tap's own limit is 30 s.
t.setTimeout(240_000)

const DEMO = join(root, 'scripts/demo-cluster.mjs')
const MESSAGES = 40
const KILLED_AT = 12

interface Teardown { teardown (fn: () => unknown): void }

function emptyFolder (t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), 'pitaya-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The demo as a process, on free ports. */
function startDemo (t: Teardown, env: Record<string, string>): Child {
  const demo = new Child(t, [DEMO], { PORT: '0', ...env })
  t.teardown(() => { for (const pid of pidsOf(demo).values()) if (isAlive(pid)) process.kill(pid, 'SIGKILL') })
  return demo
}

/** What it started, by name. */
function pidsOf ({ stdout }: Child): Map<string, number> {
  return new Map(stdout.flatMap((text) => {
    const [, name, pid] = /^(\S+) +\S+ +\(pid (\d+)\)$/.exec(text) ?? []
    return name === undefined ? [] : [[name, Number(pid)]]
  }))
}

function isAlive (pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** What one author's lines in a window say, and of which of them it is in doubt. */
async function linesOf (page: Page, name: string): Promise<{ shown: string[], doubtful: string[] }> {
  const own = page.locator('#messages li').filter({ has: page.locator('.name', { hasText: name }) })
  const text = (items: ReturnType<Page['locator']>): Promise<string[]> => items.locator('p bdi:last-child').allTextContents()
  return { shown: await text(own), doubtful: await text(own.and(page.locator('[data-state="doubtful"]'))) }
}

t.test('windows on two frontends chat; a backend is killed while they type: nothing is lost silently, and the chat goes on', { ...natsTest, ...browserOptions }, async (t) => {
  const folder = emptyFolder(t)
  const demo = startDemo(t, { TMPDIR: folder })
  await demo.line((text) => text.includes('Ctrl+C stops'), 'the servers')
  const urls = demo.stdout.join('\n').match(/http:\S+(?=\/ +\(connector)/g) ?? []
  const pids = pidsOf(demo)
  t.strictSame([...pids.keys()].sort(), ['chat-1', 'chat-2', 'connector-1', 'connector-2', 'nats-server'])
  const browser = await startBrowser(t)
  const [ana, bo] = [await openWindow(browser, urls[0]!), await openWindow(browser, urls[1]!)]
  await line(ana.page, 'New user: user-').waitFor()
  await say(ana.page, 'ana', 'hello from ana')
  await line(bo.page, 'hello from ana').waitFor()
  await say(bo.page, 'bo', 'hello from bo')
  await line(ana.page, 'hello from bo').waitFor()
  t.equal(await bo.page.locator('#members li').count(), 2)

  const sent = Array.from({ length: MESSAGES }, (_, i) => `message ${i}.`)
  for (const [i, text] of sent.entries()) {
    if (i === KILLED_AT) process.kill(pids.get('chat-1')!, 'SIGKILL')
    await Promise.all([say(ana.page, 'ana', text), say(bo.page, 'bo', text)])
  }
  await demo.line((text) => text === `chat-1 (pid ${pids.get('chat-1')}) ended: SIGKILL`, 'the death of chat-1')
  for (const { page } of [ana, bo]) await page.locator('#messages li[data-state="sent"]').first().waitFor({ state: 'detached' })
  for (const [from, to, name] of [[ana.page, bo.page, 'ana'], [bo.page, ana.page, 'bo']] as const) {
    const own = await linesOf(from, name)
    const { shown } = await linesOf(to, name)
    const delivered = sent.filter((text) => shown.includes(text))
    t.strictSame(sent.filter((text) => !own.shown.includes(text)), [], 'all of them stand in the window they were written in')
    t.strictSame(sent.filter((text) => !delivered.includes(text) && !own.doubtful.includes(text)), [], 'each is delivered or has an error')
    t.equal(new Set(shown).size, shown.length, 'none twice')
    t.ok(delivered.length >= MESSAGES - 5, `${delivered.length} of ${MESSAGES} delivered`)
    t.equal(await from.getByText('delivery not confirmed').count(), own.doubtful.length)
  }

  // The one that is left stands still, with a message in hand.
  process.kill(pids.get('chat-2')!, 'SIGSTOP')
  await say(ana.page, 'ana', 'in hand')
  await line(ana.page, 'in hand').filter({ hasText: 'delivery not confirmed' }).waitFor()
  process.kill(pids.get('chat-2')!, 'SIGCONT')
  // Its page tries until it has joined.
  const cyd = await openWindow(browser, urls[0]!)
  await say(ana.page, 'ana', 'still here')
  await line(bo.page, 'still here').waitFor()
  await say(cyd.page, 'cyd', 'me too')
  await line(bo.page, 'me too').waitFor()
  t.strictSame([...ana.faults, ...bo.faults, ...cyd.faults], [])

  demo.signal('SIGTERM')
  t.equal(await demo.exited(), 0)
  t.strictSame([demo.stderr, demo.stdout.filter((text) => text.endsWith('stopped')).length], [[], 4])
  t.strictSame([...pids.values()].filter(isAlive), [])
  t.strictSame(readdirSync(folder).filter((name) => name.startsWith('pitaya-demo')), [])
})

t.test('a nats-server that does not start ends the demo with one sentence', async (t) => {
  const folder = emptyFolder(t)
  writeFileSync(join(folder, 'nats-server'), '#!/bin/sh\necho "no such flag" >&2\nexit 1\n')
  chmodSync(join(folder, 'nats-server'), 0o755)
  const demo = startDemo(t, { PATH: `${folder}:${process.env.PATH}` })
  t.equal(await demo.exited(), 1)
  t.strictSame(demo.stderr, ['nats-server does not start: no such flag'])
})

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'

const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

const executablePath = (process.env.PATH ?? '').split(delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(folder, name)))
  .find(isExecutable)

/** For `t.test`: at home a missing browser skips the test, in CI it fails. */
export const browserOptions = executablePath === undefined && process.env.CI !== 'true' ? { skip: 'no chromium on the PATH' } : {}

/** A headless browser of its own, closed at the end of the test. */
export async function startBrowser (t: { teardown (fn: () => unknown): void }): Promise<Browser> {
  if (executablePath === undefined) throw new Error('no chromium on the PATH')
  const browser = await chromium.launch({ executablePath, headless: true, args: ARGS })
  t.teardown(() => browser.close())
  return browser
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

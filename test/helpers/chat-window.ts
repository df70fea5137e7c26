import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'

export interface ChatWindow {
  readonly page: Page
  /** All that went wrong in it. */
  readonly faults: string[]
}

/** A window of its own with the chat page, storage included. Ready when its page has joined the room. */
export async function openWindow (browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<ChatWindow> {
  const page = await (await browser.newContext(options)).newPage()
  const faults: string[] = []
  page.setDefaultTimeout(30_000)
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => { if (message.type() === 'error' || message.type() === 'warning') faults.push(message.text()) })
  page.on('dialog', (dialog) => { faults.push(`dialog: ${dialog.message()}`); dialog.dismiss().catch(() => {}) })
  await page.goto(url)
  await page.locator('#state[data-state="open"]').waitFor()
  return { page, faults }
}

export async function say (page: Page, name: string, content: string): Promise<void> {
  await page.getByLabel('Name').fill(name)
  await page.getByLabel('Message', { exact: true }).fill(content)
  await page.keyboard.press('Enter')
}

/** Lines with the text, confirmed or not. */
export function line (page: Page, text: string): Locator {
  return page.locator('#messages li').filter({ hasText: text })
}

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const START_MS = 30_000
const EXIT_MS = 30_000
const SERVER = fileURLToPath(new URL('../../server.js', import.meta.url))

/** What must not reach a child by accident: the server's variables, and those by which test runners find each other. */
const OURS = /^(PITAYA_|ADMIN_TOKEN|NATS_URL|LOG_LEVEL|HOST$|PORT$|TCP_PORT|NODE_TEST_|TAP)/

type Env = Record<string, string>
interface Teardown { teardown (fn: () => unknown): void }

/** A program of ours in a process of its own, killed by its pid at the end of the test. */
export class Child {
  readonly process: ChildProcess
  /** What it wrote, line by line. */
  readonly stdout: string[] = []
  readonly stderr: string[] = []
  #exit: Promise<number | null>
  #waiting = new Set<() => void>()

  constructor (t: Teardown, args: readonly string[], env: Env = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !OURS.test(name))
    this.process = spawn(process.execPath, args, { env: { ...Object.fromEntries(inherited), ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    const { process: child } = this
    for (const name of ['stdout', 'stderr'] as const) {
      createInterface({ input: child[name]! }).on('line', (line) => { this[name].push(line); this.#wake() })
    }
    this.#exit = once(child, 'close').then(([code]) => code as number | null).finally(() => this.#wake())
    t.teardown(async () => {
      if (!this.#hasEnded) child.kill('SIGKILL')
      await this.#exit
    })
  }

  /** Everything it logged. */
  get logs (): Array<Record<string, unknown>> {
    return this.stdout.map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** The first line of stdout that `fits`, now or within `ms`. */
  async line (fits: (line: string) => boolean, what: string, ms = START_MS): Promise<string> {
    return await this.#until(() => this.stdout.find(fits), what, ms)
  }

  async log (msg: string): Promise<Record<string, unknown>> {
    return JSON.parse(await this.line((line) => line.includes(`"msg":"${msg}"`), `the log line "${msg}"`)) as Record<string, unknown>
  }

  type (line: string): void { this.process.stdin!.write(`${line}\n`) }
  signal (signal: NodeJS.Signals): void { this.process.kill(signal) }

  /** Its exit code; null if a signal ended it. */
  async exited (): Promise<number | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no exit within ${EXIT_MS} ms\n${this.#output}`)), EXIT_MS)
    })
    return await Promise.race([this.#exit, late]).finally(() => clearTimeout(timer))
  }

  get #hasEnded (): boolean { return this.process.exitCode !== null || this.process.signalCode !== null }
  get #output (): string { return [...this.stdout, ...this.stderr].join('\n') }

  async #until<T> (find: () => T | undefined, what: string, ms: number): Promise<T> {
    const deadline = performance.now() + ms
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      const left = deadline - performance.now()
      if (left <= 0 || this.#hasEnded) throw new Error(`${this.#hasEnded ? 'it ended' : `${ms} ms passed`} before ${what}\n${this.#output}`)
      await new Promise<void>((resolve) => {
        const wake = (): void => { clearTimeout(timer); this.#waiting.delete(wake); resolve() }
        const timer = setTimeout(wake, left)
        this.#waiting.add(wake)
      })
    }
  }

  #wake (): void { for (const wake of [...this.#waiting]) wake() }
}

export interface RunningServer extends Child { url: string, tcpPort: number }

/** The runnable server on free ports, ready. `nodeArgs` come before the program. */
export async function startServer (t: Teardown, env: Env = {}, nodeArgs: readonly string[] = []): Promise<RunningServer> {
  const child = runServer(t, { PORT: '0', TCP_PORT: '0', ...env }, nodeArgs)
  const { url, tcpPort } = await child.log('ready') as { url: string, tcpPort: number }
  return Object.assign(child, { url, tcpPort })
}

/** The runnable server, whatever becomes of it. */
export function runServer (t: Teardown, env: Env = {}, nodeArgs: readonly string[] = [], args: readonly string[] = []): Child {
  return new Child(t, ['--enable-source-maps', ...nodeArgs, SERVER, ...args], env)
}

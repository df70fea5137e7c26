import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Certificate } from './certificate.ts'

const START_MS = 30_000

// Debian's package puts it where the PATH of an ordinary user does not look.
const executable = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  .map((folder) => join(folder, 'nats-server')).find(isExecutable)

/** For `t.test`: at home a missing nats-server skips the test, in CI it fails. */
export const natsTest = executable === undefined && process.env.CI !== 'true' ? { skip: 'no nats-server on the PATH' } : {}

export interface NatsServerOptions {
  /** true */
  jetStream?: boolean
  user?: string
  pass?: string
  token?: string
  tls?: Certificate
  /** More lines of nats-server's configuration. */
  config?: string
}

interface Teardown { teardown (fn: () => unknown): void }

/** A nats-server of the test's own, on a free port of 127.0.0.1 that it keeps; ended with the test. */
export async function startNats (t: Teardown, options: NatsServerOptions = {}): Promise<NatsServer> {
  if (executable === undefined) throw new Error('no nats-server on the PATH')
  const server = new NatsServer(options)
  t.teardown(async () => {
    await server.kill()
    rmSync(server.folder, { recursive: true, force: true })
  })
  await server.start()
  return server
}

export class NatsServer {
  readonly folder = mkdtempSync(join(tmpdir(), 'pitaya-nats-'))
  /** What it logged since it was first started. */
  readonly log: string[] = []
  #options: NatsServerOptions
  #port = -1
  #process: ChildProcess | undefined
  #waiting = new Set<() => void>()

  constructor (options: NatsServerOptions) { this.#options = options }

  get port (): number { return this.#port }
  /** Without credentials. */
  get url (): string { return `nats://${this.#options.tls === undefined ? '127.0.0.1' : 'localhost'}:${this.#port}` }
  get pid (): number | undefined { return this.#process?.pid }

  /** Resolves when it accepts clients. A second try is made where another program holds the port for a moment. */
  async start (): Promise<void> {
    this.#configure()
    for (let tries = 1; ; tries++) {
      const from = this.log.length
      const child = this.#spawn()
      const line = await this.#line(/Server is ready|\[FTL\]/, from, child)
      if (line.includes('Server is ready')) break
      await this.kill()
      if (tries === 20 || !line.includes('address already in use')) throw new Error(`nats-server does not start: ${line}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    this.#port = Number(this.log.findLast((line) => line.includes('Listening for client'))!.split(':').pop())
  }

  /** Ends it in its own way. */
  async stop (): Promise<void> { await this.#end('SIGINT') }
  async kill (): Promise<void> { await this.#end('SIGKILL') }

  /** SIGSTOP, SIGCONT, SIGUSR2 (lame duck). */
  signal (signal: NodeJS.Signals): void { this.#process?.kill(signal) }

  /** Down if it is up, then up again on the same port. What JetStream keeps in memory is lost; `wipe` loses its files too. */
  async restart ({ wipe = false } = {}): Promise<void> {
    await this.kill()
    if (wipe) rmSync(join(this.folder, 'jetstream'), { recursive: true, force: true })
    await this.start()
  }

  /** Changes its configuration while it runs; clients that are no longer welcome are put out. */
  async reload (options: NatsServerOptions): Promise<void> {
    this.#options = options
    this.#configure()
    const from = this.log.length
    this.signal('SIGHUP')
    await this.#line(/Reloaded server configuration/, from, this.#process!)
  }

  #configure (): void {
    const { user, pass, token, tls, config = '', jetStream = true } = this.#options
    const lines = [config]
    if (user !== undefined) lines.push(`authorization { user: ${JSON.stringify(user)}, password: ${JSON.stringify(pass ?? '')} }`)
    if (token !== undefined) lines.push(`authorization { token: ${JSON.stringify(token)} }`)
    if (tls !== undefined) {
      writeFileSync(join(this.folder, 'key.pem'), tls.key)
      writeFileSync(join(this.folder, 'cert.pem'), tls.cert)
      lines.push(`tls { cert_file: "${this.folder}/cert.pem", key_file: "${this.folder}/key.pem" }`)
    }
    if (jetStream) lines.push(`jetstream { store_dir: "${this.folder}", max_mem: 256M, max_file: 256M }`)
    writeFileSync(join(this.folder, 'nats.conf'), `${lines.join('\n')}\n`)
  }

  #spawn (): ChildProcess {
    const child = spawn(executable!, ['-c', join(this.folder, 'nats.conf'), '-a', '127.0.0.1', '-p', String(this.#port)], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    createInterface({ input: child.stderr! }).on('line', (line) => { this.log.push(line); this.#wake() })
    child.once('close', () => this.#wake())
    return child
  }

  async #end (signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    this.#process = undefined
    const closed = once(child, 'close')
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await closed
  }

  /** The first line of the log from `from` on that fits, now or later. */
  async #line (fits: RegExp, from: number, child: ChildProcess): Promise<string> {
    const deadline = performance.now() + START_MS
    for (;;) {
      const found = this.log.slice(from).find((line) => fits.test(line))
      if (found !== undefined) return found
      const left = deadline - performance.now()
      if (left <= 0 || child.exitCode !== null) throw new Error(`nats-server did not log ${String(fits)}:\n${this.log.slice(from).join('\n')}`)
      await new Promise<void>((resolve) => {
        const wake = (): void => { clearTimeout(timer); this.#waiting.delete(wake); resolve() }
        const timer = setTimeout(wake, left)
        this.#waiting.add(wake)
      })
    }
  }

  #wake (): void { for (const wake of [...this.#waiting]) wake() }
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

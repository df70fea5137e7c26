/**
 * Servers of one cluster as real processes around a real nats-server, which tests kill, stop and start.
 * With LOG_LEVEL set, what they log is shown.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ServerStats, UidsOutcome } from '../../lib/facade-types.ts'
import { startNats, type NatsServer, type NatsServerOptions } from '../helpers/nats.ts'
import { Lateness } from '../helpers/lateness.ts'
import { Ledger } from './ledger.ts'

export const LEASE_MS = 2000
/** For fleets of which none dies, so that a server that the machine leaves waiting is not taken for dead. */
export const QUIET_LEASE_MS = 30_000
/** What passes until all others have dropped a server that died: its lease and a tenth. */
export const TERM_MS = 2200
export const HANDLER_MS = 3000
/** Of tests that repeat a fault: how often, at home and in CI. */
export const times = (inCi: number): number => process.env.CI === 'true' ? inCi : 1

const PROGRAM = fileURLToPath(new URL('server.program.js', import.meta.url))
const ANSWER_MS = 30_000
const EXIT_MS = 30_000

/** For the program. */
export interface ProgramOptions {
  id: string
  type: string
  frontend: boolean
  nats: string
  leaseMs: number
  handlerMs: number
}

/** What a server process does when asked. */
export interface Commands {
  stats (): Promise<ServerStats & { isReady: boolean, servers: string[], rss: number }>
  /** By how much its event loop came late since this was last asked. */
  lateMs (): Promise<number>
  push (uids: string[], text: string): Promise<UidsOutcome>
  members (group: string): Promise<string[]>
  /** Uses all session copies that `keep` kept. */
  useKept (text: string): Promise<Array<{ push: boolean, codes: string[] }>>
  forgetKept (): Promise<void>
  /** Objects alive after a full garbage collection; one of each is the program's own. */
  copies (): Promise<{ sessions: number, agents: number, own: string }>
}

interface Teardown { teardown (fn: () => unknown): void }

export interface FleetOptions extends NatsServerOptions {
  /** Of its servers, default `LEASE_MS`. */
  leaseMs?: number
}

export class Fleet {
  readonly nats: NatsServer
  readonly ledger = new Ledger()
  #t: Teardown
  #leaseMs: number
  #late: Lateness
  #last = 0

  constructor (t: Teardown, nats: NatsServer, leaseMs: number) {
    this.#t = t
    this.nats = nats
    this.#leaseMs = leaseMs
    this.#late = new Lateness()
    t.teardown(() => this.#late.stop())
  }

  static async start (t: Teardown, { leaseMs = LEASE_MS, ...options }: FleetOptions = {}): Promise<Fleet> {
    return new Fleet(t, await startNats(t, options), leaseMs)
  }

  frontend (id?: string): Promise<ServerProcess> { return this.#start('connector', true, id) }
  backend (type = 'chat', id?: string): Promise<ServerProcess> { return this.#start(type, false, id) }

  /** Resolves when each of these servers knows all of them, and no other. */
  async met (servers: readonly ServerProcess[]): Promise<void> {
    const ids = servers.map(({ id }) => id).sort().join()
    await eventually(async () => {
      const stats = await Promise.all(servers.map((server) => server.call('stats')))
      return stats.every(({ servers, isReady }) => isReady && servers.sort().join() === ids)
    }, `all to know ${ids}`)
  }

  /**
   * By how much a call may have come late since this was last called: it passes this process, two of these servers, and nats-server, of
   * which is taken that it is as late as this process. A machine that is busy with something else makes everything late, and limits in
   * milliseconds are extended by it.
   */
  async lateMs (servers: readonly ServerProcess[]): Promise<number> {
    const late = await Promise.all(servers.map((server) => server.call('lateMs')))
    const [first = 0, second = 0] = late.sort((a, b) => b - a)
    return 2 * this.#late.takeMs() + first + second
  }

  async #start (type: string, frontend: boolean, id = `${type}-${++this.#last}`): Promise<ServerProcess> {
    const options = { id, type, frontend, nats: this.nats.url, leaseMs: this.#leaseMs, handlerMs: HANDLER_MS }
    const server = new ServerProcess(options, this.ledger)
    this.#t.teardown(() => server.kill())
    await server.started()
    return server
  }
}

interface Told { ran?: number, ready?: { tcpPort: number }, call?: number, result?: unknown, error?: string }

export class ServerProcess {
  readonly id: string
  readonly isFrontend: boolean
  tcpPort = 0
  #child: ChildProcess
  #calls = new Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>()
  #last = 0
  #ended: Promise<number | null>
  #ready: Promise<void>
  #stderr = ''

  constructor (options: ProgramOptions, ledger: Ledger) {
    this.id = options.id
    this.isFrontend = options.frontend
    const child = this.#child = fork(PROGRAM, [JSON.stringify(options)], { execArgv: ['--enable-source-maps'], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    child.stderr!.on('data', (text) => {
      this.#stderr += text
      if (process.env.LOG_LEVEL !== undefined) process.stderr.write(text)
    })
    this.#ended = once(child, 'close').then(([code]) => {
      this.#failCalls()
      return code as number | null
    })
    this.#ready = new Promise((resolve, reject) => {
      child.on('message', ({ ran, ready, call, result, error }: Told) => {
        if (ran !== undefined) ledger.ran(ran, this.id)
        else if (ready !== undefined) {
          this.tcpPort = ready.tcpPort
          resolve()
        } else {
          const waiting = this.#calls.get(call!)
          this.#calls.delete(call!)
          if (error === undefined) waiting?.resolve(result)
          else waiting?.reject(new Error(`${this.id}: ${error}`))
        }
      })
      this.#ended.then(() => reject(new Error(`${this.id} ended\n${this.#stderr}`)), reject)
    })
    this.#ready.catch(() => {})
  }

  get isRunning (): boolean { return this.#child.exitCode === null && this.#child.signalCode === null }
  get stderr (): string { return this.#stderr }

  started (): Promise<void> { return within(ANSWER_MS, this.#ready, `${this.id} to start`) }
  signal (signal: NodeJS.Signals): void { this.#child.kill(signal) }

  /** Dead at once; resolves when the system says so. */
  async kill (): Promise<void> {
    if (this.isRunning) this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Its exit code, null after a signal, once all that it told has been heard. */
  exited (): Promise<number | null> { return within(EXIT_MS, this.#ended, `${this.id} to exit`) }

  call<K extends keyof Commands> (name: K, ...args: Parameters<Commands[K]>): ReturnType<Commands[K]> {
    const call = ++this.#last
    const answer = new Promise((resolve, reject) => { this.#calls.set(call, { resolve, reject }) })
    if (this.#child.connected) this.#child.send({ call, name, args })
    else this.#failCalls()
    return within(ANSWER_MS, answer, `${this.id} to do ${name}`) as ReturnType<Commands[K]>
  }

  #failCalls (): void {
    for (const { reject } of this.#calls.values()) reject(new Error(`${this.id} ended\n${this.#stderr}`))
    this.#calls.clear()
  }
}

export async function within<T> (ms: number, promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((resolve, reject) => { timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms) })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Resolves when it holds; looks often. @returns after how many milliseconds */
export async function eventually (holds: () => boolean | Promise<boolean>, what: string, ms = ANSWER_MS): Promise<number> {
  const start = performance.now()
  while (!await holds()) {
    if (performance.now() - start > ms) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return performance.now() - start
}

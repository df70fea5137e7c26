import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServerProcess } from './job.ts'
import { allowedCores } from './process-stat.ts'

const READY_TIMEOUT_MS = 20_000
const END_TIMEOUT_MS = 3000

/** Servers on one core, the generator on another, so that neither takes the other's time. */
export type Role = 'server' | 'generator'

export interface Child {
  pid: number
  /** Resolves when the process has ended, with its exit code and what it wrote. */
  ended: Promise<{ code: number | null, stdout: string, stderr: string }>
  /** Ends the process, by SIGTERM and then by SIGKILL. */
  end (): Promise<void>
}

/** A server that is up: one process, or the several of a cluster. `urls` has an entry for each transport it speaks. */
export interface Running {
  processes: ServerProcess[]
  urls: { ws: string, tcp: string }
  end (): Promise<void>
}

/** The processes this benchmark started; it ends these and no others. */
export class Children {
  readonly #running = new Set<ChildProcess>()
  readonly #prefix: Record<Role, string[]>

  constructor (hasTaskset: boolean) {
    const [server, generator] = allowedCores()
    const isPinned = hasTaskset && generator !== undefined
    this.#prefix = {
      server: isPinned ? ['taskset', '-c', String(server)] : [],
      generator: isPinned ? ['taskset', '-c', String(generator)] : []
    }
  }

  get isPinned (): boolean {
    return this.#prefix.server.length > 0
  }

  start (role: Role, command: string[], env: NodeJS.ProcessEnv = {}): Child {
    // taskset becomes the program it starts, so the pid is the program's.
    const [file, ...args] = [...this.#prefix[role], ...command] as [string, ...string[]]
    const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    this.#running.add(child)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout = (stdout + text).slice(-65_536) })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr = (stderr + text).slice(-4096) })
    const ended = new Promise<Awaited<Child['ended']>>((resolve) => {
      child.on('error', (error) => {
        this.#running.delete(child)
        resolve({ code: -1, stdout, stderr: error.message })
      })
      child.on('close', (code) => {
        this.#running.delete(child)
        resolve({ code, stdout, stderr })
      })
    })
    const end = async () => {
      if (!this.#running.has(child)) return
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS)
      await ended
      clearTimeout(timer)
    }
    return { pid: child.pid ?? 0, ended, end }
  }

  /** For the last moment before exit: no waiting. */
  killAll (): void {
    for (const child of this.#running) child.kill('SIGKILL')
  }
}

/** What a process that failed had to say, without its stack. */
export function complaint (stderr: string): string {
  const text = stderr.trim()
  return /^\w*Error: .*/m.exec(text)?.[0] ?? text
}

/** A loopback port that was free a moment ago. */
export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Resolves when the port accepts a connection, rejects when the child ends first or takes too long. */
export async function accepting (port: number, child: Child): Promise<void> {
  const abort = new AbortController()
  child.ended.then(() => abort.abort())
  for (const deadline = Date.now() + READY_TIMEOUT_MS; Date.now() < deadline && !abort.signal.aborted; await sleep(50)) {
    const socket = connect(port, '127.0.0.1')
    const isAccepted = await once(socket, 'connect').then(() => true, () => false)
    socket.destroy()
    if (isAccepted) return
  }
  const isEnded = abort.signal.aborted
  await child.end()
  const { code, stderr } = await child.ended
  throw new Error(isEnded ? `ended with code ${code} before it listened: ${complaint(stderr)}` : `did not listen within ${READY_TIMEOUT_MS} ms`)
}

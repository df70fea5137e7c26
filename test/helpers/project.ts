/** A reader's own folder, with programs that run in it. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { createProgram, root } from './snippets.ts'

const DEADLINE_MS = 120_000
const modules = join(root, 'node_modules')
const preload = new URL('./snippet-preload.js', import.meta.url).href
/** What must not reach a child by accident: variables of the server, of test runners and of the npm that runs the tests. */
const OURS = /^(PITAYA_|ADMIN_TOKEN|NATS_URL|LOG_LEVEL|HOST$|PORT$|TCP_PORT|NODE_TEST_|NODE_V8_COVERAGE|TAP|npm_)/
/** npm without a network: what is to be installed is here. */
const OFFLINE = { npm_config_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false', npm_config_update_notifier: 'false' }

interface Teardown { teardown (fn: () => unknown): void }
type Env = Readonly<Record<string, string>>

/** The port that each port of a text became. */
export type Ports = ReadonlyMap<number, number>

/** An empty folder next to one that is this package's, both gone after the test. */
export function emptyFolder (t: Teardown): string {
  const parent = mkdtempSync(join(tmpdir(), 'fastify-pitaya-'))
  t.teardown(() => rmSync(parent, { recursive: true, force: true }))
  symlinkSync(root, join(parent, 'fastify-pitaya'))
  const folder = join(parent, 'player')
  mkdirSync(folder)
  return folder
}

/** As `npm install fastify-pitaya fastify @sinclair/typebox` in an ESM package would leave it. */
export function install (folder: string): void {
  write(folder, 'package.json', '{"type":"module"}')
  mkdirSync(join(folder, 'node_modules/.bin'), { recursive: true })
  symlinkSync(root, join(folder, 'node_modules/fastify-pitaya'))
  for (const name of ['fastify', '@sinclair', '@types', 'typescript']) symlinkSync(join(modules, name), join(folder, 'node_modules', name))
  write(folder, 'node_modules/.bin/fastify-pitaya', `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'out/bin/pitaya.js')}" "$@"\n`, 0o755)
}

export function write (folder: string, name: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), text, { mode })
}

/** Compiles files beside themselves. Returns what the compiler has to say. */
export function compileIn (folder: string, names: readonly string[]): string[] {
  const options = { rootDir: folder, outDir: folder, noEmit: false, declaration: false, declarationMap: false, sourceMap: false }
  const program = createProgram(names.map((name) => join(folder, name)), options)
  const diagnostics = ts.getPreEmitDiagnostics(program)
  program.emit()
  return diagnostics.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

/** A program in a process group of its own, which ends with the test. */
export function start (t: Teardown, command: string, args: readonly string[], cwd: string, env: Env = {}, stdio: StdioOptions = ['ignore', 'pipe', 'pipe']): ChildProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !OURS.test(name))
  const child = spawn(command, args, { cwd, env: { ...Object.fromEntries(inherited), ...OFFLINE, ...env }, stdio, detached: true })
  const closed = once(child, 'close')
  t.teardown(async () => {
    end(child)
    await closed
  })
  return child
}

function end (child: ChildProcess): void {
  if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL')
}

/** A shell's commands, until the first that fails. */
export async function runShell (t: Teardown, script: string, cwd: string): Promise<{ code: number | null, output: string }> {
  const child = start(t, 'sh', ['-e', '-c', script], cwd)
  const timer = setTimeout(() => end(child), DEADLINE_MS)
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => { output += String(text) })
  const [code] = await once(child, 'close') as [number | null]
  clearTimeout(timer)
  return { code, output }
}

export interface Listening { readonly ports: Ports, stop (): Promise<void> }

/** A server's module, once it has bound so many of the ports that pages name. */
export async function serveIn (t: Teardown, folder: string, name: string, count: number, env: Env = {}): Promise<Listening> {
  const child = start(t, process.execPath, ['--import', preload, name], folder, env, ['ignore', 'pipe', 'pipe', 'ipc'])
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => { output += String(text) })
  const closed = once(child, 'close')
  const ports = new Map<number, number>()
  await new Promise<void>((resolve, reject) => {
    child.on('message', ({ asked, port }: { asked: number, port: number }) => { if (ports.set(asked, port).size === count) resolve() })
    child.on('close', () => reject(new Error(`${name} ended:\n${output}`)))
  })
  return { ports, stop: async () => { end(child); await closed } }
}

/** The snippets of README.md and docs/*.md: found, written to out/snippets, type-checked together and run. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const DEADLINE_MS = 30_000

/** The package's folder, wherever the compiled tests lie below it. */
export const root = findRoot(dirname(fileURLToPath(import.meta.url)))
const folder = join(root, 'out/snippets')
const preload = new URL('./snippet-preload.js', import.meta.url).href

/**
 * What a block is for: `file` belongs to its page's program, `run` is a program of its own, `check` is type-checked only, `project` is a
 * file or commands in a folder of the reader's own, done by test/package/new-user.test.ts.
 */
export type Role = 'file' | 'run' | 'check' | 'project' | ''

export interface Snippet {
  /** Path from the root: `docs/guide-handlers.md`. */
  readonly page: string
  /** Of its first line of code. */
  readonly line: number
  readonly language: string
  readonly role: Role
  /** Further words of the info string: `file=server.ts against=app.ts`. */
  readonly options: Readonly<Record<string, string>>
  readonly code: string
  /** Absolute path of the written file; empty for other languages than ts and js. */
  readonly path: string
}

/** All pages, README first. */
export function pages (): string[] {
  return ['README.md', ...readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).sort().map((name) => `docs/${name}`)]
}

export function readPage (page: string): string { return readFileSync(join(root, page), 'utf8') }

/** The fenced blocks of one page, in order. */
export function extract (page: string, text = readPage(page)): Snippet[] {
  const snippets: Snippet[] = []
  const lines = text.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const fence = /^\s*```(.*)$/.exec(lines[at]!)
    if (fence === null) continue
    const line = at + 2
    const code: string[] = []
    while (++at < lines.length && !/^\s*```\s*$/.test(lines[at]!)) code.push(lines[at]!)
    snippets.push(createSnippet(page, line, fence[1]!.trim().split(/\s+/), code.join('\n') + '\n'))
  }
  return snippets
}

const roles = ['file', 'run', 'check', 'project'] as const

function createSnippet (page: string, line: number, [language = '', ...words]: string[], code: string): Snippet {
  const options = Object.fromEntries(words.map((word) => { const [name = '', value = ''] = word.split('='); return [name, value] }))
  const role = roles.find((name) => options[name] !== undefined) ?? ''
  const isCode = role !== 'project' && (language === 'ts' || language === 'js')
  const name = role === 'file' ? options.file! : `line-${line}.${language}`
  return { page, line, language, role, options, code, path: isCode ? join(folder, basename(page, '.md'), name) : '' }
}

/**
 * Writes ts and js snippets below out/snippets, where the package resolves by its own name, and compiles them in one program with the
 * root's settings. Returns what the compiler has to say, by page and line.
 */
export function compile (snippets: readonly Snippet[]): string[] {
  const code = snippets.filter(({ path }) => path !== '')
  rmSync(folder, { recursive: true, force: true })
  for (const { path, code: text } of code) {
    if (existsSync(path)) throw new Error(`${relative(folder, path)} is given twice`)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  const options = { rootDir: folder, outDir: folder, noEmit: false, declaration: false, declarationMap: false }
  const program = createProgram(code.map(({ path }) => path), options)
  const diagnostics = ts.getPreEmitDiagnostics(program)
  program.emit()
  return diagnostics.map((diagnostic) => explain(diagnostic, code))
}

/** A TypeScript program with the root's settings. */
export function createProgram (files: readonly string[], options: ts.CompilerOptions = {}): ts.Program {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options: own } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
  delete own.tsBuildInfoFile
  return ts.createProgram(files, { ...own, composite: false, incremental: false, noEmit: true, ...options })
}

function explain ({ file, start, messageText }: ts.Diagnostic, snippets: readonly Snippet[]): string {
  const text = ts.flattenDiagnosticMessageText(messageText, '\n')
  if (file === undefined || start === undefined) return text
  const { line } = file.getLineAndCharacterOfPosition(start)
  const snippet = snippets.find(({ path }) => path === file.fileName)
  return snippet === undefined ? `${relative(root, file.fileName)}:${line + 1}: ${text}` : `${snippet.page}:${snippet.line + line}: ${text}`
}

/** A page's small program: servers, and what runs against them in the order of the text. */
export interface PageProgram {
  readonly page: string
  readonly server: Snippet | undefined
  /** Started before it. */
  readonly backends: readonly Snippet[]
  readonly clients: readonly Snippet[]
  /** Some of it wants the variable NATS_URL. */
  readonly needsNats: boolean
}

/**
 * Files that listen are servers, those with `behind=NAME` the backends of another one; files that no other file imports, and sh blocks with
 * curl, are their clients.
 */
export function programs (snippets: readonly Snippet[]): PageProgram[] {
  return [...new Set(snippets.map(({ page }) => page))].flatMap((page) => {
    const own = snippets.filter((snippet) => snippet.page === page)
    const files = own.filter(({ role }) => role === 'file')
    const servers = files.filter((file) => isServer(file) && file.options.behind === undefined)
    const isImported = ({ options }: Snippet): boolean => files.some(({ code }) => code.includes(`/${options.file}'`))
    const clients = own.filter((snippet) => snippet.role === 'file' ? !isServer(snippet) && !isImported(snippet) : curlLines(snippet).length > 0)
    const against = (client: Snippet): Snippet | undefined => servers.find(({ options }) => options.file === (client.options.against ?? 'server.ts'))
    for (const client of clients) {
      if (client.language === 'sh' && against(client) === undefined) throw new Error(`${page}:${client.line}: curl, but the page has no server.ts`)
    }
    const alone = clients.filter((client) => against(client) === undefined)
    return [
      ...servers.map((server) => {
        const backends = files.filter(({ options }) => options.behind === server.options.file)
        return createProgramOf(page, server, backends, clients.filter((client) => against(client) === server))
      }),
      ...alone.map((client) => createProgramOf(page, undefined, [], [client]))
    ]
  })
}

function createProgramOf (
  page: string, server: Snippet | undefined, backends: readonly Snippet[], clients: readonly Snippet[]
): PageProgram {
  const needsNats = [server, ...backends, ...clients].some((snippet) => snippet?.code.includes('NATS_URL') === true)
  return { page, server, backends, clients, needsNats }
}

function isServer ({ code }: Snippet): boolean { return code.includes('.listen({') }

/** The commands of an sh block, without their comments and joined where a line ends in a backslash. */
export function commands ({ language, code }: Snippet): Array<{ command: string, comment: string }> {
  if (language !== 'sh') return []
  return code.replaceAll('\\\n', ' ').split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#')).flatMap((line) => {
    const [text = '', comment = ''] = line.split(/\s+# ?/)
    return text.split('&&').map((command) => ({ command: command.trim(), comment }))
  })
}

function curlLines (snippet: Snippet): Array<{ command: string, comment: string }> {
  if (snippet.role === 'project') return []
  return commands(snippet).filter(({ command }) => command.startsWith('curl '))
}

/** Runs a whole program. Returns what went wrong: empty when it exited with 0. */
export async function run (snippet: Snippet, ports: ReadonlyMap<number, number> = new Map()): Promise<string> {
  if (snippet.language === 'sh') return await curlAll(snippet, ports)
  const path = scriptOf(snippet)
  writeFileSync(path, withPorts(readFileSync(path, 'utf8'), ports))
  const { code, output } = await start(snippet).ended
  return code === 0 ? '' : `${snippet.page}:${snippet.line} ended with ${code}:\n${output}`
}

/** Runs what belongs to a server, with its backends and the server beside it. Returns what went wrong, the servers' output with it. */
export async function runBeside ({ server, backends, clients }: PageProgram, env: Readonly<Record<string, string>> = {}): Promise<string> {
  if (server === undefined) return (await Promise.all(clients.map((client) => run(client)))).join('')
  const children: Child[] = []
  let trouble = ''
  try {
    let ports = new Map<number, number>()
    for (const snippet of [...backends, server]) {
      const child = start(snippet, env)
      children.push(child)
      ports = await listening(snippet, child)
    }
    for (const client of clients) trouble += await run(client, ports)
  } finally {
    for (const { process: child } of children) child.kill()
    const outputs = await Promise.all(children.map(async ({ ended }) => (await ended).output))
    if (trouble !== '') trouble += `\nservers:\n${outputs.join('\n')}`
  }
  return trouble
}

interface Child { readonly process: ChildProcess, readonly ended: Promise<{ code: number | string, output: string }> }

function start (snippet: Snippet, env: Readonly<Record<string, string>> = {}): Child {
  const child = spawn(process.execPath, ['--enable-source-maps', '--import', preload, scriptOf(snippet)], {
    cwd: root,
    // Snippets take no part in coverage.
    env: { ...process.env, ...env, NODE_V8_COVERAGE: '' },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    timeout: DEADLINE_MS,
    killSignal: 'SIGKILL'
  })
  let output = ''
  child.stdout!.on('data', (text) => { output += String(text) })
  child.stderr!.on('data', (text) => { output += String(text) })
  const ended = new Promise<{ code: number | string, output: string }>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? signal ?? '', output }))
  })
  return { process: child, ended }
}

/** Resolves when every port that the server's text names is bound. */
async function listening ({ page, code }: Snippet, child: Child): Promise<Map<number, number>> {
  const wanted = new Set((code.match(/\b325[0-2]\b/g) ?? []).map(Number))
  const ports = new Map<number, number>()
  const bound = new Promise<void>((resolve) => {
    child.process.on('message', ({ asked, port }: { asked: number, port: number }) => {
      ports.set(asked, port)
      if (ports.size === wanted.size) resolve()
    })
  })
  const died = child.ended.then(({ code, output }) => { throw new Error(`${page}: the server ended with ${code}:\n${output}`) })
  await Promise.race([bound, died])
  // It ends once it is killed, and nobody waits for that any more.
  died.catch(() => {})
  return ports
}

/** The status must be the one that the line's comment begins with, else a good one. */
async function curlAll (snippet: Snippet, ports: ReadonlyMap<number, number>): Promise<string> {
  for (const { command, comment } of curlLines(snippet)) {
    const script = `${withPorts(command, ports)} --silent --show-error --max-time 10 --output /dev/null --write-out '%{http_code}'`
    const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'], timeout: DEADLINE_MS })
    let status = ''
    for await (const text of child.stdout) status += String(text)
    const wanted = /^\d{3}/.exec(comment)?.[0]
    if (wanted === undefined ? !/^[23]/.test(status) : status !== wanted) return `${snippet.page}:${snippet.line}: ${command}: status ${status}`
  }
  return ''
}

/** A text of the pages, with the ports that its servers have here. */
export function withPorts (text: string, ports: ReadonlyMap<number, number>): string {
  return text.replace(/\b325[0-2]\b/g, (port) => String(ports.get(Number(port)) ?? port))
}

function scriptOf ({ path }: Snippet): string { return path.replace(/\.ts$/, '.js') }

function findRoot (from: string): string {
  return existsSync(join(from, 'package.json')) ? from : findRoot(dirname(from))
}

/** The package as `npm pack` makes it, in projects of their own outside of the repository. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { root } from './vectors.ts'

const run = promisify(execFile)
const installed = join(root, 'node_modules')

/** What every project's compiler is told; links are kept, or TypeScript would look for what a package needs where its link leads. */
const SETTINGS = { target: 'ES2022', strict: true, skipLibCheck: false, preserveSymlinks: true }

interface Teardown { teardown (fn: () => unknown): void }

/** An empty folder, gone at the end of the test. */
export function emptyFolder (t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-pitaya-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Packs and installs it with all that the repository has, but the types of WebSocket libraries. */
export async function installPacked (project: string): Promise<void> {
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], { cwd: root })
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
  const modules = join(project, 'node_modules')
  const target = join(modules, 'fastify-pitaya')
  mkdirSync(target, { recursive: true })
  await run('tar', ['-xzf', join(project, filename), '-C', target, '--strip-components=1'])
  linkAll(installed, modules, (name) => !name.startsWith('.') && name !== '@types')
  linkAll(join(installed, '@types'), join(modules, '@types'), (name) => name !== 'ws')
}

/** Gives a project some of the packages that another one has installed. */
export function linkPackages (from: string, to: string, names: readonly string[]): void {
  for (const name of names) {
    const link = join(to, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(from, 'node_modules', name), link)
  }
}

/** Writes files, by path from the project's folder, with a package.json and the compiler's settings. */
export function writeProject (project: string, options: object, files: Readonly<Record<string, string>>): void {
  const tsconfig = { compilerOptions: { ...SETTINGS, ...options }, files: Object.keys(files) }
  const all = { 'package.json': '{"type":"module"}', 'tsconfig.json': JSON.stringify(tsconfig), ...files }
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(project, path)), { recursive: true })
    writeFileSync(join(project, path), text)
  }
}

/** A project as an editor has it. */
export function openProject (project: string): ts.LanguageService {
  const { config } = ts.readConfigFile(join(project, 'tsconfig.json'), ts.sys.readFile)
  const { options, fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, project)
  return ts.createLanguageService({
    fileExists: ts.sys.fileExists,
    readFile: ts.sys.readFile,
    readDirectory: ts.sys.readDirectory,
    directoryExists: ts.sys.directoryExists,
    getDirectories: ts.sys.getDirectories,
    getCompilationSettings: () => options,
    getScriptFileNames: () => fileNames,
    getScriptVersion: () => '',
    getScriptSnapshot: (file) => {
      const text = ts.sys.readFile(file)
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
    },
    getCurrentDirectory: () => project,
    getDefaultLibFileName: ts.getDefaultLibFilePath
  })
}

/** What the compiler has to say about all of its files, declarations included. Writes its output unless the settings say not to. */
export function compileProject (service: ts.LanguageService): string[] {
  const program = service.getProgram()!
  program.emit(undefined, (path, text) => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  })
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start).line + 1
    return `${file?.fileName}:${line} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

function linkAll (from: string, to: string, isWanted: (name: string) => boolean): void {
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(from).filter(isWanted)) symlinkSync(join(from, name), join(to, name))
}

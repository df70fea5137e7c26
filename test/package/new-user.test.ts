/** What README.md and the guide to evolution have a new user do, done in an empty folder: files and commands as they stand there. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import ts from 'typescript'
import { natsTest, startNats } from '../helpers/nats.ts'
import { compileIn, emptyFolder, install, runShell, serveIn, start, write, type Listening, type Ports } from '../helpers/project.ts'
import { extract, root, withPorts, type Snippet } from '../helpers/snippets.ts'

const steps = (page: string): Snippet[] => extract(page).filter(({ role }) => role === 'project')

t.test('from an empty folder, a typed client that follows the README talks to `npm start`', async (t) => {
  const server = start(t, 'npm', ['start'], root, { PORT: '0', TCP_PORT: '0' })
  const ports = await new Promise<Ports>((resolve, reject) => {
    createInterface({ input: server.stdout! }).on('line', (line) => {
      if (!line.includes('"msg":"ready"')) return
      const { url, tcpPort } = JSON.parse(line) as { url: string, tcpPort: number }
      resolve(new Map([[3250, Number(new URL(url).port)], [3251, tcpPort]]))
    }).on('close', () => reject(new Error('npm start ended')))
  })
  const folder = emptyFolder(t)
  let heard = ''
  for (const { language, options, code, line } of steps('README.md')) {
    if (language !== 'sh') { write(folder, options.project!, withPorts(code, ports)); continue }
    // The one package that would come from the network.
    const script = withPorts(code, ports).replace(/ typescript$/m, ` '${join(root, 'node_modules/typescript')}'`)
    const { code: status, output } = await runShell(t, script, folder)
    t.equal(status, 0, `README.md:${line}${status === 0 ? '' : `: ${output}`}`)
    heard += output
  }
  t.match(heard, /^ana: hello$/m, 'the first client hears itself')
  t.match(heard, /^\{ name: 'ana', content: 'in Avro' \}$/m, 'the pinned one gets its answer')
  const first = steps('README.md').find(({ options }) => options.project === 'client.ts')!
  t.ok(first.code.trim().split('\n').length < 10, 'in under ten lines')
  t.strictSame(completions(folder, first), ['room.echo', 'room.join'], 'the editor completes routes')
})

/** What an editor offers as the first route. */
function completions (folder: string, { options, code }: Snippet): string[] {
  const { config } = ts.readConfigFile(join(folder, 'tsconfig.json'), ts.sys.readFile)
  const { options: settings } = ts.convertCompilerOptionsFromJson(config.compilerOptions, folder)
  const file = join(folder, options.project!)
  const { readFile, fileExists, readDirectory, directoryExists, getDirectories, realpath } = ts.sys
  const service = ts.createLanguageService({
    readFile,
    fileExists,
    readDirectory,
    directoryExists,
    getDirectories,
    realpath,
    getCompilationSettings: () => settings,
    getScriptFileNames: () => [file],
    getScriptVersion: () => '1',
    getScriptSnapshot (name) {
      const text = readFile(name)
      return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
    },
    getCurrentDirectory: () => folder,
    getDefaultLibFileName: ts.getDefaultLibFilePath
  })
  const before = "client.request('"
  const text = readFile(file)!
  const { entries = [] } = service.getCompletionsAtPosition(file, text.indexOf(before) + before.length, {}) ?? {}
  t.ok(code.includes(before))
  return entries.map(({ name }) => name).sort()
}

t.test('the client of the guide, built before messages changed, goes on: with the new server, and with one behind a frontend', natsTest, async (t) => {
  const folder = emptyFolder(t)
  install(folder)
  for (const { options, code } of extract('README.md')) {
    if (['server.ts', 'connector.ts', 'chat.ts'].includes(options.file!)) write(folder, options.file!, code)
  }
  const [before, contract, client, after, again, ...more] = steps('docs/guide-evolution.md')
  t.strictSame(more, [])
  write(folder, 'handlers/room.ts', before!.code)
  t.strictSame(compileIn(folder, ['server.ts', 'connector.ts', 'chat.ts']), [])
  const { code, output } = await runShell(t, contract!.code, folder)
  t.equal(code, 0, output)
  write(folder, 'client.ts', client!.code)
  t.strictSame(compileIn(folder, ['client.ts']), [])
  const built = readFileSync(join(folder, 'client.js'), 'utf8')

  const talks = async (where: string, { ports }: Listening): Promise<void> => {
    write(folder, 'client.js', withPorts(built, ports))
    const { code, output } = await runShell(t, again!.code, folder)
    t.match(output, /^ana: we are 1$/m, where)
    t.equal(code, 0, where)
  }
  const first = await serveIn(t, folder, 'server.js', 2)
  await talks('with the server it was built for', first)
  await first.stop()

  write(folder, 'handlers/room.ts', after!.code)
  t.strictSame(compileIn(folder, ['handlers/room.ts']), [])
  t.match(readFileSync(join(folder, 'handlers/room.js'), 'utf8'), /aliases/)
  const second = await serveIn(t, folder, 'server.js', 2)
  await talks('with the next one', second)
  await second.stop()

  const env = { NATS_URL: (await startNats(t)).url }
  await serveIn(t, folder, 'chat.js', 1, env)
  await talks('with the next one behind a frontend', await serveIn(t, folder, 'connector.js', 2, env))
})

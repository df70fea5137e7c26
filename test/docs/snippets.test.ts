import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { natsTest, startNats } from '../helpers/nats.ts'
import { commands, compile, extract, pages, programs, readPage, root, run, runBeside, type Snippet } from '../helpers/snippets.ts'

const snippets = pages().flatMap((page) => extract(page))
const at = ({ page, line }: Snippet): string => `${page}:${line}`

t.test('every block says what it is for', async (t) => {
  const isClear = ({ language, role, code }: Snippet): boolean => {
    if (language === 'ts' || language === 'js') return role !== ''
    if (language === 'json') return JSON.parse(code) !== undefined
    return language === 'sh' || language === 'text'
  }
  t.strictSame(snippets.filter((snippet) => !isClear(snippet)).map(at), [], 'ts and js: file=NAME, run, check or project=NAME; else json, sh or text')
})

t.test('every page shows something that runs', async (t) => {
  const runs = (page: string): boolean => snippets.some((snippet) => snippet.page === page && (snippet.role === 'run' || snippet.role === 'file'))
  t.strictSame(pages().filter((page) => !runs(page)), [])
})

t.test('commands exist: scripts of package.json, files of the repository, curl', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  const isKnown = (command: string): boolean => {
    const [, name = ''] = /^(?:[A-Z_]+=\S+ )*npm (?:run )?(\S+)/.exec(command) ?? []
    if (name === 'ci' || Object.hasOwn(scripts, name)) return true
    if (/^npm install( (fastify-pitaya|fastify|@sinclair\/typebox|ws))+$/.test(command)) return true
    const [, file] = /^(?:[A-Z_]+=\S+ )*node out\/(\S+)\.js/.exec(command) ?? []
    return file === undefined ? command.startsWith('curl ') : existsSync(join(root, `${file}.ts`))
  }
  // Those of a project are run.
  const unknown = snippets.filter(({ role }) => role !== 'project').flatMap((snippet) => commands(snippet).filter(({ command }) => !isKnown(command)).map(({ command }) => `${at(snippet)}: ${command}`))
  t.strictSame(unknown, [])
})

t.test('every link leads to a file, and to a heading of it', async (t) => {
  const broken = pages().flatMap((page) => {
    const text = readPage(page).replaceAll(/```[^]*?```/g, '')
    const leads = (link: string): boolean => {
      const [file = '', heading] = link.split('#')
      const path = join(root, file === '' ? page : join(dirname(page), file))
      return existsSync(path) && (heading === undefined || headings(readFileSync(path, 'utf8')).includes(heading))
    }
    const links = [...text.matchAll(/\]\((?!https?:)([^)]+)\)/g)].map(([, link = '']) => link)
    return links.filter((link) => !leads(link)).map((link) => `${page}: ${link}`)
  })
  t.strictSame(broken, [])
})

function headings (text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => title.toLowerCase().replace(/[^a-z0-9 -]/g, '').replaceAll(' ', '-'))
}

t.test('the snippets type-check with the settings of the package', async (t) => {
  t.strictSame(compile(snippets), [])
})

for (const snippet of snippets.filter(({ role }) => role === 'run')) {
  t.test(`${at(snippet)} runs`, async (t) => { t.equal(await run(snippet), '') })
}

for (const program of programs(snippets)) {
  const { page, server, backends, clients, needsNats } = program
  const names = [...backends, server, ...clients].flatMap((snippet) => snippet === undefined ? [] : [snippet.options.file ?? `line ${snippet.line}`])
  t.test(`${page}: ${names.join(' with ')} runs`, needsNats ? natsTest : {}, async (t) => {
    t.equal(await runBeside(program, needsNats ? { NATS_URL: (await startNats(t)).url } : {}), '')
  })
}

t.test('from one process to many it is fewer than 15 lines', async (t) => {
  const linesOf = (name: string): string[] => {
    const file = snippets.find(({ page, options }) => page === 'README.md' && options.file === name)
    return file!.code.split('\n').filter((line) => line !== '')
  }
  const known = linesOf('server.ts')
  const added = [...linesOf('connector.ts'), ...linesOf('chat.ts')].filter((line) => !known.includes(line))
  t.ok(added.length > 0 && added.length < 15, `${added.length} lines`)
})

import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { checkGenerator } from './check-generator.ts'
import { Children } from './children.ts'
import { type Options, readOptions, USAGE } from './options.ts'
import { unmeasurable } from './process-stat.ts'
import { codecTable, makeProgress, tableOf, targetTable, type Verdict, verdictsOf } from './report.ts'
import { run, runCodecs, Servers } from './run.ts'
import { scenariosOf } from './scenarios.ts'

const options = parse()
const children = new Children(spawnSync('taskset', ['--version']).status === 0)
process.on('exit', () => children.killAll())
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version, pinned: children.isPinned, gogc: process.env.GOGC ?? 'default' }
console.log(`${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}, ${
  machine.pinned ? 'servers and generator pinned to a core each' : 'nothing pinned: no taskset or only one core'}\n`)

const servers = new Servers(children)
const progress = makeProgress(process.stderr)
const saved: object[] = []
const verdicts: Verdict[] = []
for (const part of options.parts) {
  if (part === 'codec') {
    progress('codecs')
    const rows = await runCodecs(options.rounds, children)
    show(codecTable(rows, options.rounds))
    saved.push({ title: 'codecs', unit: 'ns per operation', rows })
  }
  if (part === 'check-generator') show(await checkGenerator(options, servers, children, progress))
  for (const scenario of scenariosOf(part, options)) {
    const rows = await run(scenario, servers, children, progress)
    show(tableOf(scenario, rows))
    verdicts.push(...verdictsOf(scenario, rows))
    saved.push({ ...scenario, entries: undefined, rows })
  }
}
if (verdicts.length > 0) show(targetTable(verdicts))
if (options.save) save(options)
await servers.end()

function show (text: string): void {
  progress('')
  console.log(`${text}\n`)
}

function save (options: Options): void {
  const folder = join(import.meta.dirname, '../results')
  const at = new Date().toISOString()
  const file = join(folder, `${at.replaceAll(':', '-').slice(0, 19)}.json`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${JSON.stringify({ at, machine, options, verdicts, scenarios: saved }, null, 2)}\n`)
  console.log(`written to ${file}`)
}

function parse (): Options {
  try {
    const reason = unmeasurable()
    if (reason !== undefined) throw new Error(reason)
    const options = readOptions(process.argv.slice(2))
    if (options !== 'help') return options
    console.log(USAGE)
    process.exit(0)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`)
    process.exit(2)
  }
}

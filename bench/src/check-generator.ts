/**
 * Our generator beside another one, on the same servers in the same interleaved run. LOADGEN is the path of a program with the
 * flags used below that prints one JSON line with `cpu_us`, the server's CPU µs per message.
 */
import type { Children } from './children.ts'
import type { ServerProcess } from './job.ts'
import type { Options } from './options.ts'
import { align } from './report.ts'
import { generate, type Progress, type Servers } from './run.ts'
import { type Load, scenariosOf } from './scenarios.ts'
import { ratio, spread } from './statistics.ts'

export async function checkGenerator (options: Options, servers: Servers, children: Children, progress: Progress): Promise<string> {
  const loadgen = process.env.LOADGEN
  if (loadgen === undefined) return 'check-generator\n  skipped: LOADGEN is not set to the path of a built load generator'
  const cases = [...scenariosOf('echo', options), ...scenariosOf('fanout', options)].flatMap(({ title, load, entries }) => {
    return entries.map((entry) => ({ name: `${title}, ${entry.label}`, entry, load: { ...load, ...entry.load } }))
  }).filter(({ entry }) => servers.unavailable(entry.server) === undefined)

  const rows = cases.map((item) => ({ ...item, own: [] as number[], other: [] as number[], skipped: '' }))
  for (let round = 1; round <= options.rounds; round++) {
    for (const row of rows) {
      if (row.skipped !== '') continue
      progress(`check-generator: round ${round} of ${options.rounds}, ${row.name}`)
      try {
        const { processes, urls } = await servers.get(row.entry.server)
        const url = urls[row.entry.transport]
        const other = () => otherGenerator(loadgen, row.load, url, processes, children)
        // The first of two finds the server colder: they take turns in that too.
        const early = round % 2 === 0 ? await other() : undefined
        const { cpu } = await generate({ ...row.load, url, processes }, children)
        row.other.push(early ?? await other())
        row.own.push(cpu)
      } catch (error) {
        row.skipped = (error as Error).message
      }
    }
  }
  const lines = rows.filter((row) => row.skipped === '').map(({ name, own, other }) => {
    const { median, min, max } = ratio(own, other)
    const range = `${min.toFixed(2)} … ${max.toFixed(2)}`
    return [name, spread(own).median.toFixed(2), spread(other).median.toFixed(2), median.toFixed(2), range]
  })
  const skipped = rows.filter((row) => row.skipped !== '').map(({ name, skipped }) => `  skipped: ${name}: ${skipped}`)
  const header = ['server CPU µs per message', 'own', 'LOADGEN', 'own / LOADGEN', 'min … max']
  return [`check-generator (median of ${options.rounds})`, ...align([header, ...lines]), ...skipped].join('\n')
}

async function otherGenerator (loadgen: string, load: Load, url: string, processes: ServerProcess[], children: Children): Promise<number> {
  const { ended } = children.start('generator', [
    loadgen,
    '-url', url,
    '-proto', load.protocol,
    '-mode', load.mode,
    '-c', String(load.connections),
    '-inflight', String(load.inFlight),
    '-d', `${load.seconds}s`,
    '-warmup', `${load.warmupSeconds}s`,
    '-route', load.route,
    ...(load.join === undefined ? [] : ['-join', load.join]),
    '-pids', processes.map(({ pid }) => pid).join(',')
  ])
  const { code, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`LOADGEN failed: ${stderr.trim()}`)
  return (JSON.parse(stdout) as { cpu_us: number }).cpu_us
}

import { join } from 'node:path'
import type { Children, Running } from './children.ts'
import type { CodecRow, Job, Outcome } from './job.ts'
import type { Entry, Scenario } from './scenarios.ts'
import { type ServerName, start, unavailable } from './servers.ts'

/** What joining and connecting may take beside the run itself. */
const GENERATOR_GRACE_MS = 60_000

/** Told what is being done now. */
export type Progress = (text: string) => void

/** The rounds of one entry, or why there are none. */
export interface Row { entry: Entry, outcomes: Outcome[], skipped?: string }

/** The servers of a session: each is started when first wanted. */
export class Servers {
  readonly #children: Children
  readonly #running = new Map<ServerName, Promise<Running>>()
  readonly #reasons = new Map<ServerName, string | undefined>()

  constructor (children: Children) {
    this.#children = children
  }

  unavailable (name: ServerName): string | undefined {
    if (!this.#reasons.has(name)) this.#reasons.set(name, unavailable(name))
    return this.#reasons.get(name)
  }

  get (name: ServerName): Promise<Running> {
    let running = this.#running.get(name)
    if (running === undefined) this.#running.set(name, running = start(name, this.#children))
    return running
  }

  async end (): Promise<void> {
    const running = await Promise.allSettled(this.#running.values())
    this.#running.clear()
    await Promise.all(running.map((server) => server.status === 'fulfilled' ? server.value.end() : undefined))
  }
}

/** Runs a scenario in interleaved rounds: every entry once, then every entry again. An entry that fails is left out, with its reason. */
export async function run (scenario: Scenario, servers: Servers, children: Children, progress: Progress): Promise<Row[]> {
  const rows: Row[] = scenario.entries.map((entry) => ({ entry, outcomes: [], skipped: servers.unavailable(entry.server) }))
  for (let round = 1; round <= scenario.rounds; round++) {
    for (const row of rows) {
      if (row.skipped !== undefined) continue
      progress(`${scenario.title}: round ${round} of ${scenario.rounds}, ${row.entry.label}`)
      try {
        // Memory is measured in a process that has held no connection before.
        if (scenario.load.mode === 'idle') await servers.end()
        const { processes, urls } = await servers.get(row.entry.server)
        const url = urls[row.entry.transport]
        row.outcomes.push(await generate({ ...scenario.load, ...row.entry.load, url, processes }, children))
      } catch (error) {
        row.skipped = (error as Error).message
        row.outcomes = []
      }
    }
  }
  if (scenario.load.mode === 'idle') await servers.end()
  return rows
}

/** The codecs' micro-benchmarks. Rejects with their complaint. */
export async function runCodecs (rounds: number, children: Children): Promise<CodecRow[]> {
  const { code, stdout, stderr } = await children.start('server', [process.execPath, join(import.meta.dirname, 'codec.js'), String(rounds)]).ended
  if (code !== 0) throw new Error(stderr.trim())
  return JSON.parse(stdout) as CodecRow[]
}

/** One run of our generator, or of the client that the job names. Rejects with its complaint. */
export async function generate (job: Job, children: Children): Promise<Outcome> {
  const command = [process.execPath, join(import.meta.dirname, job.mode === 'client' ? 'clients.js' : 'generator.js'), JSON.stringify(job)]
  const generator = children.start('generator', command)
  const timer = setTimeout(() => generator.end(), (job.warmupSeconds + job.seconds) * 1000 + GENERATOR_GRACE_MS)
  const { code, stdout, stderr } = await generator.ended
  clearTimeout(timer)
  if (code !== 0) throw new Error(stderr.trim() || 'the generator was ended: it took too long')
  const outcome = JSON.parse(stdout) as Outcome
  if (outcome.errors > 0) throw new Error(`${outcome.errors} replies were errors`)
  return outcome
}

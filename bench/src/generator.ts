/**
 * The load generator, in a process of its own: `node out/generator.js '<Job as JSON>'` prints one Outcome as JSON.
 *
 * A closed loop over prebuilt bytes. What it measures is the server's CPU time per message, read from /proc at both ends of the
 * window, so it need not be faster than the server. It only talks to this machine and ends by itself.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './generator/client.ts'
import { startEcho, startFanout, type Tally } from './generator/traffic.ts'
import type { Job, Outcome } from './job.ts'
import { type CpuSeconds, cpuSeconds, residentKilobytes, stealSeconds } from './process-stat.ts'

/** Connections opened at once: below every server's backlog. */
const OPENING = 32

const job = JSON.parse(process.argv[2] ?? '') as Job
const url = new URL(job.url)
if (!/^(127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname)) fail(new Error(`only loopback addresses are measured, not ${url.hostname}`))

const counted = job.processes.filter(({ isCounted }) => isCounted)
const emptyKilobytes = kilobytes()
const clients = await openAll()
const outcome = job.mode === 'idle' ? await idle() : await measure()
process.stdout.write(`${JSON.stringify(outcome)}\n`)
for (const client of clients) client.close()
process.exit()

async function openAll (): Promise<Client[]> {
  const shared = Buffer.alloc(65_536)
  const clients: Client[] = []
  let wanted = job.connections
  const open = async () => {
    while (wanted-- > 0) {
      const client = new Client(url, shared)
      await client.open(url, job.protocol)
      if (job.join !== undefined) await client.request(job.join, '{}')
      client.onFailure = fail
      clients.push(client)
    }
  }
  await Promise.all(Array.from({ length: OPENING }, open)).catch(fail)
  return clients
}

async function measure (): Promise<Outcome> {
  const start = job.mode === 'echo' ? startEcho : startFanout
  const tally = start(clients, job, fail)
  await sleep(job.warmupSeconds * 1000)
  const before = snapshot(tally)
  await sleep(job.seconds * 1000)
  return difference(before, snapshot(tally), tally.errors)
}

async function idle (): Promise<Outcome> {
  const tally: Tally = { messages: 0, errors: 0 }
  const before = snapshot(tally)
  await sleep(job.seconds * 1000)
  const grown = kilobytes() - emptyKilobytes
  return { ...difference(before, snapshot(tally), 0), kilobytes: grown / job.connections }
}

function kilobytes (): number {
  return counted.reduce((sum, { pid }) => sum + residentKilobytes(pid), 0)
}

function snapshot (tally: Tally) {
  const own = process.cpuUsage()
  return {
    cpu: job.processes.map(({ pid }) => cpuSeconds(pid)),
    messages: tally.messages,
    at: performance.now() / 1000,
    own: (own.user + own.system) / 1e6,
    steal: stealSeconds()
  }
}

type Snapshot = ReturnType<typeof snapshot>

function difference (before: Snapshot, after: Snapshot, errors: number): Outcome {
  const seconds = after.at - before.at
  const messages = after.messages - before.messages
  const used = job.processes.map(({ name, isCounted }, i) => {
    const [from, to] = [before.cpu[i] as CpuSeconds, after.cpu[i] as CpuSeconds]
    return { name, isCounted, user: to.user - from.user, system: to.system - from.system }
  })
  const sum = (key: 'user' | 'system') => used.reduce((total, process) => total + (process.isCounted ? process[key] : 0), 0)
  const [user, system] = [sum('user'), sum('system')]
  return {
    messages,
    seconds,
    cpu: (user + system) * 1e6 / messages,
    cpuUser: user * 1e6 / messages,
    cpuSystem: system * 1e6 / messages,
    processes: used.map(({ name, isCounted, user, system }) => ({ name, isCounted, cpu: (user + system) * 1e6 / messages })),
    kilobytes: 0,
    serverLoad: (user + system) / seconds,
    generatorLoad: (after.own - before.own) / seconds,
    steal: (after.steal - before.steal) / seconds,
    errors
  }
}

function fail (error: Error): never {
  process.stderr.write(`generator: ${error.message}\n`)
  process.exit(1)
}

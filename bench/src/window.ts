/** Measures a window of traffic: what it cost the server, and how busy this process was. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Job, Outcome } from './job.ts'
import { type CpuSeconds, cpuSeconds, stealSeconds } from './process-stat.ts'

/** What the traffic counts. `messages` is read at both ends of the measured window. */
export interface Tally { messages: number, errors: number }

/** The job's window, after its warm-up. */
export async function measure (job: Job, tally: Tally): Promise<Outcome> {
  await sleep(job.warmupSeconds * 1000)
  return await observe(job, tally)
}

/** The job's window, from now. */
export async function observe (job: Job, tally: Tally): Promise<Outcome> {
  const before = snapshot(job, tally)
  await sleep(job.seconds * 1000)
  return difference(job, before, snapshot(job, tally), tally.errors)
}

function snapshot (job: Job, tally: Tally) {
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

function difference (job: Job, before: Snapshot, after: Snapshot, errors: number): Outcome {
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

/**
 * The load generator, in a process of its own: `node out/generator.js '<Job as JSON>'` prints one Outcome as JSON.
 *
 * A closed loop over prebuilt bytes. What it measures is the server's CPU time per message, read from /proc at both ends of the
 * window, so it need not be faster than the server. It only talks to this machine and ends by itself.
 */
import { Bodies } from './generator/bodies.ts'
import { Client } from './generator/client.ts'
import { startEcho, startFanout } from './generator/traffic.ts'
import type { Job, Outcome } from './job.ts'
import { residentKilobytes } from './process-stat.ts'
import { measure, observe } from './window.ts'

/** Connections opened at once: below every server's backlog. */
const OPENING = 32

const job = JSON.parse(process.argv[2] ?? '') as Job
const url = new URL(job.url)
if (!/^(127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname)) fail(new Error(`only loopback addresses are measured, not ${url.hostname}`))

const counted = job.processes.filter(({ isCounted }) => isCounted)
const emptyKilobytes = kilobytes()
const bodies = new Bodies(job)
const clients = await openAll()
const outcome = job.mode === 'idle' ? await idle() : await measure(job, start())
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
      if (job.protocol === 'pitaya') await bodies.learn(client, await client.greet(url, bodies.sys))
      else await client.open(url)
      if (job.join !== undefined) await client.request(job.join, Buffer.from('{}'))
      client.onFailure = fail
      clients.push(client)
    }
  }
  await Promise.all(Array.from({ length: OPENING }, open)).catch(fail)
  return clients
}

function start () {
  return job.mode === 'echo' ? startEcho(clients, job, bodies.body, fail) : startFanout(clients, job, bodies.body, fail)
}

async function idle (): Promise<Outcome> {
  const outcome = await observe(job, { messages: 0, errors: 0 })
  return { ...outcome, kilobytes: (kilobytes() - emptyKilobytes) / job.connections }
}

function kilobytes (): number {
  return counted.reduce((sum, { pid }) => sum + residentKilobytes(pid), 0)
}

function fail (error: Error): never {
  process.stderr.write(`generator: ${error.message}\n`)
  process.exit(1)
}

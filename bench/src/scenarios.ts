import type { Job } from './job.ts'
import type { Options, Part } from './options.ts'
import type { ServerName } from './servers.ts'

/** One row: a server under one kind of load. */
export interface Entry {
  label: string
  server: ServerName
  transport: 'ws' | 'tcp'
  /** What differs from the scenario's load. */
  load?: Partial<Load>
}

export type Load = Omit<Job, 'url' | 'processes'>

/**
 * `of` is to cost at most `limit` times what `to` costs; without `to`, at most `limit` KB. Where more is better, it is to reach
 * `limit` times what `to` reaches.
 */
export interface Target { of: string, to?: string, limit: number }

/** One table: entries that are compared with each other in the same interleaved run. */
export interface Scenario {
  title: string
  unit: 'µs per message' | 'µs per delivery' | 'KB per connection' | 'requests per second'
  load: Load
  /** The first is the one the others' costs are divided by. */
  entries: Entry[]
  targets: Target[]
  rounds: number
}

const OURS = 'fastify-pitaya'
const GO = 'Pitaya Go'
const WS = 'plain ws'

export function scenariosOf (part: Part, options: Options): Scenario[] {
  if (part === 'echo') return echo(options)
  if (part === 'async') return [asynchronous(options)]
  if (part === 'avro') return avro(options)
  if (part === 'sdk') return [sdk(options)]
  if (part === 'cluster') return cluster(options)
  if (part === 'fanout') return [1, 8].map((inFlight) => fanout(options, inFlight))
  if (part === 'idle') return [idle(options)]
  return []
}

function echo (options: Options): Scenario[] {
  const load = echoLoad(options)
  const raw = { protocol: 'raw' } as const
  const ws = (inFlight: number, targets: Target[]): Scenario => ({
    title: `echo over WebSocket, ${inFlight} in flight`,
    unit: 'µs per message',
    load: { ...load, inFlight },
    entries: [
      { label: OURS, server: 'fastify-pitaya', transport: 'ws' },
      { label: WS, server: 'ws', transport: 'ws', load: raw },
      { label: 'plain ws, cork', server: 'ws-cork', transport: 'ws', load: raw },
      { label: GO, server: 'pitaya-go', transport: 'ws' }
    ],
    targets,
    rounds: options.rounds
  })
  const tcp = (inFlight: number, targets: Target[]): Scenario => ({
    title: `echo over TCP, ${inFlight} in flight`,
    unit: 'µs per message',
    load: { ...load, inFlight },
    entries: [
      { label: OURS, server: 'fastify-pitaya', transport: 'tcp' },
      { label: 'plain net', server: 'net', transport: 'tcp', load: raw },
      { label: GO, server: 'pitaya-go', transport: 'tcp' }
    ],
    targets,
    rounds: options.rounds
  })
  return [
    ws(16, [{ of: OURS, to: WS, limit: 0.6 }, { of: OURS, to: GO, limit: 0.25 }]),
    ws(1, [{ of: OURS, to: WS, limit: 1.5 }, { of: OURS, to: GO, limit: 0.55 }]),
    tcp(16, [{ of: OURS, to: GO, limit: 0.18 }]),
    tcp(1, [])
  ]
}

function asynchronous (options: Options): Scenario {
  return {
    title: 'synchronous and async handler over WebSocket, 16 in flight',
    unit: 'µs per message',
    load: { ...echoLoad(options), inFlight: 16 },
    entries: [
      { label: 'async handler', server: 'handlers', transport: 'ws', load: { route: 'bench.echoAsync' } },
      { label: 'sync handler', server: 'handlers', transport: 'ws', load: { route: 'bench.echo' } }
    ],
    targets: [{ of: 'async handler', to: 'sync handler', limit: 1.25 }],
    rounds: options.rounds
  }
}

/** The generator writes what a client of each kind would. What all of them say is the same. */
function avro (options: Options): Scenario[] {
  const json = 'JSON'
  const unpinned = 'Avro'
  const pinned = 'Avro, pinned to another schema'
  const echoOf = (title: string, server: ServerName, load: Partial<Load>): Scenario => ({
    title,
    unit: 'µs per message',
    load: { ...echoLoad(options), inFlight: 16, ...load },
    entries: [
      { label: json, server, transport: 'ws' },
      { label: unpinned, server, transport: 'ws', load: { serializer: 'avro' } },
      { label: pinned, server, transport: 'ws', load: { serializer: 'avro-pinned' } }
    ],
    targets: [{ of: unpinned, to: json, limit: 0.9 }, { of: pinned, to: json, limit: 1.3 }],
    rounds: options.rounds
  })
  return [
    echoOf('echo of a chat line by serializer, 16 in flight', 'fastify-pitaya', {}),
    echoOf('echo of a record with a list by serializer, 16 in flight', 'handlers', { route: 'bench.rich', message: 'rich' })
  ]
}

/** The bare client speaks JSON: what the SDK adds, and what Avro takes away again, stands against the least that there is. */
function sdk (options: Options): Scenario {
  const client = (label: string, load: Partial<Load>): Entry => ({ label, server: 'fastify-pitaya', transport: 'ws', load })
  const bare = 'bare ws client'
  return {
    title: 'requests of one client over WebSocket, 16 in flight',
    unit: 'requests per second',
    load: { ...echoLoad(options), mode: 'client', connections: 1, inFlight: 16, seconds: options.seconds / 3, warmupSeconds: options.warmupSeconds / 3 },
    entries: [
      client(bare, { client: 'ws' }),
      client('SDK, JSON', { client: 'sdk' }),
      client('SDK, Avro', { client: 'sdk', serializer: 'avro' })
    ],
    targets: ['SDK, JSON', 'SDK, Avro'].map((of) => ({ of, to: bare, limit: 0.5 })),
    // A rate takes in all that the machine does meanwhile, and more short rounds take turns in that.
    rounds: options.rounds * 3
  }
}

/** Client, frontend, NATS, backend and back. Pitaya Go has no order to keep, so its one line answers both of ours. */
function cluster (options: Options): Scenario[] {
  const load = { ...echoLoad(options), route: 'chat.room.echo' }
  const own: Entry = { label: OURS, server: 'fastify-pitaya-cluster', transport: 'ws' }
  const concurrent: Entry = { ...own, label: `${OURS}, concurrent`, load: { route: 'chat.room.echoConcurrent' } }
  const go: Entry = { label: GO, server: 'pitaya-go-cluster', transport: 'ws' }
  const through = (inFlight: number, entries: Entry[], targets: Target[]): Scenario => ({
    title: `echo through a cluster over WebSocket, ${inFlight} in flight`,
    unit: 'µs per message',
    load: { ...load, inFlight },
    entries,
    targets,
    rounds: options.rounds
  })
  return [
    through(1, [own, go], [{ of: OURS, to: GO, limit: 0.5 }]),
    through(16, [own, concurrent, go], [{ of: OURS, to: GO, limit: 0.3 }, { of: concurrent.label, to: GO, limit: 0.2 }])
  ]
}

function fanout (options: Options, inFlight: number): Scenario {
  return {
    title: `fan-out to ${options.members.toLocaleString('en')} over WebSocket, ${inFlight} outstanding`,
    unit: 'µs per delivery',
    load: {
      ...echoLoad(options),
      mode: 'fanout',
      connections: options.members,
      inFlight,
      join: 'room.join',
      route: 'room.message',
      push: 'onMessage'
    },
    entries: [
      { label: OURS, server: 'fastify-pitaya', transport: 'ws' },
      { label: GO, server: 'pitaya-go', transport: 'ws' }
    ],
    targets: inFlight === 8 ? [{ of: OURS, to: GO, limit: 0.25 }] : [],
    rounds: options.rounds
  }
}

function idle (options: Options): Scenario {
  return {
    title: `memory of an idle connection, over ${options.idle.toLocaleString('en')}`,
    unit: 'KB per connection',
    load: { ...echoLoad(options), mode: 'idle', connections: options.idle, inFlight: 0, seconds: 3 },
    entries: [
      { label: `${OURS}, WebSocket`, server: 'fastify-pitaya', transport: 'ws' },
      { label: `${OURS}, TCP`, server: 'fastify-pitaya', transport: 'tcp' },
      { label: WS, server: 'ws', transport: 'ws', load: { protocol: 'raw' } },
      { label: `${GO}, WebSocket`, server: 'pitaya-go', transport: 'ws' },
      { label: `${GO}, TCP`, server: 'pitaya-go', transport: 'tcp' }
    ],
    targets: [{ of: `${OURS}, WebSocket`, limit: 14 }, { of: `${OURS}, TCP`, limit: 9 }],
    rounds: Math.ceil(options.rounds / 2)
  }
}

function echoLoad (options: Options): Load {
  return {
    protocol: 'pitaya',
    mode: 'echo',
    connections: options.connections,
    inFlight: 1,
    seconds: options.seconds,
    warmupSeconds: options.warmupSeconds,
    route: 'room.echo',
    message: 'chat',
    serializer: 'json'
  }
}

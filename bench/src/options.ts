import { parseArgs } from 'node:util'

/** The parts of the benchmark, in the order in which they run. */
export const PARTS = ['codec', 'echo', 'async', 'avro', 'sdk', 'cluster', 'fanout', 'idle'] as const
export const CHECK = 'check-generator'
export type Part = typeof PARTS[number] | typeof CHECK

export interface Options {
  parts: Part[]
  /** Interleaved rounds; a published figure is the median of at least 4. */
  rounds: number
  seconds: number
  warmupSeconds: number
  /** Connections of the echo parts, members of fan-out, connections of the memory part. */
  connections: number
  members: number
  idle: number
  save: boolean
}

export const USAGE = `npm run bench -- [part…] [options]

parts: ${PARTS.join(', ')} (all of these unless named), ${CHECK} (needs LOADGEN)
  --rounds N       interleaved rounds (4)
  --seconds N      measured window of one run (3)
  --warmup N       seconds before it (1.5)
  --connections N  echo, async, avro and cluster (64)
  --members N      fan-out (1000)
  --idle N         connections whose memory is measured (5000)
  --quick          2 rounds of 1 s, 1,000 idle connections: to see that it runs, not to quote
  --save           write bench/results/<time>.json
  --help`

/** Reads the command line. Throws an Error with a sentence for the user. */
export function readOptions (args: string[]): Options | 'help' {
  const number = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: number,
      seconds: number,
      warmup: number,
      connections: number,
      members: number,
      idle: number,
      quick: flag,
      save: flag,
      help: flag
    }
  })
  if (values.help) return 'help'
  for (const part of positionals) {
    if (part !== CHECK && !PARTS.includes(part as never)) throw new Error(`there is no part "${part}": ${PARTS.join(', ')}, ${CHECK}`)
  }
  return {
    parts: positionals.length > 0 ? positionals as Part[] : [...PARTS],
    rounds: positive('rounds', values.rounds, values.quick ? 2 : 4),
    seconds: positive('seconds', values.seconds, values.quick ? 1 : 3),
    warmupSeconds: positive('warmup', values.warmup, values.quick ? 0.5 : 1.5),
    connections: positive('connections', values.connections, 64),
    members: positive('members', values.members, 1000),
    idle: positive('idle', values.idle, values.quick ? 1000 : 5000),
    save: values.save
  }
}

function positive (name: string, given: string | undefined, fallback: number): number {
  const value = given === undefined ? fallback : Number(given)
  if (!(value > 0)) throw new Error(`--${name} wants a number above 0, not "${given}"`)
  return value
}

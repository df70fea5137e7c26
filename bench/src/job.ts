import type { MessageName } from './messages.ts'

/** A process of the server, by what it is there. One that is not counted is measured and shown all the same. */
export interface ServerProcess { name: string, pid: number, isCounted: boolean }

/** What one run of the generator is to do. The harness hands it over as JSON in the first argument. */
export interface Job {
  /** `ws://127.0.0.1:port/` or `tcp://127.0.0.1:port`. Anything but a loopback address is refused. */
  url: string
  /** `pitaya`: handshake, ack and data packets. `raw`: the same bytes, echoed by a server that does not look into them. */
  protocol: 'pitaya' | 'raw'
  mode: 'echo' | 'fanout' | 'idle' | 'client'
  connections: number
  /** Requests outstanding per connection; in fan-out the broadcasts outstanding in all. */
  inFlight: number
  /** Measured window; idle: the time that the server is left alone before its memory is read. */
  seconds: number
  warmupSeconds: number
  /** The server's processes, whose CPU time and memory are read and added up. */
  processes: ServerProcess[]
  /** Requested in echo and by clients, notified in fan-out. */
  route: string
  message: MessageName
  /** What bodies are written in. `avro`: by the schemas that the server tells; `avro-pinned`: by others, to which it adapts. */
  serializer: 'json' | 'avro' | 'avro-pinned'
  /** Mode `client` only: who makes the requests, in place of the generator. */
  client?: 'sdk' | 'ws'
  /** Fan-out only: requested once by every connection before anything is measured. */
  join?: string
  /** Fan-out only: the push that counts as a delivery. */
  push?: string
}

/** What one run of the generator found. */
export interface Outcome {
  /** Replies or deliveries in the measured window. */
  messages: number
  seconds: number
  /** CPU µs of the server per message: user, system and their sum. */
  cpu: number
  cpuUser: number
  cpuSystem: number
  /** The same, process by process. */
  processes: { name: string, cpu: number, isCounted: boolean }[]
  /** Idle only: KB of resident memory that one connection added. */
  kilobytes: number
  /** Share of one core used by the server, by the generator, and taken from this machine by its host. */
  serverLoad: number
  generatorLoad: number
  steal: number
  /** Replies that carried an error. A run with any is not a measurement. */
  errors: number
}

/** One operation of the codecs: its cost in ns, round by round, and the bytes that it reads or writes. */
export interface CodecRow { name: string, bytes: number, ns: number[] }

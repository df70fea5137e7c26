import type { TSchema } from '@sinclair/typebox'
import { randomUUID } from 'node:crypto'
import type { HandshakeValidator } from './agent/greeter.ts'
import type { BindScope } from './cluster/holders.ts'
import type { MemoryBus } from './cluster/memory-bus.ts'
import type { NatsOptions } from './cluster/nats-options.ts'
import { checkOptions } from './options-check.ts'
import type { Serializer } from './serializers/serializer.ts'
import type { BindHook, BindPolicy, CloseHook } from './session/pool.ts'

/** A WebSocket acceptor on the app's own server. `Page` is a Fastify route handler; `lib` does not know its type. */
export interface WebSocketAcceptorOptions<Page = unknown> {
  /** Path of the upgrade. Default `/pitaya`. */
  path?: string
  /** Answers a plain GET on that path. Default: none (404). */
  page?: Page
  /** Foreign origins that may connect, exactly as browsers send them (`https://game.example`), or `*`. Default: none; the app's own host and clients without Origin always may. */
  origins?: string[] | '*'
}

/** A TCP acceptor on a port of its own. */
export interface TcpAcceptorOptions<Tls = unknown> {
  port: number
  /** Default: all addresses. */
  host?: string
  /** Options of `tls.createServer`; given, the port speaks TLS. */
  tls?: Tls
  /** The first bytes are a PROXY v1 or v2 header. `trusted`: addresses or CIDR ranges of the proxies; others are closed. Default false. */
  proxyProtocol?: boolean | { trusted?: string[] }
  /** Shown in logs. */
  name?: string
}

/** Limits of one server; `docs/reference-limits.md` says what a client sees at each. Times in milliseconds, sizes in bytes. */
export interface LimitOptions {
  /** Body of one packet. */
  packetBytes: number
  /** The same before the handshake is done. */
  handshakeBytes: number
  /** From connect to ack. */
  handshakeMs: number
  /** Compressed data may inflate to so many times `packetBytes`. */
  inflateRatio: number
  /** Packets per second and connection in the long run; 0: no limit. */
  ratePerSecond: number
  /** Packets at once. */
  rateBurst: number
  /** So long over the rate closes. */
  rateViolationMs: number
  /** Clients of this server. */
  connections: number
  /** Clients of one address. Default: no limit of its own. */
  connectionsPerAddress: number
  /** New clients per second. */
  connectionsPerSecond: number
  /** Messages of one session that wait, then its connection is not read. */
  waitingPerSession: number
  /**
   * Bytes of one session that wait: from half of them on its connection is not read, above it is closed. The other half is for what was
   * read by then, 64 KiB and a packet: with larger packets the default grows to 2 × (`packetBytes` + 64 KiB).
   */
  waitingBytes: number
  /** Handlers of `concurrent: true` routes at once of one session. */
  concurrentPerSession: number
  /** Waiting messages of all sessions, then requests are answered PIT-503. */
  maxQueued: number
  /** So long may a connection stay unread. */
  pauseMs: number
  /** So long may a handler, or one bind hook, take. */
  handlerMs: number
  /** Bytes that wait for one client. */
  outboxBytes: number
  /** Bytes that wait for all clients. */
  outboxTotalBytes: number
  /** So long may a client take nothing of what waits for it. */
  drainMs: number
  /** Groups of this server. */
  groups: number
  /** Calls to other servers that wait for their answer. */
  rpcPending: number
  /** Remotes at once. */
  remotes: number
}

/** How servers reach each other. Without `nats` and `memory` this server is alone. */
export interface ClusterOptions {
  /** Over a NATS server with JetStream. */
  nats?: NatsOptions
  /** Over an object in memory: several servers of one process that are given the same one. */
  memory?: MemoryBus
  /** First part of all names on the carrier, which keeps clusters apart: letters, digits, `_`, `-`. Default `pitaya`. */
  prefix?: string
  /** The others take this server for lost when it was not heard of for so long, in milliseconds, from 300. Default 10,000. */
  leaseMs?: number
  /** What routing functions may choose by, such as version and region. Default: none. */
  metadata?: Record<string, string>
}

/** Options of the plugin. Everything has a default but `acceptors`, which a frontend needs. */
export interface PitayaOptions<Page = unknown, Tls = unknown, Auth = unknown, Request = any> {
  /** First part of this server's routes: letters, digits, `_`, `-`. Default `game`. */
  serverType?: string
  /** Unique among all servers. Default: random. */
  serverId?: string
  /** False: no clients connect here. Default true. */
  frontend?: boolean
  /** Where clients connect; several of a kind as an array. `false`: nowhere (backends, unit tests). */
  acceptors?: false | {
    websocket?: WebSocketAcceptorOptions<Page> | Array<WebSocketAcceptorOptions<Page>>
    tcp?: TcpAcceptorOptions<Tls> | Array<TcpAcceptorOptions<Tls>>
  }
  /** Offered to clients: names or own members. Default `['json', 'avro']`. */
  serializers?: Array<'json' | 'avro' | Serializer>
  /** For clients that ask for none, as every stock client. Default `json`. */
  defaultSerializer?: string
  /** Route compression: `auto` numbers all routes and pushes; a record names them, routes of other server types too. Default: none. */
  dictionary?: 'auto' | Record<string, number>
  /** Compresses what leaves: true is from 1024 bytes on. Default false; compressed input is always understood. */
  compression?: boolean | { minBytes: number }
  /** Interval both ways; silence for two closes. Default 30. */
  heartbeatSeconds?: number
  handshake?: {
    /** Schema of the handshake's `user`; `definePitaya` brings its own. */
    user?: TSchema
    /** Run in this order, one after the other; the first that throws refuses. */
    validators?: Record<string, HandshakeValidator<any, Request>>
  }
  session?: {
    /** Schema of session data; `definePitaya` brings its own. */
    data?: TSchema
    /** When a uid is bound that another session has. Default `kick-old`. */
    policy?: BindPolicy
    /** Within what a uid is unique: the frontends of one server type, or all of the cluster. Default `type`. */
    scope?: BindScope
    /** Session data as JSON. Default 4096 bytes. */
    dataBytes?: number
    /** Before any session is bound; throwing refuses the bind. */
    onBind?: BindHook
    afterBind?: BindHook
    /** After any session closed. */
    onClose?: CloseHook
  }
  /** How servers reach each other. Default: this one is alone. */
  cluster?: ClusterOptions
  /** `concurrency.handler.dispatch`: handlers at once. Default 1024. */
  concurrency?: { handler?: { dispatch?: number } }
  limits?: Partial<LimitOptions>
  /** Admin routes under `prefix` (`/admin`), guarded by a bearer `token` or your own `auth` hook. Default: none. */
  admin?: { prefix?: string, token?: string, auth?: Auth }
  /** Health route under `prefix` (none). Default: none. */
  ops?: boolean | { prefix?: string }
  /** How long closing may take, in milliseconds; below Fastify's `pluginTimeout`. Default 8000. */
  closeMs?: number
}

/** Defaults of everything that has one. */
export const defaults = {
  serverType: 'game',
  frontend: true,
  serializers: ['json', 'avro'] as Array<'json' | 'avro' | Serializer>,
  defaultSerializer: 'json',
  compression: false as boolean | { minBytes: number },
  heartbeatSeconds: 30,
  handshake: {},
  session: { policy: 'kick-old' as BindPolicy, scope: 'type' as BindScope, dataBytes: 4096 },
  cluster: { prefix: 'pitaya', leaseMs: 10_000, metadata: {} as Record<string, string> },
  concurrency: { handler: { dispatch: 1024 } },
  limits: {
    packetBytes: 65536,
    handshakeBytes: 8192,
    handshakeMs: 5000,
    inflateRatio: 10,
    ratePerSecond: 200,
    rateBurst: 400,
    rateViolationMs: 5000,
    connections: 50_000,
    connectionsPerAddress: Number.MAX_SAFE_INTEGER,
    connectionsPerSecond: 2000,
    waitingPerSession: 64,
    waitingBytes: 262_144,
    concurrentPerSession: 8,
    maxQueued: 10_000,
    pauseMs: 60_000,
    handlerMs: 5000,
    outboxBytes: 1_048_576,
    outboxTotalBytes: 268_435_456,
    drainMs: 10_000,
    groups: 100_000,
    rpcPending: 10_000,
    remotes: 1024
  },
  closeMs: 8000
}

/** From here on `compression: true` compresses. */
const COMPRESS_FROM = 1024

export interface ResolvedOptions<O extends PitayaOptions<any, any, any, any> = PitayaOptions> {
  readonly given: O
  readonly serverType: string
  readonly serverId: string
  readonly frontend: boolean
  readonly serializers: Array<'json' | 'avro' | Serializer>
  readonly defaultSerializer: string
  readonly dictionary: PitayaOptions['dictionary']
  /** Infinity: no compression. */
  readonly compressFrom: number
  readonly heartbeatMs: number
  readonly handshake: NonNullable<PitayaOptions['handshake']>
  readonly session: NonNullable<PitayaOptions['session']> & { policy: BindPolicy, scope: BindScope, dataBytes: number }
  readonly cluster: ClusterOptions & { prefix: string, leaseMs: number, metadata: Record<string, string> }
  readonly dispatch: number
  readonly limits: LimitOptions
  readonly closeMs: number
}

/** Checks options and fills in defaults. Throws PIT_ERR_OPTIONS naming the option, never its value; unknown names too. */
export function resolveOptions<O extends PitayaOptions<any, any, any, any>> (given: O): ResolvedOptions<O> {
  const merged = {
    ...defaults,
    serverId: randomUUID(),
    acceptors: false,
    ...defined(given),
    handshake: { ...given.handshake },
    session: { ...defaults.session, ...defined(given.session) },
    cluster: { ...defaults.cluster, ...defined(given.cluster) },
    concurrency: { handler: { ...defaults.concurrency.handler, ...defined(given.concurrency?.handler) } },
    limits: { ...defaults.limits, waitingBytes: waitingBytesFor(given.limits?.packetBytes), ...defined(given.limits) }
  }
  checkOptions(merged, given)
  const { compression } = merged
  return {
    given,
    serverType: merged.serverType,
    serverId: merged.serverId,
    frontend: merged.frontend,
    serializers: merged.serializers,
    defaultSerializer: merged.defaultSerializer,
    dictionary: given.dictionary,
    compressFrom: compression === false ? Infinity : compression === true ? COMPRESS_FROM : compression.minBytes,
    heartbeatMs: merged.heartbeatSeconds * 1000,
    handshake: merged.handshake,
    session: merged.session,
    cluster: merged.cluster,
    dispatch: merged.concurrency.handler.dispatch,
    limits: merged.limits,
    closeMs: merged.closeMs
  }
}

/** However large packets may be, what was read when a session's queue is half full still fits into it. */
function waitingBytesFor (packetBytes = defaults.limits.packetBytes): number {
  return Math.max(defaults.limits.waitingBytes, 2 * (packetBytes + 65_536))
}

/** Without keys that are undefined, so that they do not hide a default. */
function defined<T extends object> (value: T | undefined): Partial<T> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).filter(([, value]) => value !== undefined)) as Partial<T>
}

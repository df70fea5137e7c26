import { Type, type TSchema } from '@sinclair/typebox'
import { ValueErrorType, type ValueError } from '@sinclair/typebox/errors'
import { Value } from '@sinclair/typebox/value'
import { createError } from './errors.ts'
import type { PitayaOptions } from './options.ts'

const Positive = Type.Integer({ minimum: 1 })
const Ms = Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 })
const Callback = Type.Function([], Type.Any())
const Anything = Type.Any()
/** `description` ends the message of the error: "must be ...". */
const Name = Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description: '1 to 64 letters, digits, "_" or "-"' })
const Path = Type.String({ pattern: '^/', description: 'a text that begins with "/"' })
const closed = { additionalProperties: false }

const WebSocketAcceptor = Type.Object({
  path: Type.Optional(Path),
  page: Type.Optional(Callback),
  origins: Type.Optional(Type.Union([Type.Array(Type.String()), Type.Literal('*')], { description: "an array of origins, or '*'" }))
}, closed)

const TcpAcceptor = Type.Object({
  port: Type.Integer({ minimum: 0, maximum: 65535 }),
  host: Type.Optional(Type.String()),
  tls: Type.Optional(Anything),
  proxyProtocol: Type.Optional(Anything),
  name: Type.Optional(Type.String())
}, closed)

const Limits = Type.Object({
  packetBytes: Type.Integer({ minimum: 64, maximum: 0xffffff }),
  handshakeBytes: Type.Integer({ minimum: 64, maximum: 0xffffff }),
  handshakeMs: Ms,
  inflateRatio: Positive,
  ratePerSecond: Type.Integer({ minimum: 0 }),
  rateBurst: Positive,
  rateViolationMs: Ms,
  connections: Positive,
  connectionsPerAddress: Positive,
  connectionsPerSecond: Positive,
  waitingPerSession: Positive,
  waitingBytes: Positive,
  concurrentPerSession: Positive,
  maxQueued: Positive,
  pauseMs: Ms,
  handlerMs: Ms,
  outboxBytes: Positive,
  outboxTotalBytes: Positive,
  drainMs: Ms,
  groups: Positive,
  rpcPending: Positive,
  remotes: Positive
}, closed)

const Text = Type.Optional(Type.String({ minLength: 1 }))
const Nats = Type.Object({
  servers: Type.Optional(Type.Union([Type.String({ minLength: 1 }), Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })], {
    description: 'a server or an array of them: host:port or URLs'
  })),
  user: Text,
  pass: Text,
  token: Text,
  credentials: Type.Optional(Type.String({ pattern: '-----BEGIN', description: 'the content of a .creds file, not its path' })),
  nkeySeed: Text,
  tls: Type.Optional(Type.Union([
    Type.Literal(true),
    Type.Object({ ca: Text, cert: Text, key: Text, handshakeFirst: Type.Optional(Type.Boolean()) }, closed)
  ], { description: 'true, or an object: { ca, cert, key, handshakeFirst }' })),
  connection: Type.Optional(Anything),
  name: Text,
  replicas: Type.Optional(Type.Integer({ minimum: 1, maximum: 5 })),
  storage: Type.Optional(Type.Union([Type.Literal('memory'), Type.Literal('file')], { description: "'memory' or 'file'" }))
}, { ...closed, description: 'an object: { servers }' })

const Cluster = Type.Object({
  nats: Type.Optional(Nats),
  memory: Type.Optional(Type.Object({}, { description: 'a MemoryBus' })),
  prefix: Name,
  leaseMs: Type.Integer({ minimum: 300, maximum: 3_600_000 }),
  metadata: Type.Record(Type.String(), Type.String(), { description: 'an object of texts' })
}, closed)

const OwnSerializer = Type.Object({ name: Type.String(), compile: Callback, encodeError: Callback })
const SerializerChoice = Type.Union([Type.Literal('json'), Type.Literal('avro'), OwnSerializer], {
  description: "'json', 'avro' or a Serializer: { name, compile, encodeError }"
})
const Acceptors = Type.Object({ websocket: Type.Optional(Anything), tcp: Type.Optional(Anything) }, closed)
const ProxyProtocol = Type.Object({ trusted: Type.Optional(Type.Array(Type.String())) }, closed)
const Compression = Type.Object({ minBytes: Positive }, closed)
const Ops = Type.Object({ prefix: Type.Optional(Type.String()) }, closed)

/** All options after the defaults. What may be an object or a boolean is checked by a schema of its own, so that errors name its parts. */
const Options = Type.Object({
  serverType: Name,
  serverId: Name,
  frontend: Type.Boolean(),
  acceptors: Anything,
  serializers: Type.Array(SerializerChoice, { minItems: 1, description: 'an array with at least one serializer' }),
  defaultSerializer: Type.String(),
  dictionary: Type.Optional(Type.Union([Type.Literal('auto'), Type.Record(Type.String(), Type.Integer({ minimum: 0, maximum: 65535 }))], {
    description: "'auto', or an object of routes with their codes, 0 to 65535"
  })),
  compression: Anything,
  heartbeatSeconds: Type.Number({ minimum: 0.1, maximum: 86400 }),
  handshake: Type.Object({
    user: Type.Optional(Anything),
    validators: Type.Optional(Type.Record(Type.String(), Callback))
  }, closed),
  session: Type.Object({
    data: Type.Optional(Anything),
    policy: Type.Union([Type.Literal('kick-old'), Type.Literal('refuse-new'), Type.Literal('allow')], {
      description: 'one of kick-old, refuse-new, allow'
    }),
    scope: Type.Union([Type.Literal('type'), Type.Literal('cluster')], { description: 'type or cluster' }),
    dataBytes: Positive,
    onBind: Type.Optional(Callback),
    afterBind: Type.Optional(Callback),
    onClose: Type.Optional(Callback)
  }, closed),
  cluster: Cluster,
  concurrency: Type.Object({ handler: Type.Object({ dispatch: Positive }, closed) }, closed),
  limits: Limits,
  admin: Type.Optional(Type.Object({
    prefix: Type.Optional(Path),
    token: Type.Optional(Type.String({ minLength: 1 })),
    auth: Type.Optional(Callback)
  }, closed)),
  ops: Type.Optional(Anything),
  closeMs: Ms
}, closed)

export interface Merged {
  acceptors: unknown
  compression: unknown
  serializers: ReadonlyArray<string | { name: string }>
  defaultSerializer: string
  frontend: boolean
}

/** Throws PIT_ERR_OPTIONS naming the first option that is unknown or not valid, never its value; PIT_ERR_NO_ACCEPTOR. */
export function checkOptions (merged: Merged, given: PitayaOptions<any, any, any, any>): void {
  const { cluster, concurrency, handshake, limits, session, ops } = given
  for (const [name, value] of Object.entries({ cluster, concurrency, 'concurrency.handler': concurrency?.handler, handshake, limits, session })) {
    if (value !== undefined && !isObject(value)) refuse(name, 'must be an object')
  }
  const unknown = Object.keys(concurrency ?? {}).find((name) => name !== 'handler')
  if (unknown !== undefined) refuse(`concurrency.${unknown}`, 'is unknown')
  // Fastify passes its own registration options along with ours.
  const { prefix, logLevel, logSerializers, ...own } = merged as unknown as Record<string, unknown>
  check('', Options, own)
  checkChoice('compression', Compression, merged.compression)
  checkChoice('ops', Ops, ops ?? false)
  if (cluster?.memory !== undefined && !hasMethods(cluster.memory, ['join', 'publish'])) refuse('cluster.memory', 'must be a MemoryBus')
  if (cluster?.nats?.connection !== undefined && !hasMethods(cluster.nats.connection, ['publish', 'subscribe', 'isClosed', 'jetstream'])) {
    refuse('cluster.nats.connection', 'must be a connection of the package nats 2')
  }
  if (cluster?.nats !== undefined && cluster.memory !== undefined) refuse('cluster', 'takes nats or memory, not both')
  checkAcceptors(merged, given.acceptors)
  const names = merged.serializers.map((serializer) => typeof serializer === 'string' ? serializer : serializer.name)
  if (!names.includes(merged.defaultSerializer)) refuse('defaultSerializer', `must be one of the serializers: ${names.join(', ')}`)
}

function hasMethods (value: unknown, names: readonly string[]): boolean {
  return isObject(value) && names.every((name) => typeof (value as unknown as Record<string, unknown>)[name] === 'function')
}

function checkAcceptors ({ frontend }: Merged, given: unknown): void {
  if (given === false) return
  if (given === undefined) {
    if (frontend) throw createError('PIT_ERR_NO_ACCEPTOR')
    return
  }
  if (!isObject(given)) refuse('acceptors', 'must be an object, or false')
  check('acceptors', Acceptors, given)
  const { websocket, tcp } = given as { websocket?: unknown, tcp?: unknown }
  const all = [...eachOf('websocket', websocket), ...eachOf('tcp', tcp)]
  for (const [path, acceptor] of all) check(path, path.startsWith('acceptors.tcp') ? TcpAcceptor : WebSocketAcceptor, acceptor)
  for (const [path, { proxyProtocol = false }] of eachOf('tcp', tcp)) checkChoice(`${path}.proxyProtocol`, ProxyProtocol, proxyProtocol)
  if (!frontend && all.length > 0) refuse('acceptors', 'must be false where frontend is false')
  if (frontend && all.length === 0) throw createError('PIT_ERR_NO_ACCEPTOR')
}

/** One acceptor or an array of them, with their paths. */
function eachOf (kind: string, value: unknown): Array<[path: string, acceptor: { proxyProtocol?: unknown }]> {
  if (value === undefined) return []
  if (!Array.isArray(value)) return [[`acceptors.${kind}`, value as object]]
  return value.map((acceptor, index) => [`acceptors.${kind}.${index}`, acceptor])
}

/** A boolean, or an object of this schema. */
function checkChoice (path: string, schema: TSchema, value: unknown): void {
  if (typeof value === 'boolean') return
  if (!isObject(value)) refuse(path, 'must be true, false or an object')
  check(path, schema, value)
}

function check (path: string, schema: TSchema, value: unknown): void {
  const error = Value.Errors(schema, value).First()
  if (error === undefined) return
  const name = `${path}${error.path.replaceAll('/', '.')}`.replace(/^\./, '')
  refuse(name, explain(error))
}

function explain ({ type, schema, message }: ValueError): string {
  if (type === ValueErrorType.ObjectAdditionalProperties) return 'is unknown'
  if (type === ValueErrorType.ObjectRequiredProperty) return 'is required'
  return schema.description === undefined ? `is not valid: ${message.replace(/^E/, 'e')}` : `must be ${schema.description}`
}

function isObject (value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse (name: string, why: string): never {
  throw createError('PIT_ERR_OPTIONS', [`${name} ${why}`])
}

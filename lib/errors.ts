import { avroErrors } from './avro/errors.ts'
import { errorOf, type ErrorDetails, type ErrorRow, type PitayaError } from './pitaya-error.ts'
import { protocolErrors } from './protocol/errors.ts'
import { inflateErrors } from './protocol/inflate-errors.ts'

export { isPitayaError, PitayaError } from './pitaya-error.ts'

const {
  PIT_ERR_PACKET_TYPE, PIT_ERR_PACKET_SIZE, PIT_ERR_HANDSHAKE, PIT_ERR_BODY, PIT_ERR_CLIENT_TIMEOUT, PIT_ERR_CLIENT_CLOSED, ...messageErrors
} = protocolErrors

/**
 * The one table of errors. A row: HTTP-like status, text with `%s` places, and for errors that end a connection the close reason.
 * The code that clients see is `PIT-` and the status, unless the row names another (`wire`), as Pitaya's clients match on it.
 * `docs/reference-errors.md` lists every row; a test compares the two. A retired code is never used again.
 */
const table = {
  // start: the app does not come up
  PIT_ERR_OPTIONS: { status: 500, text: 'fastify-pitaya: option %s' },
  PIT_ERR_NO_ACCEPTOR: { status: 500, text: 'fastify-pitaya: a frontend needs an acceptor: give acceptors.websocket or acceptors.tcp, or acceptors: false for a backend or a test' },
  PIT_ERR_ADMIN_OPEN: { status: 500, text: 'fastify-pitaya: the admin routes need admin.token or admin.auth' },
  PIT_ERR_WEBSOCKET_ORDER: { status: 500, text: 'fastify-pitaya: @fastify/websocket was registered after fastify-pitaya: register it before' },
  PIT_ERR_REGISTERED: { status: 500, text: 'fastify-pitaya: this scope has a server: register a second one in a scope beside it, app.register(async (scope) => { await scope.register(pitaya) })' },
  PIT_ERR_STARTED: { status: 500, text: 'fastify-pitaya: %s must be called before the app is ready' },
  PIT_ERR_DUPLICATE_HANDLERS: { status: 500, text: 'fastify-pitaya: handlers "%s" are registered twice' },
  PIT_ERR_HANDLER: { status: 500, text: 'fastify-pitaya: handler %s: %s' },
  PIT_ERR_DUPLICATE_PUSH: { status: 500, text: 'fastify-pitaya: push "%s" is declared with two different schemas' },
  PIT_ERR_DUPLICATE_SERIALIZER: { status: 500, text: 'fastify-pitaya: serializer "%s" is given twice' },
  PIT_ERR_DICTIONARY: { status: 500, text: 'fastify-pitaya: dictionary: %s' },
  PIT_ERR_SCHEMA: { status: 500, text: 'fastify-pitaya: %s: %s' },

  PIT_ERR_CLUSTER_START: { status: 500, text: 'fastify-pitaya: %s' },
  PIT_ERR_SERVER_ID: { status: 500, text: 'fastify-pitaya: server id "%s" is held by another living server: give this one an id of its own (serverId)' },

  // wire: what arrived cannot be read; the connection is closed with 4500
  PIT_ERR_PACKET_TYPE,
  PIT_ERR_PACKET_SIZE,
  PIT_ERR_PACKET_HEADER: { status: 400, text: 'invalid header', close: 'badPacket' },
  PIT_ERR_PACKET_TRUNCATED: { status: 400, text: 'received less data than expected', close: 'badPacket' },
  ...messageErrors,
  ...inflateErrors,
  PIT_ERR_PROXY_HEADER: { status: 400, text: 'invalid PROXY protocol header', close: 'badPacket' },

  // upgrade: answered by HTTP
  PIT_ERR_ORIGIN: { status: 403, text: 'origin not allowed: list it in acceptors.websocket.origins' },
  PIT_ERR_HEADERS: { status: 431, text: 'too many headers' },
  PIT_ERR_CONNECTION_RATE: { status: 503, text: 'too many new connections: try again later' },
  PIT_ERR_DRAINING: { status: 503, text: 'server is shutting down' },

  // handshake
  PIT_ERR_HANDSHAKE,
  PIT_ERR_HANDSHAKE_REFUSED: { status: 401, text: '%s', close: 'handshakeRejected' },
  PIT_ERR_HANDSHAKE_TIMEOUT: { status: 408, text: 'handshake time-out', close: 'handshakeTimeout' },
  PIT_ERR_FULL: { status: 503, text: 'server is full', close: 'overload' },

  // requests: answered under the request's id
  PIT_ERR_ROUTE_EMPTY: { status: 400, text: 'route field can not be empty' },
  PIT_ERR_ROUTE: { status: 400, text: 'invalid route' },
  PIT_ERR_REQUEST_ID: { status: 400, text: 'request id 0 can not be answered' },
  PIT_ERR_NOTIFY_ROUTE: { status: 400, text: 'tried to request a notify route' },
  PIT_ERR_BODY,
  PIT_ERR_NOT_FOUND: { status: 404, text: 'pitaya/handler: %s not found' },
  PIT_ERR_NO_SERVER: { status: 503, text: 'no servers available of this type' },
  PIT_ERR_NULL_REPLY: { status: 500, wire: 'PIT-000', text: 'reply must not be null' },
  PIT_ERR_INTERNAL: { status: 500, text: 'internal error' },
  PIT_ERR_RESPONSE: { status: 500, text: 'the answer could not be encoded' },
  PIT_ERR_HANDLER_TIMEOUT: { status: 504, text: 'handler time-out' },
  PIT_ERR_RATE: { status: 429, text: 'too many messages' },
  PIT_ERR_BUSY: { status: 503, text: 'server is busy' },
  PIT_ERR_EVOLUTION: { status: 422, text: '%s' },
  PIT_ERR_CONTRACT: { status: 409, text: 'contract: %s' },

  // sessions, pushes, groups: thrown to the caller in the server
  PIT_ERR_CLOSED: { status: 499, text: 'broken low-level pipe' },
  PIT_ERR_ABANDONED: { status: 499, text: 'the handler went on after its deadline; its session can no longer be written to' },
  PIT_ERR_UID: { status: 400, text: 'illegal uid' },
  PIT_ERR_BOUND: { status: 409, text: 'session is already bound to an uid' },
  PIT_ERR_UID_TAKEN: { status: 409, text: 'uid is bound to another session' },
  PIT_ERR_BIND_TIMEOUT: { status: 504, text: 'a bind hook did not finish in time' },
  PIT_ERR_DATA_SIZE: { status: 413, text: 'session data is larger than %s bytes' },
  PIT_ERR_DATA: { status: 400, text: 'session data: %s' },
  PIT_ERR_PUSH_UNKNOWN: { status: 500, text: 'push "%s" is not declared: name it in the pushes of defineHandlers' },
  PIT_ERR_PUSH_BODY: { status: 500, text: 'push "%s" could not be encoded: %s' },
  PIT_ERR_GROUP: { status: 400, text: 'illegal group: %s' },
  PIT_ERR_GROUP_EXISTS: { status: 409, text: 'group already exists' },
  PIT_ERR_GROUP_NOT_FOUND: { status: 404, text: 'group not found' },
  PIT_ERR_GROUP_UID: { status: 400, text: 'empty uid' },
  PIT_ERR_GROUP_MEMBER: { status: 409, text: 'member already exists in group' },
  PIT_ERR_GROUP_NO_MEMBER: { status: 404, text: 'member not found in the group' },
  PIT_ERR_GROUP_OFFLINE: { status: 409, text: 'uid is not connected' },
  PIT_ERR_GROUP_TTL: { status: 409, text: 'memory group TTL not found' },
  PIT_ERR_GROUP_LIMIT: { status: 413, text: 'too many groups: the limit is %s' },

  // cluster: answered to clients, or thrown to the caller in the server
  PIT_ERR_CLUSTER_DOWN: { status: 503, text: 'the cluster cannot be reached' },
  PIT_ERR_STORE: { status: 503, text: 'the cluster\'s store cannot be reached' },
  PIT_ERR_SERVER_UNKNOWN: { status: 503, text: 'can\'t find any server with the provided ID' },
  PIT_ERR_SERVER_LOST: { status: 503, text: 'the server was lost before it answered: outcome unknown' },
  PIT_ERR_RPC_TIMEOUT: { status: 504, text: 'rpc client: request timeout' },
  PIT_ERR_RPC_PENDING: { status: 503, text: 'too many calls wait for other servers' },
  PIT_ERR_RPC_SIZE: { status: 413, text: 'message between servers is larger than %s bytes' },
  PIT_ERR_RPC: { status: 400, text: 'message between servers: %s' },
  PIT_ERR_REMOTE_NOT_FOUND: { status: 404, text: 'route not found' },
  PIT_ERR_REMOTE: { status: 500, text: 'fastify-pitaya: remote %s: %s' },
  PIT_ERR_SESSION_COPY: { status: 409, text: '%s' },

  // admin routes
  PIT_ERR_SESSION_NOT_FOUND: { status: 404, text: 'session not found' },
  PIT_ERR_OUTCOME_UNKNOWN: { status: 504, text: 'the server that has this user did not answer: outcome unknown' },
  PIT_ERR_ADMIN_AUTH: { status: 401, text: 'missing or wrong bearer token' },
  PIT_ERR_ADMIN_RATE: { status: 429, text: 'too many failed attempts: wait a minute' },

  // client
  PIT_ERR_CLIENT_TIMEOUT,
  PIT_ERR_CLIENT_CLOSED,
  ...avroErrors
} as const satisfies Record<string, ErrorRow>

/**
 * Close codes: 4000 to 4499 mean "come back, with backoff", 4500 to 4999 "do not come back".
 * The texts are fixed: input is never echoed.
 */
export const closes = {
  normal: { code: 1000, text: 'closed' },
  shutdown: { code: 4001, text: 'server is shutting down' },
  slow: { code: 4002, text: 'client does not read fast enough' },
  heartbeat: { code: 4003, text: 'no heartbeat' },
  internal: { code: 4004, text: 'internal error' },
  unfinished: { code: 4005, text: 'server is shutting down: outcome unknown' },
  overload: { code: 4008, text: 'server is overloaded' },
  rate: { code: 4013, text: 'too many messages' },
  badPacket: { code: 4500, text: 'bad packet' },
  replaced: { code: 4501, text: 'replaced by another session' },
  handshakeTimeout: { code: 4502, text: 'handshake time-out' },
  handshakeRejected: { code: 4503, text: 'handshake rejected' },
  kicked: { code: 4504, text: 'kicked' }
} as const

export type CloseReason = keyof typeof closes
export type ErrorCode = keyof typeof table
/** Makes an error of the table; `values` fill the places of its text, or `details.text` says it more precisely. */
export function createError (code: ErrorCode, values: ReadonlyArray<string | number> = [], details: ErrorDetails = {}): PitayaError {
  const row: ErrorRow = table[code]
  return errorOf(code, row, values, details, row.close !== undefined || fromClients.has(code))
}

/**
 * Errors that a client causes as often as it likes, besides those that close. They get no stack: it costs more than the rest of such a
 * message, and leads nowhere.
 */
const fromClients: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'PIT_ERR_ROUTE_EMPTY', 'PIT_ERR_ROUTE', 'PIT_ERR_REQUEST_ID', 'PIT_ERR_NOTIFY_ROUTE', 'PIT_ERR_BODY', 'PIT_ERR_NOT_FOUND',
  'PIT_ERR_NO_SERVER', 'PIT_ERR_RATE', 'PIT_ERR_BUSY', 'PIT_ERR_HANDLER_TIMEOUT', 'PIT_ERR_CLUSTER_DOWN', 'PIT_ERR_RPC_PENDING',
  'PIT_ERR_SERVER_UNKNOWN', 'PIT_ERR_SERVER_LOST', 'PIT_ERR_RPC_TIMEOUT', 'PIT_ERR_EVOLUTION', 'PIT_ERR_CONTRACT'
])

/** All codes, for the document and its test. */
export const errorCodes = Object.keys(table) as ErrorCode[]

export function isErrorCode (code: string): code is ErrorCode { return Object.hasOwn(table, code) }

/** What travels of an error (protocol.md 1.8). */
export interface WireError { code: string, msg: string, metadata: Record<string, string> | undefined }

export function toWireError (error: PitayaError): WireError {
  return { code: error.wireCode, msg: error.message, metadata: error.metadata }
}

export interface ErrorDescription { code: ErrorCode, status: number, wireCode: string, text: string, close: CloseReason | undefined }

/** A row of the table as readers see it. */
export function describeError (code: ErrorCode): ErrorDescription {
  const row: ErrorRow = table[code]
  return { code, status: row.status, wireCode: row.wire ?? `PIT-${row.status}`, text: row.text, close: row.close }
}

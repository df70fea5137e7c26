import { connect, credsAuthenticator, nkeyAuthenticator, type ConnectionOptions, type NatsConnection } from 'nats'
import { createError, type PitayaError } from '../../errors.ts'
import type { NatsOptions } from '../nats-options.ts'

const DIAL_MS = 5000
const PING_MS = 10_000
const FIRST_DELAY_MS = 250
const MAX_DELAY_MS = 5000
/** The client waits in steps of this, so that it notices a `close`. */
const STEP_MS = 250

/** @throws PIT_ERR_CLUSTER_START at once when no server can be used, in a sentence without credentials */
export async function connectNats (options: NatsOptions, retry: RetryClock): Promise<NatsConnection> {
  const { servers, user, pass, token } = readServers(options)
  try {
    const authenticator = authenticatorOf(options)
    const { tls } = options
    return await connect({
      servers,
      name: options.name ?? 'fastify-pitaya',
      ...user === undefined ? {} : { user, pass: pass ?? '' },
      ...token === undefined ? {} : { token },
      ...authenticator === undefined ? {} : { authenticator },
      ...tls === undefined ? {} : { tls: tls === true ? {} : tls },
      timeout: DIAL_MS,
      pingInterval: PING_MS,
      maxPingOut: 2,
      maxReconnectAttempts: -1,
      reconnectDelayHandler: () => retry.next(),
      ignoreAuthErrorAbort: false,
      noAsyncTraces: true
    })
  } catch (error) {
    throw startError(error, servers.join(', '))
  }
}

/**
 * Answers how long to wait before the next try to connect: at random within a window that grows with the outage, so that all servers do not
 * come at once. A server of the NATS cluster that was not tried since is tried without waiting.
 */
export class RetryClock {
  #downAt = 0
  /** By the clock that the client goes by, which may be set meanwhile. */
  #triedAt = Date.now()
  #dueAt = 0

  onDown (): void {
    this.#downAt = performance.now()
    this.#dueAt = this.#downAt + reconnectDelayMs(0)
  }

  onTry (): void {
    const now = performance.now()
    this.#triedAt = Date.now()
    this.#dueAt = now + reconnectDelayMs(now - this.#downAt)
  }

  /** What the client takes for the least time between two tries at one server. */
  next (): number {
    const left = this.#dueAt - performance.now()
    // Less than none: by a clock that was set back, the last try lies ahead.
    return left <= 0 ? Math.min(0, Date.now() - this.#triedAt) : Date.now() - this.#triedAt + Math.min(left, STEP_MS)
  }
}

export function reconnectDelayMs (downMs: number): number {
  return Math.random() * Math.min(MAX_DELAY_MS, Math.max(FIRST_DELAY_MS, 0.4 * downMs))
}

interface Servers { servers: string[], user: string | undefined, pass: string | undefined, token: string | undefined }

/** The client does not read credentials in URLs, and would show them in its errors. */
function readServers (options: NatsOptions): Servers {
  const found: Servers = { servers: [], user: options.user, pass: options.pass, token: options.token }
  for (const text of [options.servers ?? '127.0.0.1:4222'].flat()) {
    const [, userinfo, server] = /^(?:[a-z]+:\/\/)?(?:(.*)@)?([^@/]+)\/?$/is.exec(text.trim()) ?? []
    if (server === undefined) throw createError('PIT_ERR_CLUSTER_START', ['cluster.nats.servers must be host:port or nats://host:port'])
    found.servers.push(server)
    if (userinfo === undefined || found.user !== undefined || found.token !== undefined) continue
    const colon = userinfo.indexOf(':')
    if (colon === -1) found.token = decode(userinfo)
    else [found.user, found.pass] = [decode(userinfo.slice(0, colon)), decode(userinfo.slice(colon + 1))]
  }
  return found
}

function decode (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch { return text }
}

function authenticatorOf ({ credentials, nkeySeed }: NatsOptions): ConnectionOptions['authenticator'] {
  if (credentials !== undefined) return credsAuthenticator(Buffer.from(credentials))
  return nkeySeed === undefined ? undefined : nkeyAuthenticator(Buffer.from(nkeySeed))
}

const AUTH = new Set(['AUTHORIZATION_VIOLATION', 'BAD_AUTHENTICATION', 'BAD_CREDS', 'AUTHENTICATION_EXPIRED', 'AUTHENTICATION_TIMEOUT', 'ACCOUNT_EXPIRED'])

export function isAuthError (error: unknown): boolean { return AUTH.has(codeOf(error)) }

function startError (error: unknown, servers: string): PitayaError {
  return createError('PIT_ERR_CLUSTER_START', [sentence(error, servers)], { cause: error })
}

function sentence (error: unknown, servers: string): string {
  const code = codeOf(error)
  const { message } = error as Error
  if (isAuthError(error)) return `nats-server at ${servers} refuses the credentials: check cluster.nats (user and pass, token, credentials, nkeySeed)`
  if (code === 'SERVER_OPT_NA' && message === 'tls') return `nats-server at ${servers} speaks no TLS: set it up there, or leave cluster.nats.tls out`
  if (isTls(code, error)) return `TLS with nats-server at ${servers} fails (${code}): check cluster.nats.tls (ca, cert, key, handshakeFirst)`
  if (/^(CONNECTION_|ECONN|EHOST|ENET|ENOTFOUND|EAI_|TIMEOUT|EPIPE)/.test(code)) {
    return `nats-server at ${servers} does not answer: start one with "nats-server -js", or set cluster.nats.servers (NATS_URL)`
  }
  return `cannot connect to nats-server at ${servers} (${code === '' ? message : code}): check cluster.nats`
}

function isTls (code: string, error: unknown): boolean {
  return code === 'TLS' || /^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|EPROTO)/.test(code) || 'library' in (error as object)
}

function codeOf (error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : ''
}

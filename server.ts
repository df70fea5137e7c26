/**
 * The runnable server: Pitaya's public chat demo over WebSocket and TCP, with its page, admin, liveness and readiness routes; with NATS_URL
 * a member of a cluster, where frontends of another type than `chat` leave the room to the servers of that type.
 * `npm start -- --help` lists the environment variables. It listens on 127.0.0.1 unless HOST says otherwise.
 */
import { randomBytes } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import Fastify, { LogController } from 'fastify'
import { room } from './handlers/room.ts'
import { describeEnvironment, readEnvironment } from './lib/environment.ts'
import pitaya, { type NatsOptions, type PitayaOptions } from './plugins/pitaya.ts'
import { createChatPage } from './routes/chat/index.ts'

/** The server type that has the room, in a cluster. */
const ROOM_TYPE = 'chat'
const DRAIN_MS = 25_000
/** After a second signal. */
const HURRIED_DRAIN_MS = 1000
/** After a fault nothing is to be trusted for long. */
const FAULT_DRAIN_MS = 4000
/** For closing, after the drain. */
const CLOSE_MS = 8000
/** The same after a second signal or a fault. */
const SHORT_CLOSE_MS = 3000
/** Admin routes name uids, which may have 128 bytes; Fastify's own limit is 100 characters. */
const MAX_PARAM_LENGTH = 128

if (process.argv.includes('--help')) {
  console.log(`Environment variables, all optional:\n${describeEnvironment()}`)
  process.exit(0)
}

const { settings, problems, warnings } = readEnvironment(process.env)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)

const isTerminal = process.stdout.isTTY === true
const adminToken = settings.ADMIN_TOKEN ?? (isTerminal ? randomBytes(24).toString('base64url') : undefined)
const app = Fastify({
  // Synchronous, unlike the logger's own stream: nothing is left unwritten at an exit.
  logger: { level: settings.LOG_LEVEL, stream: process.stdout },
  logController: new LogController({ disableRequestLogging: true }),
  routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
  requestTimeout: 30_000
})
for (const warning of warnings) app.log.warn(warning)
if (adminToken === undefined) app.log.info('admin routes are off: set ADMIN_TOKEN to have them')

let exitCode: number | undefined
let signals = 0
process.on('uncaughtException', (err) => { app.log.fatal({ err }, 'uncaught exception'); stop(1) })
process.on('unhandledRejection', (err) => { app.log.fatal({ err }, 'unhandled rejection'); stop(1) })

try {
  await start()
} catch (error) {
  console.error(explain(error as NodeJS.ErrnoException))
  await app.close()
  process.exit(1)
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    signals++
    if (signals === 1) app.log.info({ signal }, 'stopping; a second signal hurries')
    else if (signals === 2) app.log.info({ signal }, 'hurrying; a third signal exits at once')
    else process.exit(1)
    stop(0)
  })
}

async function start (): Promise<void> {
  const hasRoom = settings.NATS_URL === undefined || settings.PITAYA_SERVER_TYPE === ROOM_TYPE
  const { page, assets } = createChatPage(hasRoom ? 'room' : `${ROOM_TYPE}.room`)
  const frontend: PitayaOptions['acceptors'] = {
    websocket: { path: '/', page },
    tcp: { port: settings.TCP_PORT, host: settings.HOST }
  }
  await app.register(pitaya, {
    serverType: settings.PITAYA_SERVER_TYPE,
    serverId: settings.PITAYA_SERVER_ID,
    frontend: settings.PITAYA_FRONTEND,
    acceptors: settings.PITAYA_FRONTEND ? frontend : false,
    cluster: { nats: readNats(settings.NATS_URL), leaseMs: Math.round(1000 * settings.PITAYA_LEASE_SECONDS) },
    defaultSerializer: settings.PITAYA_SERIALIZER,
    compression: settings.PITAYA_COMPRESSION,
    heartbeatSeconds: settings.PITAYA_HEARTBEAT_SECONDS,
    concurrency: { handler: { dispatch: settings.PITAYA_CONCURRENCY_HANDLER_DISPATCH } },
    limits: {
      ratePerSecond: settings.PITAYA_RATE_PER_SECOND,
      rateBurst: Math.max(1, 2 * settings.PITAYA_RATE_PER_SECOND),
      connectionsPerSecond: settings.PITAYA_CONNECTIONS_PER_SECOND
    },
    admin: adminToken === undefined ? undefined : { prefix: '/admin', token: adminToken },
    ops: true,
    closeMs: CLOSE_MS
  })
  if (settings.PITAYA_FRONTEND) await app.register(assets)
  if (hasRoom) app.pitaya.register(room)
  app.pitaya.onFatal(() => { stop(1) })
  await app.listen({ host: settings.HOST, port: settings.PORT })
  announce()
}

function readNats (servers: string[] | undefined): NatsOptions | undefined {
  if (servers === undefined) return undefined
  return servers.some((url) => url.startsWith('tls:')) ? { servers, tls: true } : { servers }
}

function announce (): void {
  const { port } = app.server.address() as AddressInfo
  const host = settings.HOST.includes(':') ? `[${settings.HOST}]` : settings.HOST
  const url = `http://${host}:${port}`
  const tcpPort = app.pitaya.acceptors.find(({ transport }) => transport === 'tcp')?.port
  app.log.info({ url, tcpPort }, 'ready')
  if (!isTerminal) return
  const lines = [
    ...tcpPort === undefined ? [] : [`Chat    ${url}/   (open it in two windows)`, `TCP     ${host}:${tcpPort}`],
    `Health  ${url}/healthz`,
    `Admin   curl -H "Authorization: Bearer ${settings.ADMIN_TOKEN === undefined ? adminToken : '$ADMIN_TOKEN'}" ${url}/admin/sessions`
  ]
  console.log(`\n  ${lines.join('\n  ')}\n\n  Ctrl+C stops.\n`)
}

/** Drains, closes and exits. Called again, it hurries, and the exit code may only become worse. */
async function stop (code: 0 | 1): Promise<void> {
  const isFirst = exitCode === undefined
  exitCode = Math.max(exitCode ?? 0, code)
  const drainMs = code === 1 ? FAULT_DRAIN_MS : isFirst ? DRAIN_MS : HURRIED_DRAIN_MS
  // Not unref'ed: it is also what ends a process that has nothing left to do but cannot finish closing.
  if (drainMs !== DRAIN_MS) setTimeout(() => process.exit(1), drainMs + SHORT_CLOSE_MS)
  try {
    await app.pitaya?.drain({ timeoutMs: drainMs })
    if (!isFirst) return
    await app.close()
    app.log.info('stopped')
  } catch (err) {
    app.log.fatal({ err }, 'stopping failed')
    exitCode = 1
  }
  process.exit(exitCode)
}

/** One sentence for what an operator can mend. */
function explain (error: NodeJS.ErrnoException & { port?: number }): string {
  const variable = error.port === settings.TCP_PORT ? 'TCP_PORT' : 'PORT'
  if (error.syscall === 'listen' && error.code === 'EADDRINUSE') return `Port ${error.port} is taken: set ${variable} to another one.`
  if (error.syscall === 'listen' && error.code === 'EACCES') return `Port ${error.port} needs more rights than this process has: set ${variable} to one above 1023.`
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') return 'HOST is not an address of this machine.'
  return `The server cannot start: ${error.message.replace(/^fastify-pitaya: /, '')}`
}

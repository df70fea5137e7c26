/**
 * A member of a cluster on the public API: `node cluster-server.js connector|chat NATS_URL WS_PORT`. Clients connect to `connector`
 * and request routes of `chat`. All limits, schema validation and ordering are on; only the rates are raised.
 */
import Fastify from 'fastify'
import { defineHandlers, request } from '../../out/lib/handler/define.js'
import pitaya from '../../out/plugins/pitaya.js'
import { limits, schemas } from './echo.ts'

const [serverType, servers, wsPort] = process.argv.slice(2) as [string, string, string]
const isFrontend = serverType === 'connector'
const cluster = { nats: { servers } }

const room = defineHandlers('room', {
  echo: request(schemas, (message) => message),
  echoConcurrent: request({ ...schemas, concurrent: true }, (message) => message)
})

const app = Fastify({ logger: { level: 'warn' } })
const common = { serverType, cluster, limits }
const backend = { ...common, frontend: false, acceptors: false } as const
await app.register(pitaya, isFrontend ? { ...common, acceptors: { websocket: { path: '/' } } } : backend)
if (!isFrontend) app.pitaya.register(room)
await app.listen({ host: '127.0.0.1', port: isFrontend ? Number(wsPort) : 0 })
// Must not outlive the benchmark, however that ended.
process.stdin.resume().on('end', () => process.exit())

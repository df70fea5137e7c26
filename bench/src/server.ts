/**
 * A server on the public API, for what the demo has no route for: `node server.js WS_PORT TCP_PORT`.
 * All limits, schema validation and ordering are on; only the rates are raised, beyond what a generator can reach.
 */
import Fastify from 'fastify'
import { defineHandlers, request } from '../../out/lib/handler/define.js'
import pitaya from '../../out/plugins/pitaya.js'
import { limits, schemas } from './echo.ts'
import { Rich } from './messages.ts'

const [wsPort, tcpPort] = process.argv.slice(2).map(Number) as [number, number]

const bench = defineHandlers('bench', {
  echo: request(schemas, (message) => message),
  echoAsync: request(schemas, async (message) => message),
  rich: request({ body: Rich, response: Rich }, (message) => message)
})

const app = Fastify({ logger: { level: 'warn' } })
await app.register(pitaya, {
  serverType: 'bench',
  acceptors: { websocket: { path: '/' }, tcp: { host: '127.0.0.1', port: tcpPort } },
  serializers: ['json', 'avro'],
  limits
})
app.pitaya.register(bench)
await app.listen({ host: '127.0.0.1', port: wsPort })
// Must not outlive the benchmark, however that ended.
process.stdin.resume().on('end', () => process.exit())

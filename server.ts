import Fastify from 'fastify'
import pitaya from './plugins/pitaya.ts'
import { room } from './handlers/room.ts'

const app = Fastify({ logger: { level: process.env.LOG_LEVEL ?? 'info' } })
await app.register(pitaya, {
  serverType: 'chat',
  acceptors: { websocket: { path: '/' }, tcp: { port: Number(process.env.TCP_PORT ?? 3251) } },
  limits: { ratePerSecond: Number(process.env.PITAYA_RATE_PER_SECOND ?? 200), rateBurst: 2 * Number(process.env.PITAYA_RATE_PER_SECOND ?? 200), connectionsPerSecond: Number(process.env.PITAYA_CONNECTIONS_PER_SECOND ?? 2000) }
})
app.pitaya.register(room)
await app.listen({ port: Number(process.env.PORT ?? 3250), host: process.env.HOST ?? '127.0.0.1' })

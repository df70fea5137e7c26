/**
 * One server of a cluster in a process of its own, run by fleet.ts with its options as the first argument. It tells the parent which
 * messages it executes, before it answers them, and does what the parent asks.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { queryObjects } from 'node:v8'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { RemoteSession, type SessionHome } from '../../lib/cluster/remote-session.ts'
import { defineHandlers, notify, request } from '../../lib/handler/define.ts'
import type { HandlerSession } from '../../lib/handler/types.ts'
import pitaya from '../../plugins/pitaya.ts'
import { sessionPool } from '../helpers/app.ts'
import type { Commands, ProgramOptions } from './fleet.ts'
import { Lateness } from '../helpers/lateness.ts'

const options = JSON.parse(process.argv[2]!) as ProgramOptions
const tell = (message: object): void => { process.send!(message) }
const ran = (id: number): void => tell({ ran: id })

const Id = Type.Object({ id: Type.Integer() })
const User = Type.Object({ id: Type.Integer(), uid: Type.String() })
const Who = Type.Object({ uid: Type.String(), mark: Type.Integer(), server: Type.String() })
const kept: HandlerSession[] = []

const fault = defineHandlers('fault', { pushes: { onText: Type.String() } }, {
  echo: request({ body: Id, response: Id }, (body) => { ran(body.id); return body }),
  slow: request({ body: Type.Object({ id: Type.Integer(), ms: Type.Integer() }), response: Id, concurrent: true }, async ({ id, ms }) => {
    ran(id)
    await delay(ms)
    return { id }
  }),
  record: notify({ body: Id }, ({ id }) => ran(id)),
  bind: request({ body: User, response: Id }, async ({ id, uid }, { session }) => {
    ran(id)
    await session.bind(uid)
    return { id }
  }),
  join: request({ body: User, response: Id }, async ({ id, uid }, { session, groups }) => {
    ran(id)
    await session.bind(uid)
    await groups.add('lobby', uid)
    return { id }
  }),
  mark: request({ body: Id, response: Id }, async ({ id }, { session }) => {
    ran(id)
    session.set({ mark: id })
    await session.pushToFront()
    return { id }
  }),
  whoami: request({ body: Id, response: Who }, ({ id }, { session }) => {
    ran(id)
    return { uid: session.uid, mark: Number(session.data.mark ?? 0), server: options.id }
  }),
  keep: request({ body: Id, response: Id }, ({ id }, { session }) => {
    ran(id)
    kept.push(session)
    return { id }
  })
})

/** On frontends. */
const local = defineHandlers('local', { pushes: { onText: Type.String() } }, {
  ping: request({ body: Id, response: Id }, (body) => { ran(body.id); return body })
})

const app = Fastify({ logger: { level: process.env.LOG_LEVEL ?? 'fatal', stream: process.stderr } })
await app.register(pitaya, {
  serverId: options.id,
  serverType: options.type,
  frontend: options.frontend,
  acceptors: options.frontend ? { tcp: { port: 0, host: '127.0.0.1' } } : false,
  cluster: { nats: { servers: options.nats }, leaseMs: options.leaseMs },
  limits: { handlerMs: options.handlerMs }
})
app.pitaya.register(options.frontend ? local : fault)
app.pitaya.onFatal((error) => { throw error })

const codeOf = (act: () => unknown): Promise<string> =>
  Promise.resolve().then(act).then(() => 'ok', (error: { code?: string }) => error.code ?? String(error))

/** Shows that objects are counted, and what the class of agents is, which is not exported. */
const part = { id: 1, uid: '', revision: 0, data: '{}', sys: '{}', user: '', serializer: 'json', remoteAddress: '', contract: '' }
const probe = new RemoteSession({} as SessionHome, sessionPool(app), 'x', part, 0, '')
const RemoteAgent = probe.entity.constructor as new () => object
const late = new Lateness()

const commands: Commands = {
  stats: async () => ({
    ...app.pitaya.stats,
    isReady: app.pitaya.isReady,
    servers: app.pitaya.servers.map(({ id }) => id),
    rss: process.memoryUsage.rss()
  }),
  lateMs: async () => late.takeMs(),
  push: async (uids, text) => await app.pitaya.push(uids, 'onText', text, { confirm: true }),
  members: async (group) => await app.pitaya.groups.members(group),
  useKept: async (text) => await Promise.all(kept.map(async (session) => ({
    push: session.push('onText', text),
    codes: await Promise.all([
      codeOf(() => session.set({ mark: 1 })), codeOf(() => session.pushToFront()), codeOf(() => session.bind('x'))
    ])
  }))),
  forgetKept: async () => { kept.length = 0 },
  copies: async () => ({
    sessions: queryObjects(RemoteSession, { format: 'count' }),
    agents: queryObjects(RemoteAgent, { format: 'count' }),
    own: probe.address
  })
}

process.on('message', ({ call, name, args }: { call: number, name: keyof Commands, args: unknown[] }) => {
  (commands[name] as (...args: unknown[]) => Promise<unknown>)(...args)
    .then((result) => tell({ call, result }), (error: Error) => tell({ call, error: error.stack }))
})
process.once('SIGTERM', async () => {
  await app.pitaya.drain()
  await app.close()
  process.disconnect()
})
// The parent is gone.
process.once('disconnect', () => { setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2000).unref() })

await app.listen({ port: 0, host: '127.0.0.1' })
late.takeMs()
tell({ ready: { tcpPort: app.pitaya.acceptors[0]?.port ?? 0 } })

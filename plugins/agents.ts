import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { Agents } from '../lib/agent/agents.ts'
import { compileUserCheck, Greeter } from '../lib/agent/greeter.ts'
import { OutboxPool } from '../lib/agent/outbox.ts'
import { createDataCheck, findSchema } from '../lib/handler/declared-schemas.ts'
import { HandshakeAnswers } from '../lib/protocol/handshake.ts'
import { createMessageView } from '../lib/protocol/message.ts'
import type { Runtime } from '../lib/runtime.ts'

declare module 'fastify' { interface FastifyInstance { pitayaAgents: Agents } }

/** A closed connection's time to say goodbye. */
const GOODBYE_MS = 2000

/** `pitayaAgents`: takes connections from acceptors. What depends on the registered handlers is made when the app gets ready. */
const agents: FastifyPluginAsync<{ runtime: Runtime }> = async (fastify, { runtime }) => {
  const { options, serializers, wheel, log } = runtime
  const { pitayaSessions: sessions, pitayaHandlers: handlers, pitayaCluster: cluster } = fastify
  const { serverId, limits: given, heartbeatMs, compressFrom, defaultSerializer } = options
  const limits = { ...given, heartbeatMs, closeMs: GOODBYE_MS }
  const pool = new Agents({
    serverId,
    limits,
    wheel,
    outboxes: new OutboxPool(limits, wheel),
    sessions,
    log,
    defaultSerializer,
    view: createMessageView(),
    compressFrom,
    whenIdle: (session, done) => handlers.dispatcher.whenIdle(session, done),
    hasBegun: (session) => handlers.dispatcher.hasBegun(session),
    onMessage: (session, view, bytes, isOverRate) => handlers.onMessage(session, view, bytes, isOverRate)
  }, given)
  fastify.decorate('pitayaAgents', pool)
  fastify.addHook('onReady', async () => {
    const { definitions } = handlers
    sessions.dataCheck = createDataCheck(findSchema('session', options.session.data, definitions))
    const user = findSchema('user', options.handshake.user, definitions)
    sessions.userCheck = user === undefined ? undefined : compileUserCheck(user)
    const answers = new HandshakeAnswers({ dictionary: handlers.dictionary, heartbeatSeconds: heartbeatMs / 1000 })
    const greeter = new Greeter({
      validators: new Map(Object.entries(options.handshake.validators ?? {})),
      checkUser: sessions.userCheck,
      serializers: serializers.map(({ name }) => name),
      defaultSerializer,
      schemas: (has) => cluster.parts.schemas.greeting(has),
      hold: (session) => cluster.parts.held.hold(session),
      pinned: cluster.parts.pinned,
      log
    })
    pool.prepare(answers, greeter)
  })
}

export default fp(agents, { name: 'pitaya-agents', fastify: '5.x', dependencies: ['pitaya-sessions', 'pitaya-handlers', 'pitaya-cluster'] })

/** An app that has its own page, health route, login and WebSocket, and what it takes to give it typed requests and pushes. */
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import pitaya from 'fastify-pitaya'
import { defineHandlers, request } from 'fastify-pitaya/define'
import { Type } from '@sinclair/typebox'

/** The app as it was. */
export async function buildApp (app = Fastify()): Promise<FastifyInstance> {
  const users = new Map([['ana-token', 'ana'], ['bo-token', 'bo']])
  await app.register(websocket)
  app.decorateRequest('user', '')
  app.addHook('onRequest', async (request, reply) => {
    if (request.url === '/healthz') return
    const user = users.get(request.headers.authorization?.replace('Bearer ', '') ?? '')
    if (user === undefined) return await reply.code(401).send({ error: 'log in first' })
    request.setDecorator('user', user)
  })
  app.get('/', async (request) => `hello ${request.getDecorator<string>('user')}`)
  app.get('/healthz', async () => 'fine')
  app.get('/echo', { websocket: true }, (socket) => { socket.on('message', (data) => socket.send(data)) })
  return app
}

const inbox = defineHandlers('inbox', { pushes: { news: Type.Object({ text: Type.String() }) } }, {
  whoami: request({ response: Type.String() }, (_, { session }) => session.uid)
})

/** What is added: clients connect to /pitaya with the same login, and `POST /news/ana` reaches them. */
export async function addPitaya (app: FastifyInstance): Promise<void> {
  await app.register(pitaya, {
    acceptors: { websocket: {} },
    handshake: { validators: { login: ({ request }) => ({ uid: request!.getDecorator<string>('user') }) } }
  })
  app.pitaya.register(inbox)
  app.post('/news/:uid', { schema: { body: Type.Object({ text: Type.String() }) } }, async ({ params, body }) => {
    return await app.pitaya.push((params as { uid: string }).uid, 'news', body)
  })
}

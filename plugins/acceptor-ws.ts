import { EventEmitter } from 'node:events'
import { STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import fp from 'fastify-plugin'
import websocket from '@fastify/websocket'
import type {
  FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest, FastifySchema,
  onResponseHookHandler, preCloseHookHandler, preValidationHookHandler, RouteHandlerMethod
} from 'fastify'
import type { WebSocket } from 'ws'
import { plainAddress, type Acceptance } from '../lib/agent/connection.ts'
import { createWebSocketConnection, isOurs } from '../lib/agent/websocket-connection.ts'
import { isOriginAllowed } from '../lib/agent/origin.ts'
import { createError, type ErrorCode } from '../lib/errors.ts'

const MAX_PACKET_BYTES = 64 * 1024
const PACKET_HEADER_BYTES = 4
/** A browser sends some 20; 2,000 is where node begins to drop them, the upgrade's own included. */
const MAX_HEADERS = 256
const UPGRADE_TIMEOUT_MS = 10_000
const CONSTRAINT = 'pitayaUpgrade'
/** Kept out of the host's API document (@fastify/swagger). */
const HIDDEN: FastifySchema = { hide: true } as object
const kResponse = Symbol('fastify-pitaya.response')
const kOurs = Symbol.for('fastify-pitaya.websocketOptions')

type Upgrade = IncomingMessage & { [kResponse]?: ServerResponse }

export interface WebSocketAcceptorOptions {
  /** Default `/pitaya`, below the prefix of the scope. */
  path?: string
  /** Answers a plain GET on `path`. Without it that GET is left to the host: its own route, or its 404. */
  page?: RouteHandlerMethod
  /** Foreign origins that browsers may come from, such as `https://example.com`, or `*` for any. The own host is always allowed. */
  origins?: readonly string[] | '*'
  /** Largest body of a packet. Default 64 KiB. Sets the limit of @fastify/websocket where we register it; a host's own has its own. */
  maxPacketBytes?: number
}

/** Options of @fastify/websocket, spelled out: applications that do not use it need not have its types. */
export interface WebsocketOptions {
  readonly options: Readonly<{
    maxPayload: number
    maxFragments: number
    maxBufferedChunks: number
    perMessageDeflate: boolean
    skipUTF8Validation: boolean
  }>
  readonly preClose: preCloseHookHandler
}

/**
 * For a host that registers @fastify/websocket itself: `app.register(websocket, websocketOptions)`.
 * Our limits, no compression, and a `preClose` that leaves our sockets to the agents, which have something to say first.
 */
export const websocketOptions: WebsocketOptions = createWebsocketOptions(MAX_PACKET_BYTES)

/** A WebSocket route of the scope it is registered in: that scope's hooks guard the upgrade. */
const acceptorWs: FastifyPluginAsync<WebSocketAcceptorOptions> = async (fastify, options) => {
  const { path = '/pitaya', page, origins = [], maxPacketBytes = MAX_PACKET_BYTES } = options
  const acceptance = fastify.getDecorator<Acceptance>('pitayaAgents')
  await useWebsocket(fastify, maxPacketBytes)
  fastify.addHook('onResponse', endRefused)
  if (page === undefined && !fastify.hasConstraintStrategy(CONSTRAINT)) fastify.addConstraintStrategy(upgradeConstraint)

  const preValidation: preValidationHookHandler = (request, reply, done) => {
    if (!request.ws) return done()
    if (request.raw.rawHeaders?.length > 2 * MAX_HEADERS) return refuse(reply, 'PIT_ERR_HEADERS')
    if (!isOriginAllowed(request.headers.origin, request.host, origins)) return refuse(reply, 'PIT_ERR_ORIGIN')
    const verdict = acceptance.canAccept()
    if (verdict !== 'rate' && verdict !== 'draining') {
      (request.raw as Upgrade)[kResponse] = reply.raw
      return done()
    }
    reply.header('retry-after', Math.ceil(acceptance.retryAfterMs / 1000))
    refuse(reply, verdict === 'rate' ? 'PIT_ERR_CONNECTION_RATE' : 'PIT_ERR_DRAINING')
  }

  fastify.route({
    method: 'GET',
    url: path,
    schema: HIDDEN,
    exposeHeadRoute: false,
    preValidation,
    // With a page, page and upgrade are one route; else only upgrades come here, and the host may have the GET.
    constraints: page === undefined ? { [CONSTRAINT]: 'websocket' } : {},
    handler: page ?? notFound,
    wsHandler: (socket: WebSocket, request: FastifyRequest) => {
      // Without a socket below it is a client of injectWS.
      const raw = request.raw.socket as Socket | undefined
      const address = raw === undefined ? '' : plainAddress(request.ip)
      // Nothing will be answered by HTTP any more, and with its response the socket would hold the whole request: 2.5 KB and more.
      if (raw !== undefined) (request.raw as Upgrade)[kResponse]?.detachSocket(raw)
      acceptance.accept(createWebSocketConnection(socket, raw, address), request)
    }
  })
}

/** Answered here, not thrown: no error handler of the host changes the status, and a flood of upgrades writes no error lines. */
function refuse (reply: FastifyReply, code: ErrorCode): void {
  const { statusCode, message } = createError(code)
  reply.code(statusCode).send({ statusCode, code, error: STATUS_CODES[statusCode], message })
}

const notFound: RouteHandlerMethod = (_, reply) => { reply.callNotFound() }

/** Uses the host's @fastify/websocket, or registers it where the host has none. */
async function useWebsocket (fastify: FastifyInstance, maxPacketBytes: number): Promise<void> {
  const { websocketServer, server } = fastify
  if (websocketServer !== undefined) {
    const limits = websocketServer.options as { [kOurs]?: true }
    if (limits[kOurs]) return
    fastify.log.warn('@fastify/websocket was registered without the options of fastify-pitaya: pass { websocketOptions } of fastify-pitaya ' +
      'to it, for maxPayload, maxFragments, maxBufferedChunks, perMessageDeflate and preClose')
    limits[kOurs] = true
    return
  }
  const own = createWebsocketOptions(maxPacketBytes)
  // Another scope has it: its listener brings every upgrade to the router, a second one would do it twice.
  const isSecond = upgradeListeners(server) > 0
  if (!isSecond) server.on('upgrade', limitIdle)
  await fastify.register(websocket, isSecond ? { ...own, options: { ...own.options, server: new EventEmitter() as Server } } : own)
  fastify.addHook('onReady', async () => {
    if (upgradeListeners(server) > 1) throw createError('PIT_ERR_WEBSOCKET_ORDER')
  })
}

/** How many times @fastify/websocket listens. */
function upgradeListeners (server: FastifyInstance['server']): number {
  return server.listeners('upgrade').filter(({ name }) => name === 'onUpgrade').length
}

/** node's HTTP server has given the socket away with all its time-outs; `ws` takes this one off when the upgrade succeeds. */
function limitIdle (_: unknown, socket: Duplex): void {
  if (socket instanceof Socket) socket.setTimeout(UPGRADE_TIMEOUT_MS).on('timeout', destroy)
}

function destroy (this: Socket): void {
  this.destroy()
}

/**
 * Ends the socket of an upgrade that was answered by HTTP: nobody reads another request from it. @fastify/websocket does so only
 * where its own hook came before the one that refused.
 */
const endRefused: onResponseHookHandler = (request, _, done) => {
  if ((request.raw as { upgrade?: boolean }).upgrade === true) request.raw.socket.destroy()
  done()
}

function createWebsocketOptions (maxPacketBytes: number): WebsocketOptions {
  const options = {
    maxPayload: maxPacketBytes + PACKET_HEADER_BYTES,
    maxFragments: 64,
    maxBufferedChunks: 1024,
    perMessageDeflate: false,
    // Text frames are read as binary, so their bytes need not be UTF-8.
    skipUTF8Validation: true,
    [kOurs]: true
  }
  return { options, preClose: closeOthers }
}

/** Our sockets are closed by their agents; the host's as @fastify/websocket would. Upgrades that still come are answered 503. */
function closeOthers (this: FastifyInstance, done: () => void): void {
  for (const socket of this.websocketServer.clients) if (!isOurs(socket)) socket.close()
  this.websocketServer.close()
  done()
}

type ConstraintStrategy = Parameters<FastifyInstance['addConstraintStrategy']>[0]
type ConstrainedHandler = ReturnType<ReturnType<ConstraintStrategy['storage']>['get']>

const upgradeConstraint: ConstraintStrategy = {
  name: CONSTRAINT,
  storage () {
    const handlers = new Map<unknown, ConstrainedHandler>()
    return {
      get: value => handlers.get(value) ?? null,
      set: (value, handler) => { handlers.set(value, handler) }
    }
  },
  deriveConstraint: request => request.headers.upgrade?.toLowerCase()
}

export default fp(acceptorWs, { name: 'pitaya-acceptor-ws', fastify: '5.x', dependencies: ['pitaya-agents'] })

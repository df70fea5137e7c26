import type { Inflater } from '../agent/compression.ts'
import { channels, type DropReason } from '../channels.ts'
import { contractOf, type Contract } from '../contract/contract.ts'
import { createError, isPitayaError, toWireError, type PitayaError, type WireError } from '../errors.ts'
import { LineLimiter } from '../line-limiter.ts'
import { MessageType, type MessageView } from '../protocol/message.ts'
import { parseRoute, RouteDictionary, RouteIndex } from '../protocol/route.ts'
import type { Codec, Serializer, SerializerVersion } from '../serializers/serializer.ts'
import type { Session } from '../session/session.ts'
import type { SessionPool } from '../session/pool.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import { TokenBucket } from '../token-bucket.ts'
import { Call } from './call.ts'
import { Dispatcher, type DispatcherOptions } from './dispatcher.ts'
import type { ForeignRoute, Forwarding } from './forwarding.ts'
import type { PushRegistry } from './pushes.ts'
import { HandlerRegistry, type CompiledHandler, type CompiledPart } from './registry.ts'
import type { HandlerGroups, HandlersDefinition, Logger, PipelineSteps } from './types.ts'

export interface HandlerServiceOptions {
  readonly serverId: string
  readonly serverType: string
  readonly serializers: readonly Serializer[]
  /** `auto`: a code for every local route and push; a record: exactly these; undefined: none. */
  readonly dictionary: 'auto' | Readonly<Record<string, number>> | undefined
  readonly sessions: SessionPool
  readonly pushes: PushRegistry
  readonly inflater: Inflater
  /** Bytes that compressed data may inflate to. */
  readonly inflatedBytes: number
  readonly wheel: TimerWheel
  readonly log: Logger
  readonly limits: Omit<DispatcherOptions, 'serverId' | 'wheel'>
}

/** Name of the server's own handlers. */
const SYSTEM = 'sys'

/** From a client's message to its handler: looks up the route, answers what has no handler, and hands the rest to the dispatcher. */
export class HandlerService {
  readonly serverId: string
  readonly serverType: string
  readonly dispatcher: Dispatcher
  readonly pushes: PushRegistry
  readonly dictionary = new RouteDictionary()
  readonly log: Logger
  groups!: HandlerGroups
  /** What clients and other servers may know of the handlers, once they are compiled. */
  contract!: Contract
  /** Where other servers can be reached. */
  forwarding: Forwarding | undefined
  /** Handlers past their deadline that still run. */
  abandonedCalls = 0
  /** The handler that ran last: when the event loop was blocked, most likely the one that did it. */
  latestHandler: CompiledHandler | undefined
  #options: HandlerServiceOptions
  /** The serializers, and versions of them that came later. */
  #serializers: Array<Pick<Serializer, 'name' | 'encodeError'>>
  #registry = new HandlerRegistry()
  #system = new HandlerRegistry()
  #handlers: CompiledHandler[] = []
  #byRoute = new RouteIndex<CompiledHandler>()
  /** A dictionary code's handler, or its route where no handler of this server has it. */
  #byCode = new Map<number, CompiledHandler | string>()
  #decoder = new TextDecoder()
  #failureLines: LineLimiter

  constructor (options: HandlerServiceOptions) {
    this.#options = options
    this.#serializers = [...options.serializers]
    this.serverId = options.serverId
    this.serverType = options.serverType
    this.log = options.log
    this.#failureLines = new LineLimiter(options.log)
    this.pushes = options.pushes
    this.dispatcher = new Dispatcher({ ...options.limits, serverId: options.serverId, wheel: options.wheel })
    options.sessions.onClose((session) => this.dispatcher.drop(session as Session))
    options.wheel.onLag = (lagMs) => this.#lagged(lagMs)
    options.sessions.carrier = {
      push: (session, route, value) => this.pushes.send(session, route, value),
      serializerName: (index) => this.#serializers[index]!.name
    }
  }

  get handlers (): readonly CompiledHandler[] { return this.#handlers }
  get definitions (): HandlersDefinition[] { return this.#registry.definitions }

  /** @throws PIT_ERR_HANDLER for the system's name, PIT_ERR_DUPLICATE_HANDLERS, PIT_ERR_DUPLICATE_PUSH */
  register (definition: HandlersDefinition, levels: readonly PipelineSteps[]): void {
    if (definition.name === SYSTEM) throw createError('PIT_ERR_HANDLER', [`"${SYSTEM}"`, 'is the name of the server\'s own handlers: take another'])
    this.#registry.register(definition, levels)
    this.pushes.declare(definition.pushes)
  }

  /** The server's own handlers, `sys`: no pipeline of the application applies to them, and no list shows them. */
  registerSystem (definition: HandlersDefinition): void { this.#system.register(definition, []) }

  /** Called once, when the app gets ready: compiles everything and freezes the dictionary. */
  compile (): void {
    const { serializers, serverType, dictionary } = this.#options
    this.#handlers = this.#registry.compile(serverType, serializers)
    if (dictionary === 'auto') this.#numberRoutes()
    else if (dictionary !== undefined) this.dictionary.add(dictionary)
    for (const handler of [...this.#system.compile(serverType, serializers), ...this.#handlers]) {
      this.#byRoute.set(handler.route, handler)
      this.#byRoute.set(handler.shortRoute, handler)
    }
    for (const [route, code] of Object.entries(this.dictionary.toJSON())) this.#byCode.set(code, this.#byRoute.getByText(route) ?? route)
    this.pushes.compile(serializers, this.dictionary)
    // What Avro cannot carry was refused by its serializer, where that is offered.
    this.contract = contractOf(this.definitions, { leavesOut: true })
  }

  /** One well-formed message of a working session. Throws what ends the connection. */
  onMessage (session: Session, view: MessageView, bytes: Uint8Array, isOverRate: boolean): void {
    const isRequest = view.type === MessageType.request
    const id = isRequest ? view.id : -1
    if (view.type === MessageType.response) { this.#reject(session, view.id, createError('PIT_ERR_ROUTE_EMPTY'), 'unknown'); return }
    const found = view.routeCode === -1 ? this.#byRoute.get(bytes, view.routeStart, view.routeEnd) : this.#byCode.get(view.routeCode)
    if (found === undefined && view.routeCode !== -1) throw createError('PIT_ERR_ROUTE_CODE')
    if (typeof found !== 'object') { this.#onForeign(session, id, found, view, bytes, isOverRate); return }
    const error = this.#refusal(session, found, id, isOverRate)
    if (error !== undefined) { this.#reject(session, id, error, found.route); return }
    this.dispatcher.submit(new Call(this, found, session, id, bytes, view.dataStart, view.dataEnd, view.isCompressed))
  }

  /** The handler of a route, with or without this server's type. */
  find (route: string): CompiledHandler | undefined { return this.#byRoute.getByText(route) }

  /** @returns place of the serializer in this server's list; -1: it does not offer it */
  serializerIndex (name: string): number { return this.#serializers.findIndex((serializer) => serializer.name === name) }

  /**
   * Compiles a version of a serializer for all handlers and pushes, while the server runs. What throws leaves everything as it was.
   * @param index place of an earlier version that nobody uses any more; default: a new place
   * @returns its place
   */
  addVersion (version: SerializerVersion, index = this.#serializers.length): number {
    const base = this.serializerIndex(version.of)
    const compile = (part: CompiledPart, make: (codec: Codec) => Codec): Codec | undefined => {
      return Array.isArray(part) ? make(part[base]!) : undefined
    }
    const compiled = this.#handlers.map(({ shortRoute, body, response }) => ({
      body: compile(body, (codec) => version.body(codec, shortRoute)),
      response: compile(response, (codec) => version.response(codec, shortRoute))
    }))
    this.pushes.addVersion(version, index)
    compiled.forEach(({ body, response }, i) => {
      const handler = this.#handlers[i]!
      if (Array.isArray(handler.body)) handler.body[index] = body!
      if (Array.isArray(handler.response)) handler.response[index] = response!
    })
    const { name } = version
    this.#serializers[index] = { name, encodeError: (error) => this.#options.serializers[base]!.encodeError(error) }
    return index
  }

  encodeError (session: Session, error: WireError): Uint8Array {
    return this.#serializers[session.serializerIndex]!.encodeError(error)
  }

  inflate (bytes: Uint8Array, start: number, end: number): Uint8Array | Promise<Uint8Array> {
    return this.#options.inflater.inflate(bytes, start, end, this.#options.inflatedBytes)
  }

  /** False: this route's failures fill the log already. */
  mayLog (route: string): boolean { return this.#failureLines.admits(route, this.#options.wheel.now) }

  dropped (what: 'request' | 'notify' | 'push' | 'result', why: DropReason, route: string): void {
    if (channels.drop.hasSubscribers) channels.drop.publish({ serverId: this.serverId, what, why, route })
  }

  abandoned (call: Call): void {
    this.abandonedCalls++
    if (this.mayLog(call.route)) this.log.warn({ route: call.route, sessionId: call.of.id }, 'handler passed its deadline')
    const { serverId, abandonedCalls: abandoned } = this
    if (channels.abandoned.hasSubscribers) channels.abandoned.publish({ serverId, route: call.route, abandoned })
  }

  /** An abandoned handler ended after all. */
  lateEnded (): void { this.abandonedCalls-- }

  /** A route without a handler here. `named`: its text, where the message has its code. */
  #onForeign (session: Session, id: number, named: string | undefined, view: MessageView, bytes: Uint8Array, isOverRate: boolean): void {
    if (isOverRate) { this.#reject(session, id, createError('PIT_ERR_RATE'), 'unknown'); return }
    const known = named === undefined ? this.forwarding?.find(bytes, view.routeStart, view.routeEnd) : undefined
    const route = known ?? this.#resolve(named ?? this.#decoder.decode(bytes.subarray(view.routeStart, view.routeEnd)))
    if (isPitayaError(route)) { this.#reject(session, id, route, 'unknown'); return }
    const error = this.#refusal(session, route, id, false)
    if (error !== undefined) { this.#reject(session, id, error, known === undefined ? 'unknown' : route.route); return }
    this.dispatcher.submit(this.forwarding!.forward(route, session, id, bytes, view.dataStart, view.dataEnd, view.isCompressed))
  }

  #refusal (session: Session, handler: CompiledHandler | ForeignRoute, id: number, isOverRate: boolean): PitayaError | undefined {
    if (isOverRate) return createError('PIT_ERR_RATE')
    if (id === 0) return createError('PIT_ERR_REQUEST_ID')
    if (id > 0 && handler.kind === 'notify') return createError('PIT_ERR_NOTIFY_ROUTE')
    if (handler.ratePerSecond !== undefined && !this.#routeBucket(session, handler).take(this.#options.wheel.now)) return createError('PIT_ERR_RATE')
    return undefined
  }

  #routeBucket (session: Session, handler: CompiledHandler | ForeignRoute): TokenBucket {
    session.routeRates ??= new Map<string, TokenBucket>()
    let bucket = session.routeRates.get(handler.route)
    if (bucket === undefined) {
      const perSecond = handler.ratePerSecond!
      bucket = new TokenBucket(perSecond, Math.max(1, 2 * perSecond), this.#options.wheel.now)
      session.routeRates.set(handler.route, bucket)
    }
    return bucket
  }

  #reject (session: Session, id: number, error: PitayaError, route: string): void {
    if (id >= 0) session.entity.respond(id, this.encodeError(session, toWireError(error)), true)
    const why = refusals[error.code] ?? 'unknown-route'
    this.dropped(id >= 0 ? 'request' : 'notify', why, route)
    if (why !== 'rate') this.log.debug({ sessionId: session.id, code: error.code }, error.message)
  }

  #lagged (lagMs: number): void {
    const route = this.latestHandler?.route ?? ''
    this.log.warn({ lagMs: Math.round(lagMs), route }, 'the event loop was blocked; this handler ran last')
    if (channels.lag.hasSubscribers) channels.lag.publish({ serverId: this.serverId, lagMs, route })
  }

  /** The route on another server, or why there is no handler for it (protocol.md 1.8). */
  #resolve (text: string): ForeignRoute | PitayaError {
    try {
      const { serverType, service, method } = parseRoute(text)
      if (serverType === '' || serverType === this.serverType) return this.notFound(`${service}.${method}`)
      return this.forwarding?.lookUp(text, serverType) ?? createError('PIT_ERR_NO_SERVER')
    } catch (error) {
      return error as PitayaError
    }
  }

  notFound (shortRoute: string): PitayaError { return createError('PIT_ERR_NOT_FOUND', [`${this.serverType}.${shortRoute}`]) }

  #numberRoutes (): void {
    const names = [...this.#handlers.flatMap(({ route, shortRoute }) => [route, shortRoute]), ...this.pushes.schemas.keys()]
    const sorted = [...new Set(names)].sort()
    this.dictionary.add(Object.fromEntries(sorted.map((name, index) => [name, index + 1])))
  }
}

/** What is told of a message refused without a look at its handler; else no handler has its route. */
const refusals: Readonly<Record<string, DropReason>> = { PIT_ERR_RATE: 'rate', PIT_ERR_REQUEST_ID: 'refused', PIT_ERR_NOTIFY_ROUTE: 'refused' }

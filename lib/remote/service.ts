import { channels, type DropReason } from '../channels.ts'
import { createError, toWireError, type PitayaError, type WireError } from '../errors.ts'
import { encodesNull } from '../handler/encode-result.ts'
import { composeSteps, type Step } from '../handler/step.ts'
import type { Logger } from '../handler/types.ts'
import type { Serializer } from '../serializers/serializer.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import { RemoteCall } from './call.ts'
import { checkContract, checkImplementation } from './check.ts'
import { compileRemote, type RemoteCodec } from './codecs.ts'
import type { RemoteImplementation, RemoteMethods, Remotes, RemoteSteps } from './types.ts'

/** What remotes share with the handlers of their server: a HandlerService is one. */
export interface RemoteHost {
  readonly serverId: string
  readonly log: Logger
  /** Blamed when the event loop was blocked. */
  latestHandler: { readonly route: string } | undefined
  /** Handlers and remotes past their deadlines that still run. */
  abandonedCalls: number
  lateEnded (): void
  /** False: this route's failures fill the log already. */
  mayLog (route: string): boolean
  dropped (what: 'request' | 'result', why: DropReason, route: string): void
}

export interface RemoteServiceOptions {
  readonly serverType: string
  /** Of bodies and responses. Its output is used up within `reply`, so it may serve others too. */
  readonly serializer: Serializer
  readonly wheel: TimerWheel
  readonly host: RemoteHost
  /** Milliseconds that a call may take, unless its method says otherwise. */
  readonly handlerMs: number
  /** Remotes at once, default 1,024. */
  readonly maxRunning?: number
}

/** What came with a call, besides its body. */
export interface RemoteCallInfo {
  readonly callerId: string
  /** Until the caller's deadline, from 1. */
  readonly remainingMs: number
  /** Propagated context. */
  readonly context: Readonly<Record<string, string>> | undefined
}

/** Answers a call, once. The data are valid during the call only, except raw ones. Without `error` it went well. */
export type RemoteReply = (data: Uint8Array, error?: WireError) => void

/** A method with everything decided that its schemas and its pipeline decide. */
export interface CompiledRemote {
  /** `serverType.contract.method`. */
  readonly route: string
  readonly body: RemoteCodec
  readonly response: RemoteCodec
  readonly acceptsNull: boolean
  readonly deadlineMs: number
  readonly steps: readonly Step[]
  readonly handle: (body: any, context: any) => unknown
}

interface Registered {
  readonly contract: Remotes
  readonly implementation: RemoteImplementation<RemoteMethods>
  /** From the outermost scope to the one it was registered in; still filling until `compile`. */
  readonly levels: readonly RemoteSteps[]
}

/** Remotes that every server of a cluster has. */
const SYSTEM = 'sys'
const DEFAULT_MAX_RUNNING = 1024
const EMPTY = new Uint8Array(0)

/** Serves calls of other servers: looks up the route and runs the implementation, many at once, each within its deadline. */
export class RemoteService {
  readonly host: RemoteHost
  readonly wheel: TimerWheel
  /** Remotes that run now. */
  running = 0
  readonly #options: RemoteServiceOptions
  readonly #maxRunning: number
  readonly #registered = new Map<string, Registered>()
  /** By route, with and without this server's type. */
  readonly #byRoute = new Map<string, CompiledRemote>()
  readonly #onIdle: Array<() => void> = []

  constructor (options: RemoteServiceOptions) {
    this.#options = options
    this.#maxRunning = options.maxRunning ?? DEFAULT_MAX_RUNNING
    this.host = options.host
    this.wheel = options.wheel
  }

  /** Full routes, once compiled. */
  get routes (): string[] { return [...new Set([...this.#byRoute.values()].map(({ route }) => route))] }

  /** What is served. */
  get contracts (): Remotes[] { return [...this.#registered.values()].map(({ contract }) => contract) }

  /** @throws PIT_ERR_REMOTE for what is no contract, one that is served already, and an implementation with other methods */
  register<M extends RemoteMethods> (
    contract: Remotes<string, M>, implementation: NoInfer<RemoteImplementation<M>>, levels: readonly RemoteSteps[] = []
  ): void {
    checkContract(contract, 'app.pitaya.remotes()')
    if (this.#registered.has(contract.name)) {
      const why = contract.name === SYSTEM ? 'this name is reserved for what servers ask of each other' : 'these remotes are registered twice'
      throw createError('PIT_ERR_REMOTE', [contract.name, why])
    }
    checkImplementation(contract, implementation)
    this.#registered.set(contract.name, { contract, implementation, levels })
  }

  /** Called once, when the app gets ready. @throws PIT_ERR_SCHEMA */
  compile (): void {
    const { serverType, serializer, handlerMs } = this.#options
    for (const { contract, implementation, levels } of this.#registered.values()) {
      for (const [method, { deadlineMs = handlerMs }] of Object.entries(contract.methods)) {
        const { body, response } = compileRemote(contract, method, serializer)
        const shortRoute = `${contract.name}.${method}`
        const remote: CompiledRemote = {
          route: `${serverType}.${shortRoute}`,
          body,
          response,
          acceptsNull: typeof response === 'object' && encodesNull(response),
          deadlineMs,
          steps: composeSteps(levels),
          handle: implementation[method]!.bind(implementation)
        }
        this.#byRoute.set(remote.route, remote)
        this.#byRoute.set(shortRoute, remote)
      }
    }
  }

  /**
   * Every call gets exactly one `reply`: the result, or an error. One that cannot be sent (`reply` throws) is answered by an error instead.
   * @param route with or without this server's type
   * @param data valid as long as they are kept
   */
  call (route: string, data: Uint8Array, info: RemoteCallInfo, reply: RemoteReply): void {
    const remote = this.#byRoute.get(route)
    if (remote === undefined) {
      this.host.dropped('request', 'unknown-route', 'unknown')
      this.#refuse(createError('PIT_ERR_REMOTE_NOT_FOUND', [], { metadata: { route } }), reply)
    } else if (this.running >= this.#maxRunning) {
      this.host.dropped('request', 'busy', remote.route)
      this.#refuse(createError('PIT_ERR_BUSY'), reply)
    } else {
      this.running++
      new RemoteCall(this, remote, data, info, reply).run()
    }
  }

  /** Resolves when no remote runs; those past their deadline are not waited for. */
  async idle (): Promise<void> {
    if (this.running > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  /** A call is answered. */
  ended (): void {
    this.running--
    if (this.running === 0 && this.#onIdle.length > 0) for (const done of this.#onIdle.splice(0)) done()
  }

  /** A call passed its deadline. */
  abandoned ({ route, caller }: RemoteCall): void {
    const { host } = this
    host.abandonedCalls++
    if (host.mayLog(route)) host.log.warn({ route, caller }, 'remote passed its deadline')
    if (channels.abandoned.hasSubscribers) channels.abandoned.publish({ serverId: host.serverId, route, abandoned: host.abandonedCalls })
  }

  #refuse (error: PitayaError, reply: RemoteReply): void {
    try {
      reply(EMPTY, toWireError(error))
    } catch (cause) {
      this.host.log.debug({ code: error.code, err: cause }, 'a refusal could not be sent')
    }
  }
}

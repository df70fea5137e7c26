import { channels } from '../channels.ts'
import { createError, PitayaError, type WireError } from '../errors.ts'
import type { RemoteCallOptions } from '../remote/client-types.ts'
import type { TimerEntry, TimerWheel } from '../timer-wheel.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import { RpcType, type ResponseEnvelope } from './envelopes/envelope.ts'
import type { Router } from './router.ts'
import type { RoutingCall } from './routing.ts'
import type { PendingCall, RpcClient } from './rpc-client.ts'

export interface UserCallsOptions {
  readonly rpc: RpcClient
  readonly router: Router
  readonly discovery: Discovery
  readonly wheel: TimerWheel
  readonly serverId: string
  /** Takes a call to this very server. */
  readonly local: (
    route: string, data: Uint8Array, remainingMs: number, context: Readonly<Record<string, string>> | undefined,
    reply: (data: Uint8Array, error?: WireError) => void
  ) => void
}

const MAX_TRIES = 3

/** Calls from server to server (User RPC): by server id, or by type and routing function. */
export class UserCalls {
  #options: UserCallsOptions
  #inFlight = new Map<string, number>()

  constructor (options: UserCallsOptions) {
    this.#options = options
  }

  inFlight (serverId: string): number { return this.#inFlight.get(serverId) ?? 0 }

  /**
   * @param serverType undefined where `serverId` says which server
   * @param route as it is sent: `serverType.contract.method`, or short for one server
   * Rejects with what the remote answered, or PIT_ERR_NO_SERVER, PIT_ERR_SERVER_UNKNOWN, PIT_ERR_SERVER_LOST, PIT_ERR_RPC_TIMEOUT,
   * PIT_ERR_CLUSTER_DOWN, PIT_ERR_RPC_PENDING, PIT_ERR_RPC_SIZE.
   */
  async send (
    serverType: string | undefined, route: string, data: Uint8Array, options: RemoteCallOptions, timeoutMs: number
  ): Promise<Uint8Array> {
    for (let tries = 1; ; tries++) {
      const target = this.#target(serverType, route, options)
      try {
        return await this.#callOne(target.id, serverType ?? target.type, route, data, options, timeoutMs)
      } catch (error) {
        // Nobody listens there, so it was not executed: another may be asked.
        if ((error as PitayaError).code !== 'PIT_ERR_SERVER_UNKNOWN') throw error
        this.#options.router.suspect(target.id)
        if (options.serverId !== undefined || tries === MAX_TRIES) throw error
      }
    }
  }

  #target (serverType: string | undefined, route: string, { serverId, key }: RemoteCallOptions): ServerInfo {
    const { router, discovery } = this.#options
    if (serverId !== undefined) {
      const server = serverId === this.#options.serverId ? discovery.self : discovery.get(serverId)
      if (server === undefined || (serverType !== undefined && server.type !== serverType)) throw createError('PIT_ERR_SERVER_UNKNOWN')
      return server
    }
    const call: RoutingCall = {
      route, serverType: serverType!, uid: '', session: undefined, key, inFlight: ({ id }) => this.inFlight(id)
    }
    return router.pick(serverType!, call)
  }

  async #callOne (
    target: string, serverType: string, route: string, data: Uint8Array, { propagated }: RemoteCallOptions, timeoutMs: number
  ): Promise<Uint8Array> {
    const { serverId, local } = this.#options
    const startedAt = channels.remote.hasSubscribers ? performance.now() : 0
    this.#inFlight.set(target, this.inFlight(target) + 1)
    let code = ''
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        if (target === serverId) {
          // Copied, as on every way: what a remote keeps of it is its own.
          local(route, new Uint8Array(data), timeoutMs, propagated, (data, error) => {
            if (error === undefined) resolve(new Uint8Array(data))
            else reject(fromWire(error))
          })
          return
        }
        new UserCall(this.#options, target, resolve, reject).send(route, data, propagated, timeoutMs)
      })
    } catch (error) {
      code = (error as PitayaError).wireCode
      throw error
    } finally {
      const left = this.inFlight(target) - 1
      if (left === 0) this.#inFlight.delete(target)
      else this.#inFlight.set(target, left)
      if (channels.remote.hasSubscribers) channels.remote.publish({ serverId, serverType, code, durationMs: performance.now() - startedAt })
    }
  }
}

class UserCall implements PendingCall, TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  #options: UserCallsOptions
  #target: string
  #resolve: (data: Uint8Array) => void
  #reject: (error: PitayaError) => void
  #number = -1

  constructor (options: UserCallsOptions, target: string, resolve: (data: Uint8Array) => void, reject: (error: PitayaError) => void) {
    this.#options = options
    this.#target = target
    this.#resolve = resolve
    this.#reject = reject
  }

  send (route: string, data: Uint8Array, context: Readonly<Record<string, string>> | undefined, timeoutMs: number): void {
    const { rpc, wheel } = this.#options
    const request = { type: RpcType.user, route, isNotify: false, remainingMs: timeoutMs, frontend: '', session: undefined, context }
    const number = rpc.call(this.#target, request, data, 0, data.length, this)
    if (number === -1) return
    this.#number = number
    wheel.schedule(this, timeoutMs)
  }

  onReply ({ data, error, isError }: ResponseEnvelope): void {
    const { router, wheel } = this.#options
    wheel.cancel(this)
    router.answered(this.#target)
    if (error !== undefined) this.#reject(fromWire(error))
    else if (isError) this.#reject(createError('PIT_ERR_RPC', ['an error without its description']))
    else this.#resolve(data)
  }

  onFail (error: PitayaError): void {
    this.#options.wheel.cancel(this)
    this.#reject(error)
  }

  onTimer (): void {
    this.#options.rpc.cancel(this.#number)
    this.#options.router.timedOut(this.#target)
    this.#reject(createError('PIT_ERR_RPC_TIMEOUT'))
  }
}

/** What another server answered, as it was thrown there. */
function fromWire ({ code, msg, metadata }: WireError): PitayaError {
  const [, status] = /^PIT-([45]\d\d)$/.exec(code) ?? []
  return new PitayaError(code, msg, metadata, status === undefined ? {} : { statusCode: Number(status) })
}

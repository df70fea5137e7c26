import { createError } from '../lib/protocol/errors.ts'
import type { PitayaError } from '../lib/pitaya-error.ts'
import { backoff, comesBack } from './backoff.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { Listeners } from './listeners.ts'
import type { ClientState, CloseInfo, ReconnectOptions } from './options.ts'
import type { TransportOpener } from './transport.ts'

/** A connection that held so long was a good one: the backoff begins anew. */
const STABLE_MS = 10_000
/** What a server that drains has begun it answers; what it closes with then was not begun. */
const SHUTDOWN = 4001
const CLOSED: CloseInfo = { code: 1000, reason: 'closed by the client' }

export interface LinkOptions {
  readonly open: TransportOpener
  readonly connection: ConnectionOptions
  readonly reconnect: ReconnectOptions | undefined
  readonly signal: AbortSignal | undefined
}

export interface LinkOwner {
  onResponse (id: number, data: Uint8Array, isError: boolean): void
  onPush (route: string, data: Uint8Array): void
  /** The answers to what was sent will not come. */
  onLost (error: PitayaError): void
}

/** The way to a server: one connection after the other, and the state it is in. */
export class Link {
  state: ClientState = { name: 'connecting' }
  readonly states = new Listeners<ClientState>()
  readonly closes = new Listeners<CloseInfo>()
  #options: LinkOptions
  #owner: LinkOwner
  #connection: Connection | undefined
  #settled = new Listeners<void>()
  /** Why it ended for good. */
  #error: unknown
  #wasOpen = false
  #openedAt = 0
  #failures = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #onAbort = (): void => { this.#finish(CLOSED, this.#options.signal!.reason) }

  constructor (options: LinkOptions, owner: LinkOwner) {
    this.#options = options
    this.#owner = owner
    if (options.signal?.aborted === true) { this.#onAbort(); return }
    options.signal?.addEventListener('abort', this.#onAbort)
    this.#connect()
  }

  /** The latest one, which may have ended. */
  get connection (): Connection | undefined { return this.#connection }

  /** Resolves when there is a connection, rejects when there will be none. */
  ready (): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): boolean => {
        if (this.state.name === 'open') resolve()
        else if (this.state.name === 'closed') reject(this.#error)
        else return false
        return true
      }
      if (settle()) return
      const remove = this.#settled.add(() => { remove(); settle() })
    })
  }

  close (): void { this.#finish(CLOSED) }

  #connect (): void {
    const { open, connection: options } = this.#options
    const connection = this.#connection = new Connection(options, {
      onOpen: () => this.#onOpen(),
      onResponse: (id, data, isError) => this.#owner.onResponse(id, data, isError),
      onPush: (route, data) => this.#owner.onPush(route, data),
      onEnd: (info, error, retryAfterMs) => this.#onEnd(info, error, retryAfterMs)
    })
    connection.start(open)
  }

  #onOpen (): void {
    this.#wasOpen = true
    this.#openedAt = Date.now()
    this.#become({ name: 'open' })
    this.#settled.call()
  }

  #onEnd (info: CloseInfo, error: unknown, retryAfterMs: number): void {
    const { reconnect } = this.#options
    if (this.state.name === 'open' && Date.now() - this.#openedAt >= STABLE_MS) this.#failures = 0
    const isFinal = reconnect === undefined || !this.#wasOpen || !comesBack(info.code) || this.#failures >= (reconnect.attempts ?? Infinity)
    if (this.state.name === 'closed') return
    if (isFinal) { this.#finish(info, error); return }
    const retryMs = Math.round(backoff(this.#failures++, retryAfterMs, reconnect))
    this.#timer = setTimeout(() => {
      this.#become({ name: 'connecting' })
      if (this.state.name === 'connecting') this.#connect()
    }, retryMs)
    this.#become({ name: 'waiting', retryMs, ...info })
    this.#owner.onLost(lossOf(info))
  }

  #finish (info: CloseInfo, error: unknown = lossOf(info)): void {
    if (this.state.name === 'closed') return
    clearTimeout(this.#timer)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#error = error
    this.#become({ name: 'closed', ...info })
    this.#connection?.end(info)
    this.#owner.onLost(lossOf(info))
    this.#settled.call()
    this.closes.call(info)
  }

  #become (state: ClientState): void {
    this.state = state
    this.states.call(state)
  }
}

function lossOf ({ code, reason }: CloseInfo): PitayaError {
  const metadata = { code: String(code), reason }
  return code === SHUTDOWN
    ? createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'the server shut down before it began', metadata: { ...metadata, executed: 'no' } })
    : createError('PIT_ERR_CLIENT_CLOSED', [], { metadata })
}

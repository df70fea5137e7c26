import { createError } from '../lib/protocol/errors.ts'
import type { PitayaError } from '../lib/pitaya-error.ts'
import { backoff, comesBack } from './backoff.ts'
import type { ClientSerializer } from './codec.ts'
import { Connection } from './connection.ts'
import type { MessageSink } from './inbox.ts'
import { Listeners } from './listeners.ts'
import { MAX_TIMER_MS } from './pending.ts'
import type { ClientState, CloseInfo, ConnectOptions, ReconnectOptions } from './options.ts'
import type { TransportOpener } from './transport.ts'

/** A connection that held so long was a good one: the backoff begins anew. */
const STABLE_MS = 10_000
/** Told to a client whose requests without an answer were not begun; else a server that shuts down says 4005. */
const SHUTDOWN = 4001
const CLOSED: CloseInfo = { code: 1000, reason: 'closed by the client' }

export interface LinkOwner extends MessageSink {
  /** The answers to what was sent will not come. */
  onLost (error: PitayaError): void
}

/** The way to a server: one connection after the other, and the state it is in. */
export class Link {
  state: ClientState = { name: 'connecting' }
  /** Set once it ended for good. */
  closed: CloseInfo | undefined
  readonly states = new Listeners<ClientState>()
  readonly closes = new Listeners<CloseInfo>()
  #open: TransportOpener
  #options: ConnectOptions
  #serializers: readonly ClientSerializer[]
  #owner: LinkOwner
  #connection: Connection | undefined
  /** Why it ended for good. */
  #error: unknown
  #wasOpen = false
  #openedAt = 0
  #failures = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #onAbort = (): void => { this.#finish(CLOSED, this.#options.signal!.reason) }

  /** @param serializers the first one is asked for */
  constructor (open: TransportOpener, options: ConnectOptions, serializers: readonly ClientSerializer[], owner: LinkOwner) {
    this.#open = open
    this.#options = options
    this.#serializers = serializers
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
      const look = ({ name }: ClientState): void => {
        if (name === 'open') resolve()
        else if (name === 'closed') reject(this.#error)
        else return
        remove()
      }
      const remove = this.states.add(look)
      look(this.state)
    })
  }

  close (): void { this.#finish(CLOSED) }

  #connect (): void {
    const connection = this.#connection = new Connection(this.#options, this.#serializers, {
      onOpen: () => this.#onOpen(),
      onEnd: (info, error, retryAfterMs) => this.#onEnd(info, error, retryAfterMs)
    }, this.#owner)
    connection.start(this.#open)
  }

  #onOpen (): void {
    this.#wasOpen = true
    this.#openedAt = Date.now()
    this.#become({ name: 'open' })
  }

  #onEnd (info: CloseInfo, error: unknown, retryAfterMs: number): void {
    const { reconnect = true } = this.#options
    const { attempts = Infinity, ...times }: ReconnectOptions = typeof reconnect === 'object' ? reconnect : {}
    if (this.state.name === 'open' && Date.now() - this.#openedAt >= STABLE_MS) this.#failures = 0
    const isFinal = reconnect === false || !this.#wasOpen || !comesBack(info.code) || this.#failures >= attempts
    if (this.state.name === 'closed') return
    if (isFinal) { this.#finish(info, error); return }
    const retryMs = Math.min(Math.round(backoff(this.#failures++, retryAfterMs, times)), MAX_TIMER_MS)
    this.#timer = setTimeout(() => {
      this.#become({ name: 'connecting' })
      if (this.state.name === 'connecting') this.#connect()
    }, retryMs)
    this.#become({ ...info, name: 'waiting', retryMs })
    this.#owner.onLost(lossOf(info))
  }

  #finish (info: CloseInfo, error: unknown = lossOf(info)): void {
    if (this.state.name === 'closed') return
    clearTimeout(this.#timer)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#error = error
    this.closed = info
    this.#become({ ...info, name: 'closed' })
    this.#connection?.end(info)
    this.#owner.onLost(lossOf(info))
    this.closes.call(info)
  }

  #become (state: ClientState): void {
    this.state = state
    this.states.call(state)
  }
}

function lossOf ({ code, reason }: CloseInfo): PitayaError {
  const metadata = { code: String(code), reason }
  return createError('PIT_ERR_CLIENT_CLOSED', [], code === SHUTDOWN
    ? { text: 'the server shut down before it began', metadata: { ...metadata, executed: 'no' } }
    : { metadata })
}

import type { Msg, NatsConnection, NatsError, Status } from 'nats'
import { createError } from '../../errors.ts'
import type { NatsOptions } from '../nats-options.ts'
import { hasWildcard } from '../subject.ts'
import { throwLater } from '../throw-later.ts'
import { guard } from './guard.ts'
import { connectNats, isAuthError, RetryClock } from './nats-connect.ts'
import { createNatsWriter, type NatsWriter } from './nats-writer.ts'
import { Standstill } from './standstill.ts'
import type { OnMessage, Transport, TransportEvents } from './transport.ts'

const CLOSE_MS = 1000
const ANSWER_MS = 5000
const NO_RESPONDERS = 503

/** What stores on this connection hear of it. */
export interface LinkListener { onUp (): void, onDown (): void }

/** Over a nats-server. Its connection carries the stores too. */
export class NatsTransport implements Transport {
  readonly name = 'nats'
  readonly options: NatsOptions
  #connection: NatsConnection | undefined
  #writer: NatsWriter | undefined
  #events: TransportEvents | undefined
  #isUp = false
  #isClosing = false
  #maxBytes = 0
  #retry = new RetryClock()
  #standstill = new Standstill()
  #subscriptions = new Set<() => void>()
  #listeners = new Set<LinkListener>()

  constructor (options: NatsOptions = {}) {
    this.options = options
  }

  get isUp (): boolean { return this.#isUp }
  get maxBytes (): number { return this.#maxBytes }

  /** For the stores. @throws PIT_ERR_CLUSTER_DOWN before `open` and after `close` */
  get connection (): NatsConnection {
    if (this.#connection === undefined || this.#isClosing) throw createError('PIT_ERR_CLUSTER_DOWN')
    return this.#connection
  }

  async open (events: TransportEvents): Promise<void> {
    const given = this.options.connection as NatsConnection | undefined
    const connection = given ?? await connectNats(this.options, this.#retry)
    if (connection.isClosed()) throw createError('PIT_ERR_CLUSTER_START', ['cluster.nats.connection is closed: give an open one'])
    if (given !== undefined && !await answers(given)) {
      throw createError('PIT_ERR_CLUSTER_START', ['cluster.nats.connection is not connected: give one that is'])
    }
    this.#events = events
    this.#connection = connection
    this.#writer = createNatsWriter(connection)
    this.#follow(connection).catch(throwLater)
    connection.closed().then((error) => this.#onClosed(error), () => {})
    this.#maxBytes = connection.info?.max_payload ?? 1024 * 1024
    this.#standstill.start()
    this.#isUp = true
  }

  publish (subject: string, data: Uint8Array, reply = ''): boolean {
    if (data.length > this.#maxBytes && this.#maxBytes > 0) throw createError('PIT_ERR_RPC_SIZE', [this.#maxBytes])
    if (!this.#isUp) return false
    if (this.#writer !== undefined) return this.#writer.publish(subject, data, reply)
    this.#connection!.publish(subject, Uint8Array.prototype.slice.call(data), { reply })
    return true
  }

  subscribe (subject: string, onMessage: OnMessage, { queue }: { queue?: string } = {}): () => void {
    const call = guard(onMessage, () => this.#events)
    const isWild = hasWildcard(subject)
    const callback = (error: NatsError | null, message: Msg): void => {
      if (error !== null) return // told by `status()` too
      const { data } = message
      const from = isWild ? message.subject : subject
      if (data.length === 0 && message.headers?.code === NO_RESPONDERS) call(undefined, from, '')
      else call(data, from, message.reply ?? '')
    }
    const subscription = this.connection.subscribe(subject, { queue, callback })
    const end = (): void => {
      this.#subscriptions.delete(end)
      subscription.unsubscribe()
    }
    this.#subscriptions.add(end)
    return end
  }

  async flush (): Promise<void> {
    if (!this.#isUp) throw createError('PIT_ERR_CLUSTER_DOWN')
    this.#writer?.flush()
    try {
      await this.#connection!.flush()
    } catch (error) {
      throw createError('PIT_ERR_CLUSTER_DOWN', [], { cause: error })
    }
  }

  async close (): Promise<void> {
    if (this.#isClosing) return
    const connection = this.#connection
    for (const end of this.#subscriptions) end()
    const flushed = this.#isUp ? this.flush().catch(() => {}) : undefined
    this.#isClosing = true
    this.#isUp = false
    this.#standstill.stop()
    if (connection === undefined) return
    if (flushed !== undefined) await within(CLOSE_MS, flushed)
    if (this.options.connection === undefined) await connection.close()
  }

  /** For the stores. @returns ends it */
  listen (listener: LinkListener): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  async #follow (connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      switch (status.type) {
        case 'disconnect': this.#onDown(); break
        case 'reconnecting': this.#retry.onTry(); break
        case 'reconnect': this.#onUp(connection); break
        case 'error': this.#onError(status); break
      }
    }
  }

  #onDown (): void {
    if (!this.#isUp) return
    this.#isUp = false
    this.#writer?.drop()
    this.#retry.onDown()
    for (const listener of [...this.#listeners]) listener.onDown()
    this.#events?.onDown()
    // nats-server puts out who does not read, without a word.
    if (this.#standstill.isRecent) this.#events?.onSlow()
  }

  #onUp (connection: NatsConnection): void {
    // Told once for each failed try, all at once.
    if (this.#isUp || this.#isClosing) return
    this.#isUp = true
    this.#maxBytes = connection.info?.max_payload ?? this.#maxBytes
    for (const listener of [...this.#listeners]) listener.onUp()
    this.#events?.onUp()
  }

  #onClosed (error: unknown): void {
    if (this.#isClosing) return
    this.#onDown()
    this.#isClosing = true
    this.#standstill.stop()
    const text = this.options.connection !== undefined
      ? 'the connection given as cluster.nats.connection was closed'
      : isAuthError(error) ? 'nats-server no longer accepts the credentials of cluster.nats' : 'the connection to nats-server was closed for good'
    this.#events?.onFatal(createError('PIT_ERR_CLUSTER_DOWN', [], { text, cause: error }))
  }

  /** Refused subscriptions leave a server that nobody reaches. */
  #onError ({ permissionContext }: Status): void {
    if (permissionContext === undefined) return
    const { operation, subject } = permissionContext
    const isOurs = this.options.connection === undefined
    const text = `nats-server does not permit ${operation === 'publish' ? 'to publish to' : 'a subscription of'} "${subject}": check the permissions of its user`
    const error = createError('PIT_ERR_CLUSTER_DOWN', [], { text })
    if (operation === 'subscription' && isOurs) this.#events?.onFatal(error)
    else (this.#events?.onError ?? throwLater)(error)
  }
}

async function answers (connection: NatsConnection): Promise<boolean> {
  return await within(ANSWER_MS, connection.flush().then(() => true, () => false)) ?? false
}

async function within<T> (ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), ms) })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

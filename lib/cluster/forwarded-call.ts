import { createError, isPitayaError, type PitayaError } from '../errors.ts'
import { channels } from '../channels.ts'
import type { ForeignRoute } from '../handler/forwarding.ts'
import { JobState, outOfChunk, type Job } from '../handler/job.ts'
import type { Share } from '../handler/share.ts'
import type { HandlerSession } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import type { Session } from '../session/session.ts'
import type { TimerEntry } from '../timer-wheel.ts'
import type { ServerInfo } from './discovery/discovery.ts'
import type { ResponseEnvelope } from './envelopes/envelope.ts'
import type { Forwarder } from './forwarder.ts'
import type { RoutingCall } from './routing.ts'
import type { PendingCall } from './rpc-client.ts'

const EMPTY = new Uint8Array(0)
/** Servers that turn out not to listen; after so many the client is told. */
const MAX_TRIES = 3

/** A client's message on its way to another server and its answer on the way back. Also what a routing function sees. */
export class ForwardedCall implements Job, PendingCall, RoutingCall {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  next: Job | null = null
  waitingSince = 0
  state: JobState = JobState.waiting
  readonly of: Session
  /** The request's id; -1: a notify. */
  readonly id: number
  readonly isConcurrent: boolean
  share: Share | null = null
  start: number
  end: number
  #bytes: Uint8Array
  #isCompressed: boolean
  #route: ForeignRoute
  #forwarder: Forwarder
  #target: ServerInfo | undefined
  #refused: PitayaError | undefined
  /** Number of the RPC in flight; -1: none. */
  #number = -1
  #tries = 0
  #startedAt = 0

  constructor (
    forwarder: Forwarder, route: ForeignRoute, session: Session, id: number,
    bytes: Uint8Array, start: number, end: number, isCompressed: boolean
  ) {
    this.#forwarder = forwarder
    this.#route = route
    this.of = session
    this.id = id
    this.isConcurrent = route.concurrent && session.awaited === null
    this.#bytes = bytes
    this.start = start
    this.end = end
    this.#isCompressed = isCompressed
  }

  get route (): string { return this.#route.route }
  get serverType (): string { return this.#route.serverType }
  get session (): HandlerSession { return this.of }
  get uid (): string { return this.of.uid }
  get key (): undefined { return undefined }
  get isRequest (): boolean { return this.id >= 0 }
  get deadlineMs (): number | undefined { return this.#route.deadlineMs }
  inFlight (server: ServerInfo): number { return this.#forwarder.inFlight(server) }

  chooseShare (): Share | null {
    try {
      this.#target = this.#forwarder.router.pick(this.serverType, this)
      this.#refused = undefined
      this.share = this.#forwarder.shareOf(this.#target.id)
    } catch (error) {
      this.#target = undefined
      this.#refused = error as PitayaError
      this.share = null
    }
    return this.share
  }

  run (): void {
    this.state = JobState.running
    if (channels.forwarded.hasSubscribers) this.#startedAt = performance.now()
    if (this.of.awaited !== null) { this.#fail(createError('PIT_ERR_CONTRACT', ['it is to be sent before anything else'])); return }
    if (!this.#isCompressed) { this.#send(); return }
    try {
      const inflated = this.#forwarder.service.inflate(this.#bytes, this.start, this.end)
      if (inflated instanceof Promise) inflated.then((bytes) => this.#inflated(bytes), (error: unknown) => this.#unreadable(error))
      else this.#inflated(inflated)
    } catch (error) {
      this.#unreadable(error)
    }
  }

  onReply (response: ResponseEnvelope): void {
    this.#number = -1
    this.#forwarder.router.answered(this.#target!.id)
    if (this.state !== JobState.running) return
    const { error } = response
    if (error !== undefined) this.#answerError(this.#forwarder.service.encodeError(this.of, error))
    else if (this.isRequest) this.#respond(response.data, response.isError)
    this.#end(error === undefined ? response.isError ? 'failed' : '' : error.code)
  }

  onFail (error: PitayaError): void {
    this.#number = -1
    if (this.state !== JobState.running) return
    if (error.code === 'PIT_ERR_SERVER_UNKNOWN' && this.#target !== undefined) {
      // Nobody listens there: it was not executed, so another may be asked.
      this.#forwarder.router.suspect(this.#target.id)
      if (++this.#tries < MAX_TRIES && this.#moveOn()) { this.#send(); return }
    }
    this.#fail(error)
  }

  /** The deadline. What the server still does is its own affair. */
  onTimer (): void {
    if (this.state !== JobState.running) return
    this.state = JobState.abandoned
    if (this.#number !== -1) {
      this.#forwarder.rpc.cancel(this.#number)
      this.#forwarder.router.timedOut(this.#target!.id)
    }
    this.#refuse(createError('PIT_ERR_RPC_TIMEOUT'))
    this.#publish('PIT-504')
    this.#forwarder.service.dispatcher.ended(this)
  }

  abort (): void {}

  reject (error: PitayaError): void {
    this.state = JobState.done
    this.#forwarder.service.dropped(this.isRequest ? 'request' : 'notify', 'busy', this.#label)
    this.#refuse(error)
  }

  detach (): void {
    const own = outOfChunk(this.#bytes, this.start, this.end)
    if (own !== undefined) this.#setBytes(own)
  }

  forget (): void {
    this.state = JobState.done
    this.#forwarder.service.dropped(this.isRequest ? 'request' : 'notify', 'closed', this.#label)
  }

  get #label (): string { return this.#route.kind === undefined ? 'unknown' : this.route }

  #setBytes (bytes: Uint8Array): void {
    this.#bytes = bytes
    this.start = 0
    this.end = bytes.length
  }

  #send (): void {
    if (this.#target === undefined) { this.#fail(this.#refused!); return }
    const { service } = this.#forwarder
    try {
      const number = this.#forwarder.send(this.#target, this, this.#bytes, this.start, this.end)
      // What refuses it has been told to `onFail` already.
      if (number !== -1) this.#number = number
    } catch (error) {
      if (service.mayLog(this.#label)) logFailure(service.log, error, 'a message could not be forwarded', { route: this.#label })
      if (this.state === JobState.running) this.#fail(createError('PIT_ERR_INTERNAL'))
    }
  }

  /** Chooses another server, and moves this call's place to its share. False: there is none. */
  #moveOn (): boolean {
    const old = this.share
    const last = this.#target
    this.chooseShare()
    if (this.share === null || this.#target === last) {
      this.share = old
      return false
    }
    this.#forwarder.service.dispatcher.moved(this, old)
    return true
  }

  #inflated (bytes: Uint8Array): void {
    if (this.state !== JobState.running) return
    this.#isCompressed = false
    this.#setBytes(bytes)
    this.#send()
  }

  #unreadable (error: unknown): void {
    if (this.state !== JobState.running) return
    if (isPitayaError(error) && error.close === undefined) { this.#fail(error); return }
    this.of.entity.refuseBytes(error)
    this.#end('PIT-400')
  }

  #respond (data: Uint8Array, isError: boolean): void {
    if (this.of.isClosed) {
      this.#forwarder.service.dropped('result', 'closed', this.#label)
      return
    }
    try {
      this.of.entity.respond(this.id, data, isError)
    } catch (error) {
      // Larger than a packet: the client is told that, if nothing else.
      if (!isPitayaError(error)) throw error
      this.#refuse(createError('PIT_ERR_RESPONSE'))
    }
  }

  #answerError (payload: Uint8Array): void {
    if (this.isRequest) this.#respond(payload, true)
    else this.#forwarder.service.dropped('notify', 'failed', this.#label)
  }

  #refuse (error: PitayaError): void {
    const { wireCode, message, metadata } = error
    this.#answerError(this.#forwarder.service.encodeError(this.of, { code: wireCode, msg: message, metadata }))
  }

  #fail (error: PitayaError): void {
    // How servers write to each other is nothing that a client can help.
    const told = error.code === 'PIT_ERR_RPC' ? createError('PIT_ERR_INTERNAL') : error
    this.#refuse(told)
    this.#end(told.wireCode)
  }

  #end (code: string): void {
    this.state = JobState.done
    this.#bytes = EMPTY
    this.#publish(code)
    this.#forwarder.service.dispatcher.ended(this)
  }

  #publish (code: string): void {
    if (!channels.forwarded.hasSubscribers) return
    const { service } = this.#forwarder
    const durationMs = performance.now() - this.#startedAt
    channels.forwarded.publish({
      serverId: service.serverId, route: this.#label, serverType: this.serverType, kind: this.isRequest ? 'request' : 'notify', code, durationMs
    })
  }
}

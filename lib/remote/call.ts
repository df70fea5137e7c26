import { channels } from '../channels.ts'
import { createError, isPitayaError, toWireError, type PitayaError, type WireError } from '../errors.ts'
import { encodeResult } from '../handler/encode-result.ts'
import { JobState } from '../handler/job.ts'
import { publicError, type FaultyCall } from '../handler/public-error.ts'
import { runSteps, type RunningCall } from '../handler/step.ts'
import type { Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import type { TimerEntry } from '../timer-wheel.ts'
import type { CompiledRemote, RemoteCallInfo, RemoteReply, RemoteService } from './service.ts'
import type { RemoteContext } from './types.ts'

const EMPTY = new Uint8Array(0)
const NOTHING: Readonly<Record<string, string>> = Object.freeze({})

/** One call of a remote on its way; also the context that the implementation gets. */
export class RemoteCall implements RemoteContext, RunningCall, FaultyCall, TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  state: JobState = JobState.running
  readonly handler: CompiledRemote
  readonly caller: string
  readonly propagated: Readonly<Record<string, string>>
  bytes: Uint8Array
  readonly start = 0
  body: unknown = undefined
  result: unknown = undefined
  error: unknown = undefined
  output: Uint8Array | undefined = undefined
  #failure: WireError | undefined = undefined
  #service: RemoteService
  #reply: RemoteReply
  #deadlineMs: number
  #startedAt = 0
  #controller: AbortController | null = null
  #log: Logger | null = null

  constructor (service: RemoteService, handler: CompiledRemote, data: Uint8Array, info: RemoteCallInfo, reply: RemoteReply) {
    this.#service = service
    this.handler = handler
    this.caller = info.callerId
    this.propagated = info.context ?? NOTHING
    this.bytes = data
    this.#reply = reply
    this.#deadlineMs = Math.min(info.remainingMs, handler.deadlineMs)
  }

  get end (): number { return this.bytes.length }
  get route (): string { return this.handler.route }
  get isAborted (): boolean { return this.#controller?.signal.aborted === true }
  get log (): Logger {
    this.#log ??= this.#service.host.log.child({ caller: this.caller, route: this.route })
    return this.#log
  }

  get signal (): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.state === JobState.abandoned) this.#controller.abort()
    }
    return this.#controller.signal
  }

  /** On return it is answered, unless something returned a promise. */
  run (): void {
    if (channels.handled.hasSubscribers) this.#startedAt = performance.now()
    runSteps(this, 0)
    if (this.state === JobState.running) this.#service.wheel.schedule(this, this.#deadlineMs)
  }

  entered (): void { this.#service.host.latestHandler = this.handler }

  setBytes (bytes: Uint8Array): void { this.bytes = bytes }

  decodeBody (): unknown {
    const { body } = this.handler
    if (body === undefined) return undefined
    if (body === 'raw') return this.bytes
    const value = body.decode(this.bytes, 0, this.bytes.length)
    // The message they lie in is let go, however long the implementation takes.
    this.bytes = EMPTY
    return value
  }

  encodeOutcome (): void {
    if (this.error === undefined) this.output = encodeResult(this.result, this.handler.response, this.handler.acceptsNull)
    else this.#failure = toWireError(publicError(this.error, this))
  }

  finish (): void {
    try {
      this.#reply(this.output ?? EMPTY, this.#failure)
    } catch (error) {
      this.fail(error)
      return
    }
    this.#end(this.error)
  }

  fail (error: unknown): void {
    if (this.state !== JobState.running) { this.late(); return }
    const known = publicError(error, this)
    // Where not even that can be sent, the caller has its deadline.
    if (!this.#tryAnswer(known)) this.#tryAnswer(createError('PIT_ERR_INTERNAL'))
    this.#end(error ?? 'nothing')
  }

  late (): void {
    const { host } = this.#service
    host.lateEnded()
    host.dropped('result', 'late', this.route)
  }

  /** The deadline: the caller is answered, and what the implementation still does reaches nobody. */
  onTimer (): void {
    this.state = JobState.abandoned
    this.#service.abandoned(this)
    this.#controller?.abort()
    this.#tryAnswer(createError('PIT_ERR_HANDLER_TIMEOUT'))
    this.#service.ended()
  }

  logFault (error: unknown, text: string): void {
    if (this.#service.host.mayLog(this.route)) logFailure(this.log, error, text)
  }

  #tryAnswer (error: PitayaError): boolean {
    try {
      this.#reply(EMPTY, toWireError(error))
      return true
    } catch (cause) {
      this.logFault(cause, 'an error could not be answered')
      return false
    }
  }

  #end (error: unknown): void {
    this.state = JobState.done
    this.#service.wheel.cancel(this)
    if (channels.handled.hasSubscribers) {
      const code = error === undefined ? '' : isPitayaError(error) ? error.wireCode : 'PIT-500'
      const { serverId } = this.#service.host
      channels.handled.publish({ serverId, route: this.route, kind: 'remote', code, durationMs: performance.now() - this.#startedAt })
    }
    this.#service.ended()
  }
}

import { channels, type DropReason } from '../channels.ts'
import { createError, isPitayaError, toWireError, type PitayaError } from '../errors.ts'
import { logFailure } from '../log-failure.ts'
import type { Session } from '../session/session.ts'
import type { TimerEntry } from '../timer-wheel.ts'
import { encodeResult } from './encode-result.ts'
import { JobState, outOfChunk, type Job } from './job.ts'
import { isFault, publicError, type FaultyCall } from './public-error.ts'
import type { HandlerService } from './service.ts'
import type { CompiledHandler } from './registry.ts'
import { SessionView } from './session-view.ts'
import { runSteps, type RunningCall } from './step.ts'
import type { HandlerContext, HandlerGroups, HandlerSession, Logger } from './types.ts'

const EMPTY = new Uint8Array(0)
const NOT_SENT = 'it is to be sent before anything else'
const NOTHING: Readonly<Record<string, string>> = Object.freeze({})
/** One message on its way through its handler; also the context that the handler gets. */
export class Call implements HandlerContext, Job, RunningCall, FaultyCall {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  /** The next waiting call of the session. */
  next: Job | null = null
  state: JobState = JobState.waiting
  readonly handler: CompiledHandler
  readonly of: Session
  /** The request's id; -1: a notify. */
  readonly id: number
  /** False while the session's contract is awaited, whatever its route: then everything waits for that. */
  readonly isConcurrent: boolean
  bytes: Uint8Array
  start: number
  end: number
  isCompressed: boolean
  body: unknown = undefined
  result: unknown = undefined
  error: unknown = undefined
  /** What will be answered, once encoded. */
  output: Uint8Array | undefined = undefined
  startedAt = 0
  propagated: Readonly<Record<string, string>> = NOTHING
  /** When it began to wait, on the wheel. */
  waitingSince = 0
  #service: HandlerService
  #controller: AbortController | null = null
  #view: SessionView | null = null
  #log: Logger | null = null
  #deadlineMs: number | undefined = undefined

  constructor (
    service: HandlerService, handler: CompiledHandler, session: Session, id: number,
    bytes: Uint8Array, start: number, end: number, isCompressed: boolean
  ) {
    this.#service = service
    this.handler = handler
    this.of = session
    this.id = id
    this.isConcurrent = handler.concurrent && session.awaited === null
    this.bytes = bytes
    this.start = start
    this.end = end
    this.isCompressed = isCompressed
  }

  get session (): HandlerSession {
    this.#view ??= new SessionView(this)
    return this.#view
  }

  get groups (): HandlerGroups { return this.#service.groups }
  get route (): string { return this.handler.route }
  get log (): Logger {
    this.#log ??= this.#service.log.child({ sessionId: this.of.id, route: this.handler.route })
    return this.#log
  }

  get signal (): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.state === JobState.abandoned || this.of.isClosed) this.#controller.abort()
    }
    return this.#controller.signal
  }

  get isAborted (): boolean { return this.#controller?.signal.aborted === true }
  get isRequest (): boolean { return this.id >= 0 }
  get deadlineMs (): number | undefined { return this.#deadlineMs ?? this.handler.deadlineMs }
  set deadlineMs (ms: number | undefined) { this.#deadlineMs = ms }
  get share (): null { return null }
  chooseShare (): null { return null }

  /** Starts the handler's way. On return the call is `done`, unless something returned a promise. */
  run (): void {
    this.state = JobState.running
    if (channels.handled.hasSubscribers) this.startedAt = performance.now()
    if (this.of.awaited !== null && !this.of.awaited.admits(this.handler)) { this.fail(createError('PIT_ERR_CONTRACT', [NOT_SENT])); return }
    if (!this.isCompressed) { runSteps(this, 0); return }
    try {
      const inflated = this.#service.inflate(this.bytes, this.start, this.end)
      if (inflated instanceof Promise) {
        inflated.then((bytes) => this.#inflated(bytes), (error: unknown) => this.#unreadable(error))
      } else {
        this.#inflated(inflated)
      }
    } catch (error) {
      this.#unreadable(error)
    }
  }

  setBytes (bytes: Uint8Array): void {
    this.bytes = bytes
    this.start = 0
    this.end = bytes.length
  }

  decodeBody (): unknown {
    const { handler } = this
    if (handler.body === undefined) return undefined
    if (handler.body === 'raw') return this.bytes.subarray(this.start, this.end)
    const body = handler.body[this.of.serializerIndex]!.decode(this.bytes, this.start, this.end)
    // The chunk they lie in is let go, however long the handler takes.
    this.bytes = EMPTY
    return body
  }

  encodeOutcome (): void {
    if (!this.isRequest) {
      if (this.error !== undefined) throw this.error
      return
    }
    if (this.error !== undefined) { this.output = this.#encodeError(publicError(this.error, this)); return }
    const { response, acceptsNull } = this.handler
    this.output = encodeResult(this.result, typeof response === 'object' ? response[this.of.serializerIndex] : response, acceptsNull)
  }

  /** The deadline: the caller is answered, the next message may start, and what the handler still does no longer reaches the session. */
  onTimer (): void {
    if (this.state !== JobState.running) return
    this.state = JobState.abandoned
    this.#service.abandoned(this)
    this.abort()
    this.#answerError(createError('PIT_ERR_HANDLER_TIMEOUT'))
    if (!this.isRequest) this.of.entity.settled()
    this.#service.dispatcher.ended(this)
  }

  abort (): void {
    this.#controller?.abort()
  }

  /** Answers without having run. */
  reject (error: PitayaError): void {
    this.state = JobState.done
    if (this.isRequest) this.#service.dropped('request', dropReasons[error.code] ?? 'failed', this.route)
    this.#answerError(error)
    if (!this.isRequest) this.of.entity.settled()
  }

  detach (): void {
    const own = this.state === JobState.waiting ? outOfChunk(this.bytes, this.start, this.end) : undefined
    if (own !== undefined) this.setBytes(own)
  }

  /** The session closed before this could start. */
  forget (): void {
    this.state = JobState.done
    this.#service.dropped(this.isRequest ? 'request' : 'notify', 'closed', this.route)
  }

  #inflated (bytes: Uint8Array): void {
    if (this.state !== JobState.running) { this.late(); return }
    this.setBytes(bytes)
    runSteps(this, 0)
  }

  entered (): void { this.#service.latestHandler = this.handler }

  finish (): void {
    if (this.isRequest) {
      try {
        this.#respond(this.output!, this.error !== undefined)
      } catch (error) {
        this.fail(error)
        return
      }
    }
    this.#end(this.error)
  }

  fail (error: unknown): void {
    if (this.state !== JobState.running) { this.late(); return }
    this.#answerError(error)
    this.#end(error ?? 'nothing')
  }

  #end (error: unknown): void {
    this.state = JobState.done
    if (!this.isRequest) this.of.entity.settled()
    if (channels.handled.hasSubscribers) {
      const code = error === undefined ? '' : isPitayaError(error) ? error.wireCode : 'PIT-500'
      const durationMs = performance.now() - this.startedAt
      channels.handled.publish({ serverId: this.#service.serverId, route: this.route, kind: this.isRequest ? 'request' : 'notify', code, durationMs })
    }
    this.#service.dispatcher.ended(this)
  }

  late (): void {
    this.#service.lateEnded()
    this.#service.dropped('result', 'late', this.route)
  }

  #unreadable (error: unknown): void {
    if (this.state !== JobState.running) { this.late(); return }
    if (isPitayaError(error) && error.close === undefined) { this.fail(error); return }
    this.of.entity.refuseBytes(error)
    this.#end(error)
  }

  /** Never throws, and never leaves a request without an answer: where none can be made of the error, the connection closes. */
  #answerError (error: unknown): void {
    const known = publicError(error, this)
    if (!this.isRequest) this.#drop(known, known === error)
    else if (!this.#tryAnswer(known) && !this.#tryAnswer(createError('PIT_ERR_INTERNAL'))) this.of.entity.close('internal')
  }

  /** Nobody is told of a failed notify, so the log is. */
  #drop (error: PitayaError, isUnlogged: boolean): void {
    const why = dropReasons[error.code] ?? 'failed'
    this.#service.dropped('notify', why, this.route)
    if (why === 'bad-body') this.log.debug({ field: error.metadata?.field }, error.message)
    else if (why === 'failed' && isUnlogged && !isFault(error) && this.#service.mayLog(this.route)) this.log.warn({ err: error }, 'a notify handler failed')
  }

  #tryAnswer (error: PitayaError): boolean {
    try {
      this.#respond(this.#encodeError(error), true)
      return true
    } catch (cause) {
      this.logFault(cause, 'an error could not be encoded')
      return false
    }
  }

  #respond (payload: Uint8Array, isError: boolean): void {
    if (this.of.isClosed) this.#service.dropped('result', 'closed', this.route)
    else this.of.entity.respond(this.id, payload, isError)
  }

  #encodeError (error: PitayaError): Uint8Array {
    return this.#service.encodeError(this.of, toWireError(error))
  }

  logFault (error: unknown, text: string): void {
    if (this.#service.mayLog(this.route)) logFailure(this.log, error, text)
  }
}

/** Why a notify was dropped, by the error's code. */
const dropReasons: Readonly<Record<string, DropReason>> = { PIT_ERR_BODY: 'bad-body', PIT_ERR_BUSY: 'busy', PIT_ERR_EVOLUTION: 'evolution' }

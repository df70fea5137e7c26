/** Handler service, sessions and groups on a clock of their own, without agents: entities record what they are told. */
import type { Logger, HandlersDefinition, PipelineSteps } from '../../lib/handler/types.ts'
import { Inflater } from '../../lib/agent/compression.ts'
import type { CloseReason } from '../../lib/errors.ts'
import { MemoryGroups } from '../../lib/groups/memory.ts'
import { PushRegistry } from '../../lib/handler/pushes.ts'
import { HandlerService } from '../../lib/handler/service.ts'
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { createJsonSerializer } from '../../lib/serializers/json.ts'
import type { Serializer } from '../../lib/serializers/serializer.ts'
import { type BindPolicy, SessionPool } from '../../lib/session/pool.ts'
import type { Entity, Session, SharedPush } from '../../lib/session/session.ts'
import { TimerWheel } from '../../lib/timer-wheel.ts'

export interface Answer { id: number, data: string, isError: boolean }

/** A client that is only looked at. */
export class FakeEntity implements Entity {
  readonly remoteAddress = '127.0.0.1'
  readonly transport = 'fake'
  readonly ageMs = 0
  readonly answers: Answer[] = []
  readonly pushes: string[] = []
  readonly frames: Uint8Array[] = []
  closedWith: CloseReason | undefined
  kickText: string | undefined
  isPaused = false
  pauses = 0
  /** Called in the place of answering, for entities that fail. */
  onRespond: ((answer: Answer) => void) | undefined
  onKick: (() => void) | undefined
  session!: Session

  respond (id: number, payload: Uint8Array, isError: boolean): void {
    const answer = { id, data: Buffer.from(payload).toString(), isError }
    this.onRespond?.(answer)
    this.answers.push(answer)
  }

  push (head: Uint8Array, payload: Uint8Array): boolean {
    if (this.closedWith !== undefined) return false
    this.pushes.push(Buffer.from(payload).toString())
    return true
  }

  send (broadcast: SharedPush): boolean {
    if (this.closedWith !== undefined) return false
    this.frames.push(broadcast.frame(undefined))
    return true
  }

  kick (reason: CloseReason, text?: string): void {
    this.kickText = text
    this.onKick?.()
    this.close(reason)
  }

  close (reason: CloseReason): void {
    if (this.closedWith !== undefined) return
    this.closedWith = reason
    this.session.ended()
  }

  settled (): void {}
  refuseBytes (): void { this.close('badPacket') }
  pauseReading (): void { this.isPaused = true; this.pauses++ }
  resumeReading (): void { this.isPaused = false }
  /** Codes of the errors answered so far, `ok` for answers. */
  get outcomes (): string[] { return this.answers.map(({ data, isError }) => isError ? JSON.parse(data).code : 'ok') }
}

export interface LogLine { level: string, text: string, fields: Record<string, any> }

export interface CoreOptions {
  dispatch?: number
  concurrentPerSession?: number
  waitingPerSession?: number
  waitingBytes?: number
  maxQueued?: number
  handlerMs?: number
  maxGroups?: number
  bindMs?: number
  policy?: BindPolicy
  serializers?: Serializer[]
  levels?: PipelineSteps[]
}

export type Core = ReturnType<typeof createCore>

export function createCore (definitions: HandlersDefinition[] = [], options: CoreOptions = {}) {
  let now = 0
  const wheel = new TimerWheel(25, () => now)
  const lines: LogLine[] = []
  const log = recordLog(lines)
  const sessions = new SessionPool({ serverId: 'test', policy: options.policy ?? 'kick-old', dataBytes: 4096, bindMs: options.bindMs ?? 5000, log })
  const serializers = options.serializers ?? [createJsonSerializer()]
  const pushes = new PushRegistry({ deflate: () => undefined }, (route, why) => service.dropped('push', why, route))
  const service: HandlerService = new HandlerService({
    serverId: 'test',
    serverType: 'lobby',
    serializers,
    dictionary: undefined,
    sessions,
    pushes,
    inflater: new Inflater(),
    inflatedBytes: 655_360,
    wheel,
    log,
    limits: {
      dispatch: options.dispatch ?? 1024,
      concurrentPerSession: options.concurrentPerSession ?? 8,
      waitingPerSession: options.waitingPerSession ?? 64,
      waitingBytes: options.waitingBytes ?? 131_072,
      maxQueued: options.maxQueued ?? 10_000,
      handlerMs: options.handlerMs ?? 5000
    }
  })
  const groups = new MemoryGroups({ sessions, pushes, wheel, maxGroups: options.maxGroups ?? 100_000 })
  service.groups = groups
  for (const definition of definitions) service.register(definition, options.levels ?? [])
  service.compile()
  const view = createMessageView()

  function send (session: Session, type: MessageType, id: number, route: string, body: unknown): void {
    const data = body instanceof Uint8Array ? body : Buffer.from(body === undefined ? '' : JSON.stringify(body))
    const bytes = encodeMessage({ type, id, route, data })
    decodeMessage(bytes, 0, bytes.length, view)
    service.onMessage(session, view, bytes, false)
  }

  return {
    service,
    sessions,
    groups,
    pushes,
    wheel,
    lines,
    dispatcher: service.dispatcher,
    /** A session, and the client it stands for. */
    connect (serializerIndex = 0): { session: Session, client: FakeEntity } {
      const client = new FakeEntity()
      const session = client.session = sessions.create(client, wheel.now)
      session.serializerIndex = serializerIndex
      return { session, client }
    },
    call: (session: Session, id: number, route: string, body?: unknown) => send(session, MessageType.request, id, route, body),
    tell: (session: Session, route: string, body?: unknown) => send(session, MessageType.notify, 0, route, body),
    /** Moves the clock on within this turn. */
    skip (ms: number): void {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 25)
        wheel.advance()
      }
    },
    /** Moves the clock on, tick by tick, after the current turn. */
    async pass (ms: number): Promise<void> {
      await turn()
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 25)
        wheel.advance()
        await turn()
      }
    }
  }
}

/** The rest of this turn of the event loop. */
export function turn (): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** A promise to be settled from outside. */
export function defer<T = void> (): { promise: Promise<T>, resolve: (value: T) => void, reject: (error: unknown) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((_resolve, _reject) => { resolve = _resolve; reject = _reject })
  return { promise, resolve, reject }
}

function recordLog (lines: LogLine[]): Logger {
  const write = (level: string) => (object: object | string, text?: string) => {
    lines.push(typeof object === 'string' ? { level, text: object, fields: {} } : { level, text: text ?? '', fields: object })
  }
  const log: Logger = {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: () => log
  }
  return log
}

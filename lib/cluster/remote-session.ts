import { createError, type CloseReason, type PitayaError } from '../errors.ts'
import { isObject } from '../handler/check.ts'
import type { HandshakeSys } from '../handler/types.ts'
import { BindState, Session, type Entity } from '../session/session.ts'
import type { SessionPool } from '../session/pool.ts'
import type { SessionPart } from './envelopes/envelope.ts'

/** What the copy of a session needs to reach the session itself. */
export interface SessionHome {
  /** Answers the message that brought the copy; `reply` is the subject it waits on. */
  respond (reply: string, payload: Uint8Array, isError: boolean): void
  push (frontendId: string, sessionId: number, route: string, value: unknown, serializer: string): boolean
  pushToUid (uid: string, route: string, value: unknown): boolean
  kick (frontendId: string, sessionId: number, reason: string | undefined): void
  close (frontendId: string, sessionId: number): void
  bind (frontendId: string, sessionId: number, uid: string): Promise<void>
  patch (
    frontendId: string, sessionId: number, patch: Record<string, unknown>, revision: number
  ): Promise<{ revision: number, overwritten: string[] }>
}

/**
 * The copy of a client's session on the server that handles one of its messages. Reads are of the moment the message was forwarded; what it
 * changes reaches the session's frontend by `bind` and `pushToFront`, its pushes, kick and close go straight to the client.
 */
export class RemoteSession extends Session {
  readonly frontendId: string
  override entity: Entity
  #home: SessionHome
  #part: SessionPart
  /** What was set and not yet pushed; undefined: the key is to be removed. */
  #patch: Record<string, unknown> | null = null
  #isAnswered = false
  #hasData = false
  #hasHandshake = false

  constructor (home: SessionHome, pool: SessionPool, frontendId: string, part: SessionPart, serializerIndex: number, reply: string) {
    const agent = new RemoteAgent(home, part.remoteAddress, reply)
    super(part.id, agent, pool, 0)
    agent.session = this
    this.entity = agent
    this.#home = home
    this.#part = part
    this.frontendId = frontendId
    this.uid = part.uid
    this.bindState = part.uid === '' ? BindState.unbound : BindState.bound
    this.serializerIndex = serializerIndex
    this.revision = part.revision
  }

  // Few handlers look at these three, so they are parsed for those that do.
  override get data (): Readonly<Record<string, unknown>> {
    if (!this.#hasData) this.data = Object.freeze(parseRecord(this.#part.data, 'data'))
    return super.data
  }

  override set data (data: Readonly<Record<string, unknown>>) {
    this.#hasData = true
    super.data = data
  }

  override get sys (): HandshakeSys {
    if (!this.#hasHandshake) this.#readHandshake()
    return super.sys
  }

  override get user (): unknown {
    if (!this.#hasHandshake) this.#readHandshake()
    return super.user
  }

  override get encoding (): string { return this.#part.serializer }
  override get address (): string { return `${this.frontendId}:${this.id}` }

  /** Seen by this copy only until `pushToFront`. */
  override set (patch: Record<string, unknown>): void {
    this.#requireOpen('set')
    super.set(patch)
    // As it was checked and copied: what the caller does to its values from here on is not part of it.
    const { data } = this
    const checked = Object.keys(patch).map((key) => [key, Object.hasOwn(data, key) ? data[key] : undefined])
    this.#patch = { ...this.#patch, ...Object.fromEntries(checked) as Record<string, unknown> }
  }

  override async pushToFront (): Promise<{ overwritten: string[] }> {
    this.#requireOpen('pushToFront')
    const patch = this.#patch
    if (patch === null) return { overwritten: [] }
    this.#patch = null
    try {
      const { revision, overwritten } = await this.#home.patch(this.frontendId, this.id, patch, this.#part.revision)
      this.#part.revision = revision
      return { overwritten }
    } catch (error) {
      // Still to be pushed, unless it was set again meanwhile.
      this.#patch = { ...patch, ...(this.#patch as Record<string, unknown> | null) }
      throw error
    }
  }

  override async bind (uid: string): Promise<void> {
    this.#requireOpen('bind')
    if (this.bindState !== BindState.unbound) throw createError('PIT_ERR_BOUND')
    this.bindState = BindState.binding
    try {
      await this.#home.bind(this.frontendId, this.id, uid)
      this.uid = uid
      this.bindState = BindState.bound
    } catch (error) {
      this.bindState = BindState.unbound
      throw error
    }
  }

  /** After the answer by uid, which finds the client wherever it is then. */
  override push (route: string, value: unknown): boolean {
    if (this.#isAnswered && this.uid !== '') return this.#home.pushToUid(this.uid, route, value)
    return this.#home.push(this.frontendId, this.id, route, value, this.encoding)
  }

  override kick (text?: string): void { this.#home.kick(this.frontendId, this.id, text) }
  override close (): void { this.#home.close(this.frontendId, this.id) }

  override onClose (): void {
    throw createError('PIT_ERR_SESSION_COPY', ['onClose callbacks are not allowed on backend servers: use app.pitaya.sessions.onClosed'])
  }

  override ended (): void {}

  /** The message was answered: the agent is let go, whoever keeps the session. */
  answered (): void {
    this.#isAnswered = true
    this.entity = GONE
    this.unpin()
  }

  #readHandshake (): void {
    const { sys, user } = this.#part
    this.#hasHandshake = true
    super.sys = parseRecord(sys, 'sys')
    const said = user === '' ? undefined : parse(user, 'user')
    super.user = this.pool.userCheck === undefined ? said : this.pool.userCheck(said)
  }

  #requireOpen (name: string): void {
    if (this.#isAnswered) throw createError('PIT_ERR_SESSION_COPY', [`${name}() of a session copy, whose request is answered: do it before, or on the next request`])
  }
}

/** What answers for the client on a backend, for the time of one message. */
class RemoteAgent implements Entity {
  readonly remoteAddress: string
  readonly transport = 'cluster'
  readonly ageMs = 0
  session!: RemoteSession
  #home: SessionHome
  #reply: string

  constructor (home: SessionHome, remoteAddress: string, reply: string) {
    this.#home = home
    this.remoteAddress = remoteAddress
    this.#reply = reply
  }

  respond (id: number, payload: Uint8Array, isError: boolean): void {
    this.#home.respond(this.#reply, payload, isError)
    this.session.answered()
  }

  settled (): void { this.respond(-1, NOTHING, false) }

  /** Asked only for what cannot be answered: then the client's own server notices. */
  close (reason: CloseReason): void { if (reason === 'internal') this.session.close() }
  push (): boolean { return false }
  send (): boolean { return false }
  kick (): void {}
  refuseBytes (): void {}
  pauseReading (): void {}
  resumeReading (): void {}
}

const NOTHING = new Uint8Array(0)

/** The agent of all copies whose message is answered. */
const GONE: Entity = Object.freeze({
  remoteAddress: '',
  transport: 'cluster',
  ageMs: 0,
  respond () {},
  settled () {},
  close () {},
  push: () => false,
  send: () => false,
  kick () {},
  refuseBytes () {},
  pauseReading () {},
  resumeReading () {}
})

/** @throws PIT_ERR_INTERNAL */
function parseRecord (text: string, what: string): Record<string, unknown> {
  const value = parse(text, what)
  if (isObject(value)) return value as Record<string, unknown>
  throw unreadable(what, 'no object')
}

/** @throws PIT_ERR_INTERNAL */
function parse (text: string, what: string): unknown {
  try {
    // A reviver costs five times as much as the parse.
    return text.includes('__proto__') || text.includes('\\u') ? JSON.parse(text, withoutProto) : JSON.parse(text)
  } catch {
    throw unreadable(what, 'no JSON')
  }
}

/** Thrown within a handler, whose client can do nothing about it. */
function unreadable (what: string, why: string): PitayaError {
  return createError('PIT_ERR_INTERNAL', [], { cause: new TypeError(`the ${what} of a forwarded session is ${why}`) })
}

function withoutProto (key: string, value: unknown): unknown { return key === '__proto__' ? undefined : value }

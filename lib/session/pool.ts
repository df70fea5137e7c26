import { createError } from '../errors.ts'
import { channels } from '../channels.ts'
import type { EventHook, EventOptions, EventPublisher } from '../cluster/peers.ts'
import type { HandlerSession, Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import { isThenable } from '../thenable.ts'
import type { Bindings } from './bindings.ts'
import { BindState, Session, type Entity } from './session.ts'
import { assertUid } from './uid.ts'

/** What happens when a uid is bound that another session has. */
export type BindPolicy = 'kick-old' | 'refuse-new' | 'allow'

/** Called before a session is bound: throwing refuses the bind, and what was thrown reaches the caller. */
export type BindHook = (session: HandlerSession, uid: string) => unknown
/** Called after a session closed. */
export type CloseHook = (session: HandlerSession) => unknown

/** What sessions need of the server's serializers and pushes. */
export interface Carrier {
  push (session: Session, route: string, value: unknown): boolean
  serializerName (serializerIndex: number): string
}

export interface SessionPoolOptions {
  readonly serverId: string
  readonly policy: BindPolicy
  /** Bytes of a session's data as JSON. */
  readonly dataBytes: number
  /** Milliseconds that one bind hook may take. */
  readonly bindMs: number
  /** Of the first session. Default 1. */
  readonly firstId?: number
  readonly log: Logger
}

/** All sessions of one server: by id, by uid, and the rules of binding. */
export class SessionPool {
  readonly serverId: string
  /** Checks and cleans session data; set when the schemas are known. */
  dataCheck: ((data: Record<string, unknown>) => Record<string, unknown>) | undefined
  /** Checks the handshake's `user` where the session's frontend does not know its schema; set with it. Throws PIT_ERR_HANDSHAKE. */
  userCheck: ((user: unknown) => unknown) | undefined
  /** Set when the handler service is made. */
  carrier!: Carrier
  /** A uid's last session closed. */
  onUidGone: ((uid: string) => void) | undefined
  /** In a cluster: decides who has a uid. Without it the policy is applied among the sessions of this server. */
  bindings: Bindings | undefined
  /** In a cluster: hears of bound sessions, and of their close. */
  events: EventPublisher | undefined
  #options: SessionPoolOptions
  #byId = new Map<number, Session>()
  #byUid = new Map<string, Session[]>()
  #nextId: number
  #onBind: BindHook[] = []
  #afterBind: BindHook[] = []
  #onClose: CloseHook[] = []

  constructor (options: SessionPoolOptions) {
    this.serverId = options.serverId
    this.#nextId = options.firstId ?? 1
    this.#options = options
  }

  get size (): number { return this.#byId.size }
  get boundUids (): number { return this.#byUid.size }

  create (entity: Entity, now: number): Session {
    const session = new Session(this.#nextId++, entity, this, now)
    this.#byId.set(session.id, session)
    return session
  }

  get (id: number): Session | undefined { return this.#byId.get(id) }
  /** A uid's sessions; more than one under policy `allow` only. */
  ofUid (uid: string): readonly Session[] { return this.#byUid.get(uid) ?? NONE }
  isConnected (uid: string): boolean { return this.#byUid.has(uid) }
  [Symbol.iterator] (): IterableIterator<Session> { return this.#byId.values() }

  /** Sessions in order of their ids, after `after`, at most `limit`. */
  page (after: number, limit: number): Session[] {
    const page: Session[] = []
    for (const session of this.#byId.values()) {
      if (page.length >= limit) break
      if (session.id > after) page.push(session)
    }
    return page
  }

  /** Hooks of all sessions, in order of registration. */
  onBind (hook: BindHook): void { this.#onBind.push(hook) }
  afterBind (hook: BindHook): void { this.#afterBind.push(hook) }
  onClose (hook: CloseHook): void { this.#onClose.push(hook) }

  /** Hooks for sessions of any server. */
  onBound (hook: EventHook, options?: EventOptions): void { this.events?.on?.('bound', hook, options) }
  onClosed (hook: EventHook, options?: EventOptions): void { this.events?.on?.('closed', hook, options) }

  /**
   * Binds a session: check, hooks, policy, registration, after-hooks. From the policy's verdict to the registration nothing else runs, so
   * of two sessions binding one uid at once exactly one is left. Whatever fails leaves the session unbound.
   */
  async bind (session: Session, uid: string): Promise<void> {
    assertUid(uid)
    session.requireOpen()
    if (session.bindState !== BindState.unbound) throw createError('PIT_ERR_BOUND')
    session.bindState = BindState.binding
    try {
      for (const hook of this.#onBind) await this.#runHook(hook, session, uid)
      session.requireOpen()
      if (this.bindings === undefined) this.register(session, uid, this.#replacedBy(uid))
      else await this.bindings.claim(session, uid)
      for (const hook of this.#afterBind) await this.#runHook(hook, session, uid)
      session.requireOpen()
    } catch (error) {
      this.#unregister(session)
      throw error
    }
    if (channels.bound.hasSubscribers) channels.bound.publish({ serverId: this.serverId, sessionId: session.id, uid })
    this.#publish('bound', session)
  }

  /** The uid is the session's. Registered before the old ones close, so that the uid is never without a session and keeps its groups. */
  register (session: Session, uid: string, old: readonly Session[]): void {
    session.uid = uid
    session.bindState = BindState.bound
    const sessions = this.#byUid.get(uid)
    if (sessions === undefined) this.#byUid.set(uid, [session])
    else sessions.push(session)
    for (const other of old) this.supersede(other)
  }

  /** Kicks a session whose uid a newer one has. A client that cannot be told must not cost the new one its bind. */
  supersede (session: Session): void {
    try {
      session.entity.kick('replaced')
    } catch (error) {
      logFailure(this.#options.log, error, 'a replaced session could not be kicked', { sessionId: session.id })
    }
  }

  /** Session data as it may be stored: declared, valid, small enough, and a copy: what travels to other servers is what is here. */
  checkData (data: Record<string, unknown>): Record<string, unknown> {
    const copy = copyJson(data)
    const checked = this.dataCheck === undefined ? copy : this.dataCheck(copy)
    if (Buffer.byteLength(JSON.stringify(checked)) > this.#options.dataBytes) throw createError('PIT_ERR_DATA_SIZE', [this.#options.dataBytes])
    return Object.freeze(checked)
  }

  /** Takes a closed session out of every map. */
  remove (session: Session): void {
    this.#byId.delete(session.id)
    const wasBound = session.bindState === BindState.bound
    this.#unregister(session)
    for (const hook of this.#onClose) this.callSafely(hook, session)
    if (wasBound) this.#publish('closed', session)
  }

  /** Calls application code whose failure must not stop what goes on. */
  callSafely (callback: (session: Session) => unknown, session: Session): void {
    const failed = (error: unknown): void => logFailure(this.#options.log, error, 'a session callback failed', { sessionId: session.id })
    try {
      const result = callback(session)
      if (isThenable(result)) result.then(undefined, failed)
    } catch (err) {
      failed(err)
    }
  }

  /** The policy among the sessions of this server: those that a new one of the uid replaces. */
  #replacedBy (uid: string): readonly Session[] {
    const others = this.#byUid.get(uid)
    if (others === undefined || this.#options.policy === 'allow') return NONE
    if (this.#options.policy === 'refuse-new') throw createError('PIT_ERR_UID_TAKEN')
    return [...others]
  }

  #unregister (session: Session): void {
    const { uid } = session
    session.bindState = BindState.unbound
    if (uid === '') return
    if (!session.isClosed) session.uid = ''
    const sessions = this.#byUid.get(uid)
    const at = sessions?.indexOf(session) ?? -1
    if (sessions === undefined || at === -1) return
    sessions.splice(at, 1)
    this.bindings?.release(session, uid)
    if (sessions.length > 0) return
    this.#byUid.delete(uid)
    this.onUidGone?.(uid)
  }

  /** The others were told that these sessions closed, and they did not. */
  tellBound (): void {
    for (const session of this.#byId.values()) if (session.bindState === BindState.bound) this.#publish('bound', session)
  }

  #publish (kind: 'bound' | 'closed', { uid, address }: Session): void {
    this.events?.publish(kind, { uid, frontendId: this.serverId, address, group: '' })
  }

  async #runHook (hook: BindHook, session: Session, uid: string): Promise<void> {
    const result = hook(session, uid)
    if (!isThenable(result)) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((resolve, reject) => {
      timer = setTimeout(() => reject(createError('PIT_ERR_BIND_TIMEOUT')), this.#options.bindMs)
    })
    try {
      await Promise.race([result, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

const NONE: readonly Session[] = Object.freeze([])

/** @throws PIT_ERR_DATA */
function copyJson (data: Record<string, unknown>): Record<string, unknown> {
  try {
    return JSON.parse(JSON.stringify(data), (key, value: unknown) => key === '__proto__' ? undefined : value) as Record<string, unknown>
  } catch (error) {
    throw createError('PIT_ERR_DATA', ['must be JSON: no cycles and no BigInt'], { cause: error })
  }
}

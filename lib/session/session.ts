import { createError, type CloseReason } from '../errors.ts'
import type { HandlerSession, HandshakeSys } from '../handler/types.ts'
import type { TokenBucket } from '../token-bucket.ts'
import type { SessionPool } from './pool.ts'

/**
 * What a session talks to: the agent of a client of this server or of another. Handlers do not know which.
 */
export interface Entity {
  readonly remoteAddress: string
  /** The kind of acceptor the client came by: `websocket`, `tcp`. */
  readonly transport: string
  /** Milliseconds since the client connected. */
  readonly ageMs: number
  /** Answers a request; `payload` is copied before the call returns. */
  respond (id: number, payload: Uint8Array, isError: boolean): void
  /** Writes a push: `head` is the message's flag and route, `payload` its data, copied before the call returns. False: closed. */
  push (head: Uint8Array, payload: Uint8Array): boolean
  /** Sends a shared push. False: closed. */
  send (broadcast: SharedPush): boolean
  /** Sends a Kick packet where the protocol allows one, then closes. */
  kick (reason: CloseReason, text?: string): void
  close (reason: CloseReason): void
  /** A notify was handled or dropped: servers tell each other, clients are not told. */
  settled (): void
  /** Closes for bytes that turn out unreadable later on, such as data that does not inflate. */
  refuseBytes (error: unknown): void
  /** Stop and go on reading from the client. */
  pauseReading (): void
  resumeReading (): void
}

/** A push made once for many clients: entities ask for the bytes in their carrier's framing. */
export interface SharedPush {
  frame (framing: object | undefined): Uint8Array
}

/** A version of a serializer in use; it stays as long as it has users. */
export interface Pin {
  /** Among the serializers and their versions. */
  readonly index: number
  users: number
}

/** What a session waits for before it may go on. */
export interface PendingContract {
  /** True for the message that brings it. */
  admits (handler: { readonly shortRoute: string }): boolean
  /** Keeps a push for later. False: too many wait already. */
  hold (push: () => void): boolean
  /** Called when it is there. */
  onSettled: (() => void) | null
}

export const BindState = { unbound: 0, binding: 1, bound: 2 } as const
export type BindState = (typeof BindState)[keyof typeof BindState]

/** A client's session on its frontend. Applications see it as a HandlerSession. */
export class Session implements HandlerSession {
  readonly id: number
  readonly entity: Entity
  readonly pool: SessionPool
  uid = ''
  bindState: BindState = BindState.unbound
  isClosed = false
  /** Place of the session's serializer in the server's list. */
  serializerIndex = 0
  /** The schemas that the client is pinned to: those of its contract, or those that it was given. */
  pinned: Pin | null = null
  /** True: it was given them by this server, and may be given more. */
  isHeld = false
  /** Until the client has sent its contract. */
  awaited: PendingContract | null = null
  /** Counts changes of `data`. */
  revision = 0
  /** The dispatcher's state of this session, once it needed any. */
  lane: object | null = null
  /** Allowances of rate-limited routes, once one was used. */
  routeRates: Map<string, TokenBucket> | null = null
  readonly openedAt: number
  #sys: HandshakeSys = NO_SYS
  #user: unknown = undefined
  #data: Readonly<Record<string, unknown>> = NO_DATA
  #onClose: Array<() => void> | null = null
  /** At which revision a key changed last, once other servers have copies. */
  #changedAt: Map<string, number> | null = null

  constructor (id: number, entity: Entity, pool: SessionPool, openedAt: number) {
    this.id = id
    this.entity = entity
    this.pool = pool
    this.openedAt = openedAt
  }

  // Accessors, so that a copy on another server may read them when they are asked for.
  get sys (): HandshakeSys { return this.#sys }
  set sys (sys: HandshakeSys) { this.#sys = sys }
  get user (): unknown { return this.#user }
  set user (user: unknown) { this.#user = user }
  get data (): Readonly<Record<string, unknown>> { return this.#data }
  set data (data: Readonly<Record<string, unknown>>) { this.#data = data }
  get handshake (): { readonly sys: HandshakeSys, readonly user: unknown } { return { sys: this.sys, user: this.user } }
  get serializer (): string { return this.encoding.startsWith('avro@') ? 'avro' : this.encoding }
  /** The serializer, or the version of it that the session is pinned to, as servers name it to each other. */
  get encoding (): string { return this.pool.carrier.serializerName(this.serializerIndex) }
  get address (): string { return `${this.pool.serverId}:${this.id}` }
  get remoteAddress (): string { return this.entity.remoteAddress }
  /** By counting colons, as Pitaya does (protocol.md 1.4). */
  get ipVersion (): 'ipv4' | 'ipv6' { return this.entity.remoteAddress.split(':').length > 2 ? 'ipv6' : 'ipv4' }

  /** Merges into `data`; a key set to undefined is removed. Throws PIT_ERR_DATA, PIT_ERR_DATA_SIZE; `data` is then as before. */
  set (patch: Record<string, unknown>): void {
    this.data = this.pool.checkData({ ...this.data, ...patch })
    this.revision++
    if (this.#changedAt !== null) note(this.#changedAt, Object.keys(patch), this.revision)
  }

  /** From here on `merge` knows which keys changed since a revision. */
  track (): void { this.#changedAt ??= new Map() }

  /**
   * As `set`, with what another server made of the data of revision `base`.
   * @returns keys that had changed since, of which the patch's values are kept
   */
  merge (patch: Record<string, unknown>, base: number): string[] {
    const overwritten = Object.keys(patch).filter((key) => (this.#changedAt?.get(key) ?? 0) > base)
    this.set(patch)
    return overwritten
  }

  /** Here `data` is the original already. */
  async pushToFront (): Promise<{ overwritten: string[] }> { return { overwritten: [] } }

  bind (uid: string): Promise<void> { return this.pool.bind(this, uid) }

  /** Sends a declared push. False: closed. Throws PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY. */
  push (route: string, value: unknown): boolean { return this.pool.carrier.push(this, route, value) }

  kick (text?: string): void { this.entity.kick('kicked', text) }
  close (): void { this.entity.close('normal') }

  /** Called once, after the session closed; at once if it has. */
  onClose (callback: () => void): void {
    if (this.isClosed) { callback(); return }
    if (this.#onClose === null) this.#onClose = [callback]
    else this.#onClose.push(callback)
  }

  /** Called by the entity when it is closed; harmless when called again. */
  ended (): void {
    if (this.isClosed) return
    this.isClosed = true
    this.unpin()
    const callbacks = this.#onClose
    this.#onClose = null
    this.pool.remove(this)
    if (callbacks !== null) for (const callback of callbacks) this.pool.callSafely(callback, this)
  }

  /** Its messages are of this version from now on. */
  pin (pinned: Pin, isHeld = false): void {
    pinned.users++
    if (this.pinned !== null) this.pinned.users--
    this.pinned = pinned
    this.isHeld = isHeld
    this.serializerIndex = pinned.index
  }

  unpin (): void {
    if (this.pinned !== null) this.pinned.users--
    this.pinned = null
    this.isHeld = false
    this.awaited = null
  }

  /** @throws PIT_ERR_CLOSED */
  requireOpen (): void {
    if (this.isClosed) throw createError('PIT_ERR_CLOSED')
  }
}

/** Keys that were removed are remembered too, so there is a limit: of more, those changed longest ago count as unchanged. */
const MAX_NOTED = 256

function note (changedAt: Map<string, number>, keys: readonly string[], revision: number): void {
  for (const key of keys) {
    changedAt.delete(key)
    changedAt.set(key, revision)
  }
  for (const key of changedAt.keys()) {
    if (changedAt.size <= MAX_NOTED) break
    changedAt.delete(key)
  }
}

const NO_SYS: HandshakeSys = Object.freeze({})
const NO_DATA: Readonly<Record<string, unknown>> = Object.freeze({})

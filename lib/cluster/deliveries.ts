import { channels } from '../channels.ts'
import { isPitayaError } from '../errors.ts'
import type { UidsOutcome } from '../facade-types.ts'
import type { Payload, PushRegistry } from '../handler/pushes.ts'
import type { Logger } from '../handler/types.ts'
import { LineLimiter } from '../line-limiter.ts'
import { logFailure } from '../log-failure.ts'
import type { SessionPool } from '../session/pool.ts'
import type { Session } from '../session/session.ts'
import type { Directory } from './directory.ts'
import { PushKind, type Envelope, type PushEnvelope } from './envelopes/envelope.ts'
import type { Subjects } from './names.ts'
import type { Peers } from './peers.ts'
import type { Transport } from './transports/transport.ts'

export interface DeliveriesOptions {
  readonly serverId: string
  readonly transport: Transport
  readonly envelope: Envelope
  readonly subjects: Subjects
  readonly sessions: SessionPool
  readonly pushes: PushRegistry
  readonly directory: Directory
  readonly peers: Pick<Peers, 'deliver' | 'moved'>
  /** Policy `allow`: a uid that is here may be elsewhere too. */
  readonly isInMany: () => boolean
  readonly log: Logger
}

/** What becomes of a delivery to uids on one frontend. */
export interface Delivered { readonly delivered: string[], readonly notConnected: string[] }

/** Uids in one message. */
const MAX_UIDS = 2000
/** A uid, its length, and what stands before all of them, at most. */
const UID_BYTES = 130
const HEAD_BYTES = 1024
/** A user may move once more while a push follows. */
const MAX_HOPS = 2
const LOGGED_BYTES = 64

/** Pushes, kicks and closes to clients of any frontend: to their sessions, or to uids wherever they are. One message per frontend. */
export class Deliveries {
  #options: DeliveriesOptions
  #lines: LineLimiter
  #unsubscribe: (() => void) | undefined

  constructor (options: DeliveriesOptions) {
    this.#options = options
    this.#lines = new LineLimiter(options.log)
  }

  /** Listens for what other servers send to clients of this one. */
  open (): void {
    const { transport, subjects, serverId } = this.#options
    this.#unsubscribe ??= transport.subscribe(subjects.push(serverId), (data) => { if (data !== undefined) this.#onMessage(data) })
  }

  close (): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
  }

  /** To one session. False: not sent. Throws PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY. */
  pushToSession (frontendId: string, sessionId: number, route: string, value: unknown, serializer: string): boolean {
    const payloads = this.#options.pushes.payloads(route, value, serializer)
    return this.#publish(frontendId, this.#envelopeOf(PushKind.push, { route, payloads, sessions: [sessionId] }))
  }

  kickSession (frontendId: string, sessionId: number, reason = ''): boolean {
    return this.#publish(frontendId, this.#envelopeOf(PushKind.kick, { sessions: [sessionId], reason }))
  }

  closeSession (frontendId: string, sessionId: number): boolean {
    return this.#publish(frontendId, this.#envelopeOf(PushKind.close, { sessions: [sessionId] }))
  }

  /** Rejects with PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY, PIT_ERR_STORE. */
  async pushToUids (uids: readonly string[], route: string, value: unknown, confirm: boolean): Promise<UidsOutcome> {
    const push = this.#options.pushes.broadcast(route, value)
    const local = this.#here(uids, (session) => push.to(session))
    if (local.rest.length === 0) return { delivered: local.delivered, notConnected: [], unknown: [] }
    const payloads = this.#options.pushes.payloads(route, value)
    return await this.#elsewhere(local, this.#envelopeOf(PushKind.push, { route, payloads }), confirm)
  }

  /** Rejects with PIT_ERR_STORE. */
  async kickUids (uids: readonly string[], reason: string | undefined, confirm: boolean): Promise<UidsOutcome> {
    const local = this.#here(uids, (session) => { session.kick(reason); return true })
    if (local.rest.length === 0) return { delivered: local.delivered, notConnected: [], unknown: [] }
    return await this.#elsewhere(local, this.#envelopeOf(PushKind.kick, { reason: reason ?? '' }), confirm)
  }

  /** For clients of this server. What it says of uids without a session is for the sender's directory. */
  deliver (push: PushEnvelope): Delivered {
    const visit = this.#visitor(push)
    for (const id of push.sessions) {
      const session = this.#options.sessions.get(id)
      if (session !== undefined) this.#visit(visit, session)
    }
    const delivered: string[] = []
    const notConnected: string[] = []
    for (const uid of push.uids) {
      let isReached = false
      for (const session of [...this.#options.sessions.ofUid(uid)]) if (this.#visit(visit, session)) isReached = true
      if (isReached) delivered.push(uid)
      else notConnected.push(uid)
    }
    return { delivered, notConnected }
  }

  #envelopeOf (kind: PushKind, fields: Partial<PushEnvelope> & { payloads?: Payload[] }): PushEnvelope {
    return { kind, caller: this.#options.serverId, hops: 0, route: '', sessions: [], uids: [], group: '', payloads: [], reason: '', ...fields }
  }

  /** `rest`: uids that are to be looked for elsewhere. */
  #here (uids: readonly string[], visit: (session: Session) => boolean): { delivered: string[], rest: string[] } {
    const { sessions, isInMany } = this.#options
    const delivered: string[] = []
    const rest: string[] = []
    const isMore = isInMany()
    for (const uid of new Set(uids)) {
      let isReached = false
      for (const session of [...sessions.ofUid(uid)]) if (visit(session)) isReached = true
      if (isReached) delivered.push(uid)
      if (!isReached || isMore) rest.push(uid)
    }
    return { delivered, rest }
  }

  async #elsewhere (local: { delivered: string[], rest: string[] }, push: PushEnvelope, confirm: boolean): Promise<UidsOutcome> {
    const { directory, serverId } = this.#options
    const delivered = new Set(local.delivered)
    const unknown = new Set<string>()
    let rest: Iterable<string> = local.rest
    const missed = new Set<string>()
    // What is known from a while ago may be wrong: then once more.
    for (let tries = 0; tries < 2; tries++) {
      const { byFrontend, unknown: unbound, failed } = await directory.group(rest)
      const stale = new Set<string>(byFrontend.get(serverId))
      byFrontend.delete(serverId)
      await Promise.all(Array.from(byFrontend, async ([frontendId, uids]) => {
        for (const some of this.#split(uids, push)) {
          const outcome = await this.#send(frontendId, { ...push, uids: some }, confirm)
          for (const uid of outcome?.delivered ?? []) delivered.add(uid)
          for (const uid of outcome?.notConnected ?? []) stale.add(uid)
          if (outcome === undefined) for (const uid of some) unknown.add(uid)
        }
      }))
      for (const uid of failed) unknown.add(uid)
      for (const uid of unbound) missed.add(uid)
      for (const uid of stale) {
        directory.correct(uid)
        missed.add(uid)
      }
      // Who was reached in another session is not told twice.
      rest = [...stale].filter((uid) => !delivered.has(uid))
      if (stale.size === 0) break
    }
    for (const uid of delivered) unknown.delete(uid)
    const notConnected = [...missed].filter((uid) => !delivered.has(uid) && !unknown.has(uid))
    return { delivered: [...delivered], notConnected, unknown: [...unknown] }
  }

  /** Into as many messages as the carrier needs. */
  #split (uids: readonly string[], { payloads }: PushEnvelope): string[][] {
    const payloadBytes = payloads.reduce((sum, { data }) => sum + data.length, 0)
    const room = Math.max(1, this.#options.transport.maxBytes - payloadBytes - HEAD_BYTES)
    const size = Math.max(1, Math.min(MAX_UIDS, Math.floor(room / UID_BYTES)))
    return Array.from({ length: Math.ceil(uids.length / size) }, (_, i) => uids.slice(i * size, (i + 1) * size))
  }

  /** @returns undefined: nobody knows */
  async #send (frontendId: string, push: PushEnvelope, confirm: boolean): Promise<Delivered | undefined> {
    if (!confirm) {
      this.#publish(frontendId, push)
      return undefined
    }
    try {
      return await this.#options.peers.deliver(frontendId, new Uint8Array(this.#options.envelope.encodePush(push)))
    } catch (error) {
      if (!isPitayaError(error) || error.code === 'PIT_ERR_RPC_SIZE') throw error
      return error.code === 'PIT_ERR_SERVER_UNKNOWN' ? { delivered: [], notConnected: push.uids } : undefined
    }
  }

  #publish (frontendId: string, push: PushEnvelope): boolean {
    const { transport, envelope, subjects, serverId } = this.#options
    const isSent = transport.publish(subjects.push(frontendId), envelope.encodePush(push))
    if (!isSent && channels.drop.hasSubscribers) channels.drop.publish({ serverId, what: 'push', why: 'closed', route: push.route })
    return isSent
  }

  #onMessage (data: Uint8Array): void {
    try {
      const push = this.#options.envelope.decodePush(data)
      const { notConnected } = this.deliver(push)
      if (notConnected.length > 0) this.#passOn(push, notConnected)
    } catch (error) {
      this.#unreadable(error, data)
    }
  }

  /** To where these uids are now, and tells the sender, whose directory is wrong. */
  async #passOn (push: PushEnvelope, uids: string[]): Promise<void> {
    const { directory, peers, serverId, isInMany, log } = this.#options
    peers.moved(push.caller, uids)
    // Where a uid may have many sessions its sender addresses all of them: they would be told twice.
    if (isInMany() || push.hops >= MAX_HOPS) return
    try {
      for (const uid of uids) directory.correct(uid)
      const { byFrontend } = await directory.group(uids)
      for (const [frontendId, some] of byFrontend) {
        if (frontendId !== serverId) this.#publish(frontendId, { ...push, uids: some, sessions: [], hops: push.hops + 1 })
      }
    } catch (error) {
      if (isPitayaError(error)) log.debug({ code: error.code }, 'a push for users that are gone from here could not be passed on')
      else logFailure(log, error, 'a push could not be passed on')
    }
  }

  #visitor ({ kind, route, payloads, caller, reason }: PushEnvelope): (session: Session) => boolean {
    if (kind === PushKind.kick) return (session) => { session.kick(reason === '' ? undefined : reason); return true }
    if (kind === PushKind.close) return (session) => { session.close(); return true }
    const push = this.#options.pushes.relay(route, payloads, caller)
    return (session) => push.to(session)
  }

  #visit (visit: (session: Session) => boolean, session: Session): boolean {
    try {
      return visit(session)
    } catch (error) {
      // The others are reached all the same.
      const { log } = this.#options
      if (!this.#lines.admits('push', performance.now())) return false
      if (isPitayaError(error)) log.warn({ code: error.code, sessionId: session.id }, error.message)
      else logFailure(log, error, 'a client could not be told', { sessionId: session.id })
      return false
    }
  }

  #unreadable (error: unknown, data: Uint8Array): void {
    if (!isPitayaError(error)) throw error
    const { serverId, log } = this.#options
    if (channels.decodeError.hasSubscribers) channels.decodeError.publish({ serverId, code: error.code })
    if (!this.#lines.admits('rpc', performance.now())) return
    log.warn({ code: error.code, hex: Buffer.from(data.subarray(0, LOGGED_BYTES)).toString('hex') }, 'a push of another server could not be read')
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import { createError, isPitayaError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import type { Bindings } from '../session/bindings.ts'
import type { BindPolicy, SessionPool } from '../session/pool.ts'
import type { Session } from '../session/session.ts'
import { Binding } from './binding.ts'
import type { Discovery } from './discovery/discovery.ts'
import { Gate } from './gate.ts'
import {
  bindingKey, type BindScope, type Held, type Holder, isSameHolder, MAX_HOLDERS, NOBODY, readHolders, scopeName, writeHolders
} from './holders.ts'
import { Notices } from './notices.ts'
import type { Peers } from './peers.ts'
import type { Store } from './stores/store.ts'
import { Upkeep } from './upkeep.ts'

export interface StoreBindingsOptions {
  readonly store: Store
  readonly discovery: Discovery
  readonly sessions: SessionPool
  readonly peers: Pick<Peers, 'replaced'>
  readonly policy: BindPolicy
  readonly scope: BindScope
  readonly log: Logger
  /** Names of the groups that a uid is in by its sessions here. */
  groupsOf (uid: string): string[]
  /** Another frontend's session of this uid was replaced by one here: these were its groups there. */
  adoptGroups (uid: string, groups: string[]): void
}

/** Claims at once: in a rush of logins the others wait here, where nobody counts the time of an answer. */
const CLAIMS_AT_ONCE = 256
/** So long may a claim wait for others, here or of its uid. */
const CLAIM_WAIT_MS = 3000
/** Of one write against others, with pauses of up to 100 ms. */
const MAX_TRIES = 16

/**
 * Uids of one frontend in the store: a key for each, with its sessions anywhere, changed by compare-and-set only. A bind writes the new
 * session by policy; everything else (close, reconnection, doubt) makes the key agree with the sessions that are here.
 */
export class StoreBindings implements Bindings {
  #options: StoreBindingsOptions
  #scope: string
  #bindings = new Map<string, Binding>()
  #notices: Notices
  #claims = new Gate(CLAIMS_AT_ONCE)
  /** Keys that may not agree with this frontend's sessions. */
  #unsettled: Upkeep<Binding>
  /** What was read or written before the last `reconcile` may be lost. */
  #epoch = 0
  #isClosed = false

  constructor (options: StoreBindingsOptions) {
    this.#options = options
    const { scope, discovery, peers } = options
    this.#scope = scopeName(scope, discovery.self.type)
    this.#notices = new Notices(discovery, peers, (uid, groups) => {
      options.adoptGroups(uid, groups)
    }, (frontendId, { uid, sessionIds }) => {
      for (const id of sessionIds) options.sessions.events?.publish('closed', { uid, frontendId, address: `${frontendId}:${id}`, group: '' })
    })
    this.#unsettled = new Upkeep(async (binding) => {
      await binding.inTurn(() => this.#agree(binding))
      this.#forgetIfIdle(binding)
    }, options.log)
  }

  /** Uids with a session here, or with a key that is still to be settled. */
  get size (): number { return this.#bindings.size }
  /** Other frontends that are still to hear that a session of theirs was replaced. */
  get notices (): number { return this.#notices.size }

  async claim (session: Session, uid: string): Promise<void> {
    const binding = this.#bindingOf(uid)
    const latest = performance.now() + CLAIM_WAIT_MS
    try {
      await binding.inTurn(async () => {
        await this.#claims.enter()
        try {
          if (this.#isClosed || performance.now() > latest) throw createError('PIT_ERR_STORE')
          session.requireOpen()
          await this.#claim(binding, session)
        } finally {
          this.#claims.leave()
        }
      })
    } finally {
      this.#forgetIfIdle(binding)
    }
  }

  release (session: Session, uid: string): void {
    const binding = this.#bindings.get(uid)
    if (binding?.members.delete(session) !== true) return
    if (!this.#unsettled.add(binding)) this.#forgetIfIdle(binding)
  }

  /**
   * Another frontend's session took a uid: kicks those it replaced, unless they are newer. A claim that is under way, written before
   * that and not yet answered by the store, fails then.
   * @returns the uid's groups here, for the other frontend
   */
  onReplaced ({ uid, sessionIds, revision }: { uid: string, sessionIds: readonly number[], revision: number }): { groups: string[] } {
    const { sessions, groupsOf } = this.#options
    const binding = this.#bindings.get(uid)
    if (binding === undefined) return { groups: [] }
    const groups = groupsOf(uid)
    if (binding.claimant !== undefined && sessionIds.includes(binding.claimant.id)) binding.fence = Math.max(binding.fence, revision)
    const old = [...binding.members].filter(([session, since]) => sessionIds.includes(session.id) && since < revision)
    if (old.length > 0) binding.held = undefined
    for (const [session] of old) {
      // Its entry is no longer in the store: there is nothing to release.
      binding.members.delete(session)
      sessions.supersede(session)
    }
    this.#forgetIfIdle(binding)
    return { groups: old.length > 0 ? groups : [] }
  }

  /**
   * Confirms every uid of this frontend in the store, whatever was lost there: after a reconnection, with a new incarnation. A missing
   * key is put back; a session whose uid another frontend has by now is kicked, but in policy `allow`. Resolves when all were tried;
   * what the store did not take is tried again until it does. Called again, it begins again.
   */
  reconcile (): Promise<void> {
    this.#epoch++
    for (const binding of this.#bindings.values()) binding.held = undefined
    this.#unsettled.addAll(this.#bindings.values())
    return this.settled()
  }

  /** Resolves when the store knows of all sessions that closed, or cannot be told now. */
  settled (): Promise<void> { return this.#unsettled.idle() }

  /** From here on nothing is written. Harmless when called again. */
  close (): void {
    this.#isClosed = true
    this.#notices.close()
    this.#unsettled.close()
  }

  async #claim (binding: Binding, session: Session): Promise<void> {
    const { discovery: { self }, policy, sessions } = this.#options
    const holder = { frontendId: self.id, incarnation: self.incarnation, sessionId: session.id }
    binding.claimant = session
    binding.fence = 0
    try {
      const { before, revision } = await this.#write(binding, NOBODY, (held) => this.#claimed(binding, held, holder))
      const old = policy === 'allow' ? [] : [...binding.members.keys()]
      for (const other of old) binding.members.delete(other)
      const isNewest = revision >= binding.fence
      if (isNewest && !session.isClosed) {
        binding.members.set(session, revision)
        sessions.register(session, binding.uid, old)
      } else {
        for (const other of old) sessions.supersede(other)
        if (!isNewest) sessions.supersede(session)
        this.#unsettled.add(binding)
      }
      if (policy !== 'allow') this.#notices.tell(binding.uid, before.holders.filter(({ frontendId }) => frontendId !== self.id), revision)
    } catch (error) {
      // It may have been written all the same.
      if (isPitayaError(error) && error.code === 'PIT_ERR_STORE') this.#unsettled.add(binding)
      throw error
    } finally {
      binding.claimant = undefined
    }
    if (!binding.members.has(session)) throw createError('PIT_ERR_CLOSED')
  }

  /** The key's sessions with a new one. */
  #claimed (binding: Binding, { holders }: Held, holder: Holder): Holder[] {
    const { policy } = this.#options
    if (policy === 'kick-old') return [holder]
    const others = this.#livingElsewhere(holders)
    if (policy === 'refuse-new') {
      if (others.length > 0 || binding.members.size > 0) throw createError('PIT_ERR_UID_TAKEN')
      return [holder]
    }
    const all = [...others, ...this.#own(binding), holder]
    if (all.length > MAX_HOLDERS) throw createError('PIT_ERR_UID_TAKEN', [], { text: `uid has ${MAX_HOLDERS} sessions already` })
    return all
  }

  /** Makes a key agree with the sessions that are here. */
  async #agree (binding: Binding): Promise<void> {
    const { revision } = await this.#write(binding, undefined, (held) => {
      const others = this.#livingElsewhere(held.holders)
      if (others.length > 0 && this.#options.policy !== 'allow' && !this.#isHeldHere(binding, held)) this.#supersedeAll(binding)
      return [...others, ...this.#own(binding)]
    })
    for (const session of binding.members.keys()) binding.members.set(session, revision)
  }

  /**
   * Writes what `change` makes of a key, again with what somebody else wrote meanwhile. Rejects with PIT_ERR_BUSY when others were
   * faster every time.
   * @param guess what the key may be if nothing is known of it, so that the ordinary bind is one write without a read
   */
  async #write (binding: Binding, guess: Held | undefined, change: (held: Held) => Holder[]): Promise<{ before: Held, revision: number }> {
    const { store, log } = this.#options
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (tries > 1) await delay(Math.random() * Math.min(100, 2 ** tries))
      const epoch = this.#epoch
      const before = binding.held ?? (tries === 0 ? guess : undefined) ?? await readHolders(store, binding.key, log)
      const holders = change(before)
      binding.held = undefined
      const revision = isSame(before.holders, holders) ? before.revision : await writeHolders(store, binding.key, before, holders)
      if (revision === undefined) continue
      if (epoch === this.#epoch) binding.held = { revision, holders }
      return { before, revision }
    }
    throw createError('PIT_ERR_BUSY')
  }

  #own ({ members }: Binding): Holder[] {
    const { id, incarnation } = this.#options.discovery.self
    return Array.from(members.keys(), (session) => ({ frontendId: id, incarnation, sessionId: session.id }))
  }

  /** Whatever the incarnation: after a lost lease the old one's entries are this server's still. */
  #isHeldHere ({ members }: Binding, { holders }: Held): boolean {
    const { id } = this.#options.discovery.self
    for (const session of members.keys()) {
      if (holders.some(({ frontendId, sessionId }) => frontendId === id && sessionId === session.id)) return true
    }
    return false
  }

  #livingElsewhere (holders: readonly Holder[]): Holder[] {
    const { discovery } = this.#options
    return holders.filter(({ frontendId, incarnation }) => frontendId !== discovery.self.id && discovery.isAlive(frontendId, incarnation))
  }

  #supersedeAll ({ members }: Binding): void {
    const old = [...members.keys()]
    members.clear()
    for (const session of old) this.#options.sessions.supersede(session)
  }

  #bindingOf (uid: string): Binding {
    const known = this.#bindings.get(uid)
    if (known !== undefined) return known
    const binding = new Binding(uid, bindingKey(this.#scope, uid))
    this.#bindings.set(uid, binding)
    return binding
  }

  #forgetIfIdle (binding: Binding): void {
    if (binding.isIdle && !this.#unsettled.has(binding)) this.#bindings.delete(binding.uid)
  }
}

function isSame (some: readonly Holder[], others: readonly Holder[]): boolean {
  return some.length === others.length && some.every((holder, at) => isSameHolder(holder, others[at]!))
}

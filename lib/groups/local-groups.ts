import { PushKind } from '../cluster/envelopes/envelope.ts'
import { groupKeys } from '../cluster/names.ts'
import { createError } from '../errors.ts'
import { LineLimiter } from '../line-limiter.ts'
import { logFailure } from '../log-failure.ts'
import type { Broadcast } from '../handler/pushes.ts'
import type { ClusterGroupsOptions } from './cluster-options.ts'
import { OwnKeys } from './own-keys.ts'
import type { Presence } from './presence.ts'

export interface LocalGroup {
  readonly name: string
  readonly subject: string
  readonly members: Map<string, Member>
  readonly unsubscribe: () => void
  /** Settles when broadcasts to the group reach this server. */
  listening: Promise<void> | undefined
}

/** A new one by each join. */
export interface Member {
  /** Settles when the others were told; undefined: the store does not have the member yet. */
  joined: Promise<void> | undefined
}

export interface LocalGroupsHooks {
  /** @throws PIT_ERR_GROUP_LIMIT when there may be no group more */
  admit (name: string): void
  /** The last member here left. */
  onEmpty (name: string): Promise<void>
  /** The store did not do what it was asked. */
  onFailed (): void
}

/**
 * The members of groups that are connected here: the truth, of which the store has a copy, one key per membership. A group with a member
 * here is listened to, and what comes is handed to the members' sessions.
 */
export class LocalGroups {
  readonly #options: ClusterGroupsOptions
  readonly #presence: Presence
  readonly #hooks: LocalGroupsHooks
  readonly #keys: OwnKeys
  readonly #lines: LineLimiter
  #groups = new Map<string, LocalGroup>()
  #ofUid = new Map<string, Set<string>>()
  /** Uids whose memberships go on elsewhere. */
  #handedOver = new Set<string>()

  constructor (options: ClusterGroupsOptions, presence: Presence, hooks: LocalGroupsHooks) {
    this.#options = options
    this.#presence = presence
    this.#hooks = hooks
    this.#keys = new OwnKeys(options.store, () => hooks.onFailed())
    this.#lines = new LineLimiter(options.log)
  }

  get size (): number { return this.#groups.size }
  names (): IterableIterator<string> { return this.#groups.keys() }
  get (name: string): LocalGroup | undefined { return this.#groups.get(name) }
  has (name: string, uid: string): boolean { return this.#groups.get(name)?.members.has(uid) === true }
  groupsOf (uid: string): string[] { return [...this.#ofUid.get(uid) ?? []] }

  /**
   * Resolves when the store has it: from then on it gets what is broadcast anywhere.
   * @param isNew false: the membership comes from elsewhere, so nobody is told
   * Rejects with PIT_ERR_GROUP_OFFLINE, PIT_ERR_GROUP_MEMBER, PIT_ERR_GROUP_LIMIT, PIT_ERR_STORE, PIT_ERR_CLUSTER_DOWN.
   */
  async add (name: string, uid: string, isNew = true): Promise<void> {
    const { sessions, serverId, transport } = this.#options
    if (!sessions.isConnected(uid)) throw createError('PIT_ERR_GROUP_OFFLINE')
    const group = this.#groups.get(name) ?? this.#open(name)
    if (group.members.has(uid)) throw createError('PIT_ERR_GROUP_MEMBER')
    const member: Member = { joined: undefined }
    group.members.set(uid, member)
    const names = this.#ofUid.get(uid)
    if (names === undefined) this.#ofUid.set(uid, new Set([name]))
    else names.add(name)
    try {
      // Whoever sees the key must reach the member.
      await (group.listening ??= transport.flush())
      if (group.members.get(uid) === member) await this.#keys.put(groupKeys.member(name, uid, serverId))
    } catch (error) {
      group.listening = undefined
      if (group.members.get(uid) === member) this.#drop(group, uid).catch(ignore)
      throw error
    }
    if (group.members.get(uid) === member) {
      member.joined = isNew ? this.#presence.joined(name, uid) : DONE
      await member.joined
    } else if (!sessions.isConnected(uid)) throw createError('PIT_ERR_GROUP_OFFLINE')
  }

  /** Resolves when the key is gone. Rejects with PIT_ERR_GROUP_NO_MEMBER; with PIT_ERR_STORE after the uid left here. */
  async remove (name: string, uid: string): Promise<void> {
    const group = this.#groups.get(name)
    if (group === undefined || !group.members.has(uid)) throw createError('PIT_ERR_GROUP_NO_MEMBER')
    await this.#leave(group, uid)
  }

  /** The uid's last session here closed. */
  leaveAll (uid: string): void {
    const isTold = !this.#handedOver.delete(uid)
    for (const name of this.groupsOf(uid)) {
      const group = this.#groups.get(name)!
      const left = isTold ? this.#leave(group, uid) : this.#drop(group, uid)
      left.catch(ignore)
    }
  }

  /** As `groupsOf`; if `leaveAll` follows in this turn, nobody is told. */
  handOver (uid: string): string[] {
    this.#handedOver.add(uid)
    queueMicrotask(() => this.#handedOver.delete(uid))
    return this.groupsOf(uid)
  }

  /** All members leave; with `revision` those that joined before that revision of the store: the others are in a group of the same name. */
  end (name: string, revision = Infinity): void {
    const group = this.#groups.get(name)
    if (group === undefined) return
    for (const [uid, { joined }] of [...group.members]) {
      const isOld = revision === Infinity ||
        (joined !== undefined && this.#keys.revisionOf(groupKeys.member(name, uid, this.#options.serverId)) < revision)
      if (isOld) this.#leave(group, uid).catch(ignore)
    }
  }

  /** To the members' sessions here. One that cannot be served is logged, and costs the others nothing. */
  deliver (group: LocalGroup, push: Broadcast): void {
    const { sessions } = this.#options
    let failure: { error: unknown } | undefined
    for (const uid of group.members.keys()) {
      for (const session of sessions.ofUid(uid)) {
        try {
          push.to(session)
        } catch (error) {
          failure ??= { error }
        }
      }
    }
    if (failure !== undefined) this.#failed(failure.error, 'a broadcast could not be delivered', group.name)
  }

  /** Makes the store's keys as they are here. Rejects with PIT_ERR_STORE. @returns keys that were put, and that were deleted */
  async repair (): Promise<{ restored: string[], removed: string[] }> {
    return this.#keys.repair(groupKeys.ofFrontend(this.#options.serverId))
  }

  /** Resolves when nothing waits for the store. */
  idle (): Promise<void> { return this.#keys.idle() }

  close (): void {
    for (const { unsubscribe } of this.#groups.values()) unsubscribe()
    this.#groups.clear()
    this.#ofUid.clear()
    this.#lines.flush()
  }

  #open (name: string): LocalGroup {
    const { transport, subjects } = this.#options
    this.#hooks.admit(name)
    const subject = subjects.group(name)
    const unsubscribe = transport.subscribe(subject, (data) => this.#receive(group, data))
    const group: LocalGroup = { name, subject, members: new Map(), unsubscribe, listening: undefined }
    this.#groups.set(name, group)
    return group
  }

  #receive (group: LocalGroup, data: Uint8Array | undefined): void {
    if (data === undefined) return
    const { envelope, serverId, pushes } = this.#options
    try {
      const push = envelope.decodePush(data)
      // What this server sends it has delivered already.
      if (push.caller === serverId) return
      if (push.kind === PushKind.push) this.deliver(group, pushes.relay(push.route, push.payloads, push.caller))
      else if (push.kind === PushKind.close) this.end(group.name)
    } catch (error) {
      this.#failed(error, 'a message to a group could not be read', group.name)
    }
  }

  async #leave (group: LocalGroup, uid: string): Promise<void> {
    const joined = group.members.get(uid)?.joined
    try {
      await this.#drop(group, uid)
    } finally {
      if (joined !== undefined) {
        await joined
        await this.#presence.left(group.name, uid)
      }
    }
  }

  /** Resolves when the key is gone. */
  async #drop (group: LocalGroup, uid: string): Promise<void> {
    const { name, members } = group
    members.delete(uid)
    const names = this.#ofUid.get(uid)
    names?.delete(name)
    if (names?.size === 0) this.#ofUid.delete(uid)
    const isEmpty = members.size === 0
    if (isEmpty) {
      group.unsubscribe()
      this.#groups.delete(name)
    }
    await this.#keys.delete(groupKeys.member(name, uid, this.#options.serverId))
    if (isEmpty) await this.#hooks.onEmpty(name)
  }

  #failed (error: unknown, text: string, group: string): void {
    if (this.#lines.admits(text, performance.now())) logFailure(this.#options.log, error, text, { group })
  }
}

const DONE = Promise.resolve()

/** What the store could not be told, `repair` tells it. */
function ignore (): void {}

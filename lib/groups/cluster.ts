import { PushKind, type PushEnvelope, type PushPayload } from '../cluster/envelopes/envelope.ts'
import { groupKeys } from '../cluster/names.ts'
import { Deadline } from '../deadline.ts'
import { createError, isPitayaError, type ErrorCode } from '../errors.ts'
import type { HandlerGroups, MaybePromise } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import { assertUid, isName } from '../session/uid.ts'
import { addOnce, assertGroupName, assertTtl } from './check.ts'
import type { ClusterGroupsOptions } from './cluster-options.ts'
import { CreatedGroups } from './created-groups.ts'
import { sweep } from './janitor.ts'
import { LocalGroups } from './local-groups.ts'
import { Presence } from './presence.ts'
import { Reach } from './reach.ts'
import { untilGone } from './until-gone.ts'

/** How long removeAll and delete wait for other servers. */
const CLEAR_MS = 5000
/** After a call to the store failed. */
const REPAIR_MS = 1000
const CLOSE_MS = 2000

/** Answers of a server that the uid is no longer connected to. */
const STALE: readonly ErrorCode[] = ['PIT_ERR_GROUP_OFFLINE', 'PIT_ERR_SERVER_UNKNOWN', 'PIT_ERR_SERVER_LOST']
const NONE_THERE: readonly ErrorCode[] = ['PIT_ERR_GROUP_NO_MEMBER', 'PIT_ERR_SERVER_UNKNOWN', 'PIT_ERR_SERVER_LOST']

/**
 * Groups of a cluster. Each frontend knows its own members and listens to their groups; the store has a key per membership, for those who
 * ask. A broadcast is one publish, whoever sends it and however many members there are.
 * What needs the store rejects with PIT_ERR_STORE while it cannot be reached; a broadcast does not need it.
 */
export class ClusterGroups implements HandlerGroups {
  readonly #options: ClusterGroupsOptions
  readonly #presence: Presence
  readonly #local: LocalGroups
  readonly #created: CreatedGroups
  readonly #reach: Reach
  #repair: Deadline | undefined
  #reconciled: Promise<unknown> = Promise.resolve()
  #isFirst = true
  #isClosed = false

  constructor (options: ClusterGroupsOptions) {
    this.#options = options
    this.#presence = new Presence(options)
    this.#created = new CreatedGroups(options, {
      onEnd: (name, revision) => this.#local.end(name, revision),
      isUsed: (name) => this.#local.get(name) !== undefined
    })
    this.#local = new LocalGroups(options, this.#presence, {
      admit: (name) => this.#admit(name),
      onEmpty: (name) => this.#created.endIfEmpty(name, (name) => this.#hasMembers(name)),
      onFailed: () => this.#repairLater()
    })
    this.#reach = new Reach(options.transport, options.subjects.unheard(options.serverId))
    options.sessions.onUidGone = (uid) => this.#local.leaveAll(uid)
  }

  /** Groups with members here, and those that were made by `create` anywhere. */
  get size (): number {
    let size = this.#local.size
    for (const name of this.#created.names()) if (this.#local.get(name) === undefined) size++
    return size
  }

  /** Of the groups that count in `size`. */
  get names (): string[] { return [...new Set([...this.#local.names(), ...this.#created.names()])] }

  /** To be awaited before the first use, when transport and store are open. Rejects with PIT_ERR_STORE. */
  async open (): Promise<void> {
    await this.#created.open()
  }

  async create (name: string, { ttlMs }: { ttlMs?: number } = {}): Promise<void> {
    assertGroupName(name)
    assertTtl(ttlMs)
    if (await this.#hasMembers(name)) throw createError('PIT_ERR_GROUP_EXISTS')
    this.#admit(name)
    await this.#created.create(name, ttlMs)
  }

  async add (name: string, uid: string): Promise<void> {
    if (uid === '') throw createError('PIT_ERR_GROUP_UID')
    assertUid(uid)
    assertGroupName(name)
    if (await this.#addWhereConnected(name, uid) || await this.#addWhereConnected(name, uid)) return
    throw createError('PIT_ERR_GROUP_OFFLINE')
  }

  join (name: string, uid: string): Promise<boolean> { return addOnce(this.add(name, uid)) }

  /**
   * For a uid that is connected here: what other servers ask by `Peers.groupAdd`.
   * Rejects with PIT_ERR_GROUP_OFFLINE, PIT_ERR_GROUP_MEMBER, PIT_ERR_GROUP_LIMIT, PIT_ERR_STORE, PIT_ERR_CLUSTER_DOWN.
   */
  async addLocal (name: string, uid: string): Promise<void> {
    assertUid(uid)
    assertGroupName(name)
    await this.#local.add(name, uid)
  }

  async remove (name: string, uid: string): Promise<void> {
    const frontends = await this.#frontendsOf(name, uid)
    if (frontends.length === 0) throw createError(await this.#exists(name) ? 'PIT_ERR_GROUP_NO_MEMBER' : 'PIT_ERR_GROUP_NOT_FOUND')
    let isRemoved = false
    // One after the other: the last tells that the uid left.
    for (const frontendId of frontends) {
      const result = await this.#try(NONE_THERE, () => frontendId === this.#options.serverId
        ? this.#local.remove(name, uid)
        : this.#options.peers.groupRemove(frontendId, { group: name, uid }))
      isRemoved ||= result === undefined
    }
    if (!isRemoved) throw createError('PIT_ERR_GROUP_NO_MEMBER')
  }

  /**
   * For a member that is connected here: what other servers ask by `Peers.groupRemove`.
   * Rejects with PIT_ERR_GROUP_NO_MEMBER, PIT_ERR_STORE.
   */
  async removeLocal (name: string, uid: string): Promise<void> {
    await this.#local.remove(name, uid)
  }

  async removeAll (name: string): Promise<void> {
    await this.#clear(name)
    await this.#created.endIfEmpty(name, (name) => this.#hasMembers(name))
  }

  async delete (name: string): Promise<void> {
    await this.#clear(name)
    await this.#created.delete(name)
  }

  async members (name: string): Promise<string[]> {
    const members = await this.#members(name)
    if (members.size === 0) await this.#requireGroup(name)
    return [...members]
  }

  async count (name: string): Promise<number> {
    return (await this.members(name)).length
  }

  async contains (name: string, uid: string): Promise<boolean> {
    if (this.#local.has(name, uid)) return true
    if ((await this.#frontendsOf(name, uid)).length > 0) return true
    await this.#requireGroup(name)
    return false
  }

  async renew (name: string): Promise<void> {
    if (await this.#created.renew(name)) return
    throw createError(await this.#exists(name) ? 'PIT_ERR_GROUP_TTL' : 'PIT_ERR_GROUP_NOT_FOUND')
  }

  /**
   * Members here are served at once, the others by one publish. Waits for nothing if the group has members here, or was heard of a second
   * ago. Throws or rejects with PIT_ERR_CLUSTER_DOWN while no other server can be reached, PIT_ERR_RPC_SIZE; nobody gets it then.
   */
  broadcast (name: string, route: string, value: unknown): MaybePromise<void> {
    const { pushes, serverId, subjects, transport } = this.#options
    if (!isName(name)) throw createError('PIT_ERR_GROUP_NOT_FOUND')
    const payloads = pushes.payloads(route, value)
    const bytes = this.#encode(PushKind.push, name, route, payloads)
    const group = this.#local.get(name)
    if (group !== undefined) {
      if (!transport.publish(group.subject, bytes)) throw createError('PIT_ERR_CLUSTER_DOWN')
      return this.#local.deliver(group, pushes.relay(route, payloads, serverId))
    }
    const sent = this.#reach.publish(subjects.group(name), bytes)
    if (sent !== true) return this.#requireHeard(name, sent)
  }

  async multicast (name: string, route: string, value: unknown, filter?: (uid: string) => boolean): Promise<void> {
    if (filter === undefined) return await this.broadcast(name, route, value)
    const uids = (await this.members(name)).filter(filter)
    if (uids.length > 0) await this.#options.pushToUids(uids, route, value)
  }

  /** Groups that a uid is in by way of this server. */
  groupsOf (uid: string): string[] { return this.#local.groupsOf(uid) }

  /** As `groupsOf`, for the frontend that will `adopt` them: when the uid's last session here closes in this turn, no `leave` is told. */
  handOver (uid: string): string[] { return this.#local.handOver(uid) }

  /** The uid of a session here comes with memberships from another frontend. What cannot be taken over is logged, and told as `leave`. */
  async adopt (uid: string, groups: readonly string[]): Promise<void> {
    await Promise.all(groups.map(async (name) => {
      try {
        await this.#local.add(name, uid, false)
      } catch (error) {
        if (isOneOf(error, ['PIT_ERR_GROUP_MEMBER'])) return
        if (!isOneOf(error, ['PIT_ERR_GROUP_OFFLINE'])) logFailure(this.#options.log, error, 'a group membership could not be taken over', { group: name })
        await this.#presence.left(name, uid)
      }
    }))
  }

  /** The uid's first session here, while it has others elsewhere: it gets what they get. Rejects with PIT_ERR_STORE. */
  async follow (uid: string): Promise<void> {
    const members = (await this.#options.store.keys(groupKeys.membershipsOf(uid))).map(groupKeys.readMember)
    const groups = members.filter(({ frontendId }) => this.#presence.isLiving(frontendId)).map(({ group }) => group)
    await this.adopt(uid, [...new Set(groups)])
  }

  /**
   * Makes the store as it is here: after the connection came back, the store was wiped, or this server's lease was lost; and once when this
   * server is registered, not before: memberships that an earlier life of it left behind are deleted then, and told as `leave`.
   * Rejects with PIT_ERR_STORE; it is then tried again by itself.
   * @param options.isReborn the others were told that these members left, so they are told that they joined
   */
  async reconcile ({ isReborn = false }: { isReborn?: boolean } = {}): Promise<void> {
    const run = this.#reconciled.then(async () => {
      const { restored, removed } = await this.#local.repair()
      await this.#created.restore()
      const leftBehind = this.#isFirst ? removed : []
      this.#isFirst = false
      for (const { group, uid } of leftBehind.map(groupKeys.readMember)) await this.#presence.left(group, uid)
      if (!isReborn) return
      for (const { group, uid } of restored.map(groupKeys.readMember)) this.#presence.tell('join', group, uid)
    })
    this.#reconciled = run.catch(() => this.#repairLater())
    await run
  }

  /** Removes what a frontend left behind that is gone, and tells of it; one server does that. Rejects with PIT_ERR_STORE. */
  async janitor (frontendId: string): Promise<void> {
    const emptied = await sweep(this.#options, this.#presence, frontendId)
    for (const name of emptied) await this.#created.endIfEmpty(name, (name) => this.#hasMembers(name))
  }

  /** Waits, 2 s at most, for what the store is still to be told; ends timers, subscriptions and the watch. */
  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#repair?.cancel()
    this.#created.close()
    this.#reach.close()
    await new Promise<void>((resolve) => {
      const deadline = new Deadline(this.#options.wheel, CLOSE_MS, resolve)
      this.#local.idle().then(() => {
        deadline.cancel()
        resolve()
      })
    })
    this.#local.close()
  }

  /** False: the uid is connected nowhere, or no longer where the directory said. */
  async #addWhereConnected (name: string, uid: string): Promise<boolean> {
    const { directory, serverId, sessions, peers } = this.#options
    const frontends = new Set((await directory.find(uid)).map(({ frontendId }) => frontendId))
    if (sessions.isConnected(uid)) frontends.add(serverId)
    else frontends.delete(serverId)
    let isAdded = false
    let isStale = frontends.size === 0
    let member: unknown
    // One after the other: the first tells that the uid joined.
    for (const frontendId of frontends) {
      const error = await this.#try([...STALE, 'PIT_ERR_GROUP_MEMBER'], () => frontendId === serverId
        ? this.#local.add(name, uid)
        : peers.groupAdd(frontendId, { group: name, uid }))
      if (error === undefined) isAdded = true
      else if (isOneOf(error, STALE)) isStale = true
      else member = error
    }
    if (isStale) directory.correct(uid)
    if (!isAdded && member !== undefined) throw member
    return isAdded
  }

  /** @returns the error, if its code is one of these; others are thrown */
  async #try (codes: readonly string[], act: () => Promise<void>): Promise<unknown> {
    try {
      await act()
    } catch (error) {
      if (!isOneOf(error, codes)) throw error
      return error
    }
  }

  /** Every server's members leave, this one's too; resolves when none is left of those that were there. */
  async #clear (name: string): Promise<void> {
    await this.#requireGroup(name)
    const { transport, subjects, store, wheel } = this.#options
    const bytes = this.#encode(PushKind.close, name, '', [])
    if (!transport.publish(subjects.group(name), bytes)) throw createError('PIT_ERR_CLUSTER_DOWN')
    this.#local.end(name)
    // Who is added after this call must not be taken out by it.
    await transport.flush()
    const isWaited = (key: string): boolean => this.#presence.isLiving(groupKeys.readMember(key).frontendId)
    await untilGone(store, wheel, groupKeys.membersOf(name), CLEAR_MS, isWaited)
  }

  #encode (kind: PushEnvelope['kind'], group: string, route: string, payloads: PushPayload[]): Uint8Array {
    const { envelope, serverId } = this.#options
    return envelope.encodePush({ kind, caller: serverId, hops: 0, route, sessions: [], uids: [], group, payloads, reason: '' })
  }

  async #members (name: string): Promise<Set<string>> {
    const members = new Set<string>()
    if (!isName(name)) return members
    for (const key of await this.#options.store.keys(groupKeys.membersOf(name))) {
      const { uid, frontendId } = groupKeys.readMember(key)
      if (this.#presence.isLiving(frontendId)) members.add(uid)
    }
    return members
  }

  async #hasMembers (name: string): Promise<boolean> {
    return this.#local.get(name) !== undefined || (await this.#members(name)).size > 0
  }

  /** Servers by way of which a uid is a member. */
  async #frontendsOf (name: string, uid: string): Promise<string[]> {
    if (!isName(name) || !isName(uid)) return []
    const { serverId, store } = this.#options
    const keys = await store.keys(groupKeys.membership(name, uid))
    const others = keys.map((key) => groupKeys.readMember(key).frontendId).filter((id) => id !== serverId && this.#presence.isLiving(id))
    return this.#local.has(name, uid) ? [...others, serverId] : others
  }

  async #exists (name: string): Promise<boolean> {
    return this.#local.get(name) !== undefined || await this.#created.exists(name) || await this.#hasMembers(name)
  }

  async #requireGroup (name: string): Promise<void> {
    if (!await this.#exists(name)) throw createError('PIT_ERR_GROUP_NOT_FOUND')
  }

  async #requireHeard (name: string, sent: Promise<boolean>): Promise<void> {
    if (!await sent && !this.#created.has(name) && !await this.#created.exists(name)) throw createError('PIT_ERR_GROUP_NOT_FOUND')
  }

  #admit (name: string): void {
    const { maxGroups } = this.#options
    if (this.#created.has(name) || this.#local.size + this.#created.size < maxGroups) return
    if (this.size >= maxGroups) throw createError('PIT_ERR_GROUP_LIMIT', [maxGroups])
  }

  #repairLater (): void {
    if (this.#isClosed || this.#repair !== undefined) return
    this.#repair = new Deadline(this.#options.wheel, REPAIR_MS, () => {
      this.#repair = undefined
      this.reconcile().catch(() => {})
    })
  }
}

function isOneOf (error: unknown, codes: readonly string[]): boolean {
  return isPitayaError(error) && codes.includes(error.code)
}

import { Deadline } from '../deadline.ts'
import { createError } from '../errors.ts'
import type { HandlerGroups } from '../handler/types.ts'
import type { PushRegistry } from '../handler/pushes.ts'
import type { SessionPool } from '../session/pool.ts'
import { assertUid } from '../session/uid.ts'
import type { TimerWheel } from '../timer-wheel.ts'
import { addOnce, assertGroupName, assertTtl } from './check.ts'

interface Group {
  readonly members: Set<string>
  readonly ttlMs: number | undefined
  ttl: Deadline | undefined
}

export interface MemoryGroupsOptions {
  readonly sessions: SessionPool
  readonly pushes: PushRegistry
  readonly wheel: TimerWheel
  readonly maxGroups: number
}

/** Groups of one process. A member is a connected uid; it leaves all its groups when its last session closes. */
export class MemoryGroups implements HandlerGroups {
  #options: MemoryGroupsOptions
  #groups = new Map<string, Group>()
  #ofUid = new Map<string, Set<string>>()

  constructor (options: MemoryGroupsOptions) {
    this.#options = options
    options.sessions.onUidGone = (uid) => this.#leaveAll(uid)
  }

  get size (): number { return this.#groups.size }
  get names (): string[] { return [...this.#groups.keys()] }

  async create (name: string, { ttlMs }: { ttlMs?: number } = {}): Promise<void> {
    if (this.#groups.has(name)) throw createError('PIT_ERR_GROUP_EXISTS')
    this.#create(name, ttlMs)
  }

  async add (name: string, uid: string): Promise<void> {
    if (uid === '') throw createError('PIT_ERR_GROUP_UID')
    assertUid(uid)
    if (!this.#options.sessions.isConnected(uid)) throw createError('PIT_ERR_GROUP_OFFLINE')
    const group = this.#groups.get(name) ?? this.#create(name, undefined)
    if (group.members.has(uid)) throw createError('PIT_ERR_GROUP_MEMBER')
    group.members.add(uid)
    const names = this.#ofUid.get(uid)
    if (names === undefined) this.#ofUid.set(uid, new Set([name]))
    else names.add(name)
  }

  join (name: string, uid: string): Promise<boolean> { return addOnce(this.add(name, uid)) }

  async remove (name: string, uid: string): Promise<void> {
    if (!this.#get(name).members.has(uid)) throw createError('PIT_ERR_GROUP_NO_MEMBER')
    this.#leave(name, uid)
  }

  async removeAll (name: string): Promise<void> {
    for (const uid of [...this.#get(name).members]) this.#leave(name, uid)
  }

  async delete (name: string): Promise<void> {
    this.#get(name)
    this.#end(name)
  }

  async members (name: string): Promise<string[]> { return [...this.#get(name).members] }
  async count (name: string): Promise<number> { return this.#get(name).members.size }
  async contains (name: string, uid: string): Promise<boolean> { return this.#get(name).members.has(uid) }

  async renew (name: string): Promise<void> {
    const group = this.#get(name)
    if (group.ttlMs === undefined) throw createError('PIT_ERR_GROUP_TTL')
    this.#arm(name, group)
  }

  broadcast (name: string, route: string, value: unknown): void {
    this.multicast(name, route, value)
  }

  multicast (name: string, route: string, value: unknown, filter?: (uid: string) => boolean): void {
    const { members } = this.#get(name)
    const { sessions, pushes } = this.#options
    const push = pushes.broadcast(route, value)
    for (const uid of members) {
      if (filter !== undefined && !filter(uid)) continue
      for (const session of sessions.ofUid(uid)) push.to(session)
    }
  }

  /** Ends all groups and their timers. */
  close (): void {
    for (const name of [...this.#groups.keys()]) this.#end(name)
  }

  #create (name: string, ttlMs: number | undefined): Group {
    assertGroupName(name)
    assertTtl(ttlMs)
    if (this.#groups.size >= this.#options.maxGroups) throw createError('PIT_ERR_GROUP_LIMIT', [this.#options.maxGroups])
    const group: Group = { members: new Set(), ttlMs, ttl: undefined }
    this.#groups.set(name, group)
    this.#arm(name, group)
    return group
  }

  #arm (name: string, group: Group): void {
    group.ttl?.cancel()
    if (group.ttlMs !== undefined) group.ttl = new Deadline(this.#options.wheel, group.ttlMs, () => this.#end(name))
  }

  #get (name: string): Group {
    const group = this.#groups.get(name)
    if (group === undefined) throw createError('PIT_ERR_GROUP_NOT_FOUND')
    return group
  }

  #leave (name: string, uid: string): void {
    const group = this.#groups.get(name)
    const names = this.#ofUid.get(uid)
    names?.delete(name)
    if (names?.size === 0) this.#ofUid.delete(uid)
    group?.members.delete(uid)
    if (group !== undefined && group.members.size === 0 && group.ttlMs === undefined) this.#end(name)
  }

  #leaveAll (uid: string): void {
    for (const name of [...this.#ofUid.get(uid) ?? []]) this.#leave(name, uid)
  }

  #end (name: string): void {
    const group = this.#groups.get(name)
    if (group === undefined) return
    this.#groups.delete(name)
    group.ttl?.cancel()
    for (const uid of [...group.members]) this.#leave(name, uid)
  }
}

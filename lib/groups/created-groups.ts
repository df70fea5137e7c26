import { randomUUID } from 'node:crypto'
import { groupKeys } from '../cluster/names.ts'
import type { Entry, Watch } from '../cluster/stores/store.ts'
import { Deadline } from '../deadline.ts'
import { createError } from '../errors.ts'
import { isName } from '../session/uid.ts'
import type { ClusterGroupsOptions } from './cluster-options.ts'

const RETRY_MS = 1000
const MAX_TRIES = 5

export interface CreatedGroup {
  readonly name: string
  readonly ttlMs: number | undefined
  /** Tells a group from another that had its name before. */
  readonly generation: string
  /** Created by this server, which puts it back when the store lost it. */
  isMine: boolean
  revision: number
  deadline: Deadline | undefined
  /** Its time was up, and the key is deleted. */
  isEnding: boolean
}

export interface CreatedGroupsHooks {
  /** The group ended, at that revision of the store: its members leave. */
  onEnd (name: string, revision?: number): void
  /** True for groups with members here, which are put back when the store lost them. */
  isUsed (name: string): boolean
}

/**
 * Groups that were made by `create`, anywhere: a key each, which all servers watch. The TTL runs on every server, on its own clock,
 * from each write that it sees; at its end whoever is first deletes the key, unless it was renewed.
 */
export class CreatedGroups {
  readonly #options: Pick<ClusterGroupsOptions, 'store' | 'wheel'>
  readonly #hooks: CreatedGroupsHooks
  #groups = new Map<string, CreatedGroup>()
  /** Of which the watch told since it last told of all. */
  #told = new Set<string>()
  #watch: Watch | undefined
  #isClosed = false

  constructor (options: Pick<ClusterGroupsOptions, 'store' | 'wheel'>, hooks: CreatedGroupsHooks) {
    this.#options = options
    this.#hooks = hooks
  }

  get size (): number { return this.#groups.size }
  names (): IterableIterator<string> { return this.#groups.keys() }
  has (name: string): boolean { return this.#groups.has(name) }

  /** Rejects with PIT_ERR_STORE. */
  async open (): Promise<void> {
    const watch = await this.#options.store.watch(groupKeys.allCreated, {
      onPut: (entry) => { this.#learn(entry, false) },
      onDelete: (key, revision) => this.#deleted(groupKeys.readCreated(key), revision),
      onCaughtUp: () => this.#caughtUp()
    })
    if (this.#isClosed) watch.stop()
    else this.#watch = watch
  }

  /** Rejects with PIT_ERR_GROUP_EXISTS, PIT_ERR_STORE. */
  async create (name: string, ttlMs: number | undefined): Promise<void> {
    const value = encode(ttlMs, randomUUID())
    const key = groupKeys.created(name)
    const revision = await this.#options.store.create(key, value)
    if (revision === undefined) throw createError('PIT_ERR_GROUP_EXISTS')
    this.#learn({ key, value, revision }, true)
  }

  /** Looks in the store, for what the watch may not have told yet. */
  async exists (name: string): Promise<boolean> {
    return (await this.#find(name)) !== undefined
  }

  /** Starts the TTL anew. False: there is no such group. Rejects with PIT_ERR_GROUP_TTL, PIT_ERR_STORE. */
  async renew (name: string): Promise<boolean> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entry = await this.#find(name)
      if (entry === undefined) return false
      if (decode(entry)?.ttlMs === undefined) throw createError('PIT_ERR_GROUP_TTL')
      const revision = await this.#options.store.update(entry.key, entry.value, entry.revision)
      if (revision === undefined) continue
      this.#learn({ ...entry, revision }, false)
      return true
    }
    // Others renew it faster than this server can.
    return true
  }

  /** Deletes the key; members are not asked. Rejects with PIT_ERR_STORE. */
  async delete (name: string): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const entry = await this.#find(name)
      if (entry === undefined || await this.#options.store.delete(entry.key, entry.revision)) return this.#forget(name)
    }
  }

  /** For a group without TTL whose last member here left: it ends if it has none elsewhere. Rejects with PIT_ERR_STORE. */
  async endIfEmpty (name: string, hasMembers: (name: string) => Promise<boolean>): Promise<void> {
    const entry = await this.#find(name)
    if (entry === undefined || decode(entry)?.ttlMs !== undefined || await hasMembers(name)) return
    if (await this.#options.store.delete(entry.key, entry.revision)) this.#forget(name)
  }

  /** Puts back what the store lost. Rejects with PIT_ERR_STORE. */
  async restore (): Promise<void> {
    for (const group of [...this.#groups.values()]) {
      if (!group.isMine && !this.#hooks.isUsed(group.name)) continue
      const key = groupKeys.created(group.name)
      const value = encode(group.ttlMs, group.generation)
      const revision = await this.#options.store.create(key, value)
      if (revision !== undefined) this.#learn({ key, value, revision }, group.isMine)
    }
  }

  close (): void {
    this.#isClosed = true
    this.#watch?.stop()
    for (const { deadline } of this.#groups.values()) deadline?.cancel()
    this.#groups.clear()
  }

  async #find (name: string): Promise<Entry | undefined> {
    return isName(name) ? await this.#options.store.get(groupKeys.created(name)) : undefined
  }

  #learn (entry: Entry, isMine: boolean): void {
    const name = groupKeys.readCreated(entry.key)
    const read = decode(entry)
    if (this.#isClosed || read === undefined || !isName(name)) return
    this.#told.add(name)
    const { revision } = entry
    const known = this.#groups.get(name)
    if (known?.revision === revision) {
      known.isMine ||= isMine
      return
    }
    known?.deadline?.cancel()
    // The end of the one before and the start of this one may be told as one change.
    if (known !== undefined && known.generation !== read.generation) this.#hooks.onEnd(name, revision)
    const group: CreatedGroup = {
      name, ...read, revision, isMine: isMine || known?.isMine === true, deadline: undefined, isEnding: false
    }
    this.#groups.set(name, group)
    if (group.ttlMs !== undefined) this.#arm(group, group.ttlMs)
  }

  #deleted (name: string, revision: number): void {
    const group = this.#groups.get(name)
    if (group === undefined || revision < group.revision) return
    this.#forget(name)
    if (group.ttlMs !== undefined) this.#hooks.onEnd(name, revision)
  }

  /** What was not told of is gone, or the store lost it; those that this server would put back stay. */
  #caughtUp (): void {
    for (const group of [...this.#groups.values()]) {
      if (!this.#told.has(group.name) && !group.isMine && !this.#hooks.isUsed(group.name)) this.#forget(group.name)
    }
    this.#told.clear()
  }

  #forget (name: string): void {
    this.#groups.get(name)?.deadline?.cancel()
    this.#groups.delete(name)
  }

  #arm (group: CreatedGroup, ms: number): void {
    group.deadline = new Deadline(this.#options.wheel, ms, () => { this.#expire(group) })
  }

  /**
   * While the store cannot be reached nobody can renew a group, so it does not end either. When the key is deleted the watch tells so,
   * with the revision at which it was; a watch that keeps silent is not waited for twice.
   */
  async #expire (group: CreatedGroup): Promise<void> {
    const { store } = this.#options
    const { name } = group
    let entry: Entry | undefined
    let isGone = false
    try {
      isGone = await store.delete(groupKeys.created(name), group.revision)
      if (!isGone) entry = await store.get(groupKeys.created(name))
    } catch {
      entry = undefined
    }
    if (this.#isClosed || this.#groups.get(name) !== group) return
    if (isGone && group.isEnding) {
      this.#forget(name)
      this.#hooks.onEnd(name)
    } else if (entry !== undefined && entry.revision !== group.revision) this.#learn(entry, false)
    else {
      group.isEnding = isGone
      this.#arm(group, RETRY_MS)
    }
  }
}

function encode (ttlMs: number | undefined, generation: string): Uint8Array {
  return Buffer.from(JSON.stringify({ ttlMs, generation }))
}

/** Undefined for what no server of ours wrote. */
function decode ({ value }: Entry): { ttlMs: number | undefined, generation: string } | undefined {
  try {
    const { ttlMs, generation } = JSON.parse(Buffer.from(value).toString()) as Record<string, unknown>
    if (typeof generation !== 'string') return undefined
    if (ttlMs === undefined) return { ttlMs, generation }
    return typeof ttlMs === 'number' && ttlMs > 0 ? { ttlMs, generation } : undefined
  } catch {
    return undefined
  }
}

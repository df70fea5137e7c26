import { eachLimited } from '../each-limited.ts'
import type { Logger, MaybePromise } from '../handler/types.ts'
import type { BindPolicy } from '../session/pool.ts'
import { isName } from '../session/uid.ts'
import type { Discovery } from './discovery/discovery.ts'
import { bindingKey, type BindScope, type Holder, readHolders, scopeName } from './holders.ts'
import type { Store } from './stores/store.ts'

export interface DirectoryOptions {
  readonly store: Store
  readonly discovery: Discovery
  readonly scope: BindScope
  readonly policy: BindPolicy
  readonly log: Logger
  /** Uids that are kept. Default 10,000; those used last stay. */
  readonly size?: number
  /** How long one is kept. Default 30,000; with policy `allow` 1000, since nothing else tells of a session that came besides. */
  readonly ttlMs?: number
  /** Monotonic, in milliseconds. */
  readonly clock?: () => number
}

/** Where uids are: what a push or a kick to many costs, by frontend. */
export interface UidsByFrontend {
  readonly byFrontend: Map<string, string[]>
  /** Bound nowhere. */
  readonly unknown: string[]
  /** The store could not be asked. */
  readonly failed: string[]
}

interface Known {
  readonly holders: readonly Holder[]
  readonly until: number
}

const AT_ONCE = 64
const MANY_SCOPES_MS = 1000

/**
 * Finds the sessions of uids anywhere in the cluster: by a bounded cache, else in the store. The cache may be wrong for a while: who
 * sends to a frontend and hears that the uid is not there calls `correct` and looks again.
 */
export class Directory {
  #options: DirectoryOptions
  #size: number
  #ttlMs: number
  #clock: () => number
  #known = new Map<string, Known>()
  #lookups = new Map<string, Promise<readonly Holder[]>>()

  constructor (options: DirectoryOptions) {
    this.#options = options
    this.#size = options.size ?? 10_000
    this.#ttlMs = options.ttlMs ?? (options.policy === 'allow' ? 1000 : 30_000)
    this.#clock = options.clock ?? (() => performance.now())
  }

  /** Uids in the cache. */
  get size (): number { return this.#known.size }

  /** Sessions of a uid on living frontends, without a promise when they are in the cache. Rejects with PIT_ERR_STORE. */
  find (uid: string): MaybePromise<readonly Holder[]> {
    return this.#cached(uid) ?? this.#lookups.get(uid) ?? this.#lookUp(uid)
  }

  /** A uid was not where it was found. */
  correct (uid: string): void {
    this.#known.delete(uid)
    // What is being read may be as old.
    this.#lookups.delete(uid)
  }

  /** Frontends of many uids, each uid once per frontend. When the store cannot be asked, those in the cache are found all the same. */
  async group (uids: Iterable<string>): Promise<UidsByFrontend> {
    const result: UidsByFrontend = { byFrontend: new Map(), unknown: [], failed: [] }
    const missing: string[] = []
    for (const uid of new Set(uids)) {
      if (!isName(uid)) {
        result.unknown.push(uid)
        continue
      }
      const holders = this.#cached(uid)
      if (holders === undefined) missing.push(uid)
      else sort(uid, holders, result)
    }
    let isDown = false
    await eachLimited(missing, AT_ONCE, async (uid) => {
      try {
        if (isDown) result.failed.push(uid)
        else sort(uid, await this.find(uid), result)
      } catch {
        isDown = true
        result.failed.push(uid)
      }
    })
    return result
  }

  #cached (uid: string): readonly Holder[] | undefined {
    const known = this.#known.get(uid)
    if (known === undefined) return undefined
    this.#known.delete(uid)
    if (known.until <= this.#clock() || !known.holders.every(this.#isAlive)) return undefined
    this.#known.set(uid, known)
    return known.holders
  }

  #lookUp (uid: string): Promise<readonly Holder[]> {
    const lookup = this.#read(uid).then(
      (holders) => {
        if (this.#lookups.get(uid) !== lookup) return holders
        this.#lookups.delete(uid)
        this.#keep(uid, holders)
        return holders
      },
      (error: unknown) => {
        if (this.#lookups.get(uid) === lookup) this.#lookups.delete(uid)
        throw error
      })
    this.#lookups.set(uid, lookup)
    return lookup
  }

  async #read (uid: string): Promise<readonly Holder[]> {
    const { store, log } = this.#options
    const held = await Promise.all(this.#scopes().map((scope) => readHolders(store, bindingKey(scope, uid), log)))
    return held.flatMap(({ holders }) => holders).filter(this.#isAlive)
  }

  /** That a uid is bound nowhere is not kept: nobody would correct it when it is. */
  #keep (uid: string, holders: readonly Holder[]): void {
    if (holders.length === 0) return
    if (this.#known.size >= this.#size) this.#known.delete(this.#known.keys().next().value!)
    // Nothing tells of a session that came in another scope.
    const ttlMs = this.#scopes().length > 1 ? Math.min(this.#ttlMs, MANY_SCOPES_MS) : this.#ttlMs
    this.#known.set(uid, { holders, until: this.#clock() + ttlMs })
  }

  #scopes (): string[] {
    const { discovery, scope } = this.#options
    const scopes = new Set<string>()
    for (const { type, frontend } of discovery.all()) if (frontend) scopes.add(scopeName(scope, type))
    return [...scopes]
  }

  /** By its id only: with a new incarnation it may still be the process that has the session. If not, it says so when it is asked. */
  #isAlive = ({ frontendId }: Holder): boolean => this.#options.discovery.get(frontendId) !== undefined
}

function sort (uid: string, holders: readonly Holder[], { byFrontend, unknown }: UidsByFrontend): void {
  if (holders.length === 0) unknown.push(uid)
  const frontends = holders.length === 1 ? holders : new Map(holders.map((holder) => [holder.frontendId, holder])).values()
  for (const { frontendId } of frontends) {
    const uids = byFrontend.get(frontendId)
    if (uids === undefined) byFrontend.set(frontendId, [uid])
    else uids.push(uid)
  }
}

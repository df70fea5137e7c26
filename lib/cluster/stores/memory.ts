import { createError } from '../../errors.ts'
import type { MemoryBus, MemoryMember } from '../memory-bus.ts'
import { assertKey, createMatcher } from '../subject.ts'
import type { MemoryTable, MemoryWatch } from './memory-table.ts'
import { MAX_VALUE_BYTES, type Entry, type Store, type Watch, type Watcher } from './store.ts'

/** Shared by the servers of one process that were given the same bus. */
export class MemoryStore implements Store, MemoryMember {
  readonly name: string
  readonly #bus: MemoryBus
  readonly #table: MemoryTable
  #watches = new Map<MemoryWatch, { stop: () => void, onLost: () => void }>()

  /** @param name stores of one bus and one name share their keys */
  constructor (bus: MemoryBus, name: string) {
    this.name = name
    this.#bus = bus
    this.#table = bus.table(name)
    bus.join(this)
  }

  async get (key: string): Promise<Entry | undefined> {
    this.#assert(key)
    return this.#table.get(key)
  }

  async create (key: string, value: Uint8Array): Promise<number | undefined> {
    this.#assert(key, value)
    return this.#table.put(key, value, 0)
  }

  async update (key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    this.#assert(key, value)
    return revision > 0 ? this.#table.put(key, value, revision) : undefined
  }

  async delete (key: string, revision: number): Promise<boolean> {
    this.#assert(key)
    return this.#table.delete(key, revision)
  }

  async keys (filter: string): Promise<string[]> {
    this.#assert()
    return [...this.#table.keys()].filter(createMatcher(filter))
  }

  async watch (filter: string, watcher: Watcher): Promise<Watch> {
    this.#assert()
    return await new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#watches.delete(watch)
        end()
      }
      let isTold = false
      const onCaughtUp = (): void => {
        isTold = true
        resolve({ stop })
      }
      const watch: MemoryWatch = { matches: createMatcher(filter), watcher, onCaughtUp, isLinked: true, news: [] }
      const end = this.#table.watch(watch)
      const onLost = (): void => {
        if (isTold) return
        stop()
        reject(createError('PIT_ERR_STORE'))
      }
      this.#watches.set(watch, { stop, onLost })
    })
  }

  async compact (): Promise<void> {}

  async close (): Promise<void> {
    for (const { stop, onLost } of this.#watches.values()) {
      onLost()
      stop()
    }
    this.#bus.leave(this)
  }

  /** @internal */
  onLink (isUp: boolean): void {
    for (const [watch, { onLost }] of this.#watches) {
      watch.isLinked = isUp
      if (isUp) this.#table.tellAll(watch)
      else onLost()
    }
  }

  #assert (key?: string, value?: Uint8Array): void {
    if (key !== undefined) assertKey(key)
    if (value !== undefined && value.length > MAX_VALUE_BYTES) throw createError('PIT_ERR_RPC_SIZE', [MAX_VALUE_BYTES])
    if (!this.#bus.isLinked(this)) throw createError('PIT_ERR_STORE')
  }
}

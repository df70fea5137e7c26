import { throwLater } from '../throw-later.ts'
import type { Entry, Watcher } from './store.ts'

/** One watch: what it was not told yet waits for the end of the turn. */
export interface MemoryWatch {
  readonly matches: (key: string) => boolean
  readonly watcher: Watcher
  /** All of the first part was told. May be called again. */
  readonly onCaughtUp: () => void
  isLinked: boolean
  news: Array<Entry | { key: string, revision: number } | 'caught up'>
}

/** The keys of one store in memory, shared by the stores of all servers on one bus. */
export class MemoryTable {
  #entries = new Map<string, Entry>()
  #revision = 0
  #watches = new Set<MemoryWatch>()
  #isScheduled = false

  get (key: string): Entry | undefined { return this.#entries.get(key) }

  keys (): Iterable<string> { return this.#entries.keys() }

  /** @param expected revision; 0: the key must not exist */
  put (key: string, bytes: Uint8Array, expected: number): number | undefined {
    if ((this.#entries.get(key)?.revision ?? 0) !== expected) return undefined
    const entry = { key, value: Uint8Array.prototype.slice.call(bytes), revision: ++this.#revision }
    this.#entries.set(key, entry)
    this.#tell(key, entry)
    return entry.revision
  }

  delete (key: string, expected: number): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return true
    if (entry.revision !== expected) return false
    this.#entries.delete(key)
    this.#tell(key, { key, revision: ++this.#revision })
    return true
  }

  wipe (): void { this.#entries.clear() }

  watch (watch: MemoryWatch): () => void {
    this.#watches.add(watch)
    this.tellAll(watch)
    return () => {
      this.#watches.delete(watch)
      watch.news = []
    }
  }

  tellAll (watch: MemoryWatch): void {
    watch.news = [...this.#entries.values()].filter(({ key }) => watch.matches(key))
    watch.news.push('caught up')
    this.#schedule()
  }

  #tell (key: string, change: Entry | { key: string, revision: number }): void {
    for (const watch of this.#watches) if (watch.isLinked && watch.matches(key)) watch.news.push(change)
    this.#schedule()
  }

  #schedule (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      for (const watch of [...this.#watches]) this.#flush(watch)
    })
  }

  #flush (watch: MemoryWatch): void {
    const { news, watcher } = watch
    watch.news = []
    for (const change of news) {
      if (!this.#watches.has(watch) || !watch.isLinked) return
      try {
        if (change === 'caught up') watcher.onCaughtUp?.()
        else if ('value' in change) watcher.onPut(change)
        else watcher.onDelete(change.key, change.revision)
      } catch (error) { throwLater(error) }
      if (change === 'caught up') watch.onCaughtUp()
    }
  }
}

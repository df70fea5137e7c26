/** Bytes of one value at most. */
export const MAX_VALUE_BYTES = 512 * 1024

/**
 * What servers share: small values by key, with compare-and-set. Keys are tokens of `[A-Za-z0-9_-]`, joined by dots.
 * Everything in it is put there by living servers and put back by them when it is lost, so it needs no disk.
 * Every method rejects with PIT_ERR_STORE, within seconds, while the store cannot be reached, and with PIT_ERR_RPC_SIZE for a value of
 * more than MAX_VALUE_BYTES. An operation that is rejected may have been done.
 */
export interface Store {
  readonly name: string
  get (key: string): Promise<Entry | undefined>
  /** @returns the revision; undefined: the key exists */
  create (key: string, value: Uint8Array): Promise<number | undefined>
  /** @returns the new revision; undefined: the key's revision is another by now, or the key is gone */
  update (key: string, value: Uint8Array, revision: number): Promise<number | undefined>
  /** @returns false: the key's revision is another by now. Deleting a key that is gone is done already. */
  delete (key: string, revision: number): Promise<boolean>
  /** Keys that match a filter, in which `*` stands for one token and a last `>` for one or more. */
  keys (filter: string): Promise<string[]>
  /**
   * Tells of every key that matches: first of those that exist, then of each change, in order; after a lost connection of all again.
   * Resolves when the first part is done. Several changes of one key may be told as one, and a deletion of a key that was never told of.
   */
  watch (filter: string, watcher: Watcher): Promise<Watch>
  /** Removes what deletions older than this leave behind, where there is such a thing. */
  compact (olderMs: number): Promise<void>
  close (): Promise<void>
}

export interface Entry {
  readonly key: string
  readonly value: Uint8Array
  /** Grows with every change in the store, even over a loss of all it held. */
  readonly revision: number
}

export interface Watcher {
  onPut (entry: Entry): void
  onDelete (key: string, revision: number): void
  /** All existing keys were told: after the first part, and after each reconnection. Keys not told since the one before are gone. */
  onCaughtUp? (): void
}

export interface Watch {
  stop (): void
}

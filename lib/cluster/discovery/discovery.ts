/** What a server tells the others of itself. */
export interface ServerInfo {
  readonly id: string
  readonly type: string
  readonly frontend: boolean
  /** For routing functions: version, region. */
  readonly metadata: Readonly<Record<string, string>>
  /** Made anew at each start and after a lost lease: two lives of one id are told apart by it. */
  readonly incarnation: string
  readonly hostname: string
  /** Of this package, for the operator. */
  readonly version: string
  /** Calls in hand when the lease was last renewed. */
  readonly load: number
  /** It takes no new calls; its clients can still be reached. */
  readonly draining: boolean
  /** Name of the server's contract (its routes) in the store. */
  readonly contract: string
  /** Events that it wants to hear of. */
  readonly events: readonly string[]
  /** Fingerprints of schema sets that its clients are pinned to; absent: none. */
  readonly sets?: readonly string[]
}

/** Who is there. A member registers this server under a lease, renews it, and drops others by its own monotonic clock. */
export interface Discovery {
  readonly name: string
  /** This server's own entry, as it was last written. Its incarnation changes when the lease was lost. */
  readonly self: ServerInfo
  /** True while renewals fail: the list is then kept as it was, for stale is better than empty. */
  readonly isStale: boolean
  /** True from the first registration on, unless the lease is lost. */
  readonly isRegistered: boolean
  /**
   * Starts to watch, then registers.
   * Rejects with PIT_ERR_SERVER_ID when another living server has the id, PIT_ERR_STORE.
   */
  start (events: DiscoveryEvents): Promise<void>
  /** Changes what others see of this server; written with the next renewal, or at once with `now`. */
  update (changes: Partial<Pick<ServerInfo, 'load' | 'draining' | 'contract' | 'events' | 'sets'>>, now?: boolean): void
  get (id: string): ServerInfo | undefined
  /** True for a living server in this very life. */
  isAlive (id: string, incarnation: string): boolean
  /** All servers, this one included while it is registered. */
  all (): readonly ServerInfo[]
  /** Servers of one type that take calls, in order of their ids; the same array until something changes. */
  ofType (type: string): readonly ServerInfo[]
  /** Deletes this server's entry: nobody starts new calls to it. It goes on watching. Harmless when called again. */
  leave (): Promise<void>
  /** Asks for everything again, at once: after the connection was lost. */
  refresh (): void
  close (): Promise<void>
}

export interface DiscoveryEvents {
  /** Before the id is taken: opens what others reach this server by. Not while another has the id, for both would be reached. */
  onFree? (): Promise<void>
  /** Another was faster: closes it again. */
  onTaken? (): void
  onAdd (server: ServerInfo): void
  /** Something of a known server changed. `renewed`: its lease too, so it is surely alive. */
  onUpdate (server: ServerInfo, renewed: boolean): void
  /** Gone: left, or its lease ended. A server that comes back with another incarnation is first lost, then added. */
  onLost (server: ServerInfo, why: 'left' | 'lease'): void
  /** This server's own lease was lost and taken again: a new incarnation, so what was bound to the old one is to be confirmed. */
  onReincarnated (): void
  /** The id was taken over by another process: this one must end. */
  onFatal (error: Error): void
}

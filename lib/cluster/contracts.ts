import { findBreaks, findBrokenCalls, type Break } from '../contract/breaks.ts'
import { decodeContract, encodeContract, type Contract, type EncodedContract } from '../contract/contract.ts'
import type { SchemaSets } from '../contract/schema-sets.ts'
import { isPitayaError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import type { Forwarder } from './forwarder.ts'
import type { Store } from './stores/store.ts'

export interface ContractsOptions {
  readonly store: Store
  readonly discovery: Discovery
  readonly forwarder: Forwarder
  readonly schemas: SchemaSets
  readonly log: Logger
}

/** What `server` calls, or clients that know its contract use, and a server does not offer. */
export interface ServerBreak extends Break { readonly server: string }

const KEY = 'contract'
/** Breaks that are told of one server. */
const MAX_BREAKS = 100

/** Contracts of the servers that are there: in the store each under its own hash, here as long as somebody has it. */
export class Contracts {
  readonly #options: ContractsOptions
  readonly #known = new Map<string, Contract>()
  /** Name of the contract by server id, once it was told. */
  readonly #told = new Map<string, string>()
  /** By what two servers are compared for. */
  readonly #breaks = new Map<string, readonly Break[]>()
  /** Contracts that were compared with this server's, by server type. */
  readonly #compared = new Set<string>()
  #own: EncodedContract | undefined

  constructor (options: ContractsOptions) {
    this.#options = options
  }

  /**
   * Puts this server's own contract where the others find it. Rejects with PIT_ERR_STORE.
   * @returns its name
   */
  async publish (contract: Contract): Promise<string> {
    const own = this.#own = encodeContract(contract)
    this.#known.set(own.name, contract)
    this.#options.schemas.setOwn(contract)
    if (!own.hasSchemas) this.#options.log.warn({ routes: contract.routes.size }, 'the contract is too large for the store: clients behind other servers get none of its schemas')
    await this.restore()
    return own.name
  }

  /** Puts it there again, in case the store lost it. Rejects with PIT_ERR_STORE. */
  async restore (): Promise<void> {
    if (this.#own !== undefined) await this.#options.store.create(`${KEY}.${this.#own.name}`, this.#own.bytes)
  }

  /** Reads a server's contract, unless it is known, and tells who must know. What cannot be read is tried again with the next renewal. */
  async learn (server: ServerInfo): Promise<void> {
    const { contract: name, id, type } = server
    if (this.isKnown(server)) return
    try {
      if (!this.#known.has(name)) {
        const entry = await this.#options.store.get(`${KEY}.${name}`)
        if (entry === undefined) return
        this.#known.set(name, decodeContract(entry.value))
      }
    } catch (error) {
      if (!isPitayaError(error)) throw error
      return
    }
    // It may have gone meanwhile.
    if (this.#options.discovery.get(id)?.contract !== name) return
    this.#told.set(id, name)
    if (type !== this.#options.discovery.self.type) this.#tell(type)
    this.#compare(server)
  }

  /** A server is gone. */
  left ({ id, type }: ServerInfo): void {
    if (this.#told.delete(id) && type !== this.#options.discovery.self.type) this.#tell(type)
  }

  isKnown ({ id, contract }: ServerInfo): boolean { return contract === '' || this.#told.get(id) === contract }

  /** A server's contract; undefined: not known. */
  of (serverId: string): Contract | undefined { return this.#known.get(this.#options.discovery.get(serverId)?.contract ?? '') }

  /** Empty: not known. */
  fingerprintOf ({ contract }: ServerInfo): string { return this.#known.get(contract)?.fingerprint ?? '' }

  /**
   * What clients that know the contract of another server of its type cannot use on this one, and what other servers call on it in vain:
   * at most 100.
   */
  breaksOf (server: ServerInfo): ServerBreak[] {
    const breaks: ServerBreak[] = []
    for (const peer of this.#options.discovery.all()) {
      if (peer.id === server.id) continue
      const found = [...this.#between(server, peer), ...this.#calls(server, peer)]
      for (const { route, why } of found) breaks.push({ server: peer.id, route, why })
    }
    return breaks.slice(0, MAX_BREAKS)
  }

  /** Forgets what nobody has any more; with `everywhere` in the store too, which one server does. */
  async forget (everywhere: boolean): Promise<void> {
    const { store, discovery } = this.#options
    const used = new Set(discovery.all().map(({ contract }) => contract))
    for (const name of this.#known.keys()) if (!used.has(name) && name !== this.#own?.name) this.#known.delete(name)
    this.#breaks.clear()
    if (!everywhere) return
    for (const key of await store.keys(`${KEY}.*`)) {
      const entry = used.has(key.slice(KEY.length + 1)) ? undefined : await store.get(key)
      if (entry !== undefined) await store.delete(key, entry.revision)
    }
  }

  /** The contract that most servers of the type have comes first, so that all frontends choose the same. */
  #tell (type: string): void {
    const { discovery, forwarder, schemas } = this.#options
    const counts = new Map<string, number>()
    for (const { type: other, contract } of discovery.all()) {
      if (other === type && this.#known.has(contract)) counts.set(contract, (counts.get(contract) ?? 0) + 1)
    }
    if (counts.size === 0) return
    const contracts = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([name]) => this.#known.get(name)!)
    forwarder.learn(type, contracts)
    schemas.learn(type, contracts)
  }

  #compare (peer: ServerInfo): void {
    const { discovery: { self }, log } = this.#options
    const key = `${peer.type} ${peer.contract}`
    if (this.#own === undefined || peer.id === self.id || this.#compared.has(key)) return
    this.#compared.add(key)
    const own = { type: self.type, contract: this.#own.name }
    const breaks = linesOf(this.#between(own, peer))
    if (breaks.length > 0) log.warn({ peer: peer.id, breaks }, 'this server breaks what another server of its type offers')
    const remotes = linesOf([...this.#calls(own, peer), ...this.#calls(peer, own)])
    if (remotes.length > 0) log.warn({ peer: peer.id, breaks: remotes }, 'what one server calls, another one does not serve so')
  }

  #between (server: Side, peer: Side): readonly Break[] {
    if (server.type !== peer.type || server.contract === peer.contract) return []
    return this.#cached(`${server.contract} ${peer.contract}`, server, peer, findBreaks)
  }

  #calls (server: Side, peer: Side): readonly Break[] {
    return this.#cached(`${server.type} ${server.contract} ${peer.contract}`, server, peer, (ours, theirs) => {
      return findBrokenCalls({ type: server.type, contract: ours }, theirs)
    })
  }

  #cached (key: string, server: Side, peer: Side, find: (ours: Contract, theirs: Contract) => Break[]): readonly Break[] {
    const [ours, theirs] = [this.#known.get(server.contract), this.#known.get(peer.contract)]
    if (ours === undefined || theirs === undefined) return []
    let breaks = this.#breaks.get(key)
    if (breaks === undefined) this.#breaks.set(key, breaks = find(ours, theirs))
    return breaks
  }
}

type Side = Pick<ServerInfo, 'type' | 'contract'>

function linesOf (breaks: readonly Break[]): string[] {
  return breaks.slice(0, MAX_BREAKS).map(({ route, why }) => `${route}: ${why}`)
}

import { isPitayaError } from '../errors.ts'
import { decodeContract, type Contract, type EncodedContract } from './contract.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import type { Forwarder } from './forwarder.ts'
import type { Store } from './stores/store.ts'

const KEY = 'contract'

/** Contracts of the servers that are there: in the store each under its own hash, here as long as somebody has it. */
export class Contracts {
  #store: Store
  #discovery: Discovery
  #forwarder: Forwarder
  #known = new Map<string, Contract>()
  /** Types with their contracts that the forwarder knows: servers of two types may have the same. */
  #told = new Set<string>()

  constructor (store: Store, discovery: Discovery, forwarder: Forwarder) {
    this.#store = store
    this.#discovery = discovery
    this.#forwarder = forwarder
  }

  /** Rejects with PIT_ERR_STORE. */
  async put ({ name, bytes }: EncodedContract): Promise<void> {
    await this.#store.create(`${KEY}.${name}`, bytes)
  }

  /** Reads a server's contract, unless it is known, and tells the forwarder. What cannot be read is tried again with the next renewal. */
  async learn ({ contract: name, type }: ServerInfo): Promise<void> {
    if (name === '') return
    try {
      if (!this.#known.has(name)) {
        const entry = await this.#store.get(`${KEY}.${name}`)
        if (entry === undefined) return
        this.#known.set(name, decodeContract(entry.value))
      }
    } catch (error) {
      if (!isPitayaError(error)) throw error
      return
    }
    this.#told.add(`${type} ${name}`)
    if (type === this.#discovery.self.type) return
    const names = new Set(this.#discovery.all().filter((server) => server.type === type).map(({ contract }) => contract))
    this.#forwarder.learn(type, [...names].flatMap((name) => this.#known.get(name) ?? []))
  }

  isKnown ({ type, contract }: ServerInfo): boolean { return contract === '' || this.#told.has(`${type} ${contract}`) }

  /** Forgets what nobody has any more; with `everywhere` in the store too, which one server does. */
  async forget (everywhere: boolean): Promise<void> {
    const servers = this.#discovery.all()
    const used = new Set(servers.map(({ contract }) => contract))
    const told = new Set(servers.map(({ type, contract }) => `${type} ${contract}`))
    for (const name of this.#known.keys()) if (!used.has(name)) this.#known.delete(name)
    for (const entry of this.#told) if (!told.has(entry)) this.#told.delete(entry)
    if (!everywhere) return
    for (const key of await this.#store.keys(`${KEY}.*`)) {
      const entry = used.has(key.slice(KEY.length + 1)) ? undefined : await this.#store.get(key)
      if (entry !== undefined) await this.#store.delete(key, entry.revision)
    }
  }
}

import { Writer } from '../avro/codec.ts'
import type { Discovery, ServerInfo } from '../cluster/discovery/discovery.ts'
import type { Store } from '../cluster/stores/store.ts'
import { createError, isPitayaError, type PitayaError } from '../errors.ts'
import type { HandlerService } from '../handler/service.ts'
import type { Logger, MaybePromise } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import type { Pin, Session } from '../session/session.ts'
import { PinnedAvro, readClientSet, type ClientSet } from './pinned.ts'
import type { SchemaSets } from './schema-sets.ts'
import { ContractUpload } from './upload.ts'

export interface PinnedSetsOptions {
  readonly service: HandlerService
  readonly schemas: SchemaSets
  readonly discovery: Discovery
  /** Where servers find each other's sets; undefined: there are no others. */
  readonly store: Store | undefined
  /** Asks a server for the text of a set that it has clients of. Rejects where it knows none. */
  readonly ask: (serverId: string, fingerprint: string) => Promise<string>
  readonly log: Logger
}

interface Pinned extends Pin {
  readonly fingerprint: string
  readonly set: ClientSet
  readonly text: string
  /** False: it does not fit everywhere here. */
  readonly isWhole: boolean
  /** Of this server's own making. */
  isOwn: boolean
  /** Grows with every use. */
  usedAt: number
}

/** Sets of one server at a time; of those that nobody uses, the one that was not used for longest goes. */
export const MAX_SETS = 64
/** Of others' making, so that there is room for the server's own, whatever strangers come with. */
export const MAX_FOREIGN_SETS = 56
/** Sets that are being fetched, and messages that wait for one. */
const MAX_FETCHES = 256
const MAX_WAITING = 1000
/** What is told of one set that does not fit. */
const MAX_TOLD = 100
const KEY = 'schemas'
const FINGERPRINT = /^[A-Za-z0-9_-]{16}$/
const TAKEN = Buffer.from('{"ok":true}')

/**
 * Schema sets that clients are pinned to, of this server and of others: each is a version of the server's Avro, compiled when it is first
 * seen.
 */
export class PinnedSets {
  readonly #options: PinnedSetsOptions
  readonly #writer = new Writer()
  readonly #sets = new Map<string, Pinned>()
  readonly #byIndex: Array<Pinned | undefined> = []
  readonly #fetches = new Map<string, Promise<Pinned | undefined>>()
  #uses = 0
  #waiting = 0
  #told = ''
  /** Sets in use elsewhere, by server id. */
  readonly #elsewhere = new Map<string, readonly string[]>()

  constructor (options: PinnedSetsOptions) {
    this.#options = options
  }

  /**
   * The set that a client named in its handshake. A server that was built with the very same one needs no upload.
   * @returns undefined: it is to be asked for
   * @throws PIT_ERR_HANDSHAKE for what is no fingerprint
   */
  lookUp (fingerprint: string): MaybePromise<Pin | undefined> {
    if (!FINGERPRINT.test(fingerprint)) throw createError('PIT_ERR_HANDSHAKE', ['sys.contract'], { metadata: { field: 'sys.contract' } })
    const { schemas, store } = this.#options
    const known = this.#known(fingerprint)
    // One that nobody used may be gone from the store.
    if (known !== undefined) return known.users > 0 ? known : this.#admit(known.text, fingerprint)
    if (schemas.set.fingerprint === fingerprint) return this.#admit(schemas.text, fingerprint)
    return store === undefined ? undefined : this.#fetch(fingerprint, '').catch(() => undefined)
  }

  /**
   * A set of this server's own making, for clients that are given it.
   * @returns undefined: they would not get all that this server has
   * @throws PIT_ERR_CONTRACT: it is beyond a limit, PIT_ERR_BUSY
   */
  share (text: string, fingerprint: string): Pin | undefined {
    const pinned = this.#known(fingerprint) ?? this.#add(text, fingerprint, true)
    pinned.isOwn = true
    if (!pinned.isWhole) return undefined
    // Who looks for it before it is there asks this server. One that nobody used may be gone from the store.
    if (pinned.users === 0) this.#put(pinned).catch(() => {})
    return pinned
  }

  /** A set that is known here. */
  get (fingerprint: string): ClientSet | undefined { return this.#sets.get(fingerprint)?.set }

  /** For a server that does not find it in the store. @throws PIT_ERR_CONTRACT */
  textOf (fingerprint: string): string {
    const text = this.#sets.get(fingerprint)?.text
    if (text === undefined) throw unknown()
    return text
  }

  /** Made for a session whose set is not known. */
  expect (fingerprint: string): ContractUpload { return new ContractUpload(fingerprint) }

  /** The version at a place among the serializers; undefined: that is a serializer itself. */
  at (index: number): Pin | undefined {
    const pinned = this.#byIndex[index]
    if (pinned !== undefined) pinned.usedAt = ++this.#uses
    return pinned
  }

  /**
   * Gets a set by the name of its version, for a message that another server forwarded: out of the store, or from that server.
   * @returns undefined: the name is not that of a version, or this server has no Avro
   * Rejects with PIT_ERR_CONTRACT, PIT_ERR_STORE, PIT_ERR_BUSY.
   */
  load (name: string, serverId: string): Promise<void> | undefined {
    const fingerprint = name.startsWith('avro@') ? name.slice(5) : ''
    return FINGERPRINT.test(fingerprint) && this.#isOffered ? this.#load(fingerprint, serverId) : undefined
  }

  /** Takes the request `sys.contract`. @throws PIT_ERR_CONTRACT, PIT_ERR_BUSY; the session is closed then */
  receive (session: Session, body: Uint8Array): MaybePromise<Uint8Array> {
    const upload = session.awaited
    if (!(upload instanceof ContractUpload)) throw createError('PIT_ERR_CONTRACT', ['it was not asked for'])
    try {
      const text = upload.take(body)
      if (text === undefined) return TAKEN
      const admitted = this.#admit(text, upload.fingerprint)
      if (!(admitted instanceof Promise)) return this.#settle(session, upload, admitted)
      return admitted.then((pinned) => this.#settle(session, upload, pinned))
    } catch (error) {
      const isFull = isPitayaError(error) && error.code === 'PIT_ERR_BUSY'
      // After the answer.
      setImmediate(() => session.entity.close(isFull ? 'overload' : 'handshakeRejected'))
      throw error
    }
  }

  /** What clients of another server are pinned to: pushes to them are made in these versions too. Loads what is not known. */
  learn ({ id, sets = [] }: ServerInfo): void {
    const known = this.#elsewhere.get(id) ?? []
    if (!this.#isOffered || id === this.#options.discovery.self.id || known.join() === sets.join()) return
    if (sets.length === 0) this.#elsewhere.delete(id)
    else this.#elsewhere.set(id, sets)
    const unknown = sets.filter((fingerprint) => FINGERPRINT.test(fingerprint) && !this.#sets.has(fingerprint)).slice(0, MAX_FOREIGN_SETS)
    // What cannot be had now is had with the first message that needs it.
    Promise.all(unknown.map((fingerprint) => this.#fetch(fingerprint, id).catch(() => {}))).finally(() => this.#offer()).catch(() => {})
  }

  left ({ id }: ServerInfo): void {
    if (this.#elsewhere.delete(id)) this.#offer()
  }

  /** Tells the others which sets are in use here. */
  tell (): void {
    const sets = this.#inUse()
    const told = sets.join()
    if (told === this.#told) return
    this.#told = told
    this.#options.discovery.update({ sets }, true)
  }

  /** Puts into the store again what is in use, in case it was lost. Rejects with PIT_ERR_STORE. */
  async restore (): Promise<void> {
    for (const fingerprint of this.#inUse()) await this.#put(this.#sets.get(fingerprint)!)
  }

  /** Deletes from the store what nobody uses any more: one server does this. Rejects with PIT_ERR_STORE. */
  async forget (): Promise<void> {
    const { store } = this.#options
    if (store === undefined) return
    const used = new Set([...this.#inUse(), ...[...this.#elsewhere.values()].flat()])
    for (const key of await store.keys(`${KEY}.*`)) {
      const entry = used.has(key.slice(KEY.length + 1)) ? undefined : await store.get(key)
      if (entry !== undefined) await store.delete(key, entry.revision)
    }
  }

  get #isOffered (): boolean { return this.#options.service.serializerIndex('avro') !== -1 }

  #inUse (): string[] { return [...this.#sets.values()].filter(({ users }) => users > 0).map(({ fingerprint }) => fingerprint).sort() }

  #known (fingerprint: string): Pinned | undefined {
    const known = this.#sets.get(fingerprint)
    if (known !== undefined) known.usedAt = ++this.#uses
    return known
  }

  async #load (fingerprint: string, serverId: string): Promise<void> {
    if (this.#waiting >= MAX_WAITING) throw createError('PIT_ERR_BUSY')
    this.#waiting++
    try {
      if (await this.#fetch(fingerprint, serverId) === undefined) throw unknown()
    } finally {
      this.#waiting--
    }
  }

  /** Once at a time. `serverId`: who else may know it, or empty. Rejects with PIT_ERR_STORE, and as `#add` throws. */
  #fetch (fingerprint: string, serverId: string): Promise<Pinned | undefined> {
    const key = `${fingerprint} ${serverId}`
    let fetch = this.#fetches.get(key)
    if (fetch === undefined) {
      if (this.#fetches.size >= MAX_FETCHES) return Promise.reject(createError('PIT_ERR_BUSY'))
      fetch = this.#read(fingerprint, serverId).finally(() => this.#fetches.delete(key))
      this.#fetches.set(key, fetch)
    }
    return fetch
  }

  async #read (fingerprint: string, serverId: string): Promise<Pinned | undefined> {
    const { store, ask } = this.#options
    const stored = store?.get(`${KEY}.${fingerprint}`).then((entry) => entry === undefined ? undefined : Buffer.from(entry.value).toString())
    let text = await (serverId === '' ? stored : stored?.catch(() => undefined))
    if (text === undefined && serverId !== '') text = await ask(serverId, fingerprint).catch(() => undefined) ?? await stored
    return this.#known(fingerprint) ?? (text === undefined ? undefined : this.#add(text, fingerprint))
  }

  /** A set from a client, or the server's own: it is put where other servers find it. */
  #admit (text: string, fingerprint: string): MaybePromise<Pinned> {
    const pinned = this.#known(fingerprint) ?? this.#add(text, fingerprint)
    if (this.#options.store === undefined) return pinned
    // Kept meanwhile. Without the store, the handlers of this server can still be called.
    pinned.users++
    return this.#put(pinned).catch(() => {}).then(() => {
      pinned.users--
      return pinned
    })
  }

  async #put ({ fingerprint, text }: Pinned): Promise<void> {
    await this.#options.store?.create(`${KEY}.${fingerprint}`, Buffer.from(text))
  }

  /** @throws PIT_ERR_CONTRACT, PIT_ERR_BUSY: as many as there may be are in use */
  #add (text: string, fingerprint: string, isOwn = fingerprint === this.#options.schemas.set.fingerprint): Pinned {
    const { service, log } = this.#options
    const old = this.#replaced(isOwn)
    const set = readClientSet(text, fingerprint)
    const version = new PinnedAvro(set, service.serverType, this.#writer)
    let index
    try {
      index = service.addVersion(version, old?.index)
    } catch (cause) {
      if (!isPitayaError(cause)) throw cause
      throw createError('PIT_ERR_CONTRACT', ['a schema is not acceptable'], { cause })
    }
    if (old !== undefined) this.#sets.delete(old.fingerprint)
    const isWhole = version.refused.size === 0
    const pinned: Pinned = { fingerprint, set, text, isWhole, isOwn, index, users: 0, usedAt: ++this.#uses }
    this.#sets.set(fingerprint, pinned)
    this.#byIndex[index] = pinned
    const refused = [...version.refused].slice(0, MAX_TOLD)
    if (refused.length > 0 && service.mayLog('sys.contract')) {
      log.warn({ contract: fingerprint, refused: Object.fromEntries(refused) }, 'clients have a contract that does not fit everywhere')
    }
    this.#offer()
    return pinned
  }

  /** What makes room for one more; undefined: there is room. Throws PIT_ERR_BUSY. */
  #replaced (isOwn: boolean): Pinned | undefined {
    const sets = [...this.#sets.values()]
    const foreign = sets.filter(({ isOwn }) => !isOwn)
    if (!isOwn && foreign.length >= MAX_FOREIGN_SETS) return this.#leastUsed(foreign)
    return sets.length < MAX_SETS ? undefined : this.#leastUsed(sets)
  }

  #leastUsed (sets: readonly Pinned[]): Pinned {
    let least: Pinned | undefined
    for (const pinned of sets) {
      // The last one may be about to be used.
      if (pinned.users > 0 || pinned.usedAt === this.#uses) continue
      if (least === undefined || pinned.usedAt < least.usedAt) least = pinned
    }
    if (least === undefined) throw createError('PIT_ERR_BUSY')
    return least
  }

  #offer (): void {
    const wanted = new Set([...this.#elsewhere.values()].flat())
    const offered = [...this.#sets.values()].filter(({ fingerprint }) => wanted.has(fingerprint))
    this.#options.service.pushes.offer(offered.map(({ index }) => index))
  }

  #settle (session: Session, upload: ContractUpload, pinned: Pinned): Uint8Array {
    if (session.isClosed || session.awaited !== upload) return TAKEN
    session.pin(pinned)
    session.awaited = null
    this.tell()
    for (const push of upload.settle()) {
      try {
        push()
      } catch (error) {
        logFailure(this.#options.log, error, 'a push that waited for a contract failed', { sessionId: session.id })
      }
    }
    return TAKEN
  }
}

function unknown (): PitayaError { return createError('PIT_ERR_CONTRACT', ['no server knows the one that the client has']) }

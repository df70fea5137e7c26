import type { KV, KvEntry, KvStatus, NatsError, StorageType } from 'nats'
import { createError, isPitayaError, type PitayaError } from '../../errors.ts'
import { assertKey } from '../subject.ts'
import type { NatsTransport } from '../transports/nats.ts'
import { NatsWatch, type Bucket, type NatsWatchOptions } from './nats-watch.ts'
import { MAX_VALUE_BYTES, type Entry, type Store, type Watch, type Watcher } from './store.ts'

const REQUEST_MS = 2000
const WRONG_REVISION = 10071
const STREAM_NOT_FOUND = 10059
const NAME_IN_USE = 10058
const NO_JETSTREAM = new Set([10039, 10076])
/** 2025-01-01. */
const EPOCH = 1_735_689_600_000
/** Changes of one bucket per millisecond of its life, at most; so revisions fit a number for 70 years. */
const CHANGES_PER_MS = 2 ** 12
/** A key may be deleted, or its deletion compacted, between two looks at it. */
const CREATE_TRIES = 4
const PURGES_AT_ONCE = 16

/**
 * A JetStream KV bucket, made where it is missing, used as it is where it exists.
 * Rejects with PIT_ERR_CLUSTER_START where nats-server has no JetStream, PIT_ERR_STORE where it does not answer.
 * @param name `[A-Za-z0-9_-]`
 */
export async function natsStore (transport: NatsTransport, name: string): Promise<Store> {
  const store = new NatsStore(transport, name)
  await store.open()
  return store
}

class NatsStore implements Store {
  readonly name: string
  readonly #transport: NatsTransport
  readonly #unlisten: () => void
  #bucket: Promise<Bucket> | undefined
  #watches = new Set<NatsWatch>()
  #isClosed = false

  constructor (transport: NatsTransport, name: string) {
    this.name = name
    this.#transport = transport
    this.#unlisten = transport.listen({
      // The nats-server that comes back may have lost the bucket, and another server may make it anew.
      onDown: () => {
        this.#bucket = undefined
        for (const watch of [...this.#watches]) watch.onDown()
      },
      onUp: () => { for (const watch of this.#watches) watch.onUp() }
    })
  }

  async open (): Promise<void> {
    try {
      await this.#run(async () => {})
    } catch (error) {
      this.#unlisten()
      throw startError((error as Error).cause, this.name) ?? error
    }
  }

  async get (key: string): Promise<Entry | undefined> {
    assertKey(key)
    return await this.#run(async ({ kv, base }) => {
      const entry = await kv.get(key)
      return entry === null || entry.operation !== 'PUT' ? undefined : { key, value: entry.value, revision: base + entry.revision }
    })
  }

  async create (key: string, value: Uint8Array): Promise<number | undefined> {
    assertKey(key)
    return await this.#run(async (bucket) => {
      let previous = 0
      for (let tries = 1; tries <= CREATE_TRIES; tries++) {
        const revision = await put(bucket, key, value, previous)
        if (revision !== undefined) return revision
        const entry: KvEntry | null = await bucket.kv.get(key)
        if (entry?.operation === 'PUT') return undefined
        previous = entry?.revision ?? 0
      }
      return undefined
    })
  }

  async update (key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    assertKey(key)
    return await this.#run(async (bucket) => {
      const previous = revision - bucket.base
      return previous > 0 ? await put(bucket, key, value, previous) : undefined
    })
  }

  async delete (key: string, revision: number): Promise<boolean> {
    assertKey(key)
    return await this.#run(async ({ kv, base }) => {
      const previousSeq = revision - base
      if (previousSeq > 0) {
        try {
          await kv.delete(key, { previousSeq })
          return true
        } catch (error) {
          if (errorCode(error) !== WRONG_REVISION) throw error
        }
      }
      const entry = await kv.get(key)
      return entry?.operation !== 'PUT'
    })
  }

  async keys (filter: string): Promise<string[]> {
    const keys = new Set<string>()
    const watch = await this.#watch(filter, { onPut: ({ key }) => keys.add(key), onDelete: (key) => keys.delete(key) }, true)
    watch.stop()
    return [...keys]
  }

  async watch (filter: string, watcher: Watcher): Promise<Watch> {
    return await this.#watch(filter, watcher, false)
  }

  async compact (olderMs: number): Promise<void> {
    const before = Date.now() - olderMs
    const old: Array<{ key: string, revision: number }> = []
    const onDelete = (key: string, revision: number, madeAt: number): void => { if (madeAt < before) old.push({ key, revision }) }
    const watch = await this.#watch('>', { onPut () {}, onDelete }, true)
    watch.stop()
    const purge = async (): Promise<void> => {
      for (let next = old.pop(); next !== undefined; next = old.pop()) await this.#purge(next.key, next.revision)
    }
    await Promise.all(Array.from({ length: PURGES_AT_ONCE }, purge))
  }

  async close (): Promise<void> {
    this.#isClosed = true
    this.#unlisten()
    for (const watch of [...this.#watches]) watch.stop()
  }

  async #watch (filter: string, watcher: NatsWatchOptions['watcher'], headersOnly: boolean): Promise<Watch> {
    const run: NatsWatchOptions['run'] = (operation) => this.#run(operation)
    const watch = new NatsWatch({ filter, watcher, headersOnly, run, onStop: (watch) => this.#watches.delete(watch) })
    this.#watches.add(watch)
    await watch.start()
    return watch
  }

  /** Up to the deletion only: the key may be there again by now. */
  async #purge (key: string, revision: number): Promise<void> {
    await this.#run(async ({ jsm, stream, base }) => {
      await jsm.streams.purge(stream, { filter: `$KV.${this.name}.${key}`, seq: revision - base + 1 })
    })
  }

  /** Where the bucket is gone, it is made again and the operation tried once more: what found no bucket was not done. */
  async #run<T> (operation: (bucket: Bucket) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      if (this.#isClosed || !this.#transport.isUp) throw createError('PIT_ERR_STORE')
      const opening = this.#bucket ??= this.#open()
      let isOpen = false
      try {
        const bucket = await opening
        isOpen = true
        return await operation(bucket)
      } catch (error) {
        const isGone = isOpen && isMissing(error)
        // A look at a bucket that is gone may also get no answer at all.
        const isDoubtful = isGone || !isOpen || (error as NatsError).code === 'TIMEOUT'
        if (isDoubtful && this.#bucket === opening) this.#bucket = undefined
        if (!isGone || tries > 1) throw toStoreError(error)
      }
    }
  }

  async #open (): Promise<Bucket> {
    const { connection, options: { replicas = 1, storage = 'memory' } } = this.#transport
    const js = connection.jetstream({ timeout: REQUEST_MS })
    const jsm = await js.jetstreamManager()
    const make = async (): Promise<KV> => await js.views.kv(this.name, { history: 1, replicas, storage: storage as StorageType })
    const made = await make().catch(async (error) => {
      // Another server made it at the same moment, with other settings.
      if (errorCode(error) === NAME_IN_USE) return await make()
      throw error
    })
    const { config, created } = ((await made.status()) as KvStatus).streamInfo
    // One of several replicas may answer with what it has not heard of yet.
    const kv = await js.views.kv(this.name, { bindOnly: true, allow_direct: config.allow_direct && config.num_replicas === 1 })
    return { kv, jsm, stream: config.name, base: (Date.parse(created as unknown as string) - EPOCH) * CHANGES_PER_MS }
  }
}

/** @returns undefined: the revision is another */
async function put ({ kv, base }: Bucket, key: string, value: Uint8Array, previousSeq: number): Promise<number | undefined> {
  if (value.length > MAX_VALUE_BYTES) throw createError('PIT_ERR_RPC_SIZE', [MAX_VALUE_BYTES])
  try {
    return base + await kv.put(key, value, { previousSeq })
  } catch (error) {
    if (errorCode(error) === WRONG_REVISION) return undefined
    throw error
  }
}

function errorCode (error: unknown): number | undefined { return (error as NatsError).api_error?.err_code }

function isMissing (error: unknown): boolean {
  return errorCode(error) === STREAM_NOT_FOUND || (error as NatsError).code === '503'
}

function toStoreError (error: unknown): PitayaError {
  if (isPitayaError(error)) return error
  if ((error as NatsError).code === 'MAX_PAYLOAD_EXCEEDED') return createError('PIT_ERR_RPC_SIZE', ['what nats-server takes'], { cause: error })
  return createError('PIT_ERR_STORE', [], { cause: error })
}

function startError (error: unknown, name: string): PitayaError | undefined {
  if (error === undefined) return undefined
  const { code, api_error: refusal } = error as NatsError
  if (code === '503' || NO_JETSTREAM.has(refusal?.err_code ?? 0)) {
    return createError('PIT_ERR_CLUSTER_START', ['nats-server has no JetStream: start it with "nats-server -js"'], { cause: error })
  }
  if (refusal === undefined) return undefined
  const text = `nats-server does not make the store "${name}" (${refusal.description}): check cluster.nats.replicas and storage`
  return createError('PIT_ERR_CLUSTER_START', [text], { cause: error })
}

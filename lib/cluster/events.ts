import { createError } from '../errors.ts'
import type { Logger } from '../handler/types.ts'
import { logFailure } from '../log-failure.ts'
import { isThenable } from '../thenable.ts'
import type { Discovery } from './discovery/discovery.ts'
import type { Subjects } from './names.ts'
import type { ClusterEvent, EventHook, EventKind, EventOptions, EventPublisher } from './peers.ts'
import type { Transport } from './transports/transport.ts'

export interface EventsOptions {
  readonly transport: Transport
  readonly discovery: Pick<Discovery, 'all'>
  readonly subjects: Subjects
  readonly serverType: string
  readonly log: Logger
}

const MAX_BYTES = 4096

/** What happens to sessions and groups of any server, told to those who ask: at most once, in no order between servers. */
export class Events implements EventPublisher {
  #options: EventsOptions
  #hooks: Array<{ kind: EventKind, hook: EventHook, every: boolean }> = []
  #unsubscribe: Array<() => void> = []
  #isOpen = false
  /** Kinds that some server wants, of those that are there now. */
  #wanted: ReadonlySet<string> = new Set()

  constructor (options: EventsOptions) {
    this.#options = options
  }

  /** Kinds with a hook here, for others to know. */
  get kinds (): string[] { return [...new Set(this.#hooks.map(({ kind }) => kind))].sort() }

  /** @throws PIT_ERR_STARTED */
  on (kind: EventKind, hook: EventHook, { every = false }: EventOptions = {}): void {
    if (this.#isOpen) throw createError('PIT_ERR_STARTED', ['a hook for what happens on other servers'])
    this.#hooks.push({ kind, hook, every })
  }

  open (): void {
    this.#isOpen = true
    const { transport, subjects, serverType } = this.#options
    for (const kind of this.kinds as EventKind[]) {
      for (const every of [false, true]) {
        const hooks = this.#hooks.filter((entry) => entry.kind === kind && entry.every === every)
        if (hooks.length === 0) continue
        const options = every ? undefined : { queue: serverType }
        const unsubscribe = transport.subscribe(subjects.event(kind), (data) => {
          const event = data === undefined ? undefined : decode(data)
          if (event !== undefined) for (const { hook } of hooks) this.#call(hook, event)
        }, options)
        this.#unsubscribe.push(unsubscribe)
      }
    }
  }

  /** Somebody came, went, or wants something else. */
  serversChanged (): void {
    this.#wanted = new Set(this.#options.discovery.all().flatMap(({ events }) => events))
  }

  publish (kind: EventKind, event: ClusterEvent): void {
    if (!this.#wanted.has(kind)) return
    const { transport, subjects } = this.#options
    const { uid, frontendId, address, group } = event
    transport.publish(subjects.event(kind), Buffer.from(JSON.stringify({ uid, frontendId, address, group })))
  }

  close (): void {
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe()
  }

  #call (hook: EventHook, event: ClusterEvent): void {
    const failed = (error: unknown): void => logFailure(this.#options.log, error, 'an event hook failed')
    try {
      const result = hook(event)
      if (isThenable(result)) result.then(undefined, failed)
    } catch (error) {
      failed(error)
    }
  }
}

function decode (data: Uint8Array): ClusterEvent | undefined {
  if (data.length > MAX_BYTES) return undefined
  try {
    const { uid, frontendId, address, group } = JSON.parse(Buffer.from(data).toString()) as Record<string, unknown>
    if (typeof uid !== 'string' || typeof frontendId !== 'string' || typeof address !== 'string' || typeof group !== 'string') return undefined
    return Object.freeze({ uid, frontendId, address, group })
  } catch {
    return undefined
  }
}

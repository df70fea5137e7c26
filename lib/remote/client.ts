import { createError } from '../errors.ts'
import { checkDeadline } from '../handler/check.ts'
import type { Serializer } from '../serializers/serializer.ts'
import { checkContract } from './check.ts'
import type { RemoteCallOptions, RemoteClient } from './client-types.ts'
import { compileRemote, type RemoteCodec, type RemoteCodecs } from './codecs.ts'
import type { RemoteMethods, Remotes } from './types.ts'

/**
 * Carries a call to a server and back. Rejects with the PitayaError that was answered, or that stopped it.
 * @param data copied before it returns: they are valid until the next call, except raw ones
 * @param timeoutMs the caller's, else the method's deadline; undefined: the server's default
 */
export type SendRemote = (route: string, data: Uint8Array, options: RemoteCallOptions, timeoutMs: number | undefined) => Promise<Uint8Array>

export interface RemoteClientsOptions {
  /** The one that the serving side uses. */
  readonly serializer: Serializer
  readonly send: SendRemote
}

interface Known {
  /** By method. */
  readonly codecs: ReadonlyMap<string, RemoteCodecs>
  readonly byServerType: Map<string, RemoteClient<RemoteMethods>>
}

const EMPTY = new Uint8Array(0)
const NO_OPTIONS: RemoteCallOptions = Object.freeze({})

/** What this server asks of another type. */
export interface UsedRemotes { readonly serverType: string, readonly contract: Remotes }

/** The clients of one server for what others serve: made when first asked for, the same ones from then on. */
export class RemoteClients {
  readonly #options: RemoteClientsOptions
  readonly #known = new WeakMap<Remotes, Known>()
  /** By `serverType.contract`. */
  readonly #used = new Map<string, UsedRemotes>()

  constructor (options: RemoteClientsOptions) {
    this.#options = options
  }

  /** What was asked for until now. */
  get used (): UsedRemotes[] { return [...this.#used.values()] }

  /**
   * The contract's methods, each of which asks a server of the type. They reject, besides with what was answered, with PIT_ERR_REMOTE:
   * the body does not fit its schema, or the response cannot be read.
   * @throws PIT_ERR_REMOTE for what is no contract or no server type, PIT_ERR_SCHEMA
   */
  of<M extends RemoteMethods> (serverType: string, contract: Remotes<string, M>): RemoteClient<M> {
    checkContract(contract, 'app.pitaya.remote()')
    let known = this.#known.get(contract)
    if (known === undefined) {
      const { serializer } = this.#options
      const codecs = new Map(Object.keys(contract.methods).map((method) => [method, compileRemote(contract, method, serializer)]))
      this.#known.set(contract, known = { codecs, byServerType: new Map() })
    }
    let client = known.byServerType.get(serverType)
    if (client === undefined) known.byServerType.set(serverType, client = this.#create(serverType, contract, known.codecs))
    return client as RemoteClient<M>
  }

  #create (serverType: string, contract: Remotes, codecs: ReadonlyMap<string, RemoteCodecs>): RemoteClient<RemoteMethods> {
    if (typeof serverType !== 'string' || !/^[\w-]{1,64}$/.test(serverType)) {
      throw createError('PIT_ERR_REMOTE', [contract.name, 'app.pitaya.remote() takes a server type and a contract'])
    }
    const methods: Record<string, (body: unknown, options?: RemoteCallOptions) => Promise<unknown>> = Object.create(null)
    for (const [method, { body, response }] of codecs) {
      const route = `${serverType}.${contract.name}.${method}`
      const { deadlineMs } = contract.methods[method]!
      methods[method] = async (value, options = NO_OPTIONS) => {
        checkDeadline(route, options.timeoutMs, 'PIT_ERR_REMOTE', 'timeoutMs')
        const data = await this.#options.send(route, encodeBody(body, value, route), options, options.timeoutMs ?? deadlineMs)
        return decodeResponse(response, data, route)
      }
    }
    this.#used.set(`${serverType}.${contract.name}`, { serverType, contract })
    return Object.freeze(methods) as RemoteClient<RemoteMethods>
  }
}

function encodeBody (codec: RemoteCodec, value: unknown, route: string): Uint8Array {
  if (codec === undefined) {
    if (value === undefined) return EMPTY
    throw createError('PIT_ERR_REMOTE', [route, 'it takes no body: options come second, after undefined'])
  }
  if (codec === 'raw') {
    if (value instanceof Uint8Array) return value
    throw createError('PIT_ERR_REMOTE', [route, 'a raw body must be a Uint8Array'])
  }
  try {
    return codec.encode(value)
  } catch (cause) {
    throw createError('PIT_ERR_REMOTE', [route, cause instanceof Error ? cause.message : 'the body does not fit its schema'], { cause })
  }
}

function decodeResponse (codec: RemoteCodec, data: Uint8Array, route: string): unknown {
  if (codec === undefined) return undefined
  if (codec === 'raw') return data
  try {
    return codec.decode(data, 0, data.length)
  } catch (cause) {
    throw createError('PIT_ERR_REMOTE', [route, `its response cannot be read: ${(cause as Error).message}`], { cause })
  }
}

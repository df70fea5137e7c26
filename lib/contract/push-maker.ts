import { compileCodec, Writer } from '../avro/codec.ts'
import { createError, isPitayaError, type PitayaError } from '../errors.ts'
import type { MakePush } from '../handler/pushes.ts'
import { adaptShapes } from './adapt.ts'
import type { PartSchema } from './set.ts'
import { shapeOf } from './shape.ts'

/** Pushes with their schemas, of a server's contract or of a set. */
export interface KnownPushes {
  readonly fingerprint: string
  readonly pushes: ReadonlyMap<string, PartSchema>
}

export interface PushMakerOptions {
  /** Of a server's contract; undefined: it is not known, or not yet. */
  readonly ofServer: (serverId: string) => KnownPushes | undefined
  readonly ofSet: (fingerprint: string) => KnownPushes | undefined
}

/** @throws PIT_ERR_EVOLUTION */
type Way = (bytes: Uint8Array) => Uint8Array

const MAX_WAYS = 4096

/**
 * Makes pushes of other servers for clients of sets that those have not heard of yet: out of the sender's own Avro by its contract, or out
 * of what it made for another set. Without its contract out of its JSON, which serves where no bytes are in it and no default is needed.
 */
export class PushMaker {
  readonly #options: PushMakerOptions
  readonly #writer = new Writer()
  /** By what it is made of, what for, and push. */
  readonly #ways = new Map<string, Way>()

  constructor (options: PushMakerOptions) {
    this.#options = options
  }

  /** Good until the next one. */
  readonly make: MakePush = (name, serializer, payloads, caller) => {
    const to = this.#version(serializer)
    const schema = to?.pushes.get(name)
    if (to === undefined || schema === undefined) return undefined
    for (const payload of payloads) {
      const from = payload.serializer === 'avro' ? this.#options.ofServer(caller) : this.#version(payload.serializer)
      const own = from?.pushes.get(name)
      if (from !== undefined && own !== undefined) return this.#way(`${from.fingerprint} ${to.fingerprint} ${name}`, () => this.#fromAvro(own, schema))(payload.data)
    }
    const json = payloads.find(({ serializer }) => serializer === 'json')
    return json === undefined ? undefined : this.#way(`json ${to.fingerprint} ${name}`, () => this.#fromJson(schema))(json.data)
  }

  #version (serializer: string): KnownPushes | undefined {
    return serializer.startsWith('avro@') ? this.#options.ofSet(serializer.slice(5)) : undefined
  }

  #way (key: string, compile: () => Way): Way {
    let way = this.#ways.get(key)
    if (way === undefined) {
      // Of a schema that no codec takes nothing can be made; that is found out once, not for every client.
      try {
        way = compile()
      } catch (error) {
        if (!isPitayaError(error)) throw error
        way = refuse
      }
      if (this.#ways.size >= MAX_WAYS) this.#ways.delete(this.#ways.keys().next().value!)
      this.#ways.set(key, way)
    }
    return way
  }

  #fromAvro (own: PartSchema, schema: PartSchema): Way {
    if (own === 'raw' || schema === 'raw') return own === schema ? (bytes) => bytes : refuse
    const { isSame, verdict, adapt } = adaptShapes(shapeOf(own), shapeOf(schema), 'shared')
    if (isSame) return (bytes) => bytes
    if (verdict === 'cannot fit') return refuse
    const [theirs, client] = [compileCodec(own, this.#writer), compileCodec(schema, this.#writer)]
    return guarded((bytes) => client.encode(adapt(theirs.decode(bytes))))
  }

  #fromJson (schema: PartSchema): Way {
    if (schema === 'raw') return refuse
    const client = compileCodec(schema, this.#writer)
    return guarded((bytes) => client.encode(JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString())))
  }
}

/** What does not fit, or is not what the contract says, is nothing for this client. */
function guarded (way: Way): Way {
  return (bytes) => {
    try {
      return way(bytes)
    } catch (cause) {
      if (isPitayaError(cause) || cause instanceof SyntaxError) throw misfit(cause)
      throw cause
    }
  }
}

function refuse (): never { throw misfit() }

function misfit (cause?: Error): PitayaError {
  return createError('PIT_ERR_EVOLUTION', ['a push does not fit the schema that the client has'], { cause })
}

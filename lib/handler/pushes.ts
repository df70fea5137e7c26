import { createError } from '../errors.ts'
import type { Framing } from '../agent/connection.ts'
import { frameMessage } from '../frame.ts'
import { COMPRESSED_BIT, encodeMessage, MessageType } from '../protocol/message.ts'
import { MAX_BODY_BYTES } from '../protocol/packet.ts'
import type { RouteDictionary } from '../protocol/route.ts'
import type { Codec, Serializer } from '../serializers/serializer.ts'
import type { Session, SharedPush } from '../session/session.ts'
import { compileCodecs } from './compile-codecs.ts'
import { isRaw } from './raw.ts'
import type { MessageSchema, PushSchemas } from './types.ts'

const EMPTY = new Uint8Array(0)

/** A push's data in one serializer; `serializer` is empty for raw bytes. */
export interface Payload { readonly serializer: string, readonly data: Uint8Array }

interface CompiledPush {
  readonly name: string
  /** The message's flag and route. */
  readonly head: Uint8Array
  /** By serializer. */
  readonly codecs: readonly Codec[] | 'raw'
}

/** Heads of pushes that other servers declare. */
const MAX_FOREIGN_HEADS = 4096

export interface PushOptions {
  /** Compresses data of at least so many bytes, when that makes it smaller. */
  readonly deflate: (data: Uint8Array) => Uint8Array | undefined
}

/** All pushes that the handlers of one server declare, by name. */
export class PushRegistry {
  #declared = new Map<string, MessageSchema>()
  #compiled = new Map<string, CompiledPush>()
  #options: PushOptions
  #onDropped: (route: string) => void
  #serializers: readonly string[] = []
  #dictionary: RouteDictionary | undefined
  /** By route, of pushes that only other servers declare. */
  #foreignHeads = new Map<string, Uint8Array>()

  constructor (options: PushOptions, onDropped: (route: string) => void) {
    this.#options = options
    this.#onDropped = onDropped
  }

  /** @throws PIT_ERR_DUPLICATE_PUSH when the name is known with another schema */
  declare (pushes: PushSchemas): void {
    for (const [name, schema] of Object.entries(pushes)) {
      const known = this.#declared.get(name)
      if (known !== undefined && known !== schema && JSON.stringify(known) !== JSON.stringify(schema)) throw createError('PIT_ERR_DUPLICATE_PUSH', [name])
      this.#declared.set(name, schema)
    }
  }

  compile (serializers: readonly Serializer[], dictionary: RouteDictionary): void {
    this.#serializers = serializers.map(({ name }) => name)
    this.#dictionary = dictionary
    for (const [name, schema] of this.#declared) {
      const head = headOf(name, dictionary)
      const codecs = isRaw(schema) ? 'raw' : compileCodecs(schema, serializers, `push.${name}`)
      this.#compiled.set(name, { name, head, codecs })
    }
  }

  get schemas (): ReadonlyMap<string, MessageSchema> { return this.#declared }

  /** To one session. False: it is closed. Throws PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY. */
  send (session: Session, name: string, value: unknown): boolean {
    const push = this.#get(name)
    const isSent = session.entity.push(push.head, encodePush(push, session.serializerIndex, value))
    if (!isSent) this.#onDropped(name)
    return isSent
  }

  /** To many: serialized when the first session of a serializer gets it, framed when the first of a carrier does. */
  broadcast (name: string, value: unknown): Broadcast {
    const push = this.#get(name)
    return new Broadcast(name, push.head, (index) => encodePush(push, index, value), this.#options, this.#onDropped)
  }

  /** For clients of other servers: in one serializer, or in every one that is offered. Copies. Throws as `send`. */
  payloads (name: string, value: unknown, serializer?: string): Payload[] {
    const push = this.#get(name)
    if (push.codecs === 'raw') return [{ serializer: '', data: new Uint8Array(encodePush(push, 0, value)) }]
    const indexes = serializer === undefined ? push.codecs.keys() : [this.#serializers.indexOf(serializer)]
    return Array.from(indexes, (index) => ({ serializer: this.#serializers[index]!, data: new Uint8Array(encodePush(push, index, value)) }))
  }

  /** What another server made by `payloads`, for clients of this one. Throws PIT_ERR_ROUTE_SIZE. */
  relay (name: string, payloads: readonly Payload[]): Broadcast {
    const encode = (index: number): Uint8Array => {
      const serializer = this.#serializers[index]
      const payload = payloads.find((payload) => payload.serializer === serializer || payload.serializer === '')
      if (payload === undefined) throw createError('PIT_ERR_PUSH_BODY', [name, `its sender does not offer "${serializer}"`])
      return payload.data
    }
    return new Broadcast(name, this.#compiled.get(name)?.head ?? this.#foreignHead(name), encode, this.#options, this.#onDropped)
  }

  #foreignHead (name: string): Uint8Array {
    let head = this.#foreignHeads.get(name)
    if (head === undefined) {
      head = headOf(name, this.#dictionary!)
      if (this.#foreignHeads.size < MAX_FOREIGN_HEADS) this.#foreignHeads.set(name, head)
    }
    return head
  }

  #get (name: string): CompiledPush {
    const push = this.#compiled.get(name)
    if (push === undefined) throw createError('PIT_ERR_PUSH_UNKNOWN', [name])
    return push
  }
}

/** One push on its way to many sessions. */
export class Broadcast {
  #name: string
  #head: Uint8Array
  #payload: (serializerIndex: number) => Uint8Array
  #options: PushOptions
  #onDropped: (route: string) => void
  #bySerializer: Array<Frames | undefined> = []

  constructor (
    name: string, head: Uint8Array, payload: (serializerIndex: number) => Uint8Array,
    options: PushOptions, onDropped: (route: string) => void
  ) {
    this.#name = name
    this.#head = head
    this.#payload = payload
    this.#options = options
    this.#onDropped = onDropped
  }

  /** False: the session is closed. */
  to (session: Session): boolean {
    const frames = this.#bySerializer[session.serializerIndex] ??= this.#encode(session.serializerIndex)
    const isSent = session.entity.send(frames)
    if (!isSent) this.#onDropped(this.#name)
    return isSent
  }

  #encode (serializerIndex: number): Frames {
    const head = this.#head
    const plain = this.#payload(serializerIndex)
    const smaller = this.#options.deflate(plain)
    const data = smaller ?? plain
    const message = new Uint8Array(head.length + data.length)
    message.set(head)
    if (smaller !== undefined) message[0]! |= COMPRESSED_BIT
    message.set(data, head.length)
    if (message.length > MAX_BODY_BYTES) throw createError('PIT_ERR_PUSH_BODY', [this.#name, 'it is larger than a packet'])
    return new Frames(message)
  }
}

/** One message as each carrier needs it. */
class Frames implements SharedPush {
  #message: Uint8Array
  #lastFraming: Framing | undefined
  #last: Uint8Array | undefined
  #frames: Map<Framing | undefined, Uint8Array> | undefined

  constructor (message: Uint8Array) {
    this.#message = message
  }

  frame (framing: Framing | undefined): Uint8Array {
    if (this.#last !== undefined && this.#lastFraming === framing) return this.#last
    this.#frames ??= new Map()
    let frame = this.#frames.get(framing)
    if (frame === undefined) {
      frame = frameMessage(framing, EMPTY, this.#message)
      this.#frames.set(framing, frame)
    }
    this.#lastFraming = framing
    this.#last = frame
    return frame
  }
}

function headOf (name: string, dictionary: RouteDictionary): Uint8Array {
  const code = dictionary.codeOf(name)
  return encodeMessage({ type: MessageType.push, route: name, routeCode: code === -1 ? undefined : code, data: EMPTY })
}

function encodePush (push: CompiledPush, serializerIndex: number, value: unknown): Uint8Array {
  if (push.codecs === 'raw') {
    if (value instanceof Uint8Array) return value
    throw createError('PIT_ERR_PUSH_BODY', [push.name, 'a raw push must be a Uint8Array'])
  }
  try {
    return push.codecs[serializerIndex]!.encode(value)
  } catch (cause) {
    throw createError('PIT_ERR_PUSH_BODY', [push.name, cause instanceof Error ? cause.message : 'it does not fit its schema'], { cause })
  }
}

import type { DropReason } from '../channels.ts'
import { createError, type PitayaError } from '../errors.ts'
import type { Framing } from '../agent/connection.ts'
import { frameMessage } from '../frame.ts'
import { COMPRESSED_BIT, encodeMessage, MessageType } from '../protocol/message.ts'
import { MAX_BODY_BYTES } from '../protocol/packet.ts'
import type { RouteDictionary } from '../protocol/route.ts'
import type { Codec, Serializer, SerializerVersion } from '../serializers/serializer.ts'
import type { PendingContract, Session, SharedPush } from '../session/session.ts'
import { compileCodecs } from './compile-codecs.ts'
import { isEvolution } from './encode-result.ts'
import { isRaw } from './raw.ts'
import type { MessageSchema, PushSchemas } from './types.ts'

const EMPTY = new Uint8Array(0)

/** A push's data in one serializer; `serializer` is empty for raw bytes. */
export interface Payload { readonly serializer: string, readonly data: Uint8Array }

interface CompiledPush {
  readonly name: string
  /** The message's flag and route. */
  readonly head: Uint8Array
  /** By serializer, and by version of one. */
  readonly codecs: Codec[] | 'raw'
}

/** Heads of pushes that other servers declare. */
const MAX_FOREIGN_HEADS = 4096

type OnDropped = (route: string, why: DropReason) => void

/**
 * Makes what the sender of a push did not: its data in a version of a serializer. Undefined: that is not known how.
 * @param caller id of the sender
 * @throws PIT_ERR_EVOLUTION for what does not fit
 */
export type MakePush = (name: string, serializer: string, payloads: readonly Payload[], caller: string) => Uint8Array | undefined

export interface PushOptions {
  /** Compresses data of at least so many bytes, when that makes it smaller. */
  readonly deflate: (data: Uint8Array) => Uint8Array | undefined
}

/** All pushes that the handlers of one server declare, by name. */
export class PushRegistry {
  /** For pushes of other servers. */
  make: MakePush = () => undefined
  #declared = new Map<string, MessageSchema>()
  #compiled = new Map<string, CompiledPush>()
  #options: PushOptions
  #onDropped: OnDropped
  /** Names of the serializers, and of versions that came later. */
  #serializers: string[] = []
  /** Places of what pushes to clients of other servers are made in. */
  #offered: readonly number[] = []
  #own: readonly number[] = []
  #dictionary: RouteDictionary | undefined
  /** By route, of pushes that only other servers declare. */
  #foreignHeads = new Map<string, Uint8Array>()

  constructor (options: PushOptions, onDropped: OnDropped) {
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
    this.#own = [...serializers.keys()]
    this.offer([])
    this.#dictionary = dictionary
    for (const [name, schema] of this.#declared) {
      const head = headOf(name, dictionary)
      const codecs = isRaw(schema) ? 'raw' : compileCodecs(schema, serializers, `push.${name}`)
      this.#compiled.set(name, { name, head, codecs })
    }
  }

  /** @param index its place; one of an earlier version is free by now */
  addVersion (version: SerializerVersion, index: number): void {
    const base = this.#serializers.indexOf(version.of)
    const codecs = Array.from(this.#compiled.values(), ({ name, codecs }) => codecs === 'raw' ? undefined : version.push(codecs[base]!, name))
    let i = 0
    for (const { codecs: all } of this.#compiled.values()) {
      const codec = codecs[i++]
      if (all !== 'raw') all[index] = codec!
    }
    this.#serializers[index] = version.name
  }

  /** Which versions clients of other servers use: `payloads` are made in these too. */
  offer (versions: readonly number[]): void {
    this.#offered = [...this.#own, ...versions]
  }

  get schemas (): ReadonlyMap<string, MessageSchema> { return this.#declared }

  /**
   * To one session. False: it is closed, or its client's version does not have what is to be sent.
   * Throws PIT_ERR_PUSH_UNKNOWN, PIT_ERR_PUSH_BODY.
   */
  send (session: Session, name: string, value: unknown): boolean {
    const push = this.#get(name)
    if (session.awaited !== null) return hold(session.awaited, () => { this.send(session, name, value) }, this.#onDropped, name)
    let payload
    try {
      payload = encodePush(push, session.serializerIndex, value)
    } catch (error) {
      if (!isEvolution(error)) throw error
      this.#onDropped(name, 'evolution')
      return false
    }
    const isSent = session.entity.push(push.head, payload)
    if (!isSent) this.#onDropped(name, 'closed')
    return isSent
  }

  /** To many: serialized when the first session of a serializer gets it, framed when the first of a carrier does. */
  broadcast (name: string, value: unknown): Broadcast {
    const push = this.#get(name)
    const { codecs } = push
    const source: Source = {
      encode: (index) => encodePush(push, index, value),
      same: (index) => codecs === 'raw' ? 0 : codecs.indexOf(codecs[index]!)
    }
    return new Broadcast(name, push.head, source, this.#options, this.#onDropped)
  }

  /**
   * For clients of other servers: in one serializer, or in every one that is offered. A version that has the same bytes as its serializer
   * is left out: who relays them finds out. Copies. Throws as `send`.
   */
  payloads (name: string, value: unknown, serializer?: string): Payload[] {
    const push = this.#get(name)
    const { codecs } = push
    if (codecs === 'raw') return [{ serializer: '', data: new Uint8Array(encodePush(push, 0, value)) }]
    const place = serializer === undefined ? -1 : this.#serializers.indexOf(serializer)
    const payloads: Payload[] = []
    for (const index of place === -1 ? this.#offered : [place]) {
      if (place === -1 && codecs.indexOf(codecs[index]!) !== index) continue
      try {
        payloads.push({ serializer: this.#serializers[index]!, data: new Uint8Array(encodePush(push, index, value)) })
      } catch (error) {
        // Who has that version counts what it lacks.
        if (!isEvolution(error)) throw error
      }
    }
    // Whoever has the client may know a larger version by now, or this one where it is gone from here.
    return payloads.length === 0 && place !== -1 ? this.payloads(name, value) : payloads
  }

  /** What a server, `caller`, made by `payloads`, for clients of this one. Throws PIT_ERR_ROUTE_SIZE. */
  relay (name: string, payloads: readonly Payload[], caller: string): Broadcast {
    const encode = (index: number): Uint8Array => {
      const serializer = this.#serializers[index]!
      const payload = payloads.find((payload) => payload.serializer === serializer || payload.serializer === '')
      const data = payload?.data ?? this.make(name, serializer, payloads, caller)
      if (data === undefined) throw missing(name, serializer)
      return data
    }
    const source: Source = { encode, same: (index) => index }
    return new Broadcast(name, this.#compiled.get(name)?.head ?? this.#foreignHead(name), source, this.#options, this.#onDropped)
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

/** The data of one push, by place of the serializer. */
interface Source {
  encode (serializerIndex: number): Uint8Array
  /** The first place whose data are the same. */
  same (serializerIndex: number): number
}

/** One push on its way to many sessions. */
export class Broadcast {
  #name: string
  #head: Uint8Array
  #source: Source
  #options: PushOptions
  #onDropped: OnDropped
  /** Null: clients of that version do not get it. */
  #bySerializer: Array<Frames | null | undefined> = []

  constructor (name: string, head: Uint8Array, source: Source, options: PushOptions, onDropped: OnDropped) {
    this.#name = name
    this.#head = head
    this.#source = source
    this.#options = options
    this.#onDropped = onDropped
  }

  /** False: the session is closed, or its client's version does not have what is to be sent. */
  to (session: Session): boolean {
    if (session.awaited !== null) {
      // A version may take the place of another meanwhile.
      const again = (): void => { this.#bySerializer = []; this.to(session) }
      return hold(session.awaited, again, this.#onDropped, this.#name)
    }
    const index = session.serializerIndex
    let frames = this.#bySerializer[index]
    if (frames === undefined) this.#bySerializer[index] = frames = this.#framesOf(index)
    const isSent = frames !== null && session.entity.send(frames)
    if (!isSent) this.#onDropped(this.#name, frames === null ? 'evolution' : 'closed')
    return isSent
  }

  #framesOf (serializerIndex: number): Frames | null {
    const same = this.#source.same(serializerIndex)
    const known = this.#bySerializer[same]
    if (known !== undefined) return known
    try {
      const frames = this.#encode(same)
      this.#bySerializer[same] = frames
      return frames
    } catch (error) {
      if (!isEvolution(error)) throw error
      return null
    }
  }

  #encode (serializerIndex: number): Frames {
    const head = this.#head
    const plain = this.#source.encode(serializerIndex)
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

/** Keeps a push until the client's contract is there. False: too many are kept. */
function hold (awaited: PendingContract, push: () => void, onDropped: OnDropped, name: string): boolean {
  const isHeld = awaited.hold(push)
  if (!isHeld) onDropped(name, 'busy')
  return isHeld
}

function headOf (name: string, dictionary: RouteDictionary): Uint8Array {
  const code = dictionary.codeOf(name)
  return encodeMessage({ type: MessageType.push, route: name, routeCode: code === -1 ? undefined : code, data: EMPTY })
}

function missing (name: string, serializer: string): PitayaError {
  if (serializer.includes('@')) return createError('PIT_ERR_EVOLUTION', [`push "${name}" does not fit the client's contract, or its sender does not know that`])
  return createError('PIT_ERR_PUSH_BODY', [name, `its sender does not offer "${serializer}"`])
}

function encodePush (push: CompiledPush, serializerIndex: number, value: unknown): Uint8Array {
  if (push.codecs === 'raw') {
    if (value instanceof Uint8Array) return value
    throw createError('PIT_ERR_PUSH_BODY', [push.name, 'a raw push must be a Uint8Array'])
  }
  try {
    return push.codecs[serializerIndex]!.encode(value)
  } catch (cause) {
    if (isEvolution(cause)) throw cause
    throw createError('PIT_ERR_PUSH_BODY', [push.name, cause instanceof Error ? cause.message : 'it does not fit its schema'], { cause })
  }
}

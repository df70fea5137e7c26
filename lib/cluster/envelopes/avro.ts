import { createError, isPitayaError, type PitayaError, type WireError } from '../../errors.ts'
import { MAX_BODY_BYTES } from '../../protocol/packet.ts'
import type { AvroSchema } from '../../serializers/avro-schema.ts'
import { ReadTap, WriteTap } from '../../serializers/avro-tap.ts'
import { toWellFormed } from '../../serializers/text.ts'
import {
  MAX_CONTEXT_BYTES, MAX_CONTEXT_ENTRIES, MAX_REMAINING_MS, MAX_TARGETS, PushKind, RpcType,
  type Envelope, type PushEnvelope, type PushPayload, type RequestEnvelope, type RequestFields, type ResponseEnvelope, type SessionPart
} from './envelope.ts'

const VERSION = 1
const OLDEST = 1
/** Nobody will have made so many: such a message is not one of ours. */
const ABSURD = 1000

const field = (name: string, type: AvroSchema): { name: string, type: AvroSchema } => ({ name, type })
const map: AvroSchema = { type: 'map', values: 'string' }
const list = (items: AvroSchema): AvroSchema => ({ type: 'array', items })

/** The four records, as Avro writes schemas. The code below is their hand-written form; fields are only ever added, at the end. */
export const envelopeSchemas = {
  /** Stands in a request as bytes, so that it can grow too. */
  session: {
    type: 'record',
    name: 'Session',
    fields: [
      field('id', 'long'), field('uid', 'string'), field('revision', 'long'), field('data', 'string'), field('sys', 'string'),
      field('user', 'string'), field('serializer', 'string'), field('remoteAddress', 'string'), field('contract', 'string')
    ]
  },
  /** `session` is empty where there is none. */
  request: {
    type: 'record',
    name: 'Request',
    fields: [
      field('version', 'int'), field('type', 'int'), field('route', 'string'), field('isNotify', 'boolean'), field('remainingMs', 'int'),
      field('caller', 'string'), field('callerIncarnation', 'string'), field('frontend', 'string'), field('session', 'bytes'),
      field('context', map), field('data', 'bytes')
    ]
  },
  response: {
    type: 'record',
    name: 'Response',
    fields: [
      field('version', 'int'), field('isError', 'boolean'), field('data', 'bytes'),
      field('error', ['null', { type: 'record', name: 'Failure', fields: [field('code', 'string'), field('msg', 'string'), field('metadata', map)] }])
    ]
  },
  push: {
    type: 'record',
    name: 'Push',
    fields: [
      field('version', 'int'), field('kind', 'int'), field('caller', 'string'), field('hops', 'int'), field('route', 'string'),
      field('sessions', list('long')), field('uids', list('string')), field('group', 'string'),
      field('payloads', list({ type: 'record', name: 'Payload', fields: [field('serializer', 'string'), field('data', 'bytes')] })),
      field('reason', 'string')
    ]
  }
} as const satisfies Record<string, AvroSchema>

/** The envelope in Avro binary. */
export function createAvroEnvelope (): Envelope {
  return new AvroEnvelope()
}

class AvroEnvelope implements Envelope {
  readonly version = VERSION
  readonly #read = new ReadTap()
  readonly #write = new WriteTap()

  encodeSession (part: SessionPart): Uint8Array {
    return new Uint8Array(this.#encode(writeSession, part))
  }

  encodeRequest (fields: Readonly<RequestFields>, data: Uint8Array, start: number, end: number): Uint8Array {
    const tap = this.#write
    tap.begin()
    try {
      tap.writeInt(VERSION)
      tap.writeInt(fields.type)
      tap.writeString(fields.route)
      tap.writeBoolean(fields.isNotify)
      tap.writeInt(Math.min(MAX_REMAINING_MS, Math.max(1, Math.ceil(fields.remainingMs))))
      tap.writeString(fields.caller)
      tap.writeString(fields.callerIncarnation)
      tap.writeString(fields.frontend)
      writeData(tap, fields.session ?? NOTHING)
      writeContext(tap, fields.context)
      writeData(tap, start === 0 && end === data.length ? data : data.subarray(start, end))
      return tap.end()
    } catch (error) {
      throw toRpcError(error)
    }
  }

  decodeRequest (bytes: Uint8Array): RequestEnvelope {
    return this.#decode(readRequest, bytes)
  }

  encodeResponse (data: Uint8Array, isError: boolean, error?: WireError): Uint8Array {
    const tap = this.#write
    tap.begin()
    try {
      tap.writeInt(VERSION)
      tap.writeBoolean(isError)
      writeData(tap, data)
      writeError(tap, error)
      return tap.end()
    } catch (error) {
      throw toRpcError(error)
    }
  }

  decodeResponse (bytes: Uint8Array): ResponseEnvelope {
    return this.#decode(readResponse, bytes)
  }

  encodePush (push: Readonly<PushEnvelope>): Uint8Array {
    return this.#encode(writePush, push)
  }

  decodePush (bytes: Uint8Array): PushEnvelope {
    return this.#decode(readPush, bytes)
  }

  #encode<T> (write: (tap: WriteTap, value: T) => void, value: T): Uint8Array {
    const tap = this.#write
    tap.begin()
    try {
      write(tap, value)
      return tap.end()
    } catch (error) {
      throw toRpcError(error)
    }
  }

  /** What follows the known fields is a newer version's. */
  #decode<T> (read: (tap: ReadTap) => T, bytes: Uint8Array): T {
    const tap = this.#read
    tap.begin(bytes, 0, bytes.length)
    try {
      const version = tap.readInt()
      if (version < OLDEST || version > ABSURD) throw new RangeError('unknown version')
      return read(tap)
    } catch (error) {
      throw toRpcError(error)
    } finally {
      tap.release()
    }
  }
}

const NOTHING = new Uint8Array(0)
// Faster than decoding UTF-8 that is known to be ASCII; content with a plain Uint8Array.
const { latin1Slice } = Buffer.prototype as unknown as { latin1Slice: (this: Uint8Array, start: number, end: number) => string }

/** The taps' texts name the fault and never the input. */
function toRpcError (error: unknown): PitayaError {
  return isPitayaError(error) ? error : createError('PIT_ERR_RPC', [(error as Error).message])
}

function writeSession (tap: WriteTap, part: SessionPart): void {
  tap.writeLong(part.id)
  tap.writeString(part.uid)
  tap.writeLong(part.revision)
  tap.writeString(part.data)
  tap.writeString(part.sys)
  tap.writeString(part.user)
  tap.writeString(part.serializer)
  tap.writeString(part.remoteAddress)
  tap.writeString(part.contract)
}

function readRequest (tap: ReadTap): RequestEnvelope {
  const type = oneOf(tap.readInt(), RpcType.user) as RpcType
  const route = tap.readString()
  const isNotify = tap.readBoolean()
  const remainingMs = tap.readInt()
  if (remainingMs < 1 || remainingMs > MAX_REMAINING_MS) throw new RangeError('deadline out of range')
  const caller = readId(tap, 1)
  const callerIncarnation = readId(tap, 1)
  const frontend = readId(tap, 0)
  const session = readSession(tap)
  const context = readContext(tap)
  const data = readData(tap)
  return { type, route, isNotify, remainingMs, caller, callerIncarnation, frontend, session, context, data }
}

function readSession (tap: ReadTap): SessionPart | undefined {
  const { end } = tap
  const sessionEnd = readEnd(tap)
  if (sessionEnd === tap.pos) return undefined
  tap.end = sessionEnd
  const part = {
    id: natural(tap.readLong()),
    uid: tap.readString(),
    revision: natural(tap.readLong()),
    data: tap.readString(),
    sys: tap.readString(),
    user: tap.readString(),
    serializer: tap.readString(),
    remoteAddress: tap.readString(),
    contract: tap.readString()
  }
  tap.pos = sessionEnd
  tap.end = end
  return part
}

function readResponse (tap: ReadTap): ResponseEnvelope {
  const isError = tap.readBoolean()
  const data = readData(tap)
  const error = oneOf(tap.readLong(), 1) === 0 ? undefined : { code: tap.readString(), msg: tap.readString(), metadata: readMap(tap) }
  return { isError, data, error }
}

function writePush (tap: WriteTap, push: Readonly<PushEnvelope>): void {
  const { sessions, uids, payloads } = push
  tap.writeInt(VERSION)
  tap.writeInt(push.kind)
  tap.writeString(push.caller)
  tap.writeInt(push.hops)
  tap.writeString(push.route)
  writeCount(tap, sessions.length)
  for (const id of sessions) tap.writeLong(id)
  if (sessions.length > 0) tap.writeLong(0)
  writeCount(tap, uids.length)
  for (const uid of uids) tap.writeString(uid)
  if (uids.length > 0) tap.writeLong(0)
  tap.writeString(push.group)
  writeCount(tap, payloads.length)
  for (const { serializer, data } of payloads) {
    tap.writeString(serializer)
    writeData(tap, data)
  }
  if (payloads.length > 0) tap.writeLong(0)
  tap.writeString(push.reason)
}

function readPush (tap: ReadTap): PushEnvelope {
  return {
    kind: oneOf(tap.readInt(), PushKind.close) as PushKind,
    caller: readId(tap, 1),
    hops: natural(tap.readInt()),
    route: tap.readString(),
    sessions: readList(tap, 1, readNatural),
    uids: readList(tap, 1, readText),
    group: tap.readString(),
    payloads: readList(tap, 2, readPayload),
    reason: tap.readString()
  }
}

const readNatural = (tap: ReadTap): number => natural(tap.readLong())
const readText = (tap: ReadTap): string => tap.readString()
const readPayload = (tap: ReadTap): PushPayload => ({ serializer: tap.readString(), data: readData(tap) })

function readList<T> (tap: ReadTap, minBytes: number, read: (tap: ReadTap) => T): T[] {
  const items: T[] = []
  let count
  while ((count = tap.readCount(minBytes, items.length)) !== 0) {
    while (count-- > 0) items.push(read(tap))
  }
  return items
}

/** An empty list is its end alone. */
function writeCount (tap: WriteTap, count: number): void {
  if (count > MAX_TARGETS) throw new RangeError('too many items')
  tap.writeLong(count)
}

function writeData (tap: WriteTap, bytes: Uint8Array): void {
  if (bytes.length > MAX_BODY_BYTES) throw createError('PIT_ERR_RPC_SIZE', [MAX_BODY_BYTES])
  tap.writeBytes(bytes)
}

function readData (tap: ReadTap): Uint8Array {
  const end = readEnd(tap)
  const view = tap.buf.subarray(tap.pos, end)
  tap.pos = end
  return view
}

/** Where the bytes end whose length comes next. */
function readEnd (tap: ReadTap): number {
  const length = tap.readLong()
  if (length < 0 || length > tap.end - tap.pos) throw new RangeError('truncated')
  return tap.pos + length
}

function writeContext (tap: WriteTap, context: Readonly<Record<string, string>> | undefined): void {
  const from = tap.pos
  const count = writeMap(tap, context)
  if (count > MAX_CONTEXT_ENTRIES || tap.pos - from > MAX_CONTEXT_BYTES) throw tooMuchContext()
}

function readContext (tap: ReadTap): Record<string, string> | undefined {
  const from = tap.pos
  const context = readMap(tap, MAX_CONTEXT_ENTRIES)
  if (tap.pos - from > MAX_CONTEXT_BYTES) throw tooMuchContext()
  return context
}

function tooMuchContext (): RangeError {
  return new RangeError(`context of more than ${MAX_CONTEXT_ENTRIES} entries or ${MAX_CONTEXT_BYTES} bytes`)
}

/** @returns the entries written. `__proto__` is left out: no reader takes it. */
function writeMap (tap: WriteTap, values: Readonly<Record<string, string>> | undefined): number {
  const keys = values === undefined ? [] : Object.keys(values).filter((key) => key !== '__proto__')
  if (keys.length > 0) {
    tap.writeLong(keys.length)
    for (const key of keys) {
      tap.writeString(key)
      tap.writeString(values![key]!)
    }
  }
  tap.writeLong(0)
  return keys.length
}

/** @returns undefined for an empty one */
function readMap (tap: ReadTap, limit = Infinity): Record<string, string> | undefined {
  let values: Record<string, string> | undefined
  let had = 0
  let count
  while ((count = tap.readCount(2, had)) !== 0) {
    if ((had += count) > limit) throw tooMuchContext()
    values ??= {}
    while (count-- > 0) {
      const key = tap.readString()
      if (key === '__proto__') throw new TypeError('key __proto__')
      values[key] = tap.readString()
    }
  }
  return values
}

/** The application's texts: whatever they are, the error must arrive. */
function writeError (tap: WriteTap, error: WireError | undefined): void {
  if (error === undefined) return tap.writeLong(0)
  tap.writeLong(1)
  tap.writeString(toWellFormed(error.code))
  tap.writeString(toWellFormed(error.msg))
  const texts = Object.entries(error.metadata ?? {}).map(([key, value]) => [toWellFormed(key), toWellFormed(String(value))])
  writeMap(tap, Object.fromEntries(texts))
}

/** A server id or the like: it becomes part of a subject, so no other character may come in. */
function readId (tap: ReadTap, minLength: number): string {
  const end = readEnd(tap)
  const { buf, pos } = tap
  if (end - pos < minLength || end - pos > 64) throw new RangeError('illegal id')
  for (let at = pos; at < end; at++) if (!isIdByte(buf[at]!)) throw new RangeError('illegal id')
  tap.pos = end
  return latin1Slice.call(buf, pos, end)
}

/** Letters, digits, - and _ */
function isIdByte (byte: number): boolean {
  const letter = byte | 0x20
  return (letter >= 0x61 && letter <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x5f
}

function oneOf (value: number, highest: number): number {
  if (value < 0 || value > highest) throw new RangeError('unknown kind')
  return value
}

function natural (value: number): number {
  if (value < 0) throw new RangeError('negative number')
  return value
}

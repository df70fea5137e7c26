import { createError } from './errors.ts'
import { encodeUtf8 } from './utf8.ts'

export const MessageType = { request: 0, notify: 1, response: 2, push: 3 } as const
export type MessageType = typeof MessageType[keyof typeof MessageType]

/** Bytes of the longest route that can be written without a code. */
export const MAX_ROUTE_BYTES = 255

const ROUTE_CODE_BIT = 0x01
const TYPE_SHIFT = 1
const TYPE_MASK = 0x07
/** In the first byte of a message: its data is zlib. */
export const COMPRESSED_BIT = 0x10
const ERROR_BIT = 0x20
const MIN_BYTES = 2
/** Flag, id, and the length or the code of a route. */
const MAX_HEAD_BYTES = 1 + 8 + 2

/** Where the parts of a message lie in the bytes it was read from. Made to be used again and again. */
export interface MessageView {
  type: MessageType
  /** 0 for notify and push. */
  id: number
  /** Code of the route, 0 to 65535, not yet looked up; -1: the route is text, or there is none. */
  routeCode: number
  /** The route's UTF-8 bytes, not checked to be UTF-8; `routeStart` equals `routeEnd` for a code, an empty route or a response. */
  routeStart: number
  routeEnd: number
  dataStart: number
  dataEnd: number
  /** The data is zlib. */
  isCompressed: boolean
  /** The data is an error payload. */
  isError: boolean
}

export function createMessageView (): MessageView {
  return {
    type: MessageType.request,
    id: 0,
    routeCode: -1,
    routeStart: 0,
    routeEnd: 0,
    dataStart: 0,
    dataEnd: 0,
    isCompressed: false,
    isError: false
  }
}

/**
 * Reads the body of a data packet, `bytes` from `start` to `end`, into `view`. Allocates nothing.
 *
 * ```
 * message = flag [id] [route] data
 * flag    = 1 byte: bit 0 route is a code, bits 1-3 type, bit 4 data is zlib, bit 5 data is an error; 6 and 7 are ignored
 * id      = varint                       ; request, response
 * route   = length(1) utf8               ; request, notify, push without bit 0
 *         / code(2, big-endian)          ; request, notify, push with bit 0
 * data    = the rest, may be empty
 * varint  = 7 bits a byte, lowest first, 80 on all but the last; shortest form, at most 2^53-1
 * ```
 *
 * @throws PIT_ERR_MESSAGE (cut short), PIT_ERR_MESSAGE_TYPE, PIT_ERR_MESSAGE_ID (unterminated, over-long, above 2^53-1);
 * the view is unspecified then
 */
export function decodeMessage (bytes: Uint8Array, start: number, end: number, view: MessageView): void {
  if (end - start < MIN_BYTES) throw createError('PIT_ERR_MESSAGE')
  const flag = bytes[start]!
  const type = flag >> TYPE_SHIFT & TYPE_MASK
  if (type > MessageType.push) throw createError('PIT_ERR_MESSAGE_TYPE')
  let at = start + 1
  let id = 0
  if (hasId(type)) {
    id = bytes[at++]!
    if (id > 0x7f) {
      at = readLongId(bytes, at, end, view, id & 0x7f)
      id = view.id
    }
  }
  let routeCode = -1
  let routeStart = at
  if (type !== MessageType.response) {
    if ((flag & ROUTE_CODE_BIT) !== 0) {
      routeCode = bytes[at]! << 8 | bytes[at + 1]!
      at = routeStart = at + 2
    } else {
      routeStart = at + 1
      at = routeStart + bytes[at]!
    }
    // NaN where the bytes end.
    if (!(at <= end)) throw createError('PIT_ERR_MESSAGE')
  }
  view.type = type as MessageType
  view.id = id
  view.routeCode = routeCode
  view.routeStart = routeStart
  view.routeEnd = at
  view.dataStart = at
  view.dataEnd = end
  view.isCompressed = (flag & COMPRESSED_BIT) !== 0
  view.isError = (flag & ERROR_BIT) !== 0
}

/** Reads into the view the rest of an id whose first byte, of value `first`, said that more follow. Returns the place after it. */
function readLongId (bytes: Uint8Array, from: number, end: number, view: MessageView, first: number): number {
  let id = first
  let factor = 0x80
  // Ids are exact up to the check, since factor is at most 2^49.
  for (let at = from; at < end && factor <= 2 ** 49; factor *= 0x80) {
    const byte = bytes[at++]!
    // Multiplied, not shifted: shifts end at 32 bits.
    id += (byte & 0x7f) * factor
    if (byte === 0 || id > Number.MAX_SAFE_INTEGER) break
    if (byte < 0x80) {
      view.id = id
      return at
    }
  }
  throw createError('PIT_ERR_MESSAGE_ID')
}

function hasId (type: number): boolean {
  return type === MessageType.request || type === MessageType.response
}

function varintSize (value: number): number {
  let size = 1
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) size++
  return size
}

function writeVarint (target: Uint8Array, at: number, value: number): number {
  let rest = value
  while (rest > 0x7f) {
    target[at++] = rest % 0x80 | 0x80
    rest = Math.floor(rest / 0x80)
  }
  target[at++] = rest
  return at
}

/** A message to write. */
export interface MessageFields {
  type: MessageType
  /** 0 to 2^53-1, default 0; written for request and response only. */
  id?: number
  /** At most 255 bytes of UTF-8, default empty; not written when there is a code, nor for a response. */
  route?: string
  /** 0 to 65535. */
  routeCode?: number
  data: Uint8Array
  /** Says that `data` already is zlib. */
  isCompressed?: boolean
  /** Says that `data` is an error payload. */
  isError?: boolean
}

/**
 * The body of a data packet, in the grammar of `decodeMessage`.
 * @throws PIT_ERR_MESSAGE_TYPE, PIT_ERR_MESSAGE_ID, PIT_ERR_ROUTE_SIZE (above 255 bytes), PIT_ERR_ROUTE_CODE
 */
export function encodeMessage (fields: MessageFields): Uint8Array {
  const { type, id = 0, route = '', routeCode, data } = fields
  if (type < MessageType.request || type > MessageType.push) throw createError('PIT_ERR_MESSAGE_TYPE')
  if (!(Number.isSafeInteger(id) && id >= 0)) throw createError('PIT_ERR_MESSAGE_ID')
  const text = encodeUtf8(routeCode === undefined ? route : '')
  if (text.length > MAX_ROUTE_BYTES) throw createError('PIT_ERR_ROUTE_SIZE')

  const message = new Uint8Array(MAX_HEAD_BYTES + text.length + data.length)
  let flag = flagOf(type, fields.isCompressed === true, fields.isError === true)
  let at = hasId(type) ? writeVarint(message, 1, id) : 1
  if (type !== MessageType.response) {
    if (routeCode === undefined) {
      message[at++] = text.length
      message.set(text, at)
      at += text.length
    } else {
      if (routeCode !== (routeCode & 0xffff)) throw createError('PIT_ERR_ROUTE_CODE')
      flag |= ROUTE_CODE_BIT
      message[at++] = routeCode >>> 8
      message[at++] = routeCode
    }
  }
  message[0] = flag
  message.set(data, at)
  return message.subarray(0, at + data.length)
}

/** Bytes that stand before the data of a response with this id; the packet's header is not counted. */
export function responseHeadSize (id: number): number {
  return 1 + varintSize(id)
}

/**
 * Writes `flag id` of a response at `at`; the data is the caller's to write.
 * @param id as the request had it, 0 to 2^53-1, not checked again
 * @returns the place after it
 */
export function writeResponseHead (target: Uint8Array, at: number, id: number, isError: boolean, isCompressed: boolean): number {
  target[at] = flagOf(MessageType.response, isCompressed, isError)
  return writeVarint(target, at + 1, id)
}

function flagOf (type: MessageType, isCompressed: boolean, isError: boolean): number {
  return type << TYPE_SHIFT | (isCompressed ? COMPRESSED_BIT : 0) | (isError ? ERROR_BIT : 0)
}

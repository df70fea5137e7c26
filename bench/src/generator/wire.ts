/** Packet types of the client protocol. */
export const HANDSHAKE = 1
export const ACK = 2
export const HEARTBEAT = 3
export const DATA = 4
export const KICK = 5

/** Bytes before a packet's body. */
export const HEADER_BYTES = 4

/** WebSocket opcodes. */
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

/** Message flags, the type bits. */
export const REQUEST = 0x00
export const NOTIFY = 0x02
export const RESPONSE = 0x04
export const PUSH = 0x06
export const TYPE_BITS = 0x0e
export const ERROR_BIT = 0x20

const MASK = [0x37, 0xfa, 0x21, 0x3d] as const

export function packet (type: number, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntBE(body.length, 1, 3)
  header[0] = type
  return Buffer.concat([header, body])
}

export function request (route: string, id: number, body: Uint8Array): Buffer {
  return packet(DATA, Buffer.concat([Buffer.from([REQUEST, ...varint(id)]), routeBytes(route), body]))
}

export function notify (route: string, body: Uint8Array): Buffer {
  return packet(DATA, Buffer.concat([Buffer.from([NOTIFY]), routeBytes(route), body]))
}

/** A route as it stands in a message: one length byte, then its text. */
export function routeBytes (route: string): Buffer {
  return Buffer.from([route.length, ...Buffer.from(route)])
}

/** A masked WebSocket frame, as clients send them. The mask is fixed: what it costs a server does not depend on its value. */
export function frame (opcode: number, payload: Uint8Array): Buffer {
  if (payload.length > 0xffff) throw new RangeError('the generator sends no frame above 64 KiB')
  const header = payload.length < 126
    ? [0x80 | opcode, 0x80 | payload.length]
    : [0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 0xff]
  return Buffer.concat([Buffer.from([...header, ...MASK]), payload.map((byte, i) => byte ^ MASK[(i & 3) as 0 | 1 | 2 | 3])])
}

/** The request that opens a WebSocket: no Origin and no extensions, as native clients send it. */
export function upgrade (url: URL): string {
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
}

function varint (value: number): number[] {
  const bytes: number[] = []
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80)
  return [...bytes, value]
}

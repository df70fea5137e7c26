import { createMessageView, decodeMessage } from '../../lib/protocol/message.ts'
import { PacketDecoder, PacketType } from '../../lib/protocol/packet.ts'

export interface ReadPacket { type: PacketType, body: Uint8Array }

/** What a decoder makes of these chunks. */
export function readPackets (chunks: readonly Uint8Array[], decoder = new PacketDecoder(0xffffff)): ReadPacket[] {
  const packets: ReadPacket[] = []
  const sink = {
    onPacket (type: PacketType, bytes: Uint8Array, start: number, end: number) {
      packets.push({ type, body: bytes.slice(start, end) })
      return true
    }
  }
  for (const chunk of chunks) decoder.push(chunk, sink)
  return packets
}

/** The messages among them, with their routes as text. */
export function messagesOf (chunks: readonly Uint8Array[]): Array<{ route: string, data: Uint8Array }> {
  const view = createMessageView()
  return readPackets(chunks).filter(({ type }) => type === PacketType.data).map(({ body }) => {
    decodeMessage(body, 0, body.length, view)
    const route = Buffer.from(body.subarray(view.routeStart, view.routeEnd)).toString()
    return { route, data: body.subarray(view.dataStart, view.dataEnd) }
  })
}

/** One chunk per byte. */
export function byteByByte (bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (byte) => Uint8Array.of(byte))
}

export function concat (...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

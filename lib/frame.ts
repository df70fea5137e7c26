import type { Framing } from './agent/connection.ts'
import { HEADER_BYTES, PacketType, writePacketHeader } from './protocol/packet.ts'

/** One message as a packet of its own, in its carrier's framing. The message is given in two parts, `head` (flag and route) and `data`. */
export function frameMessage (framing: Framing | undefined, head: Uint8Array, data: Uint8Array): Uint8Array {
  const body = head.length + data.length
  const length = HEADER_BYTES + body
  const frameHead = framing === undefined ? 0 : framing.size(length)
  const frame = Buffer.allocUnsafe(frameHead + length)
  framing?.write(frame, 0, length)
  writePacketHeader(frame, frameHead, PacketType.data, body)
  frame.set(head, frameHead + HEADER_BYTES)
  frame.set(data, frameHead + HEADER_BYTES + head.length)
  return frame
}

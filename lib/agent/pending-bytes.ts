import type { Duplex } from 'node:stream'

/**
 * Bytes written to a stream that the network has not taken. Node counts a write until all of it is gone; where it lets us see, what is
 * left of the current one is told too, so that the sum falls while a large write drains.
 */
export function pendingBytes (stream: Duplex): number {
  const { _handle: handle } = stream as Duplex & { _handle?: { writeQueueSize?: number } | null }
  return stream.writableLength + (handle?.writeQueueSize ?? 0)
}

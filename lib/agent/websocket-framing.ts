import type { Framing } from './connection.ts'

const FIN_BINARY = 0x82
const LENGTH_16 = 126
const LENGTH_64 = 127

/** The header of an unmasked, unfragmented binary frame (RFC 6455, 5.2): 2, 4 or 10 bytes. */
export const websocketFraming: Framing = {
  size (length: number): number {
    return length < LENGTH_16 ? 2 : length < 0x10000 ? 4 : 10
  },
  write (target: Uint8Array, at: number, length: number): void {
    target[at] = FIN_BINARY
    if (length < LENGTH_16) {
      target[at + 1] = length
    } else if (length < 0x10000) {
      target[at + 1] = LENGTH_16
      target[at + 2] = length >>> 8
      target[at + 3] = length & 0xff
    } else {
      target[at + 1] = LENGTH_64
      // A packet is below 2^24 bytes, so the upper half is always zero.
      target.fill(0, at + 2, at + 6)
      target[at + 6] = length >>> 24
      target[at + 7] = (length >>> 16) & 0xff
      target[at + 8] = (length >>> 8) & 0xff
      target[at + 9] = length & 0xff
    }
  }
}

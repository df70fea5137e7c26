// Both are stateless as used here. A byte order mark is text like any other: routes are compared byte by byte.
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** UTF-8 bytes of a text; half surrogate pairs become U+FFFD. */
export function encodeUtf8 (text: string): Uint8Array {
  return encoder.encode(text)
}

/** Text of the bytes from `start` to `end`; what is not UTF-8 becomes U+FFFD, as in Go (protocol.md 1.5). */
export function decodeUtf8 (bytes: Uint8Array, start = 0, end = bytes.length): string {
  return decoder.decode(bytes.subarray(start, end))
}

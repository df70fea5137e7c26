import { isUtf8 } from 'node:buffer'

// The native method: half the price of `toString` for short texts, and content with a plain Uint8Array.
const { utf8Slice } = Buffer.prototype as unknown as { utf8Slice: (this: Uint8Array, start: number, end: number) => string }

/** The text of valid UTF-8, else undefined. */
export function readUtf8 (bytes: Uint8Array, start: number, end: number): string | undefined {
  const text = utf8Slice.call(bytes, start, end)
  // Invalid bytes come out as U+FFFD; only a text that has one needs the exact check.
  return text.indexOf('\ufffd') !== -1 && !isUtf8(bytes.subarray(start, end)) ? undefined : text
}

/** Text without the code units that UTF-8 cannot carry. */
export function toWellFormed (text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\ufffd')
}

/** True when half of a surrogate pair stands alone in JSON text, as an escape. `text` must be valid JSON. */
export function hasLoneEscape (text: string): boolean {
  if (text.indexOf('\\u') === -1) return false
  for (const [, lone] of text.matchAll(/\\(?:u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w)|[^])/g)) {
    if (lone !== undefined) return true
  }
  return false
}

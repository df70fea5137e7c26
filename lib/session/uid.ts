import { createError } from '../errors.ts'
import { isWellFormed } from '../well-formed.ts'

const MAX_BYTES = 128

/**
 * Uids are compared byte by byte: nothing is normalised.
 * @throws PIT_ERR_UID unless `uid` is a text of 1 to 128 UTF-8 bytes, well formed and without control characters
 */
export function assertUid (uid: unknown): asserts uid is string {
  if (!isName(uid)) throw createError('PIT_ERR_UID')
}

/** The rule for uids and for names of groups. */
export function isName (name: unknown): name is string {
  return typeof name === 'string' && name !== '' && Buffer.byteLength(name) <= MAX_BYTES && isWellFormed(name) && !hasControl(name)
}

function hasControl (text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

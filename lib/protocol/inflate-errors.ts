import { errorOf, type ErrorDetails, type ErrorRow, type PitayaError } from '../pitaya-error.ts'

/** Rows of the whole table (`lib/errors.ts`) that only those need who inflate. */
export const inflateErrors = {
  PIT_ERR_INFLATE: { status: 400, text: 'compressed data cannot be inflated', close: 'badPacket' },
  PIT_ERR_INFLATE_SIZE: { status: 413, text: 'compressed data inflates beyond the limit', close: 'badPacket' }
} as const satisfies Record<string, ErrorRow>

export function inflateError (code: keyof typeof inflateErrors, details: ErrorDetails = {}): PitayaError {
  return errorOf(code, inflateErrors[code], [], details, true)
}

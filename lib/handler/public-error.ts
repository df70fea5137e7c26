import { createError, isPitayaError, type PitayaError } from '../errors.ts'

/** Whose error it is. */
export interface FaultyCall {
  /** Its signal has fired. */
  readonly isAborted: boolean
  /** Writes to the log, within its limits. */
  logFault (error: unknown, text: string): void
}

/** What a caller may know of an error; the rest goes to the log. */
export function publicError (error: unknown, call: FaultyCall): PitayaError {
  if (!isPitayaError(error)) {
    if (!call.isAborted || !isObedience(error)) call.logFault(error, 'a handler failed')
    return createError('PIT_ERR_INTERNAL')
  }
  if (!isFault(error)) return error
  call.logFault(error.cause ?? error, error.message)
  return publicFaults.has(error.code) ? error : createError('PIT_ERR_INTERNAL')
}

/** True for a fault of the server's own, which its operator must see. */
export function isFault (error: PitayaError): boolean { return error.statusCode === 500 }

/** Faults that clients know by their texts (protocol.md 1.8); other texts of the server's own faults are for its developers. */
const publicFaults: ReadonlySet<string> = new Set(['PIT_ERR_INTERNAL', 'PIT_ERR_RESPONSE', 'PIT_ERR_NULL_REPLY'])

/** A handler that gives up because its signal told it to has not failed. What was thrown may be hostile to those who look at it. */
function isObedience (error: unknown): boolean {
  try {
    return (error as Error | undefined)?.name === 'AbortError'
  } catch { return false }
}

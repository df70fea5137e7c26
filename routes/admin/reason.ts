import { createError } from '../../lib/errors.ts'

/** What fits into a WebSocket close frame beside the code. */
const MAX_BYTES = 123

/** @throws PIT_ERR_BODY */
export function assertReason (reason: string | undefined): void {
  if (reason !== undefined && Buffer.byteLength(reason) > MAX_BYTES) throw createError('PIT_ERR_BODY', [`reason is longer than ${MAX_BYTES} bytes`])
}

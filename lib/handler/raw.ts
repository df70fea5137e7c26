import type { MessageSchema, Raw } from './types.ts'

/** True for `raw` (of this or of another copy of the package). */
export function isRaw (schema: MessageSchema): schema is Raw {
  return (schema as { kind?: unknown }).kind === 'raw'
}

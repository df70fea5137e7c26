import { errorOf, type ErrorRow, type PitayaError } from '../pitaya-error.ts'

/** Rows of the whole table (`lib/errors.ts`) that only a client with Avro needs. */
export const avroErrors = {
  PIT_ERR_CLIENT_SCHEMA: { status: 500, text: 'unusable Avro schema: %s' }
} as const satisfies Record<string, ErrorRow>

export function schemaError (reason: string): PitayaError {
  return errorOf('PIT_ERR_CLIENT_SCHEMA', avroErrors.PIT_ERR_CLIENT_SCHEMA, [reason], {}, false)
}

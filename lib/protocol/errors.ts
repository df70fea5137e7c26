import { errorOf, type ErrorDetails, type ErrorRow, type PitayaError } from '../pitaya-error.ts'

/** The rows of the whole table (`lib/errors.ts`) that browsers need: in one literal, which bundles smallest. */
export const protocolErrors = {
  PIT_ERR_PACKET_TYPE: { status: 400, text: 'wrong packet type', close: 'badPacket' },
  PIT_ERR_PACKET_SIZE: { status: 413, text: 'packet size exceed', close: 'badPacket' },
  PIT_ERR_MESSAGE: { status: 400, text: 'invalid message', close: 'badPacket' },
  PIT_ERR_MESSAGE_TYPE: { status: 400, text: 'wrong message type', close: 'badPacket' },
  PIT_ERR_MESSAGE_ID: { status: 400, text: 'invalid message id', close: 'badPacket' },
  PIT_ERR_ROUTE_CODE: { status: 400, text: 'route info not found in dictionary', close: 'badPacket' },
  PIT_ERR_ROUTE_SIZE: { status: 400, text: 'route is longer than 255 bytes', close: 'badPacket' },
  PIT_ERR_STATE: { status: 400, text: 'packet not allowed in this state', close: 'badPacket' },

  PIT_ERR_HANDSHAKE: { status: 400, text: 'handshake: %s', close: 'handshakeRejected' },
  PIT_ERR_BODY: { status: 400, text: '%s' },

  // made by our own client; they never travel
  PIT_ERR_CLIENT_TIMEOUT: { status: 504, text: 'no answer within %s ms' },
  PIT_ERR_CLIENT_CLOSED: { status: 498, text: 'connection closed before the answer: outcome unknown' }
} as const satisfies Record<string, ErrorRow>

/** Makes an error of these rows; `lib/errors.ts` has its like for all rows. */
export function createError (
  code: keyof typeof protocolErrors, values: ReadonlyArray<string | number> = [], details: ErrorDetails = {}
): PitayaError {
  const row: ErrorRow = protocolErrors[code]
  return errorOf(code, row, values, details, row.close !== undefined)
}

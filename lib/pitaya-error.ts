// Apart from the table in errors.ts, which a browser need not carry.
import type { CloseReason } from './errors.ts'

type Metadata = Record<string, string>

/** A row of a table of errors: HTTP-like status, text with `%s` places; the code that travels where it is not `PIT-` and the status. */
export interface ErrorRow { readonly status: number, readonly text: string, readonly wire?: string, readonly close?: CloseReason }

const brand = Symbol.for('fastify-pitaya.error')

/**
 * An error that clients may see. Thrown by a handler, its `code`, message and metadata are the answer;
 * anything else a handler throws is answered `PIT-500` and its text stays in the log.
 * The package's own errors have a code of the table (`PIT_ERR_...`); `wireCode` is what travels (protocol.md 1.8).
 */
export class PitayaError extends Error {
  override readonly name = 'PitayaError'
  readonly code: string
  readonly metadata: Metadata | undefined
  readonly statusCode: number
  #row: ErrorRow | undefined

  /**
   * @param code application code, free text such as `GAME-001`
   * @param message what the client may read
   * @param metadata text by text, sent along
   */
  constructor (
    code: string, message = '', metadata?: Metadata,
    { cause, row, statusCode = row?.status ?? 400 }: { statusCode?: number, cause?: unknown, row?: ErrorRow } = {}
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.metadata = metadata
    this.#row = row
    this.statusCode = statusCode
  }

  get [brand] (): true { return true }

  /** The code on the wire: `PIT-404` for an error of the table, else `code` as it is. */
  get wireCode (): string {
    return this.#row?.wire ?? (this.code.startsWith('PIT_ERR_') ? `PIT-${this.statusCode}` : this.code)
  }

  /** The close reason of an error that ends a connection. */
  get close (): CloseReason | undefined { return this.#row?.close }
}

/** True for a PitayaError of this or of another copy of the package. */
export function isPitayaError (error: unknown): error is PitayaError {
  try {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[brand] === true
  } catch { return false }
}

export interface ErrorDetails {
  /** Says it more precisely than the row. */
  text?: string
  metadata?: Metadata
  cause?: unknown
}

/** Makes the error of a row; `values` fill the places of its text. `isFrequent`: without a stack, which costs more than all the rest. */
export function errorOf (
  code: string, row: ErrorRow, values: ReadonlyArray<string | number>, { text, metadata, cause }: ErrorDetails, isFrequent: boolean
): PitayaError {
  let next = 0
  const message = text ?? row.text.replace(/%s/g, () => String(values[next++] ?? ''))
  const { stackTraceLimit } = Error
  if (isFrequent) Error.stackTraceLimit = 0
  try {
    return new PitayaError(code, message, metadata, { cause, row })
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

import type { Logger } from './handler/types.ts'

/** Logs what application code threw. That may be hostile to those who look at it: a getter that throws, a proxy. Never throws. */
export function logFailure (log: Logger, thrown: unknown, text: string, fields: Record<string, unknown> = {}): void {
  try {
    log.error({ ...fields, err: thrown instanceof Error ? thrown : new Error(`thrown: ${describe(thrown)}`) }, text)
  } catch {
    log.error({ ...fields, err: new Error('thrown: a value that cannot be read') }, text)
  }
}

function describe (thrown: unknown): string {
  return typeof thrown === 'object' ? Object.prototype.toString.call(thrown) : String(thrown)
}

import type { PitayaError } from '../errors.ts'
import type { Session } from '../session/session.ts'
import type { TimerEntry } from '../timer-wheel.ts'
import type { Share } from './share.ts'

export const JobState = { waiting: 0, running: 1, done: 2, abandoned: 3 } as const
export type JobState = (typeof JobState)[keyof typeof JobState]

/** One message on its way through the dispatcher: to its handler here (Call), or to the server that has it (ForwardedCall). */
export interface Job extends TimerEntry {
  /** The next waiting call of the session. */
  next: Job | null
  state: JobState
  readonly of: Session
  readonly isRequest: boolean
  readonly start: number
  readonly end: number
  /** When it began to wait, on the wheel. */
  waitingSince: number
  readonly isConcurrent: boolean
  /** Milliseconds; undefined: the server's. */
  readonly deadlineMs: number | undefined
  /** As it was last chosen; null: none is needed. */
  readonly share: Share | null
  /** Asked each time it could start. */
  chooseShare (): Share | null
  /** On return it is `done`, unless it goes on by itself and calls the dispatcher's `ended`. */
  run (): void
  /** Answers without having run. */
  reject (error: PitayaError): void
  /** It waits or runs beyond this turn: takes the bytes that it still needs out of the network's chunk. */
  detach (): void
  /** The session closed before it could start. */
  forget (): void
  /** The session closed. */
  abort (): void
}

/** A chunk up to this size may be kept for a message in it. */
const SMALL_BYTES = 1024

/** The part of the network's chunk, as a copy where that may be a thousand times as large. */
export function outOfChunk (bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
  const isSmallPart = bytes.buffer.byteLength > 2 * (end - start) + SMALL_BYTES
  return isSmallPart ? Uint8Array.prototype.slice.call(bytes, start, end) : undefined
}

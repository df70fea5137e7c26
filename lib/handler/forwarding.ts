import type { Session } from '../session/session.ts'
import type { Job } from './job.ts'

/** A route of another server type. */
export interface ForeignRoute {
  readonly route: string
  readonly serverType: string
  /** Undefined: not known yet. */
  readonly kind: 'request' | 'notify' | undefined
  readonly concurrent: boolean
  readonly deadlineMs: number | undefined
  readonly ratePerSecond: number | undefined
}

/** Takes messages to the servers that have their handlers. */
export interface Forwarding {
  /** A route that a server is known to have. Allocates nothing. */
  find (bytes: Uint8Array, start: number, end: number): ForeignRoute | undefined
  /** Any route of a server type with a server; undefined: there is none. */
  lookUp (route: string, serverType: string): ForeignRoute | undefined
  /** @param id the request's; -1: a notify */
  forward (
    route: ForeignRoute, session: Session, id: number, bytes: Uint8Array, start: number, end: number, isCompressed: boolean
  ): Job
}

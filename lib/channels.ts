import diagnosticsChannel from 'node:diagnostics_channel'

/**
 * What the server tells about itself. Nothing here costs anything without a subscriber; metrics and tracing only subscribe.
 * Every payload names its server (`serverId`), since channels are shared by all servers of a process.
 */
const named = <T extends object> (name: string): Channel<T> => diagnosticsChannel.channel(`fastify-pitaya:${name}`) as Channel<T>

export interface Channel<T extends object> {
  readonly name: string | symbol
  readonly hasSubscribers: boolean
  publish (payload: T & { serverId: string }): void
  subscribe (callback: (payload: T & { serverId: string }) => void): void
  unsubscribe (callback: (payload: T & { serverId: string }) => void): void
}

/** Why something that arrived or should have left was not handled. Bounded, so fit for a metric's label. */
export type DropReason = 'rate' | 'busy' | 'closed' | 'unknown-route' | 'refused' | 'bad-body' | 'evolution' | 'failed' | 'late'

export const channels = {
  /** A connection was accepted. */
  open: named<{ transport: string, sessionId: number }>('connection:open'),
  /** A connection ended, for whatever reason, exactly once each. */
  close: named<{
    transport: string, sessionId: number, code: number, reason: string, ageMs: number, bytesIn: number, bytesOut: number
  }>('connection:close'),
  /** A client was turned away: before it was one, or in its handshake (`full`, `handshake`). */
  refuse: named<{ reason: 'full' | 'rate' | 'draining' | 'handshake' }>('connection:refuse'),
  /** Bytes that could not be read: a code of the error table, or of `ws` (`WS_ERR_...`). A client's closed its connection. */
  decodeError: named<{ code: string }>('decode:error'),
  /** A message was not handled, or a push not sent. */
  drop: named<{ what: 'request' | 'notify' | 'push' | 'result', why: DropReason, route: string }>('message:drop'),
  /** A handler ended: `code` is empty on success. */
  handled: named<{ route: string, kind: 'request' | 'notify' | 'remote', code: string, durationMs: number }>('handler:end'),
  /** A handler passed its deadline; it may still run. */
  abandoned: named<{ route: string, abandoned: number }>('handler:abandoned'),
  /** A session's queue is full: its connection is not read. */
  pause: named<{ sessionId: number, waiting: number }>('session:pause'),
  /** A message forwarded to another server was answered, or given up. `code` is empty on success, `failed` for the handler's own error. */
  forwarded: named<{
    route: string, serverType: string, kind: 'request' | 'notify', code: string, durationMs: number
  }>('rpc:forwarded'),
  /** A call to a remote of another server ended. `code` is empty on success. */
  remote: named<{ serverType: string, code: string, durationMs: number }>('rpc:remote'),
  /** A session was bound to a uid. */
  bound: named<{ sessionId: number, uid: string }>('session:bound'),
  /** An answer to a call that had ended. */
  rpcLate: named<{}>('rpc:late'),
  /** Our own event loop came late by more than a second. `route`: of the handler that ran last. */
  lag: named<{ lagMs: number, route: string }>('loop:lag')
} as const

/**
 * What an acceptor hands over: one client's byte pipe. An acceptor moves bytes and knows nothing of packets;
 * whoever can fill this interface can be an acceptor (examples/unix-socket.ts is one).
 */
export interface Connection {
  /** Bounded label for logs and channels, such as `tcp` or `websocket`. */
  readonly transport: string
  /** The client's address without port, after PROXY protocol or trustProxy. */
  readonly remoteAddress: string
  /**
   * Undefined: a byte stream, packets are written as they are. Else the carrier's own header before each packet,
   * so that many packets can be written in one piece.
   */
  readonly framing: Framing | undefined
  /** True: each `onData` is one message that must hold whole packets (WebSocket, protocol.md 1.3). */
  readonly wholePackets: boolean
  /** True: each `write` must be exactly one packet, because the carrier makes a message of it. */
  readonly packetPerWrite: boolean
  /** Bytes written but not yet taken by the network: falls while a client drains. */
  readonly pendingBytes: number
  /** Set by the agent, synchronously, before any byte is let through. */
  handler: ConnectionHandler
  /** Takes bytes that are never changed afterwards. False: more than the carrier likes to hold, wait for `onDrain`. */
  write (bytes: Uint8Array): boolean
  /** Stop reading. Bytes already read may still come. */
  pause (): void
  resume (): void
  /** Sends what was written, then ends with this code (WebSocket) or plainly (streams). Harmless when already closed. */
  close (code: number, reason: string): void
  /** Ends at once. Harmless when already closed. */
  destroy (): void
}

/** The side that the agent fills. `onClose` comes exactly once, and nothing after it. */
export interface ConnectionHandler {
  onData (bytes: Uint8Array): void
  onDrain (): void
  onClose (error?: Error): void
}

/**
 * What acceptors find as the decorator `pitayaAgents`. Its `accept` fills the connection's handler before it returns;
 * an acceptor makes its Connection and calls `accept` in one turn of the event loop, so no byte comes in between.
 */
export interface Acceptance {
  /** @param request the upgrade's Fastify request, for acceptors that have one */
  accept (connection: Connection, request?: unknown): void
  /**
   * Asked exactly once for each new client, as early as the acceptor can, since it counts against the rate of new connections.
   * `rate` and `draining`: turn the client away. `full`: accept it all the same, the agent says so in its handshake answer.
   */
  canAccept (): 'ok' | 'full' | 'rate' | 'draining'
  /** What a client turned away should wait. */
  readonly retryAfterMs: number
  /** Called once when the server stops taking clients, before those that are there are closed. */
  onStop (stop: () => void): void
}

/** Where an acceptor listens, for logs and the operator. */
export interface AcceptorInfo {
  readonly name: string
  readonly transport: string
  readonly address: string
  readonly port: number
}

/** A connection's handler until an agent takes it. */
export const noHandler: ConnectionHandler = { onData () {}, onDrain () {}, onClose () {} }

/** How long a closed connection may take to flush and to see the other side close, before it is destroyed. */
export const LINGER_MS = 2000

/** An address as people write it: an IPv4 address mapped into IPv6 without its `::ffff:`. Empty if unknown. */
export function plainAddress (address: string | undefined): string {
  if (address === undefined) return ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** A carrier's header before each packet, for instance a WebSocket frame header. One object per carrier: it is compared by identity. */
export interface Framing {
  /** Bytes of the header for a packet of `length` bytes. */
  size (length: number): number
  /** Writes that header at `at`. */
  write (target: Uint8Array, at: number, length: number): void
}

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
  /** Bytes written but not yet taken by the network. */
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

/** A carrier's header before each packet, for instance a WebSocket frame header. One object per carrier: it is compared by identity. */
export interface Framing {
  /** Bytes of the header for a packet of `length` bytes. */
  size (length: number): number
  /** Writes that header at `at`. */
  write (target: Uint8Array, at: number, length: number): void
}

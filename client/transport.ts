/** A client's byte pipe. `connectOver` fills the handler before it returns. */
export interface ClientTransport {
  handler: ClientTransportHandler
  /** True: each write is sent as one message (WebSocket), so it must be one packet. */
  write (bytes: Uint8Array): void
  close (): void
}

export interface ClientTransportHandler {
  onData (bytes: Uint8Array): void
  /** Exactly once. `code` is 1006 where the carrier has no close codes. */
  onClose (code: number, reason: string): void
}

export const noHandler: ClientTransportHandler = { onData () {}, onClose () {} }

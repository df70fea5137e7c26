/** A client's byte pipe. `connectOver` fills the handler before it returns. */
export interface ClientTransport {
  handler: ClientTransportHandler
  /** Each write is one packet; WebSocket sends each as one message. */
  write (bytes: Uint8Array): void
  /** Sends what was written first. Harmless when repeated. */
  close (): void
}

export interface ClientTransportHandler {
  onData (bytes: Uint8Array): void
  /** Exactly once. `code` is 1006 where the carrier has no close codes. */
  onClose (code: number, reason: string): void
}

/** Opens a transport; called at every connection. Once `signal` aborts, nobody waits for it and what is open must close. */
export type TransportOpener = (signal: AbortSignal) => ClientTransport | Promise<ClientTransport>

export const noHandler: ClientTransportHandler = { onData () {}, onClose () {} }

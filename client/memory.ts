import { noHandler, type ClientTransport } from './transport.ts'

/** The client's end of a connection in memory, as `lib/agent/memory-connection.ts` makes it. */
export interface MemoryEnd {
  handler: { onData (bytes: Uint8Array): void, onDrain (): void, onClose (error?: Error): void }
  readonly closeCode: number | undefined
  readonly closeReason: string
  write (bytes: Uint8Array): boolean
  close (code: number, reason: string): void
}

/** A transport without a socket. */
export function overMemory (end: MemoryEnd): ClientTransport {
  const transport: ClientTransport = {
    handler: noHandler,
    write (bytes) { end.write(bytes) },
    close () { end.close(1000, '') }
  }
  end.handler = {
    onData: (bytes) => transport.handler.onData(bytes),
    onDrain () {},
    onClose: () => transport.handler.onClose(end.closeCode ?? 1006, end.closeReason)
  }
  return transport
}

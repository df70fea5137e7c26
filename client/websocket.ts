import { createError } from '../lib/protocol/errors.ts'
import { noHandler, type ClientTransport } from './transport.ts'

/** The part of the browsers' WebSocket that is used; the `ws` package's fits too. */
export interface WebSocketLike {
  binaryType: string
  onopen: ((event: any) => void) | null
  onmessage: ((event: any) => void) | null
  onclose: ((event: any) => void) | null
  onerror: ((event: any) => void) | null
  send (data: Uint8Array): void
  close (): void
}
export type WebSocketConstructor = new (url: string) => WebSocketLike

/** Opens a WebSocket. Rejects when it closes before it is open; closes it when `signal` aborts. */
export function openWebSocket (url: string, WebSocket: WebSocketConstructor, signal: AbortSignal): Promise<ClientTransport> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    const transport: ClientTransport = {
      handler: noHandler,
      write (bytes) { socket.send(bytes) },
      close () { socket.close() }
    }
    signal.addEventListener('abort', transport.close)
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => resolve(transport)
    socket.onmessage = ({ data }: { data: ArrayBuffer }) => transport.handler.onData(new Uint8Array(data))
    // An error is always followed by a close, which says more.
    socket.onerror = () => {}
    socket.onclose = ({ code, reason }: { code: number, reason: string }) => {
      reject(createError('PIT_ERR_CLIENT_CLOSED', [], { text: `no connection to ${url}: close code ${code}` }))
      transport.handler.onClose(code, reason)
    }
  })
}

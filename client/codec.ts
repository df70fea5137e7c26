import type { HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'

/** Turns the messages of one connection into bytes and back. */
export interface ClientCodec {
  encode (route: string, kind: 'body', value: unknown): Uint8Array
  /** `error`: the payload of an answer that is one, `{ code, msg, metadata }`. The bytes are valid only during the call. */
  decode (route: string, kind: 'response' | 'push' | 'error', bytes: Uint8Array): unknown
  /** What comes before all messages of this connection; undefined: nothing. */
  open? (): Promise<unknown> | undefined
  /** What comes before a message of this route or push; undefined: nothing. Messages behind one that waits wait too. */
  prepare? (kind: 'routes' | 'pushes', name: string): Promise<void> | undefined
}

/** Makes a request of the server's own, `sys.…`; it waits for no other message. Rejects as `Client.request`. */
export type Ask = (route: string, body: unknown) => Promise<any>

export interface ClientSerializer {
  /** What the handshake asks for as `sys.serializer`. */
  readonly name: string
  /** More of the handshake's `sys`. */
  sys? (): Record<string, unknown>
  /** Called with every handshake answer that names this serializer. */
  codec (answer: HandshakeAnswer, ask: Ask): ClientCodec
}

/** Routes of the server's own: JSON whatever the serializer. */
export function isSystem (route: string | undefined): boolean { return route?.startsWith('sys.') === true }

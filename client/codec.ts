import type { HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'

/** Turns the messages of one connection into bytes and back. */
export interface ClientCodec {
  encode (route: string, kind: 'body', value: unknown): Uint8Array
  /** `error`: the payload of an answer that is one, `{ code, msg, metadata }`. The bytes are valid only during the call. */
  decode (route: string, kind: 'response' | 'push' | 'error', bytes: Uint8Array): unknown
}

export interface ClientSerializer {
  /** What the handshake asks for as `sys.serializer`. */
  readonly name: string
  /** Called with every handshake answer that names this serializer. */
  codec (answer: HandshakeAnswer): ClientCodec
}

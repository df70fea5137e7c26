import type { HandshakeAnswer } from '../lib/protocol/handshake-answer.ts'
import type { MessageSink } from './inbox.ts'
import type { CloseInfo } from './options.ts'

/** Turns the messages of one connection into bytes and back. */
export interface ClientCodec {
  encode (route: string, kind: 'body', value: unknown): Uint8Array
  /** `error`: the payload of an answer that is one, `{ code, msg, metadata }`. The bytes are valid only during the call. */
  decode (route: string, kind: 'response' | 'push' | 'error', bytes: Uint8Array): unknown
  /** Called when the server has been told that it is accepted. True: the codec calls `host.opened()` when it is ready. */
  open? (): boolean
  /** What a message of the route waits for before it may be encoded, and those after it; undefined: nothing. */
  ready? (route: string): Promise<void> | undefined
  /** The connection ended. */
  close? (): void
}

/** A connection as its codec sees it, if that has messages of its own. */
export interface CodecHost {
  readonly isEnded: boolean
  /** Where what came from the server goes. */
  readonly inbox: { sink: MessageSink }
  send (message: Uint8Array): void
  opened (): void
  /** Ends it as a loss. */
  fail (error: unknown): void
  onUnreadable (error: unknown): void
  end (info: CloseInfo, error?: unknown): void
}

export interface ClientSerializer {
  /** What the handshake asks for as `sys.serializer`. */
  readonly name: string
  /** More of the handshake's `sys`. */
  sys? (): Record<string, unknown>
  /** Called with every handshake answer that names this serializer. */
  codec (answer: HandshakeAnswer, host: CodecHost): ClientCodec
}

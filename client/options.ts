import type { PitayaError } from '../lib/pitaya-error.ts'
import type { ClientSerializer } from './codec.ts'
import type { WebSocketConstructor } from './websocket.ts'

export interface ConnectOptions {
  /** The handshake's `user`: what the server's validators look at. A function is asked at every connection, so that a token is fresh. */
  user?: unknown
  /**
   * Asked of the server in the handshake; a server that does not offer it refuses, or speaks JSON. `avro`: by the schemas that the server
   * gives, which are loaded once. Default `json`.
   */
  serializer?: 'json' | 'avro' | ClientSerializer
  /**
   * What `npx fastify-pitaya contract` wrote when the client was built: Avro by these schemas, whatever the server has by now. Comes before
   * `serializer`. A server that answers in JSON adapts nothing.
   */
  contract?: ContractFile
  /** Keeps the schemas that the server gives, such as `localStorage`. Default as long as the program runs. */
  storage?: SchemaStorage
  /**
   * Whether a lost connection is made again (see `comesBack`). Default true; of no effect for a transport that is given open.
   * The first connection is tried once.
   */
  reconnect?: boolean | ReconnectOptions
  /** Ends the client when it aborts: while connecting `connect` rejects with its reason, later it is as `close()`. */
  signal?: AbortSignal
  /** Milliseconds a request may wait for its answer; 2^31 - 1 at most, as for all times here. Default 10,000. */
  timeoutMs?: number
  /** Milliseconds that making a connection may take, handshake included. Default 10,000. */
  connectMs?: number
  /** Largest packet taken, in bytes; compressed data may inflate to ten times that. Default 1 MiB, at most 16 MiB less one byte. */
  packetBytes?: number
  /** Routes and pushes whose data are bytes (`raw` on the server): they come as Uint8Array, everything else is JSON. Default none. */
  raw?: readonly string[]
  /** Inflates zlib data at once, for runtimes without DecompressionStream, which is used else. May throw when over `maxBytes`. */
  inflate?: (data: Uint8Array, maxBytes: number) => Uint8Array
  /** WebSocket constructor where the runtime has none (Node before 22): that of the `ws` package. */
  WebSocket?: WebSocketConstructor
}

/** The JSON of a contract. */
export interface ContractFile {
  readonly version: number
  readonly fingerprint: string
  readonly serverType: string
  readonly routes: object
  readonly pushes: object
}

/** The part of the browsers' Storage that is used. What it throws is ignored. */
export interface SchemaStorage {
  getItem (key: string): string | null
  setItem (key: string, value: string): void
}

/** Full jitter: the n-th attempt comes after a random part of `minMs` × 2^n, at most `maxMs`, and never before the server said. */
export interface ReconnectOptions {
  /** Default 1,000. */
  minMs?: number
  /** Default 30,000. */
  maxMs?: number
  /** Attempts in a row that may fail before the client ends. Default no limit. */
  attempts?: number
}

/** Why a connection ended: the code (4000 to 4499: come back later, 4500 to 4999: don't) and the server's words. */
export interface CloseInfo {
  code: number
  reason: string
  /** What the server refused the handshake with, if it did. */
  error?: PitayaError
}

/** `waiting`: lost, tried again in `retryMs`. `closed`: for good. */
export type ClientState =
  | { readonly name: 'connecting' | 'open' }
  | { readonly name: 'waiting', readonly retryMs: number } & Readonly<CloseInfo>
  | { readonly name: 'closed' } & Readonly<CloseInfo>

/** How to reach nats-server. It needs JetStream. */
export interface NatsOptions {
  /**
   * `host:port` or URLs (`nats://`, `tls://`), which may hold `user:password@` or `token@`. Further servers of a NATS cluster are found out.
   * Default `127.0.0.1:4222`.
   */
  servers?: string | string[]
  user?: string
  pass?: string
  token?: string
  /** Content of a `.creds` file. */
  credentials?: string
  /** Seed of an nkey (`SU…`). */
  nkeySeed?: string
  /**
   * PEM texts; or true. TLS is used without this too where nats-server offers it; with it, a nats-server that offers none is refused.
   * `ca`: authorities to trust instead of those of the system. `cert` and `key`: this server's own, where nats-server asks for one.
   * `handshakeFirst`: TLS begins before nats-server says anything, as it must be set there too.
   */
  tls?: true | { ca?: string, cert?: string, key?: string, handshakeFirst?: boolean }
  /** The host's own connection, of the package `nats` 2: used instead of all above, and never closed. */
  connection?: NatsConnectionLike
  /** Shown by nats-server. Default `fastify-pitaya`. */
  name?: string
  /** Servers of a NATS cluster that keep the stores, 1 to 5. Asked for when a store is made; one that exists stays as it is. Default 1. */
  replicas?: number
  /**
   * Where nats-server keeps the stores. All they hold is put back by living servers, so `memory` is enough. Asked for when a store is made.
   * Default `memory`.
   */
  storage?: 'memory' | 'file'
}

/** What is used of a connection of the package `nats`. */
export interface NatsConnectionLike {
  publish (subject: string, data?: Uint8Array, options?: { reply?: string }): void
  subscribe (subject: string, options?: { queue?: string, callback?: (error: any, message: any) => void }): { unsubscribe (): void }
  flush (): Promise<void>
  closed (): Promise<unknown>
  isClosed (): boolean
  status (): AsyncIterable<{ type: string, data: unknown }>
  jetstream (options?: { timeout?: number }): unknown
}

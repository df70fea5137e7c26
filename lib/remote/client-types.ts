import type { Payload } from '../handler/types.ts'
import type { RemoteMethods } from './types.ts'

/** How one call of a remote goes its way. */
export interface RemoteCallOptions {
  /** The server to ask. Default: the routing function of the server type chooses. */
  readonly serverId?: string
  /** Milliseconds to wait for the answer, 1 to 86,400,000. Default: the method's `deadlineMs`, else the server's `limits.handlerMs`. */
  readonly timeoutMs?: number
  /** For routing functions that choose by it (`hashUid`, `sticky`): calls with one key reach one server. */
  readonly key?: string
  /** Sent along, for the implementation to read: at most 32 texts, 4 KiB together. */
  readonly propagated?: Readonly<Record<string, string>>
}

/** The methods of a contract as callers see them. They reject with the PitayaError that the remote answered, or that stopped the call. */
export type RemoteClient<M extends RemoteMethods> = {
  readonly [K in keyof M]: (...args: RemoteArguments<M[K]['body']>) => Promise<Payload<M[K]['response']>>
}

/** No body, or undefined, where none is declared. */
export type RemoteArguments<B> = B extends undefined
  ? [body?: undefined, options?: RemoteCallOptions]
  : [body: Payload<B>, options?: RemoteCallOptions]

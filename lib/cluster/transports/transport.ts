/**
 * Carries bytes between servers: at most once, and from one publisher to one subscriber in the order they were published.
 * Subjects are tokens joined by dots; a subscription may end in `.*` (one token) or `.>` (one or more).
 */
export interface Transport {
  readonly name: string
  /** False while there is no connection: what is published then is refused, not kept. */
  readonly isUp: boolean
  /** Bytes of one message at most. */
  readonly maxBytes: number
  /**
   * Connects, and from then on reconnects by itself, for ever.
   * Rejects with PIT_ERR_CLUSTER_START, a sentence that says what to do.
   */
  open (events: TransportEvents): Promise<void>
  /**
   * Copies the bytes and hands them on at the end of this turn of the event loop.
   * @param reply the subject that the receiver answers to
   * @returns false: not connected, nothing will be sent
   * @throws PIT_ERR_RPC_SIZE above `maxBytes`
   */
  publish (subject: string, data: Uint8Array, reply?: string): boolean
  /**
   * @param queue of the subscribers with one queue name, one gets each message
   * @returns ends the subscription; harmless when called again
   */
  subscribe (subject: string, onMessage: OnMessage, options?: { queue?: string }): () => void
  /** Resolves when everything before, subscriptions too, has reached the other side. Rejects with PIT_ERR_CLUSTER_DOWN. */
  flush (): Promise<void>
  /** Sends what waits, then lets go. Harmless when called again. */
  close (): Promise<void>
}

/**
 * @param data valid as long as it is kept; undefined: a message published with this subject as its reply address found no subscriber
 * @param reply empty: no answer is awaited
 */
export type OnMessage = (data: Uint8Array | undefined, subject: string, reply: string) => void

export interface TransportEvents {
  /** Connected again, subscriptions included. Not called for the first time. */
  onUp (): void
  /** Called at once when the connection is lost. */
  onDown (): void
  /** It will never come back: the process should end. Not called after `close`. */
  onFatal (error: Error): void
  /** Messages were lost because this process took them too slowly. */
  onSlow (): void
  /**
   * For the log: a subscriber threw, so its message is lost, or the broker refused what was published. Nothing ends by it.
   * Without this it is thrown, uncaught.
   */
  onError? (error: unknown): void
}

/** Throws in a turn of its own: uncaught, as it should be, but what is under way goes on. */
export function throwLater (error: unknown): void {
  setImmediate(() => { throw error })
}

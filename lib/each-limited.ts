/** Calls `work` for every item, at most `limit` at once. Rejects with the first error, when what runs by then has ended. */
export async function eachLimited<T> (items: Iterable<T>, limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const all = [...items]
  const failures: unknown[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < all.length && failures.length === 0) {
      try {
        await work(all[next++]!)
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, all.length) }, worker))
  if (failures.length > 0) throw failures[0]
}

const WAIT_MS = 15_000

/** What happened, and a wait for more of it. */
export class Recorder<T> {
  readonly all: T[] = []
  #waiting = new Set<() => void>()

  add (item: T): void {
    this.all.push(item)
    for (const wake of [...this.#waiting]) wake()
  }

  /** The first `count`, now or later. */
  async take (count: number): Promise<T[]> {
    if (this.all.length < count) {
      let wake = (): void => {}
      const done = new Promise<void>((resolve) => { wake = () => { if (this.all.length >= count) resolve() } })
      this.#waiting.add(wake)
      await deadline(done, `${count} of what came: ${JSON.stringify(this.all.slice(0, 20))}`).finally(() => this.#waiting.delete(wake))
    }
    return this.all.slice(0, count)
  }
}

/** Rejects when it takes too long. */
export async function deadline<T> (promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((resolve, reject) => { timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), WAIT_MS) })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

import { EventEmitter, once } from 'node:events'

const DEADLINE_MS = 20_000

/** Something that changes, which is an event, and can be waited for. */
export class Watched extends EventEmitter {
  /** Waits until `holds`, looking after every change. */
  async until (holds: () => boolean, what: string): Promise<void> {
    // Not AbortSignal.timeout: it would let the process end, and the test with it, while nothing else keeps it.
    const controller = new AbortController()
    const { signal } = controller
    const timer = setTimeout(() => controller.abort(), DEADLINE_MS)
    try {
      while (!holds()) await once(this, 'change', { signal }).catch(() => { throw new Error(`not within ${DEADLINE_MS} ms: ${what}`) })
    } finally {
      clearTimeout(timer)
    }
  }

  changed (): void { this.emit('change') }
}

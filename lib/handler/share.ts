import { LineQueue } from './line.ts'

/** A part of the dispatcher's places, and the sessions whose next call waits for one of them. */
export class Share {
  running = 0
  readonly limit: number
  readonly parent: Share | null
  readonly lines = new LineQueue()
  /** It has both a place and lines that wait, and its turn comes. */
  isOffered = false

  constructor (limit: number, parent: Share | null = null) {
    this.limit = limit
    this.parent = parent
  }

  get isFull (): boolean { return this.running >= this.limit }
  /** Lines that wait. */
  get waiting (): number { return this.lines.size }
}

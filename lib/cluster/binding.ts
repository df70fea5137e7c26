import type { Session } from '../session/session.ts'
import type { Held } from './holders.ts'

/** One uid at this frontend: its sessions here, and what is known of its key. What is done to the key is done one after the other. */
export class Binding {
  readonly uid: string
  readonly key: string
  /** Sessions that have the uid, each with the revision of the write that gave it: the fencing token. */
  readonly members = new Map<Session, number>()
  /** The key as this frontend last wrote it; undefined: it must be read. */
  held: Held | undefined
  /** The session whose claim is being written, and the highest revision of those that replaced it meanwhile. */
  claimant: Session | undefined
  fence = 0
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor (uid: string, key: string) {
    this.uid = uid
    this.key = key
  }

  get isIdle (): boolean { return this.#waiting === 0 && this.members.size === 0 }

  /** Runs after what came before. */
  async inTurn (work: () => Promise<void>): Promise<void> {
    this.#waiting++
    const turn = this.#last.then(work)
    this.#last = turn.catch(ignore)
    try {
      await turn
    } finally {
      this.#waiting--
    }
  }
}

function ignore (): void {}

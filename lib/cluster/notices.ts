import { setTimeout as delay } from 'node:timers/promises'
import type { Discovery } from './discovery/discovery.ts'
import type { Holder } from './holders.ts'
import type { Peers } from './peers.ts'

const MAX_PAUSE_MS = 5000
/** Tries for a frontend that is not known: it may have come a moment ago, or be gone. */
const TRIES_UNKNOWN = 4

/** Tells frontends that sessions of theirs were replaced: until they answer, or are gone. Nobody waits for it. */
export class Notices {
  #discovery: Discovery
  #peers: Pick<Peers, 'replaced'>
  #onAnswer: (uid: string, groups: string[]) => void
  #onGone: (frontendId: string, claim: { uid: string, sessionIds: number[] }) => void
  #size = 0
  #isClosed = false

  constructor (
    discovery: Discovery, peers: Pick<Peers, 'replaced'>, onAnswer: (uid: string, groups: string[]) => void,
    onGone: (frontendId: string, claim: { uid: string, sessionIds: number[] }) => void
  ) {
    this.#onGone = onGone
    this.#discovery = discovery
    this.#peers = peers
    this.#onAnswer = onAnswer
  }

  get size (): number { return this.#size }

  tell (uid: string, holders: readonly Holder[], revision: number): void {
    if (holders.length === 0) return
    const byFrontend = new Map<string, number[]>()
    for (const { frontendId, sessionId } of holders) {
      const sessionIds = byFrontend.get(frontendId)
      if (sessionIds === undefined) byFrontend.set(frontendId, [sessionId])
      else sessionIds.push(sessionId)
    }
    for (const [frontendId, sessionIds] of byFrontend) this.#tell(frontendId, { uid, sessionIds, revision })
  }

  close (): void { this.#isClosed = true }

  async #tell (frontendId: string, claim: { uid: string, sessionIds: number[], revision: number }): Promise<void> {
    this.#size++
    for (let tries = 0; !this.#isClosed; tries++) {
      // By its id only: with a new incarnation it may still be the process that has the session.
      if (this.#discovery.get(frontendId) !== undefined) {
        try {
          const { groups } = await this.#peers.replaced(frontendId, claim)
          if (groups.length > 0 && !this.#isClosed) this.#onAnswer(claim.uid, groups)
          break
        } catch {}
      } else if (tries >= TRIES_UNKNOWN) {
        // It died with them, and the key names others by now: nobody else would tell that they ended.
        this.#onGone(frontendId, claim)
        break
      }
      await delay(Math.min(MAX_PAUSE_MS, 50 * 2 ** tries) * (0.5 + Math.random() / 2), undefined, { ref: false })
    }
    this.#size--
  }
}

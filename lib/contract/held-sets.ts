import { isPitayaError } from '../errors.ts'
import type { Pin, Session } from '../session/session.ts'
import type { PinnedSets } from './pinned-sets.ts'
import type { GivenSet, SchemaSets } from './schema-sets.ts'

export interface HeldSetsOptions {
  readonly schemas: SchemaSets
  readonly pinned: PinnedSets
  /** Of this server's clients. */
  readonly sessions: Iterable<Session>
}

/**
 * Holds clients to the schemas that they are given: they are pinned to them as others are to their contract, and every server adapts to
 * that. Their sets grow with what there is to know, and never change: so there are as many as deployments that clients live through.
 */
export class HeldSets {
  readonly #options: HeldSetsOptions
  readonly #given = new WeakMap<Pin, GivenSet>()
  /** Beyond a limit. */
  readonly #unfit = new WeakSet<GivenSet>()

  constructor (options: HeldSetsOptions) {
    this.#options = options
    options.schemas.onChange = () => {
      for (const session of options.sessions) if (session.isHeld) this.#extend(session)
    }
  }

  /** To the current set. One that is too large, or one too many, leaves the session with the server's Avro as it is. */
  hold (session: Session): void {
    const pin = this.#pinOf(this.#options.schemas.current)
    if (pin !== undefined) session.pin(pin, true)
  }

  /** The set that a session is held to, with what there is besides by now; undefined: it is not held to any. */
  givenTo (session: Session): GivenSet | undefined {
    if (!session.isHeld) return undefined
    // Once more: there may have been no room.
    this.#extend(session)
    return this.#given.get(session.pinned!)
  }

  #extend (session: Session): void {
    const given = this.#given.get(session.pinned!)!
    const extended = this.#options.schemas.extend(given)
    const pin = extended === given ? undefined : this.#pinOf(extended)
    if (pin !== undefined) session.pin(pin, true)
  }

  #pinOf (given: GivenSet): Pin | undefined {
    if (this.#unfit.has(given)) return undefined
    try {
      const pin = this.#options.pinned.share(given.text, given.set.fingerprint)
      if (pin === undefined) this.#unfit.add(given)
      else if (!this.#given.has(pin)) this.#given.set(pin, given)
      return pin
    } catch (error) {
      if (!isPitayaError(error)) throw error
      if (error.code !== 'PIT_ERR_BUSY') this.#unfit.add(given)
      return undefined
    }
  }
}

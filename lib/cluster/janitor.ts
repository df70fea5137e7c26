import { createError } from '../errors.ts'
import { eachLimited } from '../each-limited.ts'
import type { Logger } from '../handler/types.ts'
import type { Discovery } from './discovery/discovery.ts'
import { type BindScope, type Holder, readHolders, scopeName, writeHolders } from './holders.ts'
import { fromToken } from './names.ts'
import type { EventPublisher } from './peers.ts'
import type { Store } from './stores/store.ts'

export interface JanitorOptions {
  readonly store: Store
  readonly discovery: Discovery
  readonly scope: BindScope
  readonly events: EventPublisher
  readonly log: Logger
}

const AT_ONCE = 64
const MAX_TRIES = 16

/**
 * Takes the sessions of a frontend that is gone out of the store and tells of their close, those of its ended lives only. One server
 * should do it; several do no harm but tell twice. Rejects with PIT_ERR_STORE, PIT_ERR_BUSY; what is left then counts as nobody's.
 * @returns how many sessions were taken out
 */
export async function removeFrontend (frontend: { id: string, type: string }, options: JanitorOptions): Promise<number> {
  const { store, discovery, scope, events } = options
  const isGone = ({ frontendId, incarnation }: Holder): boolean =>
    frontendId === frontend.id && !discovery.isAlive(frontendId, incarnation)
  let removed = 0
  await eachLimited(await store.keys(`${scopeName(scope, frontend.type)}.*`), AT_ONCE, async (key) => {
    const gone = await removeFromKey(key, isGone, options)
    removed += gone.length
    const uid = fromToken(key.slice(key.indexOf('.') + 1))
    for (const { frontendId, sessionId } of gone) {
      events.publish('closed', { uid, frontendId, address: `${frontendId}:${sessionId}`, group: '' })
    }
  })
  return removed
}

async function removeFromKey (key: string, isGone: (holder: Holder) => boolean, { store, log }: JanitorOptions): Promise<Holder[]> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const held = await readHolders(store, key, log)
    const gone = held.holders.filter(isGone)
    if (gone.length === 0) return gone
    const left = held.holders.filter((holder) => !isGone(holder))
    if (await writeHolders(store, key, held, left) !== undefined) return gone
  }
  throw createError('PIT_ERR_BUSY')
}

import { groupKeys } from '../cluster/names.ts'
import type { EventKind } from '../cluster/peers.ts'
import type { ClusterGroupsOptions } from './cluster-options.ts'

/**
 * Tells who joined and left, once per membership: a uid with sessions on several frontends joins with the first and leaves with the last,
 * as far as this server can know.
 */
export class Presence {
  readonly #options: Pick<ClusterGroupsOptions, 'serverId' | 'store' | 'discovery' | 'directory' | 'events'>

  constructor (options: Pick<ClusterGroupsOptions, 'serverId' | 'store' | 'discovery' | 'directory' | 'events'>) {
    this.#options = options
  }

  /** True for this server, and for those that discovery knows. */
  isLiving (frontendId: string): boolean {
    const { serverId, discovery } = this.#options
    return frontendId === serverId || discovery.get(frontendId) !== undefined
  }

  async joined (group: string, uid: string): Promise<void> {
    if (!await this.#isElsewhere(group, uid, this.#options.serverId)) this.tell('join', group, uid)
  }

  /** @param frontendId by way of which the uid was a member */
  async left (group: string, uid: string, frontendId = this.#options.serverId): Promise<void> {
    if (!await this.#isElsewhere(group, uid, frontendId)) this.tell('leave', group, uid, frontendId)
  }

  tell (kind: EventKind, group: string, uid: string, frontendId = this.#options.serverId): void {
    this.#options.events.publish(kind, { uid, frontendId, address: '', group })
  }

  /** Asks the store only if the uid has sessions elsewhere. What cannot be known is taken for no. */
  async #isElsewhere (group: string, uid: string, frontendId: string): Promise<boolean> {
    const { directory, store } = this.#options
    const isOther = (id: string): boolean => id !== frontendId && this.isLiving(id)
    try {
      const sessions = await directory.find(uid)
      if (!sessions.some((session) => isOther(session.frontendId))) return false
      const keys = await store.keys(groupKeys.membership(group, uid))
      return keys.some((key) => isOther(groupKeys.readMember(key).frontendId))
    } catch {
      return false
    }
  }
}

import { groupKeys } from '../cluster/names.ts'
import { eachLimited } from '../each-limited.ts'
import type { ClusterGroupsOptions } from './cluster-options.ts'
import type { Presence } from './presence.ts'

const IN_FLIGHT = 64

/**
 * Deletes the memberships that a frontend left behind, and tells `leave` of each; stops when the frontend is back.
 * Rejects with PIT_ERR_STORE.
 * @returns groups that lost a member
 */
export async function sweep (
  { store, discovery }: Pick<ClusterGroupsOptions, 'store' | 'discovery'>, presence: Presence, frontendId: string
): Promise<Set<string>> {
  const groups = new Set<string>()
  await eachLimited(await store.keys(groupKeys.ofFrontend(frontendId)), IN_FLIGHT, async (key) => {
    const entry = await store.get(key)
    if (entry === undefined || discovery.get(frontendId) !== undefined || !await store.delete(key, entry.revision)) return
    const { group, uid } = groupKeys.readMember(key)
    groups.add(group)
    await presence.left(group, uid, frontendId)
  })
  return groups
}

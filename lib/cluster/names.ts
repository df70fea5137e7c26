/** Subjects and keys of a cluster: the only place where names are put together. Server ids and types are `[A-Za-z0-9_-]{1,64}` already. */

/** Text that may stand in a subject or a key: injective, and never a wildcard. */
export function token (text: string): string {
  return Buffer.from(text).toString('base64url')
}

export function fromToken (text: string): string {
  return Buffer.from(text, 'base64url').toString()
}

export class Subjects {
  readonly #prefix: string

  /** @param prefix keeps clusters apart that share a carrier */
  constructor (prefix: string) {
    this.#prefix = prefix
  }

  /** Requests to one server. */
  rpc (serverId: string): string { return `${this.#prefix}.rpc.${serverId}` }
  /** Pushes and kicks to clients of one frontend. */
  push (serverId: string): string { return `${this.#prefix}.push.${serverId}` }
  /** Broadcasts to one group; frontends with members listen. */
  group (name: string): string { return `${this.#prefix}.group.${token(name)}` }
  /** Where a server hears that nobody listens to a group; what follows the last dot is the broadcast's number. */
  unheard (serverId: string): string { return `${this.#prefix}.unheard.${serverId}` }
  event (kind: string): string { return `${this.#prefix}.event.${kind}` }
  /** Answers to one life of one server; what follows the last dot is the call's number. */
  inbox (serverId: string, incarnation: string): string { return `${this.#prefix}.inbox.${serverId}.${incarnation}` }
}

/** Keys of groups in the store; `*` stands for one token in filters. */
export const groupKeys = {
  /** A uid is a member by way of one frontend. */
  member (group: string, uid: string, frontendId: string): string { return `m.${token(group)}.${token(uid)}.${frontendId}` },
  readMember (key: string): GroupMember {
    const [, group = '', uid = '', frontendId = ''] = key.split('.')
    return { group: fromToken(group), uid: fromToken(uid), frontendId }
  },
  membersOf (group: string): string { return `m.${token(group)}.*.*` },
  membershipsOf (uid: string): string { return `m.*.${token(uid)}.*` },
  membership (group: string, uid: string): string { return `m.${token(group)}.${token(uid)}.*` },
  ofFrontend (frontendId: string): string { return `m.*.*.${frontendId}` },
  /** A group that was created by name: it may be empty, and have a TTL. */
  created (group: string): string { return `g.${token(group)}` },
  readCreated (key: string): string { return fromToken(key.slice(2)) },
  allCreated: 'g.*'
} as const

export interface GroupMember { readonly group: string, readonly uid: string, readonly frontendId: string }

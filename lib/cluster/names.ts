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
  event (kind: string): string { return `${this.#prefix}.event.${kind}` }
  /** Answers to one life of one server; what follows the last dot is the call's number. */
  inbox (serverId: string, incarnation: string): string { return `${this.#prefix}.inbox.${serverId}.${incarnation}` }
}

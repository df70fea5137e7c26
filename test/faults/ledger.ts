/** What clients sent, what servers executed, and what was answered; compared at the end of a test. */

export interface Entry {
  readonly id: number
  readonly route: string
  readonly sentAt: number
  /** 0: not yet. */
  answeredAt: number
  /** Empty on success; a code of the error table; `closed` when the connection ended first. */
  outcome: string
  /** Ids of the servers that executed it. */
  readonly ranOn: string[]
}

export class Ledger {
  readonly entries: Entry[] = []
  /** Executions of what nobody sent. */
  readonly unknown: number[] = []

  /** Entries are numbered from 1. */
  open (route: string): Entry {
    const entry: Entry = { id: this.entries.length + 1, route, sentAt: performance.now(), answeredAt: 0, outcome: '', ranOn: [] }
    this.entries.push(entry)
    return entry
  }

  close (entry: Entry, outcome: string): void {
    entry.answeredAt = performance.now()
    entry.outcome = outcome
  }

  ran (id: number, serverId: string): void {
    const entry = this.entries[id - 1]
    if (entry === undefined) this.unknown.push(id)
    else entry.ranOn.push(serverId)
  }

  get unanswered (): Entry[] { return this.entries.filter(({ answeredAt }) => answeredAt === 0) }
  get failed (): Entry[] { return this.entries.filter(({ answeredAt, outcome }) => answeredAt !== 0 && outcome !== '') }
  /** Executed more than once. */
  get twice (): Entry[] { return this.entries.filter(({ ranOn }) => ranOn.length > 1) }
  /** Answered with success, but never executed. */
  get invented (): Entry[] { return this.entries.filter(({ answeredAt, outcome, ranOn }) => answeredAt !== 0 && outcome === '' && ranOn.length === 0) }
}

import { createMatcher, hasWildcard } from './subject.ts'
import { MemoryTable } from './stores/memory-table.ts'
import type { OnMessage } from './transports/transport.ts'

/** Whoever uses the bus: a transport or a store. */
export interface MemoryMember {
  /** Its link was cut, or is there again. */
  onLink (isUp: boolean): void
}

interface Subscription {
  readonly owner: MemoryMember
  readonly subject: string
  readonly queue: string | undefined
  readonly onMessage: OnMessage
  readonly matches: (subject: string) => boolean
  isEnded: boolean
}

interface Message { from: MemoryMember, subject: string, data: Uint8Array, reply: string }

/**
 * What servers in one process share instead of a broker. Each bus is a cluster of its own.
 * Messages are handed on at the end of the turn, in the order they were published.
 */
export class MemoryBus {
  #members = new Set<MemoryMember>()
  #cut = new Set<MemoryMember>()
  #isDown = false
  #exact = new Map<string, Set<Subscription>>()
  #wildcards = new Set<Subscription>()
  #tables = new Map<string, MemoryTable>()
  #messages: Message[] = []
  #flushes: Array<() => void> = []
  #isScheduled = false

  /** For tests: cuts these transports and stores off, or all of them and those that come, as if the broker had died. */
  disconnect (...members: MemoryMember[]): void {
    this.#relink(members, () => {
      if (members.length === 0) this.#isDown = true
      else for (const member of members) this.#cut.add(member)
    })
  }

  /** For tests: ends `disconnect`. Without members it ends every one. */
  reconnect (...members: MemoryMember[]): void {
    this.#relink(members, () => {
      if (members.length === 0) {
        this.#isDown = false
        this.#cut.clear()
      } else for (const member of members) this.#cut.delete(member)
    })
  }

  /** For tests: loses what the stores hold, as a broker that kept it in its memory. Call it while disconnected. */
  wipe (): void {
    for (const table of this.#tables.values()) table.wipe()
  }

  /** @internal */
  join (member: MemoryMember): void { this.#members.add(member) }

  /** @internal */
  leave (member: MemoryMember): void {
    this.#members.delete(member)
    this.#cut.delete(member)
  }

  /** @internal */
  isLinked (member: MemoryMember): boolean { return !this.#isDown && this.#members.has(member) && !this.#cut.has(member) }

  /** @internal */
  table (name: string): MemoryTable {
    let table = this.#tables.get(name)
    if (table === undefined) this.#tables.set(name, table = new MemoryTable())
    return table
  }

  /** @internal */
  subscribe (owner: MemoryMember, subject: string, queue: string | undefined, onMessage: OnMessage): () => void {
    const subscription: Subscription = { owner, subject, queue, onMessage, matches: createMatcher(subject), isEnded: false }
    const isWild = hasWildcard(subject)
    const subscriptions = isWild ? this.#wildcards : this.#exact.get(subject) ?? new Set()
    if (!isWild) this.#exact.set(subject, subscriptions)
    subscriptions.add(subscription)
    return () => {
      subscription.isEnded = true
      subscriptions.delete(subscription)
      if (!isWild && subscriptions.size === 0 && this.#exact.get(subject) === subscriptions) this.#exact.delete(subject)
    }
  }

  /** @internal */
  publish (from: MemoryMember, subject: string, data: Uint8Array, reply: string): void {
    this.#messages.push({ from, subject, data: Uint8Array.prototype.slice.call(data), reply })
    this.#schedule()
  }

  /** @internal Calls back when all that was published before was handed on. */
  flush (done: () => void): void {
    this.#flushes.push(done)
    this.#schedule()
  }

  #schedule (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#deliver())
  }

  #deliver (): void {
    this.#isScheduled = false
    const messages = this.#messages
    const flushes = this.#flushes
    this.#messages = []
    this.#flushes = []
    for (const message of messages) this.#route(message)
    for (const done of flushes) done()
  }

  #route ({ from, subject, data, reply }: Message): void {
    if (!this.isLinked(from)) return
    const receivers = this.#find(subject)
    for (const receiver of receivers) call(receiver, data, subject, reply)
    if (receivers.length > 0 || reply === '') return
    for (const receiver of this.#find(reply)) if (receiver.owner === from) call(receiver, undefined, reply, '')
  }

  /** Subscriptions that get a message: all without a queue, and one of each queue. */
  #find (subject: string): Subscription[] {
    const found: Subscription[] = []
    const queues = new Map<string, Subscription[]>()
    const add = (subscription: Subscription): void => {
      if (!this.isLinked(subscription.owner)) return
      if (subscription.queue === undefined) { found.push(subscription); return }
      const name = `${subscription.subject} ${subscription.queue}`
      const queue = queues.get(name)
      if (queue === undefined) queues.set(name, [subscription])
      else queue.push(subscription)
    }
    this.#exact.get(subject)?.forEach(add)
    for (const subscription of this.#wildcards) if (subscription.matches(subject)) add(subscription)
    for (const queue of queues.values()) found.push(queue[Math.floor(Math.random() * queue.length)]!)
    return found
  }

  /** Tells members whose link changes by this. */
  #relink (members: readonly MemoryMember[], change: () => void): void {
    const before = [...this.#members].filter((member) => this.isLinked(member))
    change()
    for (const member of [...this.#members]) {
      const isUp = this.isLinked(member)
      if (isUp !== before.includes(member)) member.onLink(isUp)
    }
  }
}

function call (receiver: Subscription, data: Uint8Array | undefined, subject: string, reply: string): void {
  if (!receiver.isEnded) receiver.onMessage(data, subject, reply)
}

import { setTimeout as delay } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { channels } from '../channels.ts'
import type { CloseReason } from '../errors.ts'
import { LineLimiter } from '../line-limiter.ts'
import type { HandshakeAnswers } from '../protocol/handshake.ts'
import { TokenBucket } from '../token-bucket.ts'
import { Agent } from './agent.ts'
import type { Acceptance, Connection } from './connection.ts'
import type { Greeter } from './greeter.ts'
import type { AgentHost } from './host.ts'
import type { TcpAcceptorInfo } from './tcp-listener.ts'

export interface AgentsLimits {
  readonly connections: number
  readonly connectionsPerAddress: number
  readonly connectionsPerSecond: number
}

/** What is told to a client that is turned away. */
const RETRY_AFTER_MS = 1000
/** Agents closed at once at the end; the next batch follows in the next turn. */
const CLOSE_BATCH = 500
/** While draining, so many clients are sent away at a time, or a twenty-fifth of them: they all come back elsewhere. */
const FINISH_BATCH = 100
const FINISH_PARTS = 25
const FINISH_PAUSE_MS = 100
/** Share of the heap limit from which no new client is taken. */
const HEAP_FULL = 0.8
const HEAP_SAMPLE_MS = 500

/** All clients of one server, and whether one more may come. */
export class Agents implements Acceptance {
  readonly retryAfterMs = RETRY_AFTER_MS
  /** Where the acceptors listen. */
  readonly listening: TcpAcceptorInfo[] = []
  #host: AgentHost
  #limits: AgentsLimits
  #rate: TokenBucket
  #agents = new Set<Agent>()
  #byAddress = new Map<string, number>()
  #closeLines: LineLimiter
  #isStopped = false
  #onStop: Array<() => void> = []
  #onEmpty: Array<() => void> = []
  #heapAt = -Infinity
  #isHeapFull = false

  constructor (host: Omit<AgentHost, 'onGone' | 'fullReason' | 'answers' | 'greet'>, limits: AgentsLimits) {
    this.#limits = limits
    this.#closeLines = new LineLimiter(host.log)
    this.#rate = new TokenBucket(limits.connectionsPerSecond, limits.connectionsPerSecond, performance.now())
    const early = () => { throw new Error('a client came before the app was ready') }
    this.#host = {
      ...host,
      answers: undefined as unknown as HandshakeAnswers,
      greet: early,
      fullReason: (address) => this.#isFull(address) ? { retryAfterMs: RETRY_AFTER_MS } : undefined,
      onGone: (agent) => this.#gone(agent as Agent)
    }
  }

  get size (): number { return this.#agents.size }

  /** What depends on the registered handlers, once they are known. */
  prepare (answers: HandshakeAnswers, greeter: Greeter): void {
    this.#host.answers = answers
    this.#host.greet = (session, body, request) => greeter.greet(session, body, request)
  }

  canAccept (): 'ok' | 'full' | 'rate' | 'draining' {
    const verdict = this.#verdict()
    const isRefused = verdict === 'rate' || verdict === 'draining'
    if (isRefused && channels.refuse.hasSubscribers) channels.refuse.publish({ serverId: this.#host.serverId, reason: verdict })
    return verdict
  }

  /** Takes a client over: its connection's handler is set when this returns. */
  accept (connection: Connection, request?: unknown): void {
    if (this.#isStopped) { connection.destroy(); return }
    const address = connection.remoteAddress
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1)
    this.#agents.add(new Agent(this.#host, this.#closeLines, connection, request))
  }

  onStop (stop: () => void): void { this.#onStop.push(stop) }

  /** Takes no more clients. Harmless when called again. */
  stop (): void {
    if (this.#isStopped) return
    this.#isStopped = true
    for (const stop of this.#onStop) stop()
  }

  /**
   * Lets every client finish what it has in hand, then closes it; those whose turn has not come are served as ever. Resolves when all
   * are gone. With 10,000 clients it takes 2.5 s.
   */
  async finishAll (reason: CloseReason): Promise<void> {
    const agents = [...this.#agents]
    const batch = Math.max(FINISH_BATCH, Math.ceil(agents.length / FINISH_PARTS))
    for (let i = 0; i < agents.length; i += batch) {
      if (i > 0) await delay(FINISH_PAUSE_MS)
      for (const agent of agents.slice(i, i + batch)) agent.finish(reason)
    }
    if (this.#agents.size > 0) await new Promise<void>((resolve) => { this.#onEmpty.push(resolve) })
  }

  /** Closes every client in batches, whatever it has in hand. Resolves when all are gone, or after `ms`: what is left is destroyed then. */
  async shutDown (ms: number): Promise<void> {
    const agents = [...this.#agents]
    for (let i = 0; i < agents.length; i++) {
      agents[i]!.shutDown()
      if (i % CLOSE_BATCH === CLOSE_BATCH - 1) await new Promise((resolve) => setImmediate(resolve))
    }
    if (this.#agents.size === 0) return
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      new Promise<void>((resolve) => { this.#onEmpty.push(resolve) }),
      new Promise<void>((resolve) => { timer = setTimeout(resolve, ms) })
    ])
    clearTimeout(timer)
    for (const agent of this.#agents) agent.destroy()
    this.#closeLines.flush()
  }

  #verdict (): 'ok' | 'full' | 'rate' | 'draining' {
    if (this.#isStopped) return 'draining'
    if (!this.#rate.take(performance.now())) return 'rate'
    return this.#agents.size >= this.#limits.connections ? 'full' : 'ok'
  }

  /** Asked in the handshake, when the client is already counted. */
  #isFull (address: string): boolean {
    return this.#agents.size > this.#limits.connections ||
      (this.#byAddress.get(address) ?? 0) > this.#limits.connectionsPerAddress || this.#sampleHeap()
  }

  #sampleHeap (): boolean {
    const now = performance.now()
    if (now - this.#heapAt > HEAP_SAMPLE_MS) {
      const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
      this.#heapAt = now
      this.#isHeapFull = used > limit * HEAP_FULL
    }
    return this.#isHeapFull
  }

  #gone (agent: Agent): void {
    if (!this.#agents.delete(agent)) return
    const left = (this.#byAddress.get(agent.remoteAddress) ?? 1) - 1
    if (left === 0) this.#byAddress.delete(agent.remoteAddress)
    else this.#byAddress.set(agent.remoteAddress, left)
    if (this.#agents.size === 0) for (const done of this.#onEmpty.splice(0)) done()
  }
}

import { createError, isPitayaError } from '../errors.ts'
import { describeSession, type SessionDescription } from '../session/describe.ts'
import type { SessionPool } from '../session/pool.ts'
import type { Discovery } from './discovery/discovery.ts'
import type { Peers } from './peers.ts'

export interface AllSessionsOptions {
  readonly sessions: SessionPool
  readonly discovery: Pick<Discovery, 'all' | 'get'>
  readonly peers: Pick<Peers, 'sessions' | 'session' | 'kickSession'>
  /** How long another frontend may take to answer, in milliseconds. Default 2000. */
  readonly timeoutMs?: number
}

export interface SessionQuery {
  /** Address of the last session of the page before; empty: from the start. */
  readonly after: string
  readonly limit: number
  /** Only sessions of this uid; empty: all. */
  readonly uid: string
}

export interface SessionPage {
  readonly sessions: SessionDescription[]
  /** Open sessions of the frontends that answered, whatever the query. */
  readonly total: number
  /** `after` of the next page; null: this is the last. */
  readonly next: string | null
  /** Ids of frontends that did not answer: their sessions are left out. */
  readonly missing: string[]
}

interface Rows { readonly rows: SessionDescription[], readonly total: number }
interface Counted { readonly id: string, readonly total: number }

/** Sessions of all frontends, for operators: those of this server are read directly, its peers are asked. */
export class AllSessions {
  readonly #options: AllSessionsOptions
  readonly #timeoutMs: number

  constructor (options: AllSessionsOptions) {
    this.#options = options
    this.#timeoutMs = options.timeoutMs ?? 2000
  }

  /** In order of frontends' ids, then of sessions' ids. No frontend makes it hang or fail. */
  async page ({ after, limit, uid }: SessionQuery): Promise<SessionPage> {
    const [afterFrontend, afterId] = parse(after)
    const missing: string[] = []
    /** Rows of one frontend after another; nothing of those who do not answer. */
    const ask = async (ids: readonly string[], limit: number, uid: string): Promise<Array<Rows & Counted>> => {
      const answers = await Promise.all(ids.map(async (id) => {
        const rows = await this.#rows(id, { after: id === afterFrontend ? afterId : 0, limit, uid })
        if (rows === undefined) missing.push(id)
        return rows === undefined ? [] : [{ id, ...rows }]
      }))
      return answers.flat()
    }
    // For the totals; one row costs no more than none.
    const counted = await ask(this.#frontends(), 1, '')
    const ahead: Counted[] = counted.filter(({ id, total }) => total > 0 && id >= afterFrontend)
    const rows: SessionDescription[] = []
    // One more than asked for tells whether there is a next page. Sessions that close meanwhile cost another round.
    while (rows.length <= limit && ahead.length > 0) {
      const wanted = limit + 1 - rows.length
      const ids = uid === '' ? enough(ahead, wanted) : ahead.map(({ id }) => id)
      ahead.splice(0, ids.length)
      for (const answer of await ask(ids, wanted, uid)) rows.push(...answer.rows)
    }
    const sessions = rows.slice(0, limit)
    return {
      sessions,
      total: counted.reduce((sum, { total }) => sum + total, 0),
      next: rows.length > limit ? sessions.at(-1)!.id : null,
      missing: missing.sort()
    }
  }

  /**
   * @param address `frontendId:sessionId`, or the session id alone for one of this server
   * @returns undefined: there is no such session, or no such frontend
   * Rejects with PIT_ERR_SERVER_UNKNOWN, PIT_ERR_SERVER_LOST, PIT_ERR_CLUSTER_DOWN, PIT_ERR_RPC_TIMEOUT.
   */
  async get (address: string): Promise<SessionDescription | undefined> {
    const { sessions, peers } = this.#options
    const [frontendId, id] = parse(address)
    if (this.#isOwn(frontendId)) {
      const session = sessions.get(id)
      return session === undefined ? undefined : describeSession(session)
    }
    return this.#isKnown(frontendId) ? await this.#within(peers.session(frontendId, id)) as SessionDescription | undefined : undefined
  }

  /**
   * Kicks one session; takes an address and rejects as `get` does.
   * @returns what was kicked, undefined: nothing
   */
  async kick (address: string, reason: string | undefined): Promise<{ address: string, uid: string } | undefined> {
    const { sessions, peers } = this.#options
    const [frontendId, sessionId] = parse(address)
    if (this.#isOwn(frontendId)) {
      const session = sessions.get(sessionId)
      if (session === undefined) return undefined
      // Read first: the uid of a closed session is gone.
      const { address, uid } = session
      session.kick(reason)
      return { address, uid }
    }
    if (!this.#isKnown(frontendId)) return undefined
    const { found, uid } = await this.#within(peers.kickSession(frontendId, { sessionId, reason: reason ?? '' }))
    return found ? { address, uid } : undefined
  }

  /** In order. This server is one of them even when it has left the others. */
  #frontends (): string[] {
    const { discovery, sessions: { serverId } } = this.#options
    const others = discovery.all().filter(({ id, frontend }) => frontend && id !== serverId)
    return [serverId, ...others.map(({ id }) => id)].sort()
  }

  #isOwn (frontendId: string): boolean { return frontendId === '' || frontendId === this.#options.sessions.serverId }
  #isKnown (frontendId: string): boolean { return this.#options.discovery.get(frontendId)?.frontend === true }

  /** @returns undefined: that frontend does not answer */
  async #rows (frontendId: string, query: { after: number, limit: number, uid: string }): Promise<Rows | undefined> {
    if (this.#isOwn(frontendId)) return this.#own(query)
    try {
      const { rows, total } = await this.#within(this.#options.peers.sessions(frontendId, query))
      return { rows: rows as SessionDescription[], total }
    } catch (error) {
      if (!isPitayaError(error)) throw error
      return undefined
    }
  }

  #own ({ after, limit, uid }: { after: number, limit: number, uid: string }): Rows {
    const { sessions } = this.#options
    const found = uid === ''
      ? sessions.page(after, limit)
      : sessions.ofUid(uid).filter(({ id }) => id > after).sort((a, b) => a.id - b.id).slice(0, limit)
    return { rows: found.map(describeSession), total: sessions.size }
  }

  /** Rejects with PIT_ERR_RPC_TIMEOUT. */
  async #within<T> (answer: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((resolve, reject) => {
      timer = setTimeout(() => reject(createError('PIT_ERR_RPC_TIMEOUT')), this.#timeoutMs)
    })
    try {
      return await Promise.race([answer, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** The first of them whose sessions fill a page. */
function enough (frontends: readonly Counted[], wanted: number): string[] {
  let sum = 0
  const end = frontends.findIndex(({ total }) => (sum += total) >= wanted)
  return frontends.slice(0, end === -1 ? undefined : end + 1).map(({ id }) => id)
}

/** @returns frontend id, empty if there is none, and session id */
function parse (address: string): [frontendId: string, sessionId: number] {
  const [id, frontendId = ''] = address.split(':').reverse()
  return [frontendId, Number(id)]
}

import { Type, type Static, type TSchema } from '@sinclair/typebox'
import type { PinnedSets } from '../contract/pinned-sets.ts'
import { createError, isErrorCode, isPitayaError, PitayaError } from '../errors.ts'
import { isObject } from '../handler/check.ts'
import type { MaybePromise } from '../handler/types.ts'
import { RemoteClients, type SendRemote } from '../remote/client.ts'
import { defineRemotes } from '../remote/define.ts'
import type { RemoteImplementation } from '../remote/types.ts'
import type { Serializer } from '../serializers/serializer.ts'
import { toWellFormed } from '../serializers/text.ts'
import type { SessionPool } from '../session/pool.ts'
import type { Deliveries } from './deliveries.ts'
import type { Directory } from './directory.ts'
import type { Envelope } from './envelopes/envelope.ts'
import type { Peers } from './peers.ts'

/** What a system remote answers: its result, or the code of the error table that it failed with, which the wire's code would not tell. */
const Failure = Type.Object({ code: Type.String(), msg: Type.String(), metadata: Type.Optional(Type.Record(Type.String(), Type.String())) })
type Failure = Static<typeof Failure>
const outcome = <S extends TSchema>(result: S) => Type.Object({ result: Type.Optional(result), failure: Type.Optional(Failure) })
const Done = outcome(Type.Boolean())
const Member = Type.Object({ group: Type.String(), uid: Type.String() })
const Json = Type.String()
const Count = Type.Integer({ minimum: 0 })

/** Served by every server; applications cannot take its name. */
export const sys = defineRemotes('sys', {
  bind: { body: Type.Object({ sessionId: Count, uid: Type.String() }), response: Done },
  patch: {
    body: Type.Object({ sessionId: Count, set: Json, remove: Type.Array(Type.String()), base: Count }),
    response: outcome(Type.Object({ revision: Count, overwritten: Type.Array(Type.String()) }))
  },
  replaced: {
    body: Type.Object({ uid: Type.String(), sessionIds: Type.Array(Count), revision: Count }),
    response: outcome(Type.Object({ groups: Type.Array(Type.String()) }))
  },
  groupAdd: { body: Member, response: Done },
  groupRemove: { body: Member, response: Done },
  deliver: {
    body: Type.Uint8Array(),
    response: outcome(Type.Object({ delivered: Type.Array(Type.String()), notConnected: Type.Array(Type.String()) }))
  },
  moved: { body: Type.Array(Type.String()) },
  sessions: {
    body: Type.Object({ after: Count, limit: Count, uid: Type.String() }),
    response: outcome(Type.Object({ rows: Json, total: Count }))
  },
  session: { body: Count, response: outcome(Type.Object({ row: Json })) },
  schemas: { body: Type.String(), response: outcome(Type.Object({ text: Json })) },
  kickSession: {
    body: Type.Object({ sessionId: Count, reason: Type.String() }),
    response: outcome(Type.Object({ found: Type.Boolean(), uid: Type.String() }))
  }
})

/** What the system remotes do here. */
export interface SysParts {
  readonly sessions: SessionPool
  readonly envelope: Envelope
  readonly deliveries: Deliveries
  readonly directory: Directory
  readonly pinned: Pick<PinnedSets, 'textOf'>
  replaced (claim: { uid: string, sessionIds: number[], revision: number }): { groups: string[] }
  groupAdd (group: string, uid: string): Promise<void>
  groupRemove (group: string, uid: string): Promise<void>
  /** A session as operators see it. */
  describe (sessionId: number): unknown
}

export function serveSys (parts: SysParts): RemoteImplementation<typeof sys['methods']> {
  const { sessions, envelope, deliveries, directory } = parts
  const get = (id: number) => {
    const session = sessions.get(id)
    if (session === undefined) throw createError('PIT_ERR_CLOSED')
    return session
  }
  return {
    bind: ({ sessionId, uid }) => settle(async () => { await get(sessionId).bind(uid); return true }),
    patch: ({ sessionId, set, remove, base }) => settle(() => {
      const session = get(sessionId)
      const patch = { ...parsePatch(set), ...Object.fromEntries(remove.map((key) => [key, undefined])) }
      const overwritten = session.merge(patch, base)
      return { revision: session.revision, overwritten }
    }),
    replaced: (claim) => settle(() => parts.replaced(claim)),
    groupAdd: ({ group, uid }) => settle(async () => { await parts.groupAdd(group, uid); return true }),
    groupRemove: ({ group, uid }) => settle(async () => { await parts.groupRemove(group, uid); return true }),
    deliver: (push) => settle(() => deliveries.deliver(envelope.decodePush(push))),
    moved: (uids) => { for (const uid of uids) directory.correct(uid) },
    sessions: ({ after, limit, uid }) => settle(() => {
      const page = uid === '' ? sessions.page(after, limit) : [...sessions.ofUid(uid)].filter(({ id }) => id > after).sort((a, b) => a.id - b.id).slice(0, limit)
      return { rows: JSON.stringify(page.map(({ id }) => parts.describe(id))), total: sessions.size }
    }),
    session: (id) => settle(() => ({ row: JSON.stringify(sessions.get(id) === undefined ? null : parts.describe(id)) })),
    schemas: (fingerprint) => settle(() => ({ text: parts.pinned.textOf(fingerprint) })),
    kickSession: ({ sessionId, reason }) => settle(() => {
      const session = sessions.get(sessionId)
      const uid = session?.uid ?? ''
      session?.kick(reason === '' ? undefined : reason)
      return { found: session !== undefined, uid }
    })
  }
}

/** The same, asked of other servers: the type that a route begins with means nothing here. */
export function createPeers (serializer: Serializer, send: SendRemote): Peers {
  const client = new RemoteClients({ serializer, send }).of('any', sys)
  return {
    bind: async (serverId, body) => { take(await client.bind(body, { serverId })) },
    patch: async (serverId, { sessionId, patch, base }) => {
      const remove = Object.keys(patch).filter((key) => patch[key] === undefined)
      return take(await client.patch({ sessionId, set: JSON.stringify(patch), remove, base }, { serverId }))
    },
    replaced: async (serverId, body) => take(await client.replaced(body, { serverId })),
    groupAdd: async (serverId, body) => { take(await client.groupAdd(body, { serverId })) },
    groupRemove: async (serverId, body) => { take(await client.groupRemove(body, { serverId })) },
    deliver: async (serverId, push) => take(await client.deliver(push, { serverId })),
    moved: (serverId, uids) => { client.moved(uids, { serverId }).catch(() => {}) },
    sessions: async (serverId, body) => {
      const { rows, total } = take(await client.sessions(body, { serverId }))
      return { rows: JSON.parse(rows) as unknown[], total }
    },
    session: async (serverId, id) => JSON.parse(take(await client.session(id, { serverId })).row) as unknown ?? undefined,
    schemas: async (serverId, fingerprint) => take(await client.schemas(fingerprint, { serverId })).text,
    kickSession: async (serverId, body) => take(await client.kickSession(body, { serverId }))
  }
}

async function settle<T> (work: () => MaybePromise<T>): Promise<{ result?: T, failure?: Failure }> {
  try {
    return { result: await work() }
  } catch (error) {
    if (!isPitayaError(error)) throw error
    const { code, message, metadata = {} } = error
    // The application's texts: whatever they are, the failure must arrive.
    const texts = Object.entries(metadata).map(([key, value]) => [toWellFormed(key), toWellFormed(String(value))])
    const given = Object.fromEntries(texts) as Record<string, string>
    return { failure: { code: toWellFormed(code), msg: toWellFormed(message), metadata: given } }
  }
}

function take<T> ({ result, failure }: { result?: T, failure?: Failure }): T {
  if (failure !== undefined) {
    const { code, msg, metadata = {} } = failure
    const given = Object.keys(metadata).length > 0 ? metadata : undefined
    throw isErrorCode(code) ? createError(code, [], { text: msg, metadata: given }) : new PitayaError(code, msg, given)
  }
  return result!
}

/** @throws PIT_ERR_DATA */
function parsePatch (text: string): Record<string, unknown> {
  let patch: unknown
  try {
    patch = JSON.parse(text)
  } catch {}
  if (isObject(patch)) return patch as Record<string, unknown>
  throw createError('PIT_ERR_DATA', ['must be a JSON object'])
}

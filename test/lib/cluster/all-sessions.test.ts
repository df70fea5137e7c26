import t from 'tap'
import { AllSessions } from '../../../lib/cluster/all-sessions.ts'
import type { ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { createError } from '../../../lib/errors.ts'
import { createCore } from '../../helpers/core.ts'
import { Random } from '../../helpers/fuzz.ts'

interface Row { id: string, uid: string }
/** `emptied`, `lost`: once it was asked for the first time. */
type Fate = 'silence' | 'refusal' | 'emptied' | 'lost'

/** Frontends `a`, `b`, …, and this server, which is `test`; and what becomes of them. */
function frontends (counts: Record<string, number>, own: number, fates: Record<string, Fate> = {}) {
  const core = createCore()
  for (let i = 0; i < own; i++) core.connect()
  const all = new Map(Object.entries(counts).map(([id, count]) => [
    id, Array.from({ length: count }, (_, i): Row => ({ id: `${id}:${i + 1}`, uid: i % 2 === 0 ? 'even' : '' }))
  ]))
  const asked: string[] = []
  const infos = [...all.keys(), 'backend'].map((id) => ({ id, frontend: id !== 'backend' }) as ServerInfo)
  const answer = async <T>(id: string, value: () => T): Promise<T> => {
    if (fates[id] === 'silence') return await new Promise(() => {})
    if (fates[id] === 'refusal') throw createError('PIT_ERR_SERVER_LOST')
    const result = value()
    if (fates[id] === 'emptied') all.get(id)!.length = 0
    if (fates[id] === 'lost') fates[id] = 'refusal'
    return result
  }
  const sessions = new AllSessions({
    sessions: core.sessions,
    timeoutMs: 30,
    discovery: { all: () => infos, get: (id) => infos.find((info) => info.id === id) },
    peers: {
      sessions: (id, { after, limit, uid }) => answer(id, () => {
        asked.push(`${id} ${limit}`)
        const rows = all.get(id)!
        return { rows: rows.filter((row) => Number(row.id.split(':')[1]) > after && (uid === '' || row.uid === uid)).slice(0, limit), total: rows.length }
      }),
      session: (id, number) => answer(id, () => all.get(id)!.find((row) => row.id === `${id}:${number}`)),
      kickSession: (id, { sessionId }) => answer(id, () => {
        const row = all.get(id)!.find((row) => row.id === `${id}:${sessionId}`)
        return { found: row !== undefined, uid: row?.uid ?? '' }
      })
    }
  })
  return { sessions, core, all, asked }
}

async function readAll (sessions: AllSessions, limit: number, uid = ''): Promise<{ ids: string[], sizes: number[], missing: string[][] }> {
  const ids: string[] = []
  const sizes: number[] = []
  const missing: string[][] = []
  for (let after: string | null = ''; after !== null;) {
    const page = await sessions.page({ after, limit, uid })
    ids.push(...page.sessions.map(({ id }) => id))
    sizes.push(page.sessions.length)
    missing.push(page.missing)
    after = page.next
  }
  return { ids, sizes, missing }
}

t.test('pages go over all frontends in order, each session once, and are full but the last', async (t) => {
  const random = new Random(4)
  for (let run = 0; run < 60; run++) {
    const counts = { a: random.int(9), 'b-2': random.int(4), c: 0, zz: random.int(9) }
    const own = random.int(6)
    const { sessions, all, core } = frontends(counts, own)
    const expected = [...all, ['test', [...core.sessions].map(({ address: id }) => ({ id }))] as const]
      .sort(([a], [b]) => a < b ? -1 : 1).flatMap(([, rows]) => rows.map(({ id }) => id))
    const limit = 1 + random.int(12)
    const { ids, sizes } = await readAll(sessions, limit)
    t.strictSame(ids, expected)
    t.ok(sizes.slice(0, -1).every((size) => size === limit))
    const first = await sessions.page({ after: '', limit, uid: '' })
    t.equal(first.total, expected.length)
  }
})

t.test('rows are asked of the frontends that the page needs', async (t) => {
  const { sessions, asked } = frontends({ a: 3, b: 3, c: 100 }, 0)
  await sessions.page({ after: 'a:1', limit: 3, uid: '' })
  t.strictSame(asked, ['a 1', 'b 1', 'c 1', 'a 4', 'b 4'])
})

t.test('a cursor whose session and frontend are gone still has its place', async (t) => {
  const { sessions } = frontends({ a: 2, c: 2 }, 0)
  const after = async (after: string) => (await sessions.page({ after, limit: 100, uid: '' })).sessions.map(({ id }) => id)
  t.strictSame(await after('b:5'), ['c:1', 'c:2'])
  t.strictSame(await after('a:99'), ['c:1', 'c:2'])
  t.strictSame(await after('z:1'), [])
})

t.test('sessions of a uid are found on all frontends, a page at a time', async (t) => {
  const { sessions } = frontends({ a: 5, b: 1, c: 4 }, 3)
  const { ids } = await readAll(sessions, 2, 'even')
  t.strictSame(ids, ['a:1', 'a:3', 'a:5', 'b:1', 'c:1', 'c:3'])
  t.equal((await sessions.page({ after: 'c:1', limit: 2, uid: 'even' })).total, 13, 'the total counts all sessions')
})

t.test('frontends that are silent or lost are missing, and their sessions alone', async (t) => {
  const { sessions } = frontends({ a: 2, b: 2, c: 2 }, 2, { a: 'silence', c: 'refusal' })
  const { ids, missing } = await readAll(sessions, 3)
  t.strictSame(ids, ['b:1', 'b:2', 'test:1', 'test:2'])
  t.strictSame(missing, [['a', 'c'], ['a', 'c']])
  t.equal((await sessions.page({ after: '', limit: 1, uid: '' })).total, 4)
})

t.test('a page is filled though a frontend has lost its sessions, or itself, since they were counted', async (t) => {
  const emptied = await frontends({ a: 5, b: 2, c: 2 }, 0, { a: 'emptied' }).sessions.page({ after: '', limit: 3, uid: '' })
  t.strictSame(emptied.sessions.map(({ id }) => id), ['b:1', 'b:2', 'c:1'])
  t.strictSame([emptied.next, emptied.missing], ['c:1', []])
  const lost = await frontends({ a: 5, b: 2, c: 2 }, 0, { a: 'lost', b: 'lost' }).sessions.page({ after: '', limit: 3, uid: '' })
  t.strictSame(lost.sessions.map(({ id }) => id), ['c:1', 'c:2'])
  t.strictSame([lost.next, lost.missing], [null, ['a', 'b']])
})

t.test('one session is read and kicked by its address, on frontends only', async (t) => {
  const { sessions, core } = frontends({ a: 2, b: 1 }, 2, { b: 'silence' })
  t.strictSame(await sessions.get('a:2'), { id: 'a:2', uid: '' })
  t.equal((await sessions.get('test:1'))?.id, 'test:1')
  t.equal((await sessions.get('2'))?.id, 'test:2')
  for (const address of ['a:3', 'test:9', '9', 'backend:1', 'nowhere:1']) {
    t.equal(await sessions.get(address), undefined)
    t.equal(await sessions.kick(address, 'spam'), undefined)
  }
  t.strictSame(await sessions.kick('a:1', undefined), { address: 'a:1', uid: 'even' })
  t.strictSame(await sessions.kick('2', 'spam'), { address: 'test:2', uid: '' })
  t.equal(core.sessions.size, 1)
  await t.rejects(sessions.get('b:1'), { code: 'PIT_ERR_RPC_TIMEOUT' })
  await t.rejects(sessions.kick('b:1', undefined), { code: 'PIT_ERR_RPC_TIMEOUT' })
})

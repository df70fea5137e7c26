import t from 'tap'
import { bindingKey, encodeHolders, type Holder } from '../../../lib/cluster/holders.ts'
import { Directory, type DirectoryOptions } from '../../../lib/cluster/directory.ts'
import { lineLog } from '../../helpers/discovery.ts'
import { Lateness } from '../../helpers/lateness.ts'
import { memoryStores, SwitchedStore, TestCluster } from '../../helpers/frontends.ts'

interface Test { teardown (fn: () => unknown): void }

function createDirectory (t: Test, options: Partial<DirectoryOptions> = {}) {
  const stores = memoryStores()
  const store = new SwitchedStore(stores.open())
  const cluster = new TestCluster(t)
  for (const [id, type] of [['a', 'connector'], ['b', 'connector'], ['c', 'gate']] as const) cluster.live(id, type, `${id}-1`)
  cluster.live('back', 'chat', 'back-1', false)
  const { log } = lineLog()
  const time = { now: 0 }
  const directory = new Directory({ store, discovery: cluster.discovery('back'), scope: 'type', policy: 'kick-old', log, clock: () => time.now, ...options })
  return {
    directory,
    cluster,
    store,
    time,
    stores,
    /** `frontend/session` each */
    async bind (uid: string, sessions: string[], scope = 'connector'): Promise<void> {
      const key = bindingKey(scope, uid)
      const old = await stores.open().get(key)
      if (old !== undefined) await stores.open().delete(key, old.revision)
      await stores.open().create(key, encodeHolders(sessions.map(holder)))
    }
  }
}

function holder (text: string): Holder {
  const [frontendId = '', sessionId] = text.split('/')
  return { frontendId, incarnation: `${frontendId}-1`, sessionId: Number(sessionId) }
}

t.test('a uid is found in the store, then without a promise until its time is over', async (t) => {
  const { directory, bind, store, time } = createDirectory(t, { scope: 'cluster' })
  await bind('ana', ['a/1'], '_')
  const found = directory.find('ana')
  t.ok(found instanceof Promise)
  t.strictSame(await found, [holder('a/1')])
  const { reads } = store
  time.now = 29_999
  t.strictSame(directory.find('ana'), [holder('a/1')])
  t.equal(store.reads, reads)
  time.now = 30_000
  t.strictSame(await directory.find('ana'), [holder('a/1')])
  t.equal(store.reads, reads * 2)
})

t.test('where there are frontends of several types, a uid is kept for a second: nobody tells of its session in another', async (t) => {
  const { directory, bind, time } = createDirectory(t)
  await bind('ana', ['a/1'])
  await directory.find('ana')
  await bind('ana', ['c/1'], 'gate')
  t.strictSame(directory.find('ana'), [holder('a/1')])
  time.now = 1000
  t.strictSame(await directory.find('ana'), [holder('a/1'), holder('c/1')])
})

t.test('with policy allow a uid is kept for a second only', async (t) => {
  const { directory, bind, time } = createDirectory(t, { policy: 'allow' })
  await bind('ana', ['a/1'])
  await directory.find('ana')
  await bind('ana', ['a/1', 'b/1'])
  time.now = 1000
  t.strictSame(await directory.find('ana'), [holder('a/1'), holder('b/1')])
})

t.test('a uid that is bound nowhere is asked for again: nobody would correct it', async (t) => {
  const { directory, bind } = createDirectory(t)
  t.strictSame(await directory.find('ana'), [])
  await bind('ana', ['b/7'])
  t.strictSame(await directory.find('ana'), [holder('b/7')])
})

t.test('a corrected uid is read anew, and what was being read before is not kept', async (t) => {
  const { directory, bind, store } = createDirectory(t)
  await bind('ana', ['a/1'])
  await directory.find('ana')
  await bind('ana', ['b/1'])
  directory.correct('ana')
  const old = directory.find('ana')
  directory.correct('ana')
  const young = directory.find('ana')
  t.not(old, young)
  t.strictSame(await old, [holder('b/1')])
  t.strictSame(await young, [holder('b/1')])
  const { reads } = store
  directory.find('ana')
  t.equal(store.reads, reads)
})

t.test('many who look for one uid at once cost one lookup', async (t) => {
  const { directory, bind, store } = createDirectory(t)
  await bind('ana', ['a/1'])
  const found = await Promise.all(Array.from({ length: 100 }, () => directory.find('ana')))
  t.strictSame(new Set(found.map((holders) => holders.length)), new Set([1]))
  t.equal(store.reads, 2, 'one for each type of frontend')
})

t.test('a uid is looked for in every scope that there is', async (t) => {
  const { directory, bind, cluster } = createDirectory(t)
  await bind('ana', ['a/1'])
  await bind('ana', ['c/1'], 'gate')
  t.strictSame(await directory.find('ana'), [holder('a/1'), holder('c/1')])
  cluster.lives.clear()
  directory.correct('ana')
  t.strictSame(await directory.find('ana'), [])
  const whole = createDirectory(t, { scope: 'cluster' })
  await whole.bind('ana', ['c/1'], '_')
  t.strictSame(await whole.directory.find('ana'), [holder('c/1')])
  t.equal(whole.store.reads, 1)
})

t.test('sessions of frontends that are gone are left out, in the cache too', async (t) => {
  const { directory, bind, cluster } = createDirectory(t)
  await bind('ana', ['a/1', 'b/1'])
  t.equal((await directory.find('ana')).length, 2)
  cluster.live('a', 'connector', 'a-2')
  t.equal((await directory.find('ana')).length, 2, 'in a new life it may still have the session: it is asked')
  cluster.lives.delete('a')
  t.strictSame(await directory.find('ana'), [holder('b/1')])
  cluster.lives.delete('b')
  t.strictSame(await directory.find('ana'), [])
  t.equal(directory.size, 0)
})

t.test('the cache is bounded: uids that were used last stay', async (t) => {
  const { directory, bind } = createDirectory(t, { size: 3 })
  for (const uid of ['u1', 'u2', 'u3', 'u4']) await bind(uid, ['a/1'])
  for (const uid of ['u1', 'u2', 'u3']) await directory.find(uid)
  directory.find('u1')
  await directory.find('u4')
  t.equal(directory.size, 3)
  t.ok(!(directory.find('u1') instanceof Promise))
  const found = directory.find('u2')
  t.ok(found instanceof Promise)
  await found
})

t.test('many uids are grouped by frontend, 64 lookups at once, each uid once for a frontend', async (t) => {
  const { directory, bind, store } = createDirectory(t)
  const uids = Array.from({ length: 300 }, (_, i) => `u${i}`)
  for (const [i, uid] of uids.entries()) if (i % 3 !== 2) await bind(uid, [i % 3 === 0 ? 'a/1' : 'b/1'])
  await bind('u0', ['a/1', 'a/2', 'b/1'])
  const { byFrontend, unknown, failed } = await directory.group([...uids, 'u0', 'u3'])
  t.strictSame([byFrontend.get('a')?.length, byFrontend.get('b')?.length, unknown.length, failed.length], [100, 101, 100, 0])
  t.ok(store.peak <= 128, `${store.peak} reads at once, two for each uid`)
  t.ok(byFrontend.get('a')!.every((uid) => Number(uid.slice(1)) % 3 === 0))
})

t.test('while the store is down a lookup rejects, and of many uids those in the cache are found', async (t) => {
  const { directory, bind, store } = createDirectory(t)
  await bind('ana', ['a/1'])
  await directory.find('ana')
  Object.assign(store, { isDown: true, downMs: 20 })
  await t.rejects(Promise.resolve(directory.find('bob')), { code: 'PIT_ERR_STORE' })
  const late = new Lateness(t)
  const start = performance.now()
  const uids = Array.from({ length: 5000 }, (_, i) => `u${i}`)
  const { byFrontend, unknown, failed } = await directory.group(['ana', ...uids])
  t.strictSame([...byFrontend], [['a', ['ana']]])
  t.strictSame([unknown.length, failed.length], [0, 5000])
  t.ok(performance.now() - start < 1000 + late.takeSumMs(), 'those after the first failure are not tried')
  store.isDown = false
  t.strictSame(await directory.find('bob'), [])
})

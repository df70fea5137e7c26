import { MAX_VALUE_BYTES, type Store, type Watcher } from '../../lib/cluster/stores/store.ts'
import { Recorder } from '../helpers/recorder.ts'

/** One broker that keeps stores, and what may happen to it. */
export interface StoreBed {
  /** On a connection of its own. */
  open (t: any, name: string): Promise<Store>
  /** Cuts every connection. */
  down (): Promise<void>
  /** @param isEmpty all that the stores held is lost */
  up (isEmpty: boolean): Promise<void>
  /** All connections are there again. */
  isUp (): Promise<void>
}

const bytes = (value: string): Uint8Array => Buffer.from(value)
const range = (length: number): number[] => Array.from({ length }, (_, i) => i)

/** Words such as `a=1`, `a-` and `all`, in the order they were told. */
function record (): { told: Recorder<string>, watcher: Watcher } {
  const told = new Recorder<string>()
  return {
    told,
    watcher: {
      onPut: ({ key, value }) => told.add(`${key}=${Buffer.from(value).toString()}`),
      onDelete: (key) => told.add(`${key}-`),
      onCaughtUp: () => told.add('all')
    }
  }
}

/** What every member of the family promises. `t` is a tap test. */
export async function storeContract (t: any, createBed: (t: any) => Promise<StoreBed>): Promise<void> {
  const bed = await createBed(t)
  let tests = 0
  /** Two servers' views of one store, new for each test. */
  const test = (name: string, fn: (t: any, a: Store, b: Store) => Promise<void>): Promise<void> => t.test(name, async (t: any) => {
    const store = `contract-${++tests}`
    await fn(t, await bed.open(t, store), await bed.open(t, store))
  })

  await test('a value is there for every server as soon as it was created, and another store does not have it', async (t, a, b) => {
    t.equal(await a.get('k'), undefined)
    const value = Buffer.from('value')
    const creating = a.create('k', value)
    const revision = await creating
    value.fill(0)
    t.ok(revision! > 0)
    const entry = await b.get('k')
    t.equal(entry!.key, 'k')
    t.equal(Buffer.from(entry!.value).toString(), 'value')
    t.equal(entry!.revision, revision)
    const other = await bed.open(t, 'another')
    t.equal(await other.get('k'), undefined)
  })

  await test('bytes and keys of every kind come back', async (t, a, b) => {
    const values: Record<string, Uint8Array> = {
      a: new Uint8Array(0),
      'A-_0.b.c': Uint8Array.from(range(256)),
      [`k.${'x'.repeat(200)}`]: Buffer.alloc(100_000, 7)
    }
    for (const [key, value] of Object.entries(values)) await a.create(key, value)
    for (const [key, value] of Object.entries(values)) t.ok(Buffer.from((await b.get(key))!.value).equals(value), key)
  })

  await test('a key that exists is not created again', async (t, a, b) => {
    t.ok(await a.create('k', bytes('1')))
    t.equal(await b.create('k', bytes('2')), undefined)
    t.equal(Buffer.from((await b.get('k'))!.value).toString(), '1')
  })

  await test('only the newest revision can be changed', async (t, a, b) => {
    const first = (await a.create('k', bytes('1')))!
    const second = (await b.update('k', bytes('2'), first))!
    t.ok(second > first)
    for (const wrong of [first, second + 1, 0, -1, 1]) t.equal(await a.update('k', bytes('x'), wrong), undefined)
    t.equal(await a.update('none', bytes('x'), second), undefined)
    t.strictSame([Buffer.from((await a.get('k'))!.value).toString(), (await a.get('k'))!.revision], ['2', second])
  })

  await test('only the newest revision can be deleted, what is gone is deleted already, and may be created anew', async (t, a, b) => {
    const first = (await a.create('k', bytes('1')))!
    const second = (await a.update('k', bytes('2'), first))!
    for (const wrong of [first, second + 1, 0, 1]) t.equal(await b.delete('k', wrong), false)
    t.equal(await b.delete('k', second), true)
    t.equal(await b.delete('k', second), true)
    t.equal(await b.delete('never', 3), true)
    t.equal(await a.get('k'), undefined)
    t.equal(await a.update('k', bytes('x'), second), undefined)
    const third = (await a.create('k', bytes('3')))!
    t.ok(third > second)
    t.equal(await b.delete('k', second), false)
    t.equal(await b.create('k', bytes('4')), undefined)
    t.equal(Buffer.from((await b.get('k'))!.value).toString(), '3')
  })

  await test('of a hundred servers that create one key at once, one wins; so with changes and deletions', async (t, a, b) => {
    for (const round of range(5)) {
      const created = (await Promise.all(range(100).map((i) => (i % 2 === 0 ? a : b).create(`k${round}`, bytes(String(i)))))).filter((revision) => revision !== undefined)
      t.equal(created.length, 1)
      const updated = (await Promise.all(range(50).map((i) => (i % 2 === 0 ? a : b).update(`k${round}`, bytes(String(i)), created[0]!)))).filter(Boolean)
      t.equal(updated.length, 1)
      const last = await Promise.all([a.delete(`k${round}`, updated[0]!), b.update(`k${round}`, bytes('x'), updated[0]!)])
      t.equal(last.filter(Boolean).length, 1)
      t.equal(await a.get(`k${round}`) === undefined, last[0])
      const again = (await Promise.all(range(20).map((i) => (i % 2 === 0 ? a : b).create(`k${round}`, bytes('y'))))).filter(Boolean)
      t.equal(again.length, last[0] ? 1 : 0)
    }
  })

  await test('keys are listed by filter, without those deleted', async (t, a, b) => {
    t.strictSame(await a.keys('>'), [])
    for (const key of ['a', 'b', 'g.one.u1', 'g.one.u2', 'g.two.u1', 'g.two.u1.x']) await a.create(key, bytes('x'))
    await a.delete('b', (await a.get('b'))!.revision)
    const keys = async (filter: string): Promise<string[]> => (await b.keys(filter)).sort()
    t.strictSame(await keys('>'), ['a', 'g.one.u1', 'g.one.u2', 'g.two.u1', 'g.two.u1.x'])
    t.strictSame(await keys('*'), ['a'])
    t.strictSame(await keys('g.one.*'), ['g.one.u1', 'g.one.u2'])
    t.strictSame(await keys('g.*.u1'), ['g.one.u1', 'g.two.u1'])
    t.strictSame(await keys('g.two.>'), ['g.two.u1', 'g.two.u1.x'])
    t.strictSame(await keys('g.none.*'), [])
    t.strictSame(await keys('a'), ['a'])
  })

  await test('a watch tells what exists, then each change in order', async (t, a, b) => {
    for (const i of range(300)) await a.create(`k.${i}`, bytes(String(i)))
    await a.create('other', bytes('x'))
    const { told, watcher } = record()
    const watch = await b.watch('k.*', watcher)
    t.strictSame(told.all.slice().sort(), ['all', ...range(300).map((i) => `k.${i}=${i}`)].sort())
    t.equal(told.all.at(-1), 'all')
    let revision = (await a.create('k.new', bytes('0')))!
    for (const i of range(20)) revision = (await a.update('k.new', bytes(String(i + 1)), revision))!
    await a.delete('k.new', revision)
    await a.create('other2', bytes('x'))
    await a.create('k.end', bytes('x'))
    while (!told.all.includes('k.end=x')) await told.take(told.all.length + 1)
    const changes = told.all.slice(301)
    t.strictSame(changes.slice(-2), ['k.new-', 'k.end=x'])
    const values = changes.slice(0, -2).map((change) => Number(change.slice('k.new='.length)))
    t.strictSame(values, [...new Set(values)].sort((a, b) => a - b), 'some may be told as one, none out of order')
    watch.stop()
    watch.stop()
    const count = told.all.length
    await a.create('k.after', bytes('x'))
    const second = record()
    ;(await b.watch('k.after', second.watcher)).stop()
    t.strictSame(second.told.all, ['k.after=x', 'all'])
    t.equal(told.all.length, count)
  })

  await test('entries that are told carry the revision to change them by', async (t, a, b) => {
    const revisions = new Recorder<number>()
    await b.watch('>', { onPut: ({ revision }) => revisions.add(revision), onDelete: (_, revision) => revisions.add(revision) })
    const first = (await a.create('k', bytes('1')))!
    t.strictSame(await revisions.take(1), [first])
    const second = (await b.update('k', bytes('2'), first))!
    await a.delete('k', second)
    const [, again, deleted] = await revisions.take(3)
    t.equal(again, second)
    t.ok(deleted! > second)
  })

  await test('a watch of nothing is told so at once', async (t, a) => {
    const { told, watcher } = record()
    await a.watch('none.*', watcher)
    t.strictSame(told.all, ['all'])
  })

  await test('no change is missed between the first part of a watch and the rest', async (t, a, b) => {
    const writing = (async () => { for (const i of range(400)) await a.create(`k${i}`, bytes('x')) })()
    const seen = await Promise.all(range(5).map(async () => {
      const keys = new Recorder<string>()
      await b.watch('*', { onPut: ({ key }) => keys.add(key), onDelete () {} })
      return keys
    }))
    await writing
    for (const keys of seen) t.equal(new Set(await keys.take(400)).size, 400)
  })

  await test('compacting forgets deletions only, and only old ones', async (t, a, b) => {
    for (const key of ['a', 'b', 'c']) await a.create(key, bytes('1'))
    for (const key of ['a', 'b']) await a.delete(key, (await a.get(key))!.revision)
    await b.compact(60_000)
    await b.compact(-60_000)
    t.strictSame(await a.keys('>'), ['c'])
    const { told, watcher } = record()
    ;(await a.watch('>', watcher)).stop()
    t.strictSame(told.all, ['c=1', 'all'])
    t.ok(await a.create('a', bytes('2')))
    t.equal(Buffer.from((await b.get('a'))!.value).toString(), '2')
  })

  await test('compacting while keys are deleted and created loses none', async (t, a, b) => {
    const churn = async (key: string): Promise<void> => {
      for (const i of range(20)) {
        const revision = await a.create(key, bytes(String(i)))
        t.ok(revision !== undefined, 'it is free')
        if (i < 19) t.equal(await b.delete(key, revision!), true)
      }
    }
    const work = Promise.all(range(8).map((i) => churn(`k${i}`)))
    for (let i = 0; i < 10; i++) await b.compact(-60_000)
    await work
    await b.compact(-60_000)
    t.strictSame((await a.keys('*')).sort(), range(8).map((i) => `k${i}`))
    t.equal(Buffer.from((await b.get('k7'))!.value).toString(), '19')
  })

  await test('a value above the bound is refused with its code, and one of it is kept', async (t, a, b) => {
    const large = new Uint8Array(MAX_VALUE_BYTES + 1)
    await t.rejects(a.create('k', large), { code: 'PIT_ERR_RPC_SIZE' })
    const revision = (await a.create('k', large.subarray(1)))!
    await t.rejects(a.update('k', large, revision), { code: 'PIT_ERR_RPC_SIZE' })
    t.equal((await b.get('k'))!.value.length, MAX_VALUE_BYTES)
    t.equal((await b.get('k'))!.revision, revision)
  })

  await test('keys with wildcards, spaces or empty tokens are refused', async (t, a) => {
    for (const key of ['', '.', 'a.', '.a', 'a..b', '*', 'a.>', 'a b', 'a\r\nPUB', 'é', 'a/b']) {
      await t.rejects(a.create(key, bytes('x')), { name: 'TypeError' })
      await t.rejects(a.get(key), { name: 'TypeError' })
    }
  })

  await test('every call rejects with its code, and soon, while the store cannot be reached; afterwards all is as it was', async (t, a, b) => {
    const revision = (await a.create('k', bytes('1')))!
    const { told, watcher } = record()
    await b.watch('>', watcher)
    await told.take(2)
    await bed.down()
    const start = performance.now()
    for (const call of [a.get('k'), a.create('x', bytes('x')), a.update('k', bytes('2'), revision), a.delete('k', revision), a.keys('>'), a.watch('>', record().watcher)]) {
      await t.rejects(call, { code: 'PIT_ERR_STORE' })
    }
    t.ok(performance.now() - start < 5000)
    await bed.up(false)
    await bed.isUp()
    t.strictSame((await told.take(4)).slice(2), ['k=1', 'all'])
    t.equal((await a.get('k'))!.revision, revision)
    t.ok(await a.update('k', bytes('2'), revision))
    t.strictSame((await told.take(5)).slice(4), ['k=2'])
  })

  await test('a store that comes back empty is told so, takes everything anew, and no revision of before counts', async (t, a, b) => {
    const before = (await a.create('k', bytes('1')))!
    const { told, watcher } = record()
    await b.watch('>', watcher)
    await told.take(2)
    await bed.down()
    await bed.up(true)
    await bed.isUp()
    t.strictSame((await told.take(3)).slice(2), ['all'])
    t.equal(await a.get('k'), undefined)
    t.strictSame(await a.keys('>'), [])
    const after = (await b.create('k', bytes('another')))!
    t.ok(after > before)
    t.equal(await a.update('k', bytes('2'), before), undefined)
    t.equal(await a.delete('k', before), false)
    t.strictSame((await told.take(4)).slice(3), ['k=another'])
    t.equal((await a.get('k'))!.revision, after)
  })

  await test('a closed store tells nothing more and rejects', async (t, a, b) => {
    const { told, watcher } = record()
    await a.watch('>', watcher)
    await a.close()
    await a.close()
    await b.create('k', bytes('x'))
    await t.rejects(a.get('k'), { code: 'PIT_ERR_STORE' })
    t.ok(await b.get('k'))
    t.strictSame(told.all, ['all'])
  })
}

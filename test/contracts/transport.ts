import type { Transport, TransportEvents } from '../../lib/cluster/transports/transport.ts'
import { Lateness } from '../helpers/lateness.ts'
import { deadline, Recorder } from '../helpers/recorder.ts'

/** One broker, and what may happen to it. */
export interface TransportBed {
  create (): Transport
  /** Cuts every connection; nothing can connect. */
  down (): Promise<void>
  up (): Promise<void>
}

const text = (data: Uint8Array | undefined): string | undefined => data === undefined ? undefined : Buffer.from(data).toString()
const bytes = (value: string): Uint8Array => Buffer.from(value)
const range = (length: number): number[] => Array.from({ length }, (_, i) => i)

/** What every member of the family promises. `t` is a tap test. */
export async function transportContract (t: any, createBed: (t: any) => Promise<TransportBed>): Promise<void> {
  const bed = await createBed(t)
  let tests = 0
  /** A name of the test's own. */
  const own = (name: string): string => `t${tests}.${name}`
  const open = async (t: any, events: Partial<TransportEvents> = {}): Promise<Transport> => {
    const transport = bed.create()
    t.teardown(() => transport.close())
    const fail = (error: unknown): void => { t.equal(error, undefined, 'an event that nobody expects') }
    await transport.open({ onUp () {}, onDown () {}, onFatal: fail, onSlow () {}, onError: fail, ...events })
    return transport
  }
  const test = (name: string, fn: (t: any) => Promise<void>): Promise<void> => t.test(name, async (t: any) => {
    tests++
    await fn(t)
  })
  /** Everything that a subscription gets. */
  const listen = async (transport: Transport, subject: string, options?: { queue?: string }): Promise<Recorder<string>> => {
    const got = new Recorder<string>()
    transport.subscribe(subject, (data, from, reply) => got.add([text(data), from, reply].join('|')), options)
    await transport.flush()
    return got
  }

  await test('a transport says what it is', async (t) => {
    const transport = bed.create()
    t.match(transport.name, /^[a-z0-9-]+$/)
    t.equal(transport.isUp, false)
    t.equal(transport.publish(own('a'), bytes('x')), false, 'nothing is sent before open')
    const opened = await open(t)
    t.equal(opened.isUp, true)
    t.ok(opened.maxBytes >= 64 * 1024)
  })

  await test('a message reaches subscribers on every connection, with its subject and reply', async (t) => {
    const [a, b] = [await open(t), await open(t)]
    const [here, there, none] = [await listen(a, own('x')), await listen(b, own('x')), await listen(b, own('y'))]
    t.equal(a.publish(own('x'), bytes('hello'), own('answer')), true)
    t.equal(a.publish(own('x'), bytes('')), true)
    const expected = [`hello|${own('x')}|${own('answer')}`, `|${own('x')}|`]
    t.strictSame(await here.take(2), expected)
    t.strictSame(await there.take(2), expected)
    t.strictSame(none.all, [])
  })

  await test('nothing is handed on inside publish, and bytes may be reused after it', async (t) => {
    const [a, b] = [await open(t), await open(t)]
    const got = await listen(b, own('x'))
    const here = await listen(a, own('x'))
    const buffer = Buffer.from('first')
    a.publish(own('x'), buffer)
    t.strictSame(here.all, [])
    buffer.write('wrong')
    await deadline(a.flush(), 'a flush')
    t.strictSame(await got.take(1), [`first|${own('x')}|`])
  })

  await test('messages of one publisher come in order, few or many in a turn, small or large', async (t) => {
    const [a, b] = [await open(t), await open(t)]
    const got: string[] = []
    const total = 3000
    const done = new Recorder<string>()
    b.subscribe(own('*'), (data, subject) => {
      const value = Buffer.from(data!)
      got.push(`${value.readUInt32LE(0)} ${value.length} ${value.subarray(4).every((byte) => byte === value.length % 251)} ${subject}`)
      if (got.length === total) done.add('all')
    })
    await b.flush()
    const expected: string[] = []
    for (const i of range(total)) {
      const length = i % 100 === 99 ? 4 + 700 * (i % 251) : 4 + i % 301
      const value = Buffer.alloc(length, length % 251)
      value.writeUInt32LE(i, 0)
      a.publish(own(`s${i % 3}`), value)
      value.fill(0)
      expected.push(`${i} ${length} true ${own(`s${i % 3}`)}`)
      if (i % 7 === 0) await new Promise(setImmediate)
    }
    await done.take(1)
    t.strictSame(got, expected)
  })

  await test('a star stands for one token, an arrow for the rest', async (t) => {
    const a = await open(t)
    const star = await listen(a, own('w.*'))
    const arrow = await listen(a, own('w.>'))
    for (const subject of ['w', 'w.a', 'w.a.b', 'wx.a', 'w.$b-_=']) a.publish(own(subject), bytes(subject))
    await a.flush()
    t.strictSame(star.all.map((line) => line.split('|')[0]), ['w.a', 'w.$b-_='])
    t.strictSame(arrow.all.map((line) => line.split('|')[0]), ['w.a', 'w.a.b', 'w.$b-_='])
  })

  await test('of one queue each message reaches one subscriber; others get it too', async (t) => {
    const [a, b, c] = [await open(t), await open(t), await open(t)]
    const workers = [await listen(a, own('x'), { queue: 'q' }), await listen(b, own('x'), { queue: 'q' })]
    const other = await listen(c, own('x'), { queue: 'other' })
    const all = await listen(c, own('x'))
    for (const i of range(100)) c.publish(own('x'), bytes(String(i)))
    t.equal((await all.take(100)).length, 100)
    await other.take(100)
    await Promise.all([a.flush(), b.flush(), c.flush()])
    await Promise.all([a.flush(), b.flush()])
    t.equal(workers[0]!.all.length + workers[1]!.all.length, 100)
    t.ok(workers.every(({ all }) => all.length > 0), 'the work is shared')
  })

  await test('a call that nobody would answer comes back empty', async (t) => {
    const [a, b] = [await open(t), await open(t)]
    const answers = await listen(a, own('inbox.*'))
    a.publish(own('nobody'), bytes('x'), own('inbox.1'))
    t.strictSame(await answers.take(1), [`|${own('inbox.1')}|`])
    const got: unknown[] = []
    const end = a.subscribe(own('inbox2'), (data) => got.push(data))
    a.publish(own('nobody'), bytes('x'), own('inbox2'))
    await a.flush()
    await a.flush()
    t.strictSame(got, [undefined])
    end()
    b.subscribe(own('somebody'), (_, __, reply) => b.publish(reply, bytes('')))
    await b.flush()
    a.publish(own('somebody'), bytes('x'), own('inbox.2'))
    t.strictSame((await answers.take(2))[1], `|${own('inbox.2')}|`)
  })

  await test('an ended subscription gets nothing more; ending it twice does no harm', async (t) => {
    const a = await open(t)
    const got: string[] = []
    const kept = await listen(a, own('x'))
    const end = a.subscribe(own('x'), (data) => {
      got.push(text(data)!)
      end()
    })
    a.publish(own('x'), bytes('1'))
    a.publish(own('x'), bytes('2'))
    await kept.take(2)
    end()
    end()
    t.strictSame(got, ['1'])
  })

  await test('a subscriber that throws is told of, and loses only its message', async (t) => {
    const errors: unknown[] = []
    const a = await open(t, { onError: (error) => errors.push(error) })
    const wrong = new Error('wrong')
    a.subscribe(own('x'), () => { throw wrong })
    const other = await listen(a, own('x'))
    a.publish(own('x'), bytes('1'))
    a.publish(own('x'), bytes('2'))
    await other.take(2)
    t.strictSame(errors, [wrong, wrong])
    t.equal(a.isUp, true)
  })

  await test('a message of the largest size is carried, a larger one is refused with its code', async (t) => {
    const a = await open(t)
    const got: number[] = []
    const done = new Recorder<string>()
    a.subscribe(own('x'), (data) => { got.push(data!.length); done.add('got') })
    a.publish(own('x'), new Uint8Array(a.maxBytes))
    t.throws(() => a.publish(own('x'), new Uint8Array(a.maxBytes + 1)), { code: 'PIT_ERR_RPC_SIZE', message: new RegExp(String(a.maxBytes)) })
    await done.take(1)
    t.strictSame(got, [a.maxBytes])
  })

  await test('what was published before close is sent; closing twice does no harm', async (t) => {
    const [a, b] = [await open(t), await open(t)]
    const got = await listen(b, own('x'))
    const late: unknown[] = []
    a.subscribe(own('late'), () => late.push(1))
    a.publish(own('x'), bytes('last'))
    await Promise.all([a.close(), a.close()])
    t.strictSame(await got.take(1), [`last|${own('x')}|`])
    t.equal(a.isUp, false)
    t.equal(a.publish(own('x'), bytes('too late')), false)
    await t.rejects(a.flush(), { code: 'PIT_ERR_CLUSTER_DOWN' })
    b.publish(own('late'), bytes('x'))
    await b.flush()
    t.strictSame(late, [])
    await a.close()
  })

  await test('a lost connection is told of at once, nothing is sent or kept, and all subscriptions are back', async (t) => {
    const events = new Recorder<string>()
    const record = { onUp: () => events.add('up'), onDown: () => events.add('down') }
    const [a, b] = [await open(t, record), await open(t, { onUp: () => events.add('up') })]
    const [got, queue] = [await listen(b, own('x.*')), await listen(b, own('x.*'), { queue: 'q' })]
    const ended = b.subscribe(own('x.2'), () => { throw new Error('ended') })
    a.publish(own('x.1'), bytes('before'))
    await got.take(1)
    await bed.down()
    t.strictSame(await events.take(1), ['down'])
    t.equal(a.isUp, false)
    t.equal(a.publish(own('x.1'), bytes('while down')), false)
    await t.rejects(a.flush(), { code: 'PIT_ERR_CLUSTER_DOWN' })
    ended()
    const later = new Recorder<string>()
    b.subscribe(own('x.2'), (data) => later.add(text(data)!))
    await t.rejects(bed.create().open({ onUp () {}, onDown () {}, onFatal () {}, onSlow () {} }), { code: 'PIT_ERR_CLUSTER_START' })
    await bed.up()
    t.strictSame((await events.take(3)).sort(), ['down', 'up', 'up'])
    t.equal(a.isUp, true)
    // The subscriptions of one connection and what is published on another overtake each other.
    await deadline(b.flush(), 'the subscriptions to be back')
    a.publish(own('x.2'), bytes('after'))
    t.strictSame(await got.take(2), [`before|${own('x.1')}|`, `after|${own('x.2')}|`])
    await queue.take(2)
    t.strictSame(await later.take(1), ['after'])
  })

  await test('closing while the connection is lost takes no time', async (t) => {
    const downs = new Recorder<string>()
    const a = await open(t, { onDown: () => downs.add('down') })
    await bed.down()
    await downs.take(1)
    const late = new Lateness(t)
    const start = performance.now()
    await a.close()
    t.ok(performance.now() - start < 1000 + late.takeSumMs())
    await bed.up()
  })
}

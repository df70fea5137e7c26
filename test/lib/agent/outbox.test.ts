import t from 'tap'
import { type Connection, type Framing, noHandler } from '../../../lib/agent/connection.ts'
import { Outbox, OutboxPool, type OutboxLimits } from '../../../lib/agent/outbox.ts'
import { TimerWheel } from '../../../lib/timer-wheel.ts'
import { fuzzRuns, fuzzSeed, heapBytes, Random } from '../../helpers/fuzz.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const KIB = 1024

/** Buffers are freed in the background, a turn after their collection. */
async function settledHeap (): Promise<number> {
  heapBytes()
  await turn()
  return heapBytes()
}

/** A connection that only looks at what is written; `takes` is what `write` returns. */
class FakeConnection implements Connection {
  readonly transport = 'fake'
  readonly remoteAddress = ''
  framing: Framing | undefined = undefined
  readonly wholePackets = false
  readonly packetPerWrite: boolean
  pendingBytes = 0
  handler = noHandler
  readonly writes: Uint8Array[] = []
  takes: (bytes: Uint8Array) => boolean = () => true
  constructor (packetPerWrite = false) { this.packetPerWrite = packetPerWrite }
  get text (): string { return Buffer.concat(this.writes).toString() }
  write (bytes: Uint8Array): boolean { this.writes.push(bytes); return this.takes(bytes) }
  pause (): void {}
  resume (): void {}
  close (): void {}
  destroy (): void {}
}

function pool (limits: Partial<OutboxLimits> = {}) {
  let now = 0
  const wheel = new TimerWheel(25, () => now)
  const shared = new OutboxPool({ outboxBytes: 1024 * KIB, outboxTotalBytes: 256 * 1024 * KIB, drainMs: 1000, ...limits }, wheel)
  return {
    shared,
    wheel,
    pass (ms: number) { for (const end = now + ms; now < end;) { now += 25; wheel.advance() } },
    open (packetPerWrite = false) {
      const connection = new FakeConnection(packetPerWrite)
      const owner = { slow: 0, onSlow () { this.slow++ } }
      const outbox = new Outbox(shared, connection, owner)
      const write = (text: string) => {
        const at = outbox.reserve(Buffer.byteLength(text))
        outbox.chunk().write(text, at)
      }
      return { connection, owner, outbox, write, append: (text: string) => outbox.append(Buffer.from(text)) }
    }
  }
}

t.test('packets of one turn leave in one write, in order, at the end of the turn', async (t) => {
  const { open } = pool()
  const { connection, write, append, outbox } = open()
  write('a')
  append('b')
  write('c')
  write('d')
  append('e')
  t.equal(connection.writes.length, 0)
  t.equal(outbox.waitingBytes, 5)
  await turn()
  t.strictSame(connection.writes.map((bytes) => Buffer.from(bytes).toString()), ['abcde'])
  t.equal(outbox.waitingBytes, 0)
  t.equal(outbox.writtenBytes, 5)
  write('f')
  await turn()
  t.equal(connection.writes.length, 2)
})

t.test('a carrier that makes a message of every write gets one packet each', async (t) => {
  const { connection, write, append } = pool().open(true)
  write('aa')
  append('b')
  write('cc')
  write('d')
  await turn()
  t.strictSame(connection.writes.map((bytes) => Buffer.from(bytes).toString()), ['aa', 'b', 'cc', 'd'])
})

t.test('a shared packet that leaves alone is handed over as it is, not copied', async (t) => {
  const { connection, outbox } = pool().open()
  const packet = Buffer.from('shared')
  outbox.append(packet)
  await turn()
  t.equal(connection.writes[0], packet)
})

t.test('what is written stays as it was, however much is written afterwards', async (t) => {
  const { open } = pool()
  const one = open()
  const two = open()
  one.write('first')
  await turn()
  for (let i = 0; i < 100; i++) {
    two.write('x'.repeat(10 * KIB))
    one.write('y'.repeat(10 * KIB))
    await turn()
  }
  t.equal(Buffer.from(one.connection.writes[0]!).toString(), 'first')
  t.notMatch(one.connection.text, /x/)
})

t.test('outboxes of one turn interleave in the shared chunk, and each client gets its own bytes in order', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const { shared, open, pass, wheel } = pool()
  const clients = Array.from({ length: 6 }, (_, i) => open(i % 3 === 2))
  const expected = clients.map(() => '')
  for (const { connection } of clients) connection.takes = () => random.int(4) > 0
  const runs = Math.min(fuzzRuns(), 100_000)
  for (let i = 0; i < runs; i++) {
    const at = random.int(clients.length)
    const { write, append, outbox } = clients[at]!
    const text = `${i};`.padEnd(random.int(200) === 0 ? random.int(80 * KIB) : random.int(40), '.')
    expected[at] += text
    if (random.int(3) === 0) append(text)
    else write(text)
    if (random.int(10) === 0) await turn()
    if (random.int(4) === 0) outbox.drained()
  }
  await turn()
  for (const { outbox, connection } of clients) {
    connection.takes = () => true
    outbox.drained()
  }
  t.strictSame(clients.map(({ connection }, i) => connection.text === expected[i]), clients.map(() => true))
  t.strictSame(clients.map(({ owner }) => owner.slow), clients.map(() => 0))
  t.equal(shared.waitingBytes, 0)
  t.equal(wheel.size, 0)
  pass(0)
})

t.test('a blocked connection is written to when it drained, in slices, so that its draining is seen', async (t) => {
  const { shared, wheel, open } = pool()
  const { connection, outbox, write } = open()
  connection.takes = () => false
  write('x')
  await turn()
  t.equal(outbox.isBlocked, true)
  for (let i = 0; i < 100; i++) { write('y'.repeat(KIB)); await turn() }
  t.equal(connection.writes.length, 1)
  t.equal(shared.waitingBytes, 100 * KIB + 1, 'with what the network holds')
  outbox.drained()
  t.equal(connection.writes.length, 2)
  const slice = connection.writes[1]!.length
  t.ok(slice <= 32 * KIB && slice > 16 * KIB, `${slice}`)
  connection.takes = () => true
  outbox.drained()
  t.equal(outbox.waitingBytes, 0)
  t.equal(wheel.size, 0)
  t.equal(connection.text, `x${'y'.repeat(100 * KIB)}`)
})

t.test('a large packet is written in slices to a stream, and whole where it is framed', async (t) => {
  const { open, shared } = pool({ outboxTotalBytes: 200 * KIB })
  const stream = open()
  const framed = open()
  framed.connection.framing = { size: () => 0, write: () => {} }
  for (const { connection, write } of [stream, framed]) {
    connection.takes = () => false
    write('y'.repeat(90 * KIB))
  }
  await turn()
  t.strictSame([stream, framed].map(({ connection }) => connection.writes.map((bytes) => bytes.length)), [[32 * KIB], [90 * KIB]])
  t.equal(shared.waitingBytes, 180 * KIB)
  stream.connection.takes = () => true
  stream.outbox.drained()
  t.equal(stream.connection.text, 'y'.repeat(90 * KIB))
  stream.connection.takes = () => false
  stream.write('y'.repeat(20 * KIB))
  framed.write('y'.repeat(20 * KIB))
  await turn()
  stream.write('z'.repeat(80 * KIB))
  await turn()
  t.strictSame([stream, framed].map(({ owner }) => owner.slow), [0, 1], 'who is owed most, what the network holds included')
  framed.outbox.close()
  stream.outbox.close()
  t.equal(shared.waitingBytes, 0)
})

t.test('a client that takes some of a large write in time is given more time', async (t) => {
  const { open, pass } = pool({ drainMs: 1000 })
  const { connection, owner, write } = open()
  connection.takes = () => { connection.pendingBytes = 1000; return false }
  write('x'.repeat(1000))
  await turn()
  for (const left of [700, 400, 100]) {
    connection.pendingBytes = left
    pass(1050)
    t.equal(owner.slow, 0, `${left} left`)
  }
  pass(1050)
  t.equal(owner.slow, 1, 'and no more when it stands still')
})

t.test('draining when nothing is blocked does nothing', async (t) => {
  const { connection, outbox, write } = pool().open()
  outbox.drained()
  write('a')
  outbox.drained()
  t.equal(connection.writes.length, 0)
  await turn()
  t.equal(connection.writes.length, 1)
})

t.test('a client that does not drain in time is given up once; each drain begins its time anew', async (t) => {
  const { shared, open, pass, wheel } = pool({ drainMs: 1000 })
  const { connection, outbox, owner, write } = open()
  connection.takes = () => false
  write('x')
  await turn()
  write('y'.repeat(100 * KIB))
  await turn()
  pass(900)
  outbox.drained()
  pass(900)
  t.equal(owner.slow, 0)
  pass(200)
  t.equal(owner.slow, 1)
  t.equal(outbox.waitingBytes, 0)
  t.equal(shared.waitingBytes, 0)
  pass(5000)
  t.equal(owner.slow, 1)
  t.equal(wheel.size, 0)
})

t.test('more bytes than the bound give a blocked client up, and free them', async (t) => {
  const { shared, open } = pool({ outboxBytes: 10 * KIB })
  const { connection, owner, outbox, write } = open()
  connection.takes = () => false
  write('x')
  await turn()
  for (let i = 0; i < 10; i++) write('y'.repeat(KIB))
  await turn()
  t.equal(owner.slow, 0)
  write('z')
  await turn()
  t.equal(owner.slow, 1)
  t.equal(shared.waitingBytes, 0)
  t.equal(connection.writes.length, 1, 'nothing is written after that')
  outbox.drained()
  outbox.finish()
  t.equal(connection.writes.length, 1)
})

t.test('a burst beyond the bound is no reason while the network takes it', async (t) => {
  const { open } = pool({ outboxBytes: 10 * KIB })
  const { connection, owner, write } = open()
  for (let i = 0; i < 100; i++) write(String(i % 10).repeat(KIB))
  await turn()
  t.equal(owner.slow, 0)
  t.equal(connection.text.length, 100 * KIB)
})

t.test('over the process\'s bound the clients that are owed most are given up first', async (t) => {
  const { shared, open } = pool({ outboxTotalBytes: 100 * KIB })
  const clients = Array.from({ length: 5 }, () => open())
  for (const { connection, write } of clients) { connection.takes = () => false; write('x') }
  await turn()
  for (const [i, { append }] of clients.entries()) append('y'.repeat((i + 1) * 5 * KIB))
  await turn()
  t.strictSame(clients.map(({ owner }) => owner.slow), [0, 0, 0, 0, 0])
  clients[0]!.append('y'.repeat(30 * KIB))
  await turn()
  t.strictSame(clients.map(({ owner }) => owner.slow), [1, 0, 0, 0, 0])
  t.ok(shared.waitingBytes <= 100 * KIB)
  clients[1]!.append('y'.repeat(45 * KIB))
  await turn()
  t.strictSame(clients.map(({ owner }) => owner.slow), [1, 1, 0, 0, 0])
  t.equal(shared.waitingBytes, 60 * KIB + 3)
})

t.test('finish() writes everything, blocked or not, and nothing after it', async (t) => {
  const { shared, wheel, open } = pool()
  const { connection, outbox, write, append } = open()
  connection.takes = () => false
  write('a')
  await turn()
  append('b'.repeat(50 * KIB))
  write('c')
  append('d'.repeat(50 * KIB))
  outbox.finish()
  t.equal(connection.text, `a${'b'.repeat(50 * KIB)}c${'d'.repeat(50 * KIB)}`)
  t.equal(shared.waitingBytes, 0)
  t.equal(wheel.size, 0)
  await turn()
  outbox.drained()
  outbox.close()
  t.equal(connection.text.length, 2 + 100 * KIB)
})

t.test('a connection that closes while it is written to ends the outbox, and the count stays right', async (t) => {
  const { shared, open } = pool()
  for (const packetPerWrite of [false, true]) {
    const { connection, outbox, append } = open(packetPerWrite)
    connection.takes = () => { outbox.close(); return false }
    for (let i = 0; i < 10; i++) append('x'.repeat(20 * KIB))
    await turn()
    t.equal(connection.writes.length, 1)
    t.equal(outbox.waitingBytes, 0)
    t.equal(shared.waitingBytes, 0)
  }
})

t.test('tiny shared packets for many blocked clients cost what they weigh', async (t) => {
  const { open, shared } = pool()
  const clients = Array.from({ length: 100 }, () => open())
  for (const { connection, write } of clients) { connection.takes = () => false; write('x') }
  await turn()
  const packet = Buffer.from('0123456789')
  const base = await settledHeap()
  for (let i = 0; i < 10_000; i++) for (const { outbox } of clients) outbox.append(packet)
  t.equal(shared.waitingBytes, 10_000_100)
  const grown = await settledHeap() - base
  t.ok(grown < 12_000_000, `${grown} bytes for 10,000,000`)
  for (const { connection, outbox } of clients) { connection.takes = () => true; outbox.drained() }
  t.equal(clients.every(({ connection }) => connection.text === `x${'0123456789'.repeat(10_000)}`), true)
})

t.test('a client that does not read holds on to little more than its own bytes, however busy the others are', async (t) => {
  const { open, shared } = pool()
  const stalled = open()
  const busy = open()
  stalled.connection.takes = () => false
  stalled.write('x')
  await turn()
  const base = await settledHeap()
  for (let i = 0; i < 2000; i++) {
    stalled.write('one small packet')
    busy.write('y'.repeat(60 * KIB))
    await turn()
    busy.connection.writes.length = 0
  }
  t.equal(shared.waitingBytes, 2000 * 16 + 1)
  const grown = await settledHeap() - base
  t.ok(grown < 1024 * KIB, `${grown} bytes for 32,000`)
  stalled.connection.takes = () => true
  stalled.outbox.drained()
  t.equal(stalled.connection.text.length, 1 + 2000 * 16)
})

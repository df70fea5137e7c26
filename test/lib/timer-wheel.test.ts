import t from 'tap'
import { TimerWheel, type TimerEntry } from '../../lib/timer-wheel.ts'
import { fuzzRuns, fuzzSeed, Random } from '../helpers/fuzz.ts'
import { cpuMs } from '../helpers/lateness.ts'

class Entry implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  onTimer: () => void
  constructor (onTimer: () => void = () => {}) { this.onTimer = onTimer }
}

/** A wheel on a clock of its own; `pass` moves both. */
function wheelOnClock (tickMs = 25) {
  let now = 0
  const wheel = new TimerWheel(tickMs, () => now)
  t.teardown(() => wheel.stop())
  return { wheel, at: () => now, set: (ms: number) => { now = ms }, pass: (ms: number) => { now += ms; wheel.advance() } }
}

t.test('a deadline fires once, never early and at most two ticks late', async (t) => {
  const seed = fuzzSeed()
  const random = new Random(seed)
  t.comment(`SEED=${seed}`)
  const { wheel, at, pass } = wheelOnClock()
  const wrong: string[] = []
  let fired = 0
  let scheduled = 0
  const rounds = Math.min(fuzzRuns(), 200_000)
  wheel.schedule(new Entry(), 1e9)
  for (let i = 0; i < rounds; i++) {
    const ms = random.int(4) === 0 ? random.int(200_000) : random.int(300)
    const start = at()
    scheduled++
    wheel.schedule(new Entry(() => {
      fired++
      const late = at() - start - ms
      // The interval itself comes when the test passes time: at most 40 ms here.
      if (late < 0 || late > 2 * 25 + 40) wrong.push(`${ms} ms fired after ${at() - start}`)
    }), ms)
    pass(random.int(40))
  }
  for (let i = 0; i < 10_000; i++) pass(25)
  t.strictSame(wrong, [])
  t.equal(fired, scheduled)
  t.equal(wheel.size, 1)
})

t.test('a deadline set while several late ticks are made up for does not fire early', async (t) => {
  const { wheel, at, pass } = wheelOnClock()
  const fired: number[] = []
  wheel.schedule(new Entry(() => wheel.schedule(new Entry(() => fired.push(at())), 100)), 0)
  pass(900)
  t.strictSame(fired, [])
  for (let i = 0; i < 8; i++) pass(25)
  t.equal(fired.length, 1)
  t.ok(fired[0]! >= 1000 && fired[0]! <= 1050, `fired at ${fired[0]}`)
})

t.test('a deadline set late in a long turn counts from then', async (t) => {
  const { wheel, at, set, pass } = wheelOnClock()
  wheel.schedule(new Entry(), 10_000)
  let firedAt = 0
  set(500)
  wheel.schedule(new Entry(() => { firedAt = at() }), 100)
  wheel.advance()
  for (let i = 0; i < 10; i++) pass(25)
  t.ok(firedAt >= 600 && firedAt <= 650, `fired at ${firedAt}`)
})

t.test('a lag of more than a second counts as one tick, and is told', async (t) => {
  const { wheel, pass } = wheelOnClock()
  const lags: number[] = []
  wheel.onLag = (ms) => lags.push(ms)
  let fired = 0
  wheel.schedule(new Entry(() => fired++), 500)
  pass(70_000)
  t.equal(fired, 0)
  t.equal(wheel.now, 25)
  t.strictSame(lags, [69_975])
  for (let i = 0; i < 22; i++) pass(25)
  t.equal(fired, 1)
})

t.test('a lag of up to a second is made up for', async (t) => {
  const { wheel, pass } = wheelOnClock()
  wheel.onLag = () => t.fail('no lag')
  let fired = 0
  wheel.schedule(new Entry(() => fired++), 900)
  pass(1000)
  t.equal(fired, 1)
  t.equal(wheel.now, 1000)
})

t.test('an entry has one deadline: setting it again moves it', async (t) => {
  const { wheel, pass } = wheelOnClock()
  let fired = 0
  const entry = new Entry(() => fired++)
  wheel.schedule(entry, 50)
  wheel.schedule(entry, 500)
  t.equal(wheel.size, 1)
  for (let i = 0; i < 8; i++) pass(25)
  t.equal(fired, 0)
  for (let i = 0; i < 16; i++) pass(25)
  t.equal(fired, 1)
  t.equal(wheel.size, 0)
})

t.test('cancelling is harmless twice, and before any deadline', async (t) => {
  const { wheel, pass } = wheelOnClock()
  const entry = new Entry(() => t.fail('cancelled'))
  wheel.cancel(entry)
  wheel.schedule(entry, 10)
  wheel.cancel(entry)
  wheel.cancel(entry)
  t.equal(wheel.size, 0)
  pass(200)
})

t.test('a due entry may cancel others that are due in the same tick', async (t) => {
  const { wheel, pass } = wheelOnClock()
  const fired: string[] = []
  const names = ['a', 'b', 'c', 'd', 'e']
  const entries = names.map((name) => new Entry(() => {
    fired.push(name)
    for (const entry of entries) wheel.cancel(entry)
  }))
  for (const entry of entries) wheel.schedule(entry, 10)
  for (let i = 0; i < 4; i++) pass(25)
  t.equal(fired.length, 1)
  t.equal(wheel.size, 0)
})

t.test('a due entry may set itself and others again', async (t) => {
  const { wheel, pass, at } = wheelOnClock()
  const at2: number[] = []
  const other = new Entry(() => t.fail('moved on'))
  const entry = new Entry(() => {
    at2.push(at())
    wheel.schedule(other, 10_000)
    if (at2.length < 3) wheel.schedule(entry, 25)
  })
  wheel.schedule(entry, 25)
  wheel.schedule(other, 25)
  for (let i = 0; i < 20; i++) pass(25)
  t.equal(at2.length, 3)
  t.ok(at2[1]! - at2[0]! >= 25)
  t.equal(wheel.size, 1)
  wheel.cancel(other)
})

t.test('many entries in one slot, of this round and of later ones, fire in linear time', async (t) => {
  const { wheel, pass } = wheelOnClock()
  let fired = 0
  const round = 4096 * 25
  for (let i = 0; i < 50_000; i++) wheel.schedule(new Entry(() => fired++), 100)
  for (let i = 0; i < 50_000; i++) wheel.schedule(new Entry(() => fired++), 100 + round)
  const start = cpuMs()
  for (let i = 0; i < 8; i++) pass(25)
  t.equal(fired, 50_000)
  for (let i = 0; i < 4100; i++) pass(25)
  t.equal(fired, 100_000)
  t.ok(cpuMs() - start < 2000, `took ${cpuMs() - start} ms`)
  t.equal(wheel.size, 0)
})

t.test('an entry that throws stops none of the others for long', async (t) => {
  const { wheel, pass } = wheelOnClock()
  let fired = 0
  for (let i = 0; i < 3; i++) wheel.schedule(new Entry(() => { fired++; throw new Error('mine') }), 10)
  for (let i = 0; i < 5; i++) try { pass(25) } catch { /* as an interval's callback would */ }
  t.equal(fired, 3)
  t.equal(wheel.size, 0)
})

t.test('entries with the same deadline fire in the order they were set', async (t) => {
  const { wheel, pass } = wheelOnClock()
  const order: number[] = []
  for (let i = 0; i < 5; i++) wheel.schedule(new Entry(() => order.push(i)), 10)
  for (let i = 0; i < 4; i++) pass(25)
  t.strictSame(order, [0, 1, 2, 3, 4])
})

t.test('the interval runs only while there is a deadline, and keeps no process', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const wheel = new TimerWheel(1)
  t.equal(timers(), before)
  const keepsTheTest = setTimeout(() => {}, 10_000)
  await new Promise<void>((resolve) => wheel.schedule(new Entry(resolve), 1))
  await new Promise((resolve) => setImmediate(resolve))
  clearTimeout(keepsTheTest)
  t.equal(wheel.size, 0)
  t.equal(timers(), before)
})

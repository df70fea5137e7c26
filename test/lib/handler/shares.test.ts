/** Places of the dispatcher under random schedules, against a model: what may run runs, and everything is settled once. */
import t from 'tap'
import type { PitayaError } from '../../../lib/errors.ts'
import { JobState, type Job } from '../../../lib/handler/job.ts'
import { Share } from '../../../lib/handler/share.ts'
import type { Session } from '../../../lib/session/session.ts'
import type { TimerEntry } from '../../../lib/timer-wheel.ts'
import { createCore, turn, type Core, type FakeEntity } from '../../helpers/core.ts'
import { FUZZ_TIMEOUT_MS, fuzzRuns, fuzzSeed, Random } from '../../helpers/fuzz.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const DISPATCH = 8
const DEADLINE_MS = 500
const CONCURRENT = 3

type Way = 'sync' | 'async' | 'moves'
type World = ReturnType<typeof createWorld>
interface Options { target?: string, isConcurrent?: boolean, way?: Way, deadlineMs?: number, bytes?: number }

/** A call whose end the test decides. Its target stays the same while there is one. */
class FakeJob implements Job {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  next: Job | null = null
  state: JobState = JobState.waiting
  waitingSince = 0
  share: Share | null = null
  readonly start = 0
  readonly end: number
  readonly deadlineMs: number | undefined
  readonly of: Session
  readonly isRequest = true
  readonly isConcurrent: boolean
  readonly number: number
  readonly since: number
  /** Empty: here. */
  target: string
  readonly outcomes: string[] = []
  #world: World
  #way: Way

  constructor (world: World, session: Session, number: number, { target = '', isConcurrent = false, way = 'async', deadlineMs, bytes = 10 }: Options) {
    this.#world = world
    this.of = session
    this.number = number
    this.target = target
    this.isConcurrent = isConcurrent
    this.#way = way
    this.deadlineMs = deadlineMs
    this.end = bytes
    this.since = world.core.wheel.now
  }

  chooseShare (): Share | null {
    const { shares } = this.#world
    if (this.target !== '' && !shares.has(this.target)) this.target = [...shares.keys()][0] ?? 'none'
    this.share = shares.get(this.target) ?? null
    return this.share
  }

  run (): void {
    this.state = JobState.running
    this.#world.started.push(this)
    if (this.#way === 'sync' || this.target === 'none') this.finish('sync')
    else if (this.#way === 'moves') this.moveOn()
  }

  /** Nobody listens where it was sent to. */
  moveOn (): void {
    const { shares } = this.#world
    const others = [...shares.keys()].filter((name) => name !== this.target)
    if (this.target === '' || others.length === 0) return this.finish('failed')
    const from = this.share
    this.target = others[0]!
    this.chooseShare()
    this.#world.core.dispatcher.moved(this, from)
  }

  finish (outcome: string): void {
    this.state = JobState.done
    this.outcomes.push(outcome)
    this.#world.core.dispatcher.ended(this)
  }

  onTimer (): void {
    this.state = JobState.abandoned
    this.outcomes.push('late')
    this.#world.core.dispatcher.ended(this)
  }

  reject ({ code }: PitayaError): void {
    this.state = JobState.done
    this.outcomes.push(code)
    if (this.#world.core.wheel.now - this.since < DEADLINE_MS) this.#world.faults.push(`job ${this.number} was given up too early`)
  }

  forget (): void {
    this.state = JobState.done
    this.outcomes.push('closed')
  }

  detach (): void {}
  abort (): void {}
}

function createWorld (targets: string[], dispatch = DISPATCH) {
  const core: Core = createCore([], {
    dispatch, concurrentPerSession: CONCURRENT, waitingPerSession: 1e6, waitingBytes: 1e9, maxQueued: 1e6, handlerMs: DEADLINE_MS
  })
  const forwarded = new Share(Math.max(1, dispatch / 2))
  const addTarget = (name: string): void => { shares.set(name, new Share(Math.max(1, dispatch / 4), forwarded)) }
  const shares = new Map<string, Share>()
  for (const name of targets) addTarget(name)
  const jobs: FakeJob[] = []
  const started: FakeJob[] = []
  const faults: string[] = []
  const world = {
    core,
    dispatch,
    forwarded,
    shares,
    jobs,
    started,
    faults,
    submit (session: Session, options: Options = {}): FakeJob {
      const job = new FakeJob(world, session, jobs.length, options)
      jobs.push(job)
      core.dispatcher.submit(job)
      return job
    },
    addTarget,
    lose (name: string): void {
      const share = shares.get(name)!
      shares.delete(name)
      for (const job of jobs) if (job.state === JobState.running && job.share === share) job.finish('lost')
      core.dispatcher.dissolve(share)
    }
  }
  return world
}

const LONG = { target: 'dead', deadlineMs: 60_000 }

t.test('a call that is given up in the line for a share leaves it, and what follows is not held up', async (t) => {
  const { submit, core } = createWorld(['dead'])
  const { session } = core.connect()
  for (let i = 0; i < 2; i++) submit(core.connect().session, LONG)
  const first = submit(session, { target: 'dead' })
  await core.pass(600)
  t.strictSame(first.outcomes, ['PIT_ERR_BUSY'])
  const [second, third] = [submit(session), submit(session)]
  second.finish('ok')
  t.equal(third.state, JobState.running)
})

t.test('what stands behind a call that is given up has its own deadline, and its own server', async (t) => {
  const { submit, core } = createWorld(['dead', 'good'])
  for (let i = 0; i < 2; i++) submit(core.connect().session, LONG)
  const [one, two] = [core.connect().session, core.connect().session]
  const first = submit(one, { target: 'dead' })
  submit(two, { target: 'dead' })
  await core.pass(450)
  const second = submit(one, { target: 'dead' })
  const third = submit(two, { target: 'good' })
  await core.pass(250)
  t.strictSame(first.outcomes, ['PIT_ERR_BUSY'])
  t.strictSame(second.outcomes, [], 'it waits for less than its deadline')
  t.equal(third.state, JobState.running)
  await core.pass(400)
  t.strictSame(second.outcomes, ['PIT_ERR_BUSY'])
})

t.test('a session\'s ordered calls do not wait for a concurrent one that waits for a share, nor the other way round', async (t) => {
  for (const isConcurrent of [true, false]) {
    const { submit, core } = createWorld(['dead'])
    for (let i = 0; i < 2; i++) submit(core.connect().session, LONG)
    const { session } = core.connect()
    submit(session, { target: 'dead', isConcurrent })
    const calls = Array.from({ length: 5 }, () => submit(session, { isConcurrent: !isConcurrent }))
    for (const call of calls) {
      t.equal(call.state, JobState.running)
      call.finish('ok')
    }
  }
})

t.test('a session hears that it is idle when its last call runs in another\'s turn, or is given up', async (t) => {
  const { submit, core } = createWorld(['dead'], 4)
  const told: string[] = []
  const held = submit(core.connect().session, LONG)
  const others = Array.from({ length: 3 }, () => submit(core.connect().session))
  const [inTurn, givenUp] = [core.connect().session, core.connect().session]
  submit(inTurn, { way: 'sync' })
  submit(givenUp, { target: 'dead' })
  core.dispatcher.whenIdle(inTurn, () => told.push('in turn'))
  core.dispatcher.whenIdle(givenUp, () => told.push('given up'))
  others[0]!.finish('ok')
  t.strictSame(told, ['in turn'])
  await core.pass(600)
  t.strictSame(told, ['in turn', 'given up'])
  t.equal(held.state, JobState.running)
})

t.test('more than the copy of a session may have waiting is answered', async (t) => {
  const { submit, core } = createWorld([], 1)
  const { session, client } = core.connect()
  client.close = () => {}
  submit(core.connect().session)
  const call = submit(session, { bytes: 2e9 })
  t.strictSame(call.outcomes, ['PIT_ERR_BUSY'])
  t.equal(core.dispatcher.waiting, 0)
})

t.test('what moves to another server gives its place to those that wait for it', async (t) => {
  const { submit, core } = createWorld(['a', 'b'])
  const held = [submit(core.connect().session, { target: 'a' }), submit(core.connect().session, { target: 'a' })]
  const waiting = submit(core.connect().session, { target: 'a' })
  t.equal(waiting.state, JobState.waiting)
  held[0]!.moveOn()
  t.equal(waiting.state, JobState.running)
})

t.test('random schedules: what may run runs, in order, within every limit; at the end nothing is left', async (t) => {
  const seed = fuzzSeed()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const steps = 400
  const rounds = Math.max(5, Math.ceil(fuzzRuns(10) / steps))
  for (let round = 0; round < rounds; round++) {
    t.equal(await schedule(random, steps), undefined, `round ${round}`)
  }
  t.comment(`${rounds} schedules of ${steps} steps`)
})

/** @returns what went wrong */
async function schedule (random: Random, steps: number): Promise<string | undefined> {
  const names = ['a', 'b', 'c']
  const world = createWorld(names, random.pick([1, 4, 8, 12]))
  const { core, shares, jobs, faults } = world
  const { dispatcher } = core
  const clients: Array<{ session: Session, client: FakeEntity }> = Array.from({ length: 12 }, () => core.connect())
  const finishing = new Map<Session, number>()
  const ways: Way[] = ['sync', 'async', 'async', 'async', 'moves']
  const running = (): FakeJob[] => jobs.filter(({ state }) => state === JobState.running)
  let hasMoved = false
  for (let step = 0; step < steps; step++) {
    const at = random.int(clients.length)
    const { session, client } = clients[at]!
    switch (random.int(16)) {
      case 0: core.skip(random.int(200)); break
      case 1: await turn(); break
      case 2: client.close('normal'); clients[at] = core.connect(); break
      case 3: {
        const name = random.pick(names)
        if (shares.has(name)) world.lose(name)
        else world.addTarget(name)
        break
      }
      case 4: {
        const job = random.pick(running().length > 0 ? running() : [undefined])
        if (job !== undefined) job.moveOn()
        hasMoved = true
        break
      }
      case 5: {
        if (finishing.has(session)) break
        finishing.set(session, 0)
        dispatcher.whenIdle(session, () => {
          finishing.set(session, finishing.get(session)! + 1)
          if (jobs.some(({ of, state }) => of === session && (state === JobState.running || state === JobState.waiting))) faults.push('told idle too early')
        })
        clients[at] = core.connect()
        break
      }
      case 6: case 7: case 8: case 9: random.pick(running().length > 0 ? running() : [undefined])?.finish('ok'); break
      default: {
        const way = random.pick(ways)
        if (way === 'moves') hasMoved = true
        world.submit(session, { target: random.pick(['', ...names]), isConcurrent: random.int(3) === 0, way })
      }
    }
    const fault = faults[0] ?? check(world, hasMoved)
    if (fault !== undefined) return `step ${step}: ${fault}`
  }
  while (dispatcher.running > 0 || dispatcher.waiting > 0) {
    const before = dispatcher.running + dispatcher.waiting
    for (const job of running()) job.finish('ok')
    await core.pass(DEADLINE_MS + 100)
    if (dispatcher.running + dispatcher.waiting >= before) return `${dispatcher.running} run and ${dispatcher.waiting} wait for ever`
  }
  await dispatcher.idle()
  const { forwarded } = world
  for (const share of [forwarded, ...shares.values()]) {
    if (share.running !== 0 || share.waiting !== 0) return `a share is left with ${share.running} that run and ${share.waiting} that wait`
  }
  for (const { outcomes, number } of jobs) if (outcomes.length !== 1) return `job ${number} ended ${outcomes.length} times: ${outcomes.join()}`
  for (const [session, times] of finishing) if (times > 1 || (times === 0 && !session.isClosed)) return `a session heard ${times} times that it is idle`
  await turn()
  return core.wheel.size === 0 ? undefined : `${core.wheel.size} deadlines are left`
}

function check ({ core: { dispatcher }, dispatch, jobs, started, shares, forwarded }: World, hasMoved: boolean): string | undefined {
  const live = jobs.filter(({ state }) => state === JobState.running)
  const waiting = jobs.filter(({ state }) => state === JobState.waiting)
  if (dispatcher.running !== live.length) return `${live.length} run, ${dispatcher.running} are counted`
  if (dispatcher.waiting !== waiting.length) return `${waiting.length} wait, ${dispatcher.waiting} are counted`
  for (const share of shares.values()) {
    if (share.running !== live.filter((job) => job.share === share).length) return 'a share has lost count'
    if (share.running > share.limit && !hasMoved) return 'a share is over its limit'
  }
  if (forwarded.running !== live.filter(({ share }) => share !== null).length) return 'the share of all forwarded calls has lost count'
  if (forwarded.running > forwarded.limit) return 'too many are forwarded'
  const last = new Map<string, number>()
  for (const { of, isConcurrent, number } of started) {
    const line = `${of.id} ${isConcurrent}`
    if ((last.get(line) ?? -1) >= number) return `job ${number} was overtaken`
    last.set(line, number)
  }
  const heads = new Set<string>()
  for (const job of waiting) {
    const line = `${job.of.id} ${job.isConcurrent}`
    const own = live.filter(({ of, isConcurrent }) => of === job.of && isConcurrent === job.isConcurrent).length
    if (heads.has(line) || own >= (job.isConcurrent ? CONCURRENT : 1)) continue
    heads.add(line)
    const share = job.target === '' ? undefined : shares.get(job.target) ?? shares.values().next().value
    const isFull = share !== undefined && (share.running >= share.limit || forwarded.running >= forwarded.limit)
    if (dispatcher.running < dispatch && !isFull) return `job ${job.number} waits, but may run`
  }
  return undefined
}

import t from 'tap'
import { Upkeep } from '../../../lib/cluster/upkeep.ts'
import { createError } from '../../../lib/errors.ts'
import { turn } from '../../helpers/core.ts'
import { lineLog } from '../../helpers/discovery.ts'
import { eventually } from '../../helpers/frontends.ts'

t.test('work is done for every item, 64 at once, and an item that comes meanwhile is done too', async (t) => {
  const done: number[] = []
  let running = 0
  let peak = 0
  const upkeep = new Upkeep<number>(async (item) => {
    peak = Math.max(peak, ++running)
    await turn()
    running--
    done.push(item)
    if (item === 0) upkeep.add(1000)
  }, lineLog().log)
  upkeep.addAll(Array.from({ length: 500 }, (_, i) => i))
  await upkeep.idle()
  t.equal(peak, 64)
  t.equal(new Set(done).size, 501)
  t.equal(done.length, 501)
})

t.test('what fails is done again later; only what nobody expected is told', async (t) => {
  const { log, lines } = lineLog()
  const failures: Error[] = [createError('PIT_ERR_STORE'), new Error('mine')]
  let tries = 0
  const upkeep = new Upkeep<string>(async () => {
    tries++
    const failure = failures.pop()
    if (failure !== undefined) throw failure
  }, log)
  t.equal(upkeep.add('a'), true)
  await upkeep.idle()
  t.strictSame([tries, upkeep.has('a')], [1, true])
  upkeep.add('b')
  await upkeep.idle()
  t.equal(tries, 1, 'while it fails nothing is tried')
  upkeep.addAll(['c'])
  await upkeep.idle()
  await eventually(() => !upkeep.has('a') && !upkeep.has('b') && !upkeep.has('c'), 'all to be done')
  t.equal(tries, 5)
  t.strictSame(lines, ['keeping the store up to date failed'])
})

t.test('what waits is bounded, and given up on close', async (t) => {
  let tries = 0
  const upkeep = new Upkeep<number>(async () => { tries++; throw createError('PIT_ERR_STORE') }, lineLog().log)
  upkeep.add(-1)
  await upkeep.idle()
  let refused = 0
  for (let i = 0; i < 100_010; i++) if (!upkeep.add(i)) refused++
  t.equal(refused, 11)
  upkeep.close()
  t.strictSame([upkeep.has(1), upkeep.add(1)], [false, false])
  await upkeep.idle()
  t.equal(tries, 1)
})

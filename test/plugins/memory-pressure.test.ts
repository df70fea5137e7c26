import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Child } from '../helpers/child.ts'

/** A step is seconds of computing. */
const STEP_MS = 60_000
const PROGRAM = fileURLToPath(new URL('memory-pressure.program.js', import.meta.url))

t.test('256 MB of heap and 5,000 clients that do not read: alive, below 90 %, new clients refused while full, then as before', async (t) => {
  // With small semi-spaces the limit that Node tells is close to that of the old space, where a process dies.
  const child = new Child(t, ['--max-old-space-size=256', '--max-semi-space-size=2', '--expose-gc', '--enable-source-maps', PROGRAM])
  const step = async (name: string) => JSON.parse(await child.line((line) => line.includes(`"step":"${name}"`), name, STEP_MS)) as Record<string, any>
  t.match(await step('shed'), { pong: 'pong' }, 'those who are owed most are given up, the rest is served')
  t.match(await step('drained'), { connections: 1, sessions: 1, pong: 'pong' }, 'at the drain deadline all of them are gone')
  const { worst, pong } = await step('tiny')
  t.ok(worst < 90, `${worst} % at the most`)
  t.equal(pong, 'pong')
  t.match(await step('full'), { code: 'PIT-503', message: 'server is full', pong: 'pong' })
  const { ms } = await step('recovered')
  t.ok(ms < 10_000, `after ${ms} ms`)
  t.equal(await child.exited(), 0)
})

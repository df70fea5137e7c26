import t from 'tap'
import { TokenBucket } from '../../lib/token-bucket.ts'

const takeAll = (bucket: TokenBucket, now: number): number => {
  let taken = 0
  while (bucket.take(now)) taken++
  return taken
}

t.test('a bucket gives its burst at once, then nothing', async (t) => {
  const bucket = new TokenBucket(10, 25, 1000)
  t.equal(takeAll(bucket, 1000), 25)
  t.equal(bucket.take(1000), false)
})

t.test('it refills at its rate and never beyond its burst', async (t) => {
  const bucket = new TokenBucket(10, 25, 0)
  takeAll(bucket, 0)
  t.equal(bucket.take(99), false)
  t.equal(takeAll(bucket, 1000), 10)
  t.equal(takeAll(bucket, 1_000_000), 25)
})

t.test('in the long run it gives its rate, whatever the steps of time', async (t) => {
  const bucket = new TokenBucket(200, 400, 0)
  takeAll(bucket, 0)
  let taken = 0
  for (let now = 7; now <= 70_000; now += 7) taken += takeAll(bucket, now)
  t.ok(Math.abs(taken - 14_000) <= 1, `${taken}`)
})

t.test('a rate below one a second gives one after its time', async (t) => {
  const bucket = new TokenBucket(0.5, 1, 0)
  t.equal(bucket.take(0), true)
  t.equal(bucket.take(1999), false)
  t.equal(bucket.take(2000), true)
})

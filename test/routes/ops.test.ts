import t from 'tap'
import { build, workingClient } from '../helpers/app.ts'

t.test('healthz answers without credentials, and goes on doing so while the server drains', async (t) => {
  const app = await build(t, { ops: true })
  const client = await workingClient(app)
  const ask = async () => { const { statusCode, body } = await app.inject('/healthz'); return [statusCode, body] }
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
  const drained = app.pitaya.drain({ timeoutMs: 1000 })
  t.equal(app.pitaya.isDraining, true)
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
  await drained
  t.equal((await client.closed()).code, 4001)
  t.strictSame(await ask(), [200, '{"status":"ok"}'])
})

t.test('healthz takes a prefix, and is not there unless asked for', async (t) => {
  const app = await build(t, { ops: { prefix: '/internal' } })
  t.equal((await app.inject('/internal/healthz')).statusCode, 200)
  t.equal((await app.inject('/healthz')).statusCode, 404)
  t.equal((await (await build(t)).inject('/healthz')).statusCode, 404)
})

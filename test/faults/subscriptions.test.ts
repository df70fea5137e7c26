import { Type } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers } from '../../lib/handler/define.ts'
import { rawClient } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { type NatsServer, natsTest, startNats } from '../helpers/nats.ts'

const USERS = 10_000
const AT_ONCE = 250
const LEASE_MS = 10_000
/** A list is read by a subscription of its own, for as long as it takes. */
const FEW = 5

t.test('ten thousand bound users add no subscription to nats-server', natsTest, async (t) => {
  const nats = await startNats(t, { config: 'http: "127.0.0.1:-1"' })
  const { frontend, backend } = clusterOf(t, { nats: { servers: nats.url }, leaseMs: LEASE_MS })
  const login = ({ user }: { user: unknown }): { uid: string } => ({ uid: (user as { uid: string }).uid })
  const room = defineHandlers('room', { pushes: { onText: Type.String() } }, {})
  const options = { handshake: { validators: { login } }, handlers: [room], limits: { connectionsPerSecond: 1e6 } }
  const frontends = [await frontend(options), await frontend(options)]
  const chat = await backend({ handlers: [room] })
  const before = await subscriptions(nats)

  const start = performance.now()
  for (let first = 0; first < USERS; first += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => rawClient(frontends[at % 2]!).greet({ user: { uid: `ana-${first + at}` } })))
  }
  const boundMs = performance.now() - start
  const sessions = frontends.reduce((sum, app) => sum + app.pitaya.stats.sessions, 0)
  const { delivered } = await chat.pitaya.push(['ana-0', `ana-${USERS - 1}`], 'onText', 'hi', { confirm: true })
  const after = await subscriptions(nats)
  t.comment(`${USERS} binds over two frontends in ${(boundMs / 1000).toFixed(1)} s; subscriptions ${before} before, ${after} after`)
  t.equal(sessions, USERS, 'all are here')
  t.equal(delivered.length, 2, 'and can be reached from another server')
  t.ok(after - before < FEW, 'with the subscriptions that the servers had before')
})

/** Of all clients of a nats-server, by its monitoring port. */
async function subscriptions (nats: NatsServer): Promise<number> {
  const line = nats.log.findLast((line) => line.includes('Starting http monitor'))!
  const response = await fetch(`http://${/127\.0\.0\.1:\d+/.exec(line)![0]}/connz?subs=1`)
  const { connections } = await response.json() as { connections: Array<{ subscriptions: number }> }
  return connections.reduce((sum, { subscriptions }) => sum + subscriptions, 0)
}

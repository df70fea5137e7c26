import t from 'tap'
import { natsTest } from '../helpers/nats.ts'
import { Fleet, HANDLER_MS, times } from './fleet.ts'
import { connectPlayers, Load, sleep, spread, tally } from './players.ts'

const PER_SECOND = 500
const PLAYERS = 40
/** A deadline may be late by so much. */
const LATE_MS = 100
/** nats-server sees that a process died within this; what was sent to it until then counts as in flight. */
const NOTICE_MS = 100
const HEALTHY_MS = 1000

t.test('a backend that is killed takes only the calls in hand with it', natsTest, async (t) => {
  const fleet = await Fleet.start(t)
  const { ledger } = fleet
  const frontends = await Promise.all([fleet.frontend(), fleet.frontend()])
  let backends = await Promise.all([fleet.backend(), fleet.backend(), fleet.backend()])
  await fleet.met([...frontends, ...backends])
  const players = await connectPlayers(t, ledger, frontends.map(({ tcpPort }) => tcpPort), PLAYERS)
  await fleet.lateMs(frontends)
  // A fifth of them takes its time, so that there is something in hand at any moment.
  const load = new Load(ledger, PER_SECOND, (n) => {
    const player = players[n % PLAYERS]!
    if (n % 5 === 0) player.request('chat.fault.slow', { ms: 50 })
    else player.request('chat.fault.echo')
  })
  await sleep(1000)

  let inFlight = 0
  const kills: number[] = []
  for (let kill = 0; kill < times(5); kill++) {
    const [victim, ...rest] = backends
    await victim!.kill()
    const at = performance.now()
    kills.push(at)
    await sleep(NOTICE_MS)
    inFlight += ledger.entries.filter(({ sentAt, answeredAt }) => sentAt < at + NOTICE_MS && (answeredAt === 0 || answeredAt > at)).length
    backends = [...rest, await fleet.backend()]
    await fleet.met([...frontends, ...backends])
  }
  await load.stop()

  const lateMs = await fleet.lateMs(frontends)
  const { entries, failed } = ledger
  const answeredMs = entries.map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  const isHealthy = (sentAt: number): boolean => !kills.some((at) => sentAt >= at - HANDLER_MS && sentAt < at + HEALTHY_MS + lateMs)
  t.comment(`${kills.length} kills, ${entries.length} requests, ${spread(answeredMs)}, in flight at kills ${inFlight}, failed: ${tally(failed.map(({ outcome }) => outcome))}; machine late by ${lateMs.toFixed(0)} ms`)
  t.ok(Math.max(...answeredMs) <= HANDLER_MS + LATE_MS + lateMs, 'all are answered by their deadline')
  t.strictSame(failed.filter(({ outcome }) => outcome !== 'PIT-503' && outcome !== 'PIT-504'), [], 'with the codes of a lost server')
  t.strictSame(ledger.twice, [], 'none is executed twice')
  t.strictSame(ledger.invented, [], 'every success was executed')
  t.ok(failed.length <= inFlight * 1.5, `no more fail than were in flight: ${failed.length} of ${inFlight}`)
  t.strictSame(failed.filter(({ sentAt }) => isHealthy(sentAt)), [], 'all that is sent a second later succeeds')
  for (const server of [...frontends, ...backends]) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

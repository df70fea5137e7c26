import t from 'tap'
import { natsTest } from '../helpers/nats.ts'
import { eventually, Fleet, HANDLER_MS, TERM_MS, within } from './fleet.ts'
import { connectPlayers, Load, sleep, spread, tally } from './players.ts'

/** Sessions that call the server that stands still: twice as many as one server may hold of the frontend's places. */
const STUCK = 500
const OTHERS = 20
const PER_SECOND = 200
const OTHERS_MS = 100
const LATE_MS = 100
/** They are answered long before; a test that hangs would not say what. */
const ANSWERS_MS = 60_000

t.test('a backend that stands still holds up nobody but its callers, and is back when it goes on', natsTest, async (t) => {
  const fleet = await Fleet.start(t)
  const { ledger } = fleet
  const servers = await Promise.all([fleet.frontend(), fleet.backend('chat', 'still'), fleet.backend('game')])
  const [frontend, still, game] = servers
  await fleet.met(servers)
  const ports = [frontend.tcpPort]
  const callers = await connectPlayers(t, ledger, ports, STUCK)
  const others = await connectPlayers(t, ledger, ports, OTHERS)

  await fleet.lateMs(servers)
  still.signal('SIGSTOP')
  t.teardown(() => still.signal('SIGCONT'))
  const from = performance.now()
  const calls = callers.map((player) => player.request('chat.fault.echo'))
  const other = new Load(ledger, PER_SECOND, (n) => {
    others[n % OTHERS]!.request(n % 2 === 0 ? 'local.ping' : 'game.fault.echo')
  })
  const called = (await within(ANSWERS_MS, Promise.all(calls), 'all calls to be answered')).map(({ entry }) => entry)
  await eventually(async () => !(await frontend.call('stats')).servers.includes('still'), 'the frontend to drop it')
  const droppedMs = performance.now() - from
  await sleep(Math.max(0, HANDLER_MS - droppedMs))
  const until = performance.now()
  const lateMs = await fleet.lateMs([frontend, game])
  still.signal('SIGCONT')
  await fleet.met(servers)
  const backMs = performance.now() - until
  await callers[0]!.ask('chat.fault.echo')
  await other.stop()

  const quick = ledger.entries.filter(({ route }) => route === 'local.ping' || route === 'game.fault.echo')
  const quickMs = quick.filter(({ sentAt }) => sentAt < until).map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  const calledMs = called.map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  t.comment(`${STUCK} calls ended after ${spread(calledMs)}: ${tally(called.map(({ outcome }) => outcome))}; ${quickMs.length} others meanwhile ` +
    `in ${spread(quickMs)}; dropped after ${droppedMs.toFixed(0)} ms, back ${backMs.toFixed(0)} ms after SIGCONT; machine late by ${lateMs.toFixed(0)} ms`)
  t.strictSame(called.filter(({ outcome }) => outcome !== 'PIT-503' && outcome !== 'PIT-504'), [], 'its callers are told')
  t.ok(Math.max(...calledMs) <= HANDLER_MS + LATE_MS + lateMs, 'by their deadline')
  t.strictSame(quick.filter(({ outcome }) => outcome !== ''), [], 'nobody else notices')
  t.ok(Math.max(...quickMs) < OTHERS_MS + lateMs, `local routes and another server's answer in ${OTHERS_MS} ms`)
  t.ok(droppedMs <= TERM_MS + 1000 + lateMs, 'the others drop it soon after its lease')
  t.strictSame([ledger.twice, ledger.invented], [[], []], 'what it finds in its queue later is executed once')
  for (const server of servers) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

import t from 'tap'
import { closes } from '../../lib/errors.ts'
import { natsTest } from '../helpers/nats.ts'
import { eventually, Fleet, times } from './fleet.ts'
import type { Entry } from './ledger.ts'
import { connectPlayers, Load, sleep, spread, tally } from './players.ts'

const PER_SECOND = 500
const PLAYERS = 40
const BOUND = 20
/** From the death of nats-server to the answer of what was in flight, and from a new call to its refusal. */
const FAIL_MS = 100
const BACK_MS = 2000
const GROWN_BYTES = 20 * 1024 * 1024
const STOP_MS = 8000
const DOWN_MS = [1000, 500, 3000]

t.test('nats-server restarts: calls fail at once, local routes and clients go on, and all is back soon', natsTest, async (t) => {
  const fleet = await Fleet.start(t)
  const { ledger, nats } = fleet
  const servers = await Promise.all([fleet.frontend(), fleet.frontend(), fleet.backend(), fleet.backend()])
  const [one, two, backend] = servers
  await fleet.met(servers)
  const players = await connectPlayers(t, ledger, [one.tcpPort, two.tcpPort], PLAYERS)
  const closes: number[] = []
  for (const player of players) player.onClose = () => { closes.push(player.closeCode) }
  const bound = players.slice(0, BOUND)
  const uids = bound.map((_, at) => `ana-${at}`)
  await Promise.all(bound.map((player, at) => player.ask('chat.fault.join', { uid: uids[at]! })))
  const rss = async (): Promise<number> => Math.max(...await Promise.all(servers.slice(0, 2).map(async (server) => (await server.call('stats')).rss)))

  await fleet.lateMs(servers)
  const load = new Load(ledger, PER_SECOND, (n) => {
    const player = players[n % PLAYERS]!
    if (n % 5 === 0) player.request('local.ping')
    else if (n % 5 === 1) player.request('chat.fault.slow', { ms: 50 })
    else player.request('chat.fault.echo')
  })
  await sleep(1000)

  const outages: Array<{ from: number, until: number, backAt: number, grown: number }> = []
  for (let round = 0; round < times(3); round++) {
    const before = await rss()
    const from = performance.now()
    await nats.kill()
    await sleep(DOWN_MS[round]!)
    const grown = await rss() - before
    await nats.start()
    const until = performance.now()
    const isBack = async (): Promise<boolean> => (await players[round]!.request('chat.fault.echo')).entry.outcome === ''
    await eventually(isBack, 'service to be back')
    await fleet.met(servers)
    outages.push({ from, until, backAt: until + BACK_MS, grown })
    await sleep(BACK_MS)
    const outcome = await two.call('push', uids, `after ${round}`)
    t.strictSame([outcome.delivered.length, outcome.notConnected, outcome.unknown], [BOUND, [], []], 'uids that were bound before are found by others')
    t.strictSame((await backend.call('members', 'lobby')).sort(), [...uids].sort(), 'and are in their group')
    await players[BOUND + round]!.ask('chat.fault.bind', { uid: `new-${round}` })
  }
  await load.stop()
  const lateMs = await fleet.lateMs(servers)

  const isRemote = ({ route }: Entry): boolean => route.startsWith('chat')
  const calls = ledger.entries.filter(isRemote)
  const inFlight = calls.filter((entry) => outages.some(({ from }) => entry.sentAt <= from && entry.answeredAt > from))
  // Where the connection was lost, the servers know it within the same time as those in flight are told.
  const during = calls.filter((entry) => outages.some(({ from, until }) => entry.sentAt > from && entry.sentAt < until))
  const noticeMs = FAIL_MS + lateMs
  const known = during.filter(({ sentAt }) => outages.some(({ from, until }) => sentAt > from + noticeMs && sentAt < until - noticeMs))
  const outside = calls.filter((entry) => !outages.some(({ from, backAt }) => entry.answeredAt > from && entry.sentAt < backAt + lateMs))
  const pings = ledger.entries.filter((entry) => !isRemote(entry))
  const inFlightMs = inFlight.map(({ answeredAt }) => answeredAt - outages.findLast(({ from }) => from < answeredAt)!.from)
  const pingMs = pings.map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  const duringMs = during.map(({ sentAt, answeredAt }) => answeredAt - sentAt)
  const backMs = outages.map(({ until }) => calls.find(({ sentAt, outcome }) => sentAt > until && outcome === '')!.answeredAt - until)
  t.comment(`${outages.length} restarts, ${ledger.entries.length} requests; in flight ${inFlight.length} ended after ${spread(inFlightMs)}; ` +
    `while down ${during.length} answered in ${spread(duringMs)}; local ${spread(pingMs)}; back after ${spread(backMs)}; ` +
    `grown by ${outages.map(({ grown }) => (grown / 1024 / 1024).toFixed(1)).join(', ')} MiB; failed: ${tally(ledger.failed.map(({ outcome }) => outcome))}; machine late by ${lateMs.toFixed(0)} ms`)
  t.ok(Math.max(...inFlightMs) <= FAIL_MS + lateMs, 'what is in flight fails at once')
  t.ok(Math.max(...duringMs) <= FAIL_MS + lateMs, 'what is sent while it is down is answered at once')
  t.strictSame(known.filter(({ outcome }) => outcome !== 'PIT-503'), [], 'by PIT-503')
  t.ok(Math.max(...pingMs) <= FAIL_MS + lateMs, 'local routes notice nothing')
  t.strictSame(pings.filter(({ outcome }) => outcome !== ''), [], 'none of them fails')
  t.strictSame(closes, [], 'no client is dropped')
  t.strictSame(outside.filter(({ outcome }) => outcome !== ''), [], 'two seconds after nats-server is back all succeeds')
  t.strictSame([ledger.twice, ledger.invented], [[], []], 'none is executed twice, every success was executed')
  t.ok(Math.max(...outages.map(({ grown }) => grown)) <= GROWN_BYTES, 'nothing piles up meanwhile')
  for (const server of servers) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0, isReady: true }, `${server.id} has nothing left in hand`)
})

t.test('servers stop in order while nats-server is down', natsTest, async (t) => {
  const fleet = await Fleet.start(t)
  const { ledger, nats } = fleet
  const servers = await Promise.all([fleet.frontend(), fleet.backend()])
  const [frontend] = servers
  await fleet.met(servers)
  const players = await connectPlayers(t, ledger, [frontend.tcpPort], BOUND)
  await Promise.all(players.map((player, at) => player.ask('chat.fault.join', { uid: `ana-${at}` })))
  await nats.kill()
  await eventually(async () => !(await frontend.call('stats')).isReady, 'the frontend to notice')
  const from = performance.now()
  for (const server of servers) server.signal('SIGTERM')
  const codes = await Promise.all(servers.map((server) => server.exited()))
  t.comment(`both exited after ${(performance.now() - from).toFixed(0)} ms`)
  t.strictSame(codes, [0, 0], 'with 0')
  t.ok(performance.now() - from < STOP_MS, 'without waiting for what does not come')
  t.strictSame(players.map(({ closeCode }) => closeCode), players.map(() => closes.shutdown.code), 'clients are told to come back')
})

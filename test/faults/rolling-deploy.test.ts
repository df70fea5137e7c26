import t from 'tap'
import { closes } from '../../lib/errors.ts'
import { natsTest } from '../helpers/nats.ts'
import { Fleet, QUIET_LEASE_MS, type ServerProcess } from './fleet.ts'
import { connectPlayers, Load, type Player, sleep, spread, tally } from './players.ts'

const PER_SECOND = 500
const PLAYERS = 100
const EXIT_MS = 30_000
/** Between two tries of a client to connect. */
const AGAIN_MS = 50

t.test('a rolling deploy: every server is replaced under load, and no client notices more than a reconnection', natsTest, async (t) => {
  const fleet = await Fleet.start(t, { leaseMs: QUIET_LEASE_MS })
  const { ledger } = fleet
  const frontends = await Promise.all([fleet.frontend(), fleet.frontend()])
  const backends = await Promise.all([fleet.backend(), fleet.backend(), fleet.backend()])
  const all = (): ServerProcess[] => [...frontends, ...backends]
  await fleet.met(all())

  /** As a load balancer knows them: those that are being stopped get no new clients. */
  let ports = frontends.map(({ tcpPort }) => tcpPort)
  const players = await connectPlayers(t, ledger, ports, PLAYERS)
  const closeCodes: number[] = []
  const offlineMs: number[] = []
  const comeBack = async (player: Player, at: number, since = performance.now()): Promise<void> => {
    try {
      await player.connect(ports[at % ports.length]!)
      offlineMs.push(performance.now() - since)
    } catch {
      await sleep(AGAIN_MS)
      await comeBack(player, at + 1, since)
    }
  }
  for (const [at, player] of players.entries()) {
    player.resent = 0
    player.onClose = () => {
      closeCodes.push(player.closeCode)
      if (player.closeCode === closes.shutdown.code) comeBack(player, at)
    }
  }

  let next = 0
  const load = new Load(ledger, PER_SECOND, (n) => {
    for (let tries = 0; tries < PLAYERS && !players[next % PLAYERS]!.isOpen; tries++) next++
    const player = players[next++ % PLAYERS]!
    // For a moment all of them may be on their way from one frontend to the other.
    if (!player.isOpen) return
    if (n % 5 === 0) player.request('chat.fault.slow', { ms: 50 })
    else player.request('chat.fault.echo')
  })
  await sleep(500)

  const exits: Array<number | null> = []
  const exitMs: number[] = []
  const stop = async (server: ServerProcess): Promise<void> => {
    const from = performance.now()
    server.signal('SIGTERM')
    exits.push(await server.exited())
    exitMs.push(performance.now() - from)
  }
  for (const [at, old] of backends.entries()) {
    const [fresh] = await Promise.all([fleet.backend(), stop(old)])
    backends[at] = fresh
  }
  for (const [at, old] of frontends.entries()) {
    ports = ports.filter((port) => port !== old.tcpPort)
    const [fresh] = await Promise.all([fleet.frontend(), stop(old)])
    frontends[at] = fresh
    ports.push(fresh.tcpPort)
  }
  await fleet.met(all())
  await sleep(500)
  await load.stop()

  const { entries, failed } = ledger
  const resent = players.reduce((sum, player) => sum + player.resent!, 0)
  t.comment(`${exits.length} servers replaced, ${entries.length} requests, ${spread(entries.map(({ sentAt, answeredAt }) => answeredAt - sentAt))}, ` +
    `exits after ${spread(exitMs)}, ${offlineMs.length} reconnections in ${spread(offlineMs)}, ${resent} sent again; failed: ${tally(failed.map(({ outcome }) => outcome))}`)
  t.strictSame(exits, [0, 0, 0, 0, 0], 'every server exits with 0')
  t.ok(Math.max(...exitMs) <= EXIT_MS, 'within 30 s')
  t.equal(closeCodes.length > 0 && closeCodes.every((code) => code === closes.shutdown.code), true, `clients are told to come back: ${tally(closeCodes.map(String))}`)
  t.strictSame(failed, [], 'no request fails')
  t.strictSame([ledger.twice, ledger.invented, ledger.unknown], [[], [], []], 'each is executed once')
  for (const server of all()) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

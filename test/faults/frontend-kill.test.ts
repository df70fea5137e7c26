import t from 'tap'
import { openCarrier } from '../../lib/cluster/carrier.ts'
import { fromToken, groupKeys } from '../../lib/cluster/names.ts'
import { natsTest } from '../helpers/nats.ts'
import { eventually, Fleet, TERM_MS, times } from './fleet.ts'
import { connectPlayers, type Player, sleep } from './players.ts'

const PLAYERS = 200
/** Of each dead frontend's clients, so many do not come back. */
const AWAY = 20
/** For what a dead server left behind to be gone, once its lease has ended. */
const GONE_MS = 1000
const REBIND_MS = 2000

t.test('a frontend that is killed leaves nothing behind, and its clients are back elsewhere at once', natsTest, async (t) => {
  const fleet = await Fleet.start(t)
  const { ledger } = fleet
  let frontends = await Promise.all([fleet.frontend(), fleet.frontend()])
  const backend = await fleet.backend()
  await fleet.met([...frontends, backend])
  const carrier = await openCarrier({ nats: { servers: fleet.nats.url }, prefix: 'pitaya' })
  await carrier.transport.open({ onUp () {}, onDown () {}, onFatal () {}, onSlow () {} })
  t.teardown(() => carrier.transport.close())
  const bindings = await carrier.openStore('bindings')
  const groups = await carrier.openStore('groups')
  const boundUids = async (): Promise<string[]> => (await bindings.keys('>')).map((key) => fromToken(key.slice(key.lastIndexOf('.') + 1)))
  const memberUids = async (): Promise<string[]> => (await groups.keys(groupKeys.membersOf('lobby'))).map((key) => groupKeys.readMember(key).uid)

  const players = await connectPlayers(t, ledger, frontends.map(({ tcpPort }) => tcpPort), PLAYERS)
  const uidOf = new Map(players.map((player, at) => [player, `ana-${at}`]))
  const join = (player: Player): Promise<void> => player.ask('chat.fault.join', { uid: uidOf.get(player)! })
  await Promise.all(players.map(join))
  const away = new Set<string>()

  for (let kill = 0; kill < times(3); kill++) {
    const [victim, other] = frontends
    const lost: Player[] = []
    for (const player of players) player.onClose = () => { lost.push(player) }
    const living = players.filter((player) => player.isOpen).length
    await fleet.lateMs([other!, backend])
    await victim!.kill()
    const at = performance.now()
    await eventually(() => lost.length >= Math.floor(living / 2) && lost.every(({ isOpen }) => !isOpen), 'clients to notice')
    const leaving = lost.slice(0, AWAY).map((player) => uidOf.get(player)!)
    const back = lost.slice(AWAY)
    await Promise.all(back.map(async (player) => {
      await player.connect(other!.tcpPort)
      await join(player)
    }))
    const reboundMs = performance.now() - at
    for (const uid of leaving) away.add(uid)
    const early = await backend.call('push', leaving, 'early')
    const found = await backend.call('push', back.map((player) => uidOf.get(player)!), `found ${kill}`)

    const isGone = async (): Promise<boolean> => ![...await boundUids(), ...await memberUids()].some((uid) => away.has(uid))
    await eventually(isGone, 'bindings and members to be gone')
    const goneMs = performance.now() - at
    const lateMs = await fleet.lateMs([other!, backend])
    await sleep(Math.max(0, TERM_MS + GONE_MS + lateMs - goneMs))
    const late = await backend.call('push', leaving, 'late')
    const members = await backend.call('members', 'lobby')

    t.comment(`kill ${kill + 1}: ${back.length} clients were back and bound after ${reboundMs.toFixed(0)} ms, ` +
      `bindings and members gone after ${goneMs.toFixed(0)} ms (lease end + ${GONE_MS} is ${TERM_MS + GONE_MS}); machine late by ${lateMs.toFixed(0)} ms`)
    t.strictSame(early.delivered, [], 'pushes to those away are never said to be delivered')
    t.strictSame([late.delivered, late.notConnected.length, late.unknown], [[], AWAY, []], 'and once the lease has ended, that they are not connected')
    t.equal(found.delivered.length, back.length, 'those that came back are found where they are now')
    t.ok(back.every(({ pushes }) => pushes.includes(`found ${kill}`)), 'and get what is pushed')
    t.ok(reboundMs <= REBIND_MS + lateMs, 'nobody waits for the dead server to bind again')
    t.ok(goneMs <= TERM_MS + GONE_MS + lateMs, 'what it left is gone soon after its lease')
    t.strictSame(members.sort(), players.map((player) => uidOf.get(player)!).filter((uid) => !away.has(uid)).sort(), 'the group has those that are here')
    frontends = [other!, await fleet.frontend()]
    await fleet.met([...frontends, backend])
    // Half of them to the new one, which is not killed next.
    if (kill + 1 < times(3)) await moveHalf(players.filter(({ isOpen }) => isOpen), frontends[1]!.tcpPort, join)
  }
  t.strictSame(ledger.failed.filter(({ outcome }) => outcome !== 'closed'), [], 'no bind failed')
  t.strictSame([ledger.twice, ledger.invented, ledger.unanswered], [[], [], []], 'the ledger is in order')
  for (const server of [...frontends, backend]) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

async function moveHalf (players: readonly Player[], port: number, join: (player: Player) => Promise<void>): Promise<void> {
  await Promise.all(players.slice(0, players.length / 2).map(async (player) => {
    player.onClose = () => {}
    player.close()
    await eventually(() => !player.isOpen, 'the close')
    await player.connect(port)
    await join(player)
  }))
}

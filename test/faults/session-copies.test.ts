import t from 'tap'
import { natsTest } from '../helpers/nats.ts'
import { eventually, Fleet, QUIET_LEASE_MS } from './fleet.ts'
import { connectPlayers, type Player, spread, tally } from './players.ts'

const TRIES = 1000
const SESSIONS = 100
const MESSAGES = 10_000

interface Who { uid: string, mark: number, server: string }

t.test('the session travels to backends in other processes', natsTest, async (t) => {
  // Counting objects stops a server for seconds on a busy machine.
  const fleet = await Fleet.start(t, { leaseMs: QUIET_LEASE_MS })
  const { ledger } = fleet
  const servers = await Promise.all([fleet.frontend(), fleet.backend(), fleet.backend()])
  const [frontend, ...backends] = servers
  await fleet.met(servers)
  const players = await connectPlayers(t, ledger, [frontend.tcpPort], SESSIONS)

  await t.test('what is sent after a bind or a push to the front was awaited sees it on any backend', async (t) => {
    const seenOn: string[] = []
    const asked: Array<Promise<void>> = []
    const play = async (player: Player, at: number): Promise<void> => {
      const uid = `ana-${at}`
      for (let mark = 1; mark <= TRIES / SESSIONS; mark++) {
        if (mark === 1) await player.ask('chat.fault.bind', { uid })
        const { id } = await player.ask('chat.fault.mark') as { id: number }
        const who = await player.ask('chat.fault.whoami') as Who
        if (who.uid === uid && who.mark === id) seenOn.push(who.server)
      }
    }
    for (const [at, player] of players.entries()) asked.push(play(player, at))
    await Promise.all(asked)
    t.comment(`${seenOn.length} tries: ${tally(seenOn)}`)
    t.equal(seenOn.length, TRIES, 'every try')
    t.equal(new Set(seenOn).size, backends.length, 'on both backends')
  })

  await t.test('a copy that is kept past its answer pushes by uid, and refuses what concerns its data', async (t) => {
    await Promise.all(players.map((player) => player.ask('chat.fault.keep')))
    // One of them has moved to another frontend since.
    const elsewhere = await fleet.frontend()
    await fleet.met([...servers, elsewhere])
    players[0]!.close()
    await eventually(() => !players[0]!.isOpen, 'the close')
    await players[0]!.connect(elsewhere.tcpPort)
    await players[0]!.ask('chat.fault.bind', { uid: 'ana-0' })
    const used = (await Promise.all(backends.map((backend) => backend.call('useKept', 'kept')))).flat()
    t.equal(used.length, SESSIONS, 'all were kept')
    t.ok(used.every(({ push }) => push), 'each is pushed to')
    t.strictSame(used.flatMap(({ codes }) => codes).filter((code) => code !== 'PIT_ERR_SESSION_COPY'), [], 'no data call succeeds')
    await eventually(() => players.every(({ pushes }) => pushes.includes('kept')), 'every client to get its push')
    t.strictSame(players.map(({ pushes }) => pushes.length), players.map(() => 1), 'once, wherever it is')
    elsewhere.signal('SIGTERM')
    t.equal(await elsewhere.exited(), 0, 'the other frontend stops')
  })

  await t.test('no copy and no agent is left of ten thousand messages', async (t) => {
    const open = players.slice(1)
    const before = await Promise.all(backends.map((backend) => backend.call('copies')))
    t.equal(before.reduce((sum, { sessions }) => sum + sessions - 1, 0), SESSIONS, 'copies that are kept are alive')
    t.strictSame(before.map(({ agents }) => agents - 1), [0, 0], 'their agents are gone all the same')
    await Promise.all(backends.map((backend) => backend.call('forgetKept')))
    const start = ledger.entries.length
    const each = Math.ceil(MESSAGES / open.length / 2)
    await Promise.all(open.map(async (player) => {
      for (let i = 0; i < each; i++) {
        player.notify('chat.fault.record')
        await player.ask('chat.fault.echo')
      }
    }))
    const sent = ledger.entries.slice(start)
    await eventually(() => sent.every(({ ranOn }) => ranOn.length === 1), 'every message to be executed')
    const after = await Promise.all(backends.map((backend) => backend.call('copies')))
    const echoes = sent.filter(({ route }) => route === 'chat.fault.echo').map(({ sentAt, answeredAt }) => answeredAt - sentAt)
    t.comment(`${sent.length} messages, requests ${spread(echoes)}; alive: ${after.map(({ sessions, agents }) => `${sessions - 1} copies and ${agents - 1} agents`).join(', ')}`)
    t.strictSame(after.map(({ sessions, agents }) => [sessions - 1, agents - 1]), [[0, 0], [0, 0]], 'all are gone')
  })
  t.strictSame([ledger.failed, ledger.twice, ledger.invented], [[], [], []], 'the ledger is in order')
  for (const server of servers) t.match(await server.call('stats'), { pending: 0, running: 0, waiting: 0 }, `${server.id} has nothing left in hand`)
})

/** Drives each row of docs/reference-limits.md over its limit: what the client sees and what tells of it are what the page says. */
import { once } from 'node:events'
import { deflateSync } from 'node:zlib'
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { channels, type Channel } from '../../lib/channels.ts'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { isPitayaError } from '../../lib/errors.ts'
import { defineHandlers, notify, raw, request } from '../../lib/handler/define.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { defineRemotes } from '../../lib/remote/define.ts'
import { build, eventually, rawClient, workingClient, type BuildOptions, type RawClient } from '../helpers/app.ts'
import { readPage } from '../helpers/snippets.ts'
import { serve, webSocketClient } from '../helpers/wire.ts'

const slow = async (_: unknown, { signal }: { signal: AbortSignal }): Promise<void> => { await once(signal, 'abort') }
const room = defineHandlers('room', { pushes: { onBytes: raw } }, {
  quick: request({ body: raw }, () => {}),
  rare: request({ ratePerSecond: 1 }, () => {}),
  slow: request({ body: raw }, slow),
  slower: request({ deadlineMs: 20_000 }, slow),
  late: request({ deadlineMs: 1000 }, slow),
  tell: notify(slow)
})
const table = defineRemotes('table', { wait: { deadlineMs: 1000 } })

/** `seen`: codes that clients saw. `told`: channels, each with what stands in brackets behind it. */
interface Row { seen: string[], told: string[] }

const documented = new Map<string, Row>()
for (const line of readPage('docs/reference-limits.md').split('\n').filter((line) => line.startsWith('| ')).slice(2)) {
  const [option = '', , sees = '', tells = ''] = line.split('|').slice(1).map((cell) => cell.trim().replaceAll(/^`([^`]*)`$/g, '$1'))
  const told = [...tells.matchAll(/`([a-z]+:[a-z]+)`(?: \(([^)]*)\))?/g)].flatMap(([, channel = '', details = '']) => {
    const values = [...details.matchAll(/`([\w-]+)`/g)].map(([, value]) => `${channel} ${value}`)
    return values.length === 0 ? [channel] : values
  })
  const seen = [...new Set(sees.match(/PIT-\d{3}|\b(?:1009|4\d{3})\b/g))]
  documented.set(option.replaceAll('`', ''), { seen: seen.sort(), told: told.sort() })
}

/** Everything that one server tells, but the course of things, and what a close leaves undone. */
function listen (t: { teardown (fn: () => unknown): void }, app: FastifyInstance): Set<string> {
  const told = new Set<string>()
  const on = <P extends object> (channel: Channel<P>, detail: (payload: P) => string, counts = (_: P): boolean => true): void => {
    const name = String(channel.name).replace('fastify-pitaya:', '')
    const listener = (payload: P & { serverId: string }): void => {
      if (payload.serverId === app.pitaya.serverId && counts(payload)) told.add(`${name} ${detail(payload)}`.trim())
    }
    channel.subscribe(listener)
    t.teardown(() => channel.unsubscribe(listener))
  }
  on(channels.refuse, ({ reason }) => reason)
  on(channels.close, ({ reason }) => reason)
  on(channels.decodeError, ({ code }) => code)
  on(channels.drop, ({ why }) => why, ({ why }) => why !== 'closed')
  on(channels.abandoned, () => '')
  on(channels.forwarded, ({ code }) => code, ({ code }) => code !== '')
  on(channels.remote, ({ code }) => code, ({ code }) => code !== '')
  on(channels.pause, () => '')
  return told
}

type Seen = Array<string | number | undefined>
interface Drive {
  options?: BuildOptions
  /** Types of other servers of a cluster. */
  backends?: string[]
  act: (app: FastifyInstance, url: string) => Promise<Seen>
}

const closeOf = async (client: RawClient): Promise<number | undefined> => (await client.closed()).code
const body = (bytes: number): Buffer => Buffer.alloc(bytes)

/** Several requests in one write, so that a pause comes too late for the last of them. */
function requests (client: RawClient, count: number, route: string, data = body(0)): void {
  const messages = Array.from({ length: count }, (_, i) => encodeMessage({ type: MessageType.request, id: i + 1, route, data }))
  client.write(Buffer.concat(messages.map((message) => encodePacket(PacketType.data, message))))
}

async function refused (app: FastifyInstance): Promise<Seen> {
  await workingClient(app)
  const client = rawClient(app)
  return [(await client.greet()).error.code, await closeOf(client)]
}

/** Bytes that a client does not read. */
async function unread (app: FastifyInstance): Promise<Seen> {
  const client = await workingClient(app)
  client.request(1, 'room.quick')
  await client.answer(1)
  client.end.pause()
  const session = [...app.pitaya.sessions][0]!
  for (let i = 0; i < 20; i++) {
    session.push('onBytes', body(10_000))
    await new Promise((resolve) => setImmediate(resolve))
  }
  await eventually(() => session.isClosed, 'the session is closed')
  client.end.resume()
  return [await closeOf(client)]
}

/** A second session's message waits for the first one's to another server, until its own deadline. */
async function behind (app: FastifyInstance, first: string, second: string): Promise<Seen> {
  const clients = [await workingClient(app), await workingClient(app)] as const
  clients[0].request(1, first)
  await eventually(() => app.pitaya.stats.pending === 1, 'one is on its way')
  clients[1].request(1, second)
  return [(await clients[1].answer(1)).code]
}

async function codeOf (promise: Promise<unknown>): Promise<string> {
  return await promise.then(() => '', (error: unknown) => isPitayaError(error) ? error.wireCode : String(error))
}

const drives: Record<string, Drive> = {
  'limits.connections': { options: { limits: { connections: 1 } }, act: refused },
  'limits.connectionsPerAddress': { options: { limits: { connectionsPerAddress: 1 } }, act: refused },
  'limits.connectionsPerSecond': {
    options: { limits: { connectionsPerSecond: 1 } },
    act: async (app) => {
      rawClient(app)
      await rawClient(app).closed()
      return []
    }
  },
  'limits.handshakeMs': { options: { limits: { handshakeMs: 100 } }, act: async (app) => [await closeOf(rawClient(app))] },
  'limits.handshakeBytes': {
    act: async (app) => {
      const client = rawClient(app)
      client.packet(PacketType.handshake, '{}'.padEnd(8193, ' '))
      return [await closeOf(client)]
    }
  },
  'limits.packetBytes': {
    act: async (app, url) => {
      const clients = [await workingClient(app), await webSocketClient({ url } as Parameters<typeof webSocketClient>[0])]
      await clients[1]!.greet()
      for (const client of clients) client.request(1, 'room.quick', body(65_536))
      return await Promise.all(clients.map(closeOf))
    }
  },
  'limits.inflateRatio': {
    options: { limits: { inflateRatio: 1 } },
    act: async (app) => {
      const client = await workingClient(app)
      const message = encodeMessage({ type: MessageType.request, id: 1, route: 'room.quick', data: deflateSync(body(100_000)) })
      message[0]! |= 0x10
      client.packet(PacketType.data, message)
      return [await closeOf(client)]
    }
  },
  'limits.ratePerSecond': { options: { limits: { ratePerSecond: 1, rateBurst: 1 } }, act: overRate },
  'limits.rateBurst': { options: { limits: { ratePerSecond: 1, rateBurst: 1 } }, act: overRate },
  'limits.rateViolationMs': {
    options: { limits: { ratePerSecond: 1, rateBurst: 1, rateViolationMs: 100 } },
    act: async (app) => {
      const client = await workingClient(app)
      while (!client.isClosed) {
        client.notify('room.quick')
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      return [client.closeCode]
    }
  },
  'ratePerSecond of a route': {
    act: async (app) => {
      const client = await workingClient(app)
      requests(client, 3, 'room.rare')
      await client.answer(1)
      await client.answer(2)
      return [(await client.answer(3)).code]
    }
  },
  'limits.waitingPerSession': {
    options: { limits: { waitingPerSession: 2 } },
    act: async (app) => {
      requests(await workingClient(app), 4, 'room.slow')
      return []
    }
  },
  'limits.waitingBytes': {
    options: { limits: { waitingBytes: 2000 } },
    act: async (app) => {
      const client = await workingClient(app)
      requests(client, 4, 'room.slow', body(900))
      return [await closeOf(client)]
    }
  },
  'limits.pauseMs': {
    options: { limits: { waitingPerSession: 2, pauseMs: 100 } },
    act: async (app) => {
      const client = await workingClient(app)
      requests(client, 4, 'room.slow')
      return [await closeOf(client)]
    }
  },
  'concurrency.handler.dispatch': {
    options: { concurrency: { handler: { dispatch: 1 } }, limits: { handlerMs: 100 } },
    act: async (app) => {
      const [first, second] = [await workingClient(app), await workingClient(app)]
      first.request(1, 'room.slower')
      await eventually(() => app.pitaya.stats.running === 1, 'one runs')
      second.request(1, 'room.quick')
      return [(await second.answer(1)).code]
    }
  },
  'half of concurrency.handler.dispatch': {
    options: { concurrency: { handler: { dispatch: 2 } }, limits: { handlerMs: 100 } },
    backends: ['chat', 'game'],
    act: (app) => behind(app, 'chat.room.late', 'game.room.quick')
  },
  'a quarter of concurrency.handler.dispatch': {
    options: { concurrency: { handler: { dispatch: 4 } }, limits: { handlerMs: 100 } },
    backends: ['chat'],
    act: (app) => behind(app, 'chat.room.late', 'chat.room.quick')
  },
  'limits.maxQueued': {
    options: { limits: { maxQueued: 1 } },
    act: async (app) => {
      const client = await workingClient(app)
      requests(client, 3, 'room.slow')
      client.notify('room.tell')
      return [(await client.answer(3)).code]
    }
  },
  'limits.handlerMs': {
    options: { limits: { handlerMs: 100 } },
    act: async (app) => {
      const client = await workingClient(app)
      client.request(1, 'room.slow')
      client.notify('room.tell')
      return [(await client.answer(1)).code]
    }
  },
  'limits.rpcPending': {
    options: { limits: { rpcPending: 1 } },
    backends: ['chat'],
    act: async (app) => {
      const seen = await behind(app, 'chat.room.late', 'chat.room.quick')
      return [...seen, await codeOf(app.pitaya.remote('chat', table).wait())]
    }
  },
  'limits.remotes': {
    options: { limits: { remotes: 1 }, setUp: (app) => { app.pitaya.remotes(table, { wait: slow }) } },
    act: async (app) => {
      const { wait } = app.pitaya.remote(app.pitaya.serverType, table)
      const codes = [codeOf(wait()), codeOf(wait())]
      return [await codes[1]]
    }
  },
  'limits.outboxBytes': { options: { limits: { outboxBytes: 50_000 } }, act: unread },
  'limits.outboxTotalBytes': { options: { limits: { outboxTotalBytes: 50_000 } }, act: unread },
  'limits.drainMs': { options: { limits: { drainMs: 100 } }, act: unread },
  heartbeatSeconds: { options: { heartbeatSeconds: 0.1 }, act: async (app) => [await closeOf(await workingClient(app))] },
  closeMs: {
    act: async (app) => {
      const client = await workingClient(app)
      await app.pitaya.drain({ timeoutMs: 1000 })
      return [await closeOf(client)]
    }
  }
}

/** Nothing is seen of these from outside, or a whole heap would have to be filled. */
const UNDRIVEN = ["heap over 80 % of node's limit", 'limits.concurrentPerSession', 'session.dataBytes', 'limits.groups']

async function overRate (app: FastifyInstance): Promise<Seen> {
  const client = await workingClient(app)
  requests(client, 2, 'room.quick')
  await client.answer(1)
  return [(await client.answer(2)).code]
}

t.test('every row of the page is driven', async (t) => {
  t.strictSame([...documented.keys()].sort(), [...Object.keys(drives), ...UNDRIVEN].sort())
})

for (const [option, { options, backends = [], act }] of Object.entries(drives)) {
  t.test(`${option}: the client sees, and the channels tell, what the page says`, async (t) => {
    const isWebSocket = option === 'limits.packetBytes'
    const served = isWebSocket ? await serve(t, { handlers: [room], ...options }) : undefined
    const cluster = { memory: new MemoryBus() }
    for (const serverType of backends) await build(t, { handlers: [room], serverType, frontend: false, cluster })
    const app = served?.app ?? await build(t, { handlers: [room], cluster, ...options })
    const told = listen(t, app)
    const expected = documented.get(option)!
    // The timers of a server without sockets keep no process alive.
    const alive = setInterval(() => {}, 1000)
    t.teardown(() => clearInterval(alive))
    const seen = await act(app, served?.url ?? '')
    const isAllTold = (): boolean => expected.told.every((event) => told.has(event))
    await eventually(isAllTold, expected.told.join()).catch(({ message }: Error) => t.fail(message))
    t.strictSame([...told].sort(), expected.told)
    t.strictSame([...new Set(seen.map(String))].sort(), expected.seen)
    // Lets the handlers that still wait go.
    for (const session of app.pitaya.sessions.page(0, 10)) session.kick()
    await eventually(() => app.pitaya.stats.running === 0, 'no handler runs')
  })
}

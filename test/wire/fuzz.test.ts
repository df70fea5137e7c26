import t from 'tap'
import { Writable } from 'node:stream'
import { deflateSync } from 'node:zlib'
import { Type } from '@sinclair/typebox'
import { channels } from '../../lib/channels.ts'
import type { MemoryGroups } from '../../lib/groups/memory.ts'
import { encodeMessage, MessageType, type MessageFields } from '../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, notify, PitayaError, raw, request } from '../../lib/handler/define.ts'
import { eventually, rawClient, sessionPool, type RawClient } from '../helpers/app.ts'
import { FUZZ_TIMEOUT_MS, fuzzSeed, Mutator, propertyRuns, Random } from '../helpers/fuzz.ts'
import { fromHex, readVectors } from '../helpers/vectors.ts'
import { carriers, serve, tcpClient, type Served } from '../helpers/wire.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const CONNECTIONS = 64
const PACKETS = process.env.CI === 'true' ? 200_000 : 20_000
const REQUESTS = 1000
/** Each hostile client's pause after some packets: the good client needs seven seconds, which they fill at home without haste. */
const PAUSE_MS = process.env.CI === 'true' ? 1 : 100

const Hello = Type.Object({ name: Type.String({ maxLength: 64 }), tags: Type.Optional(Type.Array(Type.Integer())) })
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const room = defineHandlers('room', { pushes: { onHello: Hello, onBytes: raw } }, {
  echo: request({ body: raw, response: raw }, (body) => body),
  hello: request({ body: Hello, response: Hello }, (body, { session }) => {
    session.push('onHello', body)
    return body
  }),
  later: request({ body: Hello, response: Hello }, async (body) => {
    await sleep(body.name.length % 5)
    return body
  }),
  together: request({ body: raw, response: raw, concurrent: true }, async (body) => {
    await sleep(1)
    return body
  }),
  never: request({ deadlineMs: 100, response: raw }, (_, { signal }) => new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason))
  })),
  refuse: request({ response: raw }, () => { throw new PitayaError('GAME-001', 'no') }),
  join: request({ body: Hello, response: raw }, async ({ name }, { session, groups }) => {
    await session.bind(name)
    await groups.add('all', session.uid)
    return Buffer.from('joined')
  }),
  say: notify({ body: raw }, (body, { groups }) => groups.broadcast('all', 'onBytes', body)),
  set: notify({ body: Type.Object({ data: Type.String() }) }, ({ data }, { session }) => session.set({ data })),
  kick: notify((_, { session }) => session.kick('by itself')),
  close: notify((_, { session }) => session.close())
})

/** What a good client sends in a working session. */
function goodPackets (): Uint8Array[] {
  const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
  const data = (fields: Partial<MessageFields>): Uint8Array =>
    encodeMessage({ type: MessageType.request, id: 1, data: json({ name: 'ana', tags: [1] }), ...fields })
  const messages = Object.entries(room.methods).map(([name, { kind }]) =>
    data({ type: MessageType[kind], route: `room.${name}`, data: name === 'set' ? json({ data: 'x' }) : json({ name: 'ana', tags: [1, 2] }) }))
  messages.push(
    data({ routeCode: 1 }), data({ routeCode: 2, id: 128 }), data({ route: 'lobby.room.hello' }), data({ route: 'room.nope' }),
    data({ route: 'other.room.echo' }), data({ route: 'room.hello', isCompressed: true, data: deflateSync(json({ name: 'bob' })) }),
    data({ route: 'room.echo', id: 2 ** 40, data: new Uint8Array(300) }), data({ type: MessageType.response, id: 3 })
  )
  for (const { hex } of readVectors<{ vectors: Array<{ hex: string }> }>('messages.json').vectors) messages.push(fromHex(hex))
  return messages
}

const control = ['03000000', '02000000', '05000000'].map(fromHex)
const handshakes = ['{}', '{"sys":{"platform":"mac"},"user":{"age":30}}', '{"sys":{"serializer":"avro","closeReason":true}}', 'null', '[]']
  .map((body) => encodePacket(PacketType.handshake, Buffer.from(body)))

/** One of the hostile clients: comes back whenever it is thrown out. Every other one is through its handshake before it goes mad. */
class Fuzzer {
  sent = 0
  #random: Random
  #served: Served
  #messages: Mutator
  #packets: Mutator
  #good = goodPackets()

  constructor (served: Served, seed: number) {
    this.#served = served
    this.#random = new Random(seed)
    this.#messages = new Mutator(this.#random, this.#good)
    this.#packets = new Mutator(this.#random, [...this.#good.map((body) => encodePacket(PacketType.data, body)), ...control, ...handshakes])
  }

  async run (isWorking: boolean, goesOn: () => boolean): Promise<void> {
    while (goesOn()) {
      const client = await carriers[this.#random.int(2)]![1](this.#served).catch(() => undefined)
      if (client === undefined) continue // over the rate of new connections
      if (isWorking) {
        client.write(handshakes[this.#random.int(3)]!)
        client.packet(PacketType.ack)
      }
      for (let left = 1 + this.#random.int(100); left > 0 && !client.isClosed; left--) {
        client.write(isWorking ? this.#inSession() : this.#packets.next())
        this.sent++
        if (left % 8 === 0) await sleep(PAUSE_MS)
      }
      if (this.#random.int(2) === 0) client.close()
      else client.end.destroy()
      await client.closed()
    }
  }

  #inSession (): Uint8Array {
    const random = this.#random
    switch (random.int(10)) {
      case 0: return random.pick(control)
      case 1: return this.#packets.next()
      case 2: case 3: case 4: return encodePacket(PacketType.data, this.#messages.next())
      default: return encodePacket(PacketType.data, random.pick(this.#good))
    }
  }
}

/** Requests at a rate that is allowed; how many were answered wrongly, and the slowest answer. */
async function beGood (client: RawClient): Promise<{ wrong: number, slowestMs: number }> {
  let wrong = 0
  let slowestMs = 0
  for (let id = 1; id <= REQUESTS; id++) {
    const start = performance.now()
    client.request(id, 'room.hello', { name: `n${id}` })
    const push = await client.message()
    const answer = await client.answer(id)
    if (push.route !== 'onHello' || answer.name !== `n${id}`) wrong++
    slowestMs = Math.max(slowestMs, performance.now() - start)
    await sleep(5)
  }
  return { wrong, slowestMs }
}

t.test(`the whole server under ${PACKETS} hostile packets of ${CONNECTIONS} connections, beside a good client`, async (t) => {
  const seed = fuzzSeed()
  const errors: string[] = []
  const stream = new Writable({ write (line, _, done) { errors.push(String(line)); done() } })
  const dictionary = { 'room.echo': 1, 'room.hello': 2 }
  const served = await serve(t, { fastify: { logger: { level: 'error', stream } }, dictionary, handlers: [room] })
  const codes = new Set<string>()
  const onError = ({ serverId, code }: { serverId: string, code: string }): void => {
    if (serverId === served.app.pitaya.serverId) codes.add(code)
  }
  channels.decodeError.subscribe(onError)
  t.teardown(() => channels.decodeError.unsubscribe(onError))

  const good = await tcpClient(served)
  await good.greet()
  let isGoodDone = false
  const fuzzers = Array.from({ length: CONNECTIONS }, (_, at) => new Fuzzer(served, seed + at + 1))
  const sent = (): number => fuzzers.reduce((sum, fuzzer) => sum + fuzzer.sent, 0)
  const fuzzing = fuzzers.map((fuzzer, at) => fuzzer.run(at % 2 === 0, () => sent() < PACKETS || !isGoodDone))
  const { wrong, slowestMs } = await beGood(good).finally(() => { isGoodDone = true })
  await Promise.all(fuzzing)

  t.equal(wrong, 0, `SEED=${seed}: ${sent()} packets, ${served.closed.length} connections, slowest good answer ${Math.round(slowestMs)} ms`)
  t.ok(slowestMs < 3000)
  t.notOk(good.isClosed)
  good.close()
  const { app } = served
  const idle = { connections: 0, sessions: 0, running: 0, waiting: 0, abandoned: 0, pending: 0 }
  await eventually(() => JSON.stringify(app.pitaya.stats) === JSON.stringify(idle), `nothing is left: ${JSON.stringify(app.pitaya.stats)}`)
  t.strictSame([app.pitaya.sessions.size, sessionPool(app).boundUids, (app.pitaya.groups as unknown as MemoryGroups).size], [0, 0, 0])
  t.strictSame(errors, [], 'nothing went wrong inside')
  t.strictSame([...codes].filter((code) => !code.startsWith('PIT_ERR_')), [])
  t.notOk(served.closed.some(({ reason }) => reason === 'internal'))
})

const HANDSHAKES = propertyRuns()

t.test(`${HANDSHAKES} mutated handshakes: accepted, refused with 400 and 4503, or closed with 4500`, async (t) => {
  const seed = fuzzSeed()
  const errors: string[] = []
  const stream = new Writable({ write (line, _, done) { errors.push(String(line)); done() } })
  const { invalid, valid } = {
    invalid: readVectors<{ handshakeBodies: Array<{ bodyHex: string }> }>('invalid.json').handshakeBodies.map(({ bodyHex }) => fromHex(bodyHex)),
    valid: readVectors<{ requests: Array<{ packetHex: string }> }>('handshakes.json').requests.map(({ packetHex }) => fromHex(packetHex.slice(8)))
  }
  const served = await serve(t, { fastify: { logger: { level: 'error', stream } }, limits: { connectionsPerSecond: 1_000_000 } })
  const mutator = new Mutator(new Random(seed), [...invalid, ...valid, ...handshakes.map((packet) => packet.subarray(4))])
  const outcomes: Record<string, number> = {}
  const one = async (at: number): Promise<void> => {
    const client = at % 20 === 0 ? await carriers[at / 20 % 2]![1](served) : rawClient(served.app)
    const body = mutator.next()
    client.packet(PacketType.handshake, body)
    await client.until(() => client.packets.length > 0 || client.isClosed, 'an answer')
    const code = client.packets.length === 0 ? 'none' : JSON.parse(client.packets[0]!.body.toString()).code
    if (code === 200) client.close()
    await client.closed()
    const outcome = `${code} ${code === 200 || at % 40 === 0 ? '' : client.closeCode}`
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  }
  for (let at = 0; at < HANDSHAKES; at += 50) await Promise.all(Array.from({ length: 50 }, (_, i) => one(at + i)))
  t.strictSame(Object.keys(outcomes).filter((outcome) => !['200 ', '400 ', '400 4503'].includes(outcome)), [], `SEED=${seed}: ${JSON.stringify(outcomes)}`)
  t.ok(outcomes['200 ']! > HANDSHAKES / 100 && outcomes['400 4503']! > HANDSHAKES / 100)
  t.strictSame(Object.keys(Object.prototype), [])
  t.strictSame(errors, [])
  await eventually(() => served.app.pitaya.stats.connections === 0, 'no connection left')
})

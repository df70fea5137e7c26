import t from 'tap'
import { encodeMessage, MessageType, type MessageFields } from '../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import { build, eventually, rawClient, type RawClient } from '../helpers/app.ts'
import { FUZZ_TIMEOUT_MS, fuzzSeed, propertyRuns, Random } from '../helpers/fuzz.ts'
import { carriers, serve, type Served } from '../helpers/wire.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

// A model of the server's side of protocol.md 1.10, as strict as this server is, against the running one.

type State = 'start' | 'greeted' | 'working'
interface Effect { readonly to: State | 'closed', readonly answer?: string, readonly code?: number }
interface Move { readonly bytes: Uint8Array, readonly effects: Readonly<Record<State, Effect>> }

const EMPTY = new Uint8Array(0)
const bytes = (text: string): Uint8Array => Buffer.from(text)
const message = (fields: Partial<MessageFields>): Uint8Array =>
  encodePacket(PacketType.data, encodeMessage({ type: MessageType.request, data: EMPTY, ...fields }))

const bad: Effect = { to: 'closed', code: 4500 }
const everywhere = (effect: Effect): Move['effects'] => ({ start: effect, greeted: effect, working: effect })
const nothing: Move['effects'] = { start: { to: 'start' }, greeted: { to: 'greeted' }, working: { to: 'working' } }
const handshake = (effect: Effect): Move['effects'] => ({ ...everywhere(bad), start: effect })
const ack: Move['effects'] = { start: bad, greeted: { to: 'working' }, working: { to: 'working' } }
const data = (effect: Effect): Move['effects'] => ({ ...everywhere(bad), working: effect })

const moves: Record<string, Move> = {
  'a handshake': { bytes: encodePacket(PacketType.handshake, bytes('{}')), effects: handshake({ to: 'greeted', answer: 'handshake 200' }) },
  'a handshake checked slowly': {
    bytes: encodePacket(PacketType.handshake, bytes('{"sys":{"platform":"slow"}}')),
    effects: handshake({ to: 'greeted', answer: 'handshake 200' })
  },
  'a bad handshake': {
    bytes: encodePacket(PacketType.handshake, bytes('[]')),
    effects: handshake({ to: 'closed', code: 4503, answer: 'handshake 400' })
  },
  'an ack': { bytes: encodePacket(PacketType.ack, EMPTY), effects: ack },
  'an ack with a body': { bytes: encodePacket(PacketType.ack, bytes('x')), effects: ack },
  'a heartbeat': { bytes: encodePacket(PacketType.heartbeat, EMPTY), effects: nothing },
  'a heartbeat with a body': { bytes: encodePacket(PacketType.heartbeat, bytes('x')), effects: nothing },
  'a kick': { bytes: encodePacket(PacketType.kick, EMPTY), effects: nothing },
  'a request': { bytes: message({ id: 5, route: 'room.echo' }), effects: data({ to: 'working', answer: 'response 5' }) },
  'a request of no handler': { bytes: message({ id: 6, route: 'room.nope' }), effects: data({ to: 'working', answer: 'error 6' }) },
  'a notify': { bytes: message({ type: MessageType.notify, route: 'room.echo' }), effects: data({ to: 'working' }) },
  'a response': { bytes: message({ type: MessageType.response, id: 7 }), effects: data({ to: 'working', answer: 'error 7' }) },
  'a push': { bytes: message({ type: MessageType.push, route: 'room.echo' }), effects: everywhere(bad) },
  'a message cut short': { bytes: encodePacket(PacketType.data, Uint8Array.of(0, 1)), effects: everywhere(bad) },
  'an empty message': { bytes: encodePacket(PacketType.data, EMPTY), effects: everywhere(bad) },
  'a packet of type 0': { bytes: Uint8Array.of(0, 0, 0, 0), effects: everywhere(bad) },
  'a packet of type 6': { bytes: Uint8Array.of(6, 0, 0, 0), effects: everywhere(bad) },
  'a packet of type 255': { bytes: Uint8Array.of(255, 0, 0, 0), effects: everywhere(bad) },
  'a packet that is too large': { bytes: Uint8Array.of(4, 255, 255, 255), effects: everywhere(bad) }
}
const ways: Record<State, string[]> = { start: [], greeted: ['a handshake'], working: ['a handshake', 'an ack'] }
const PROBE = 4095
const probe = message({ id: PROBE, route: 'room.echo' })

const options = {
  handlers: [defineHandlers('room', { echo: request({ body: raw, response: raw }, (body) => body) })],
  limits: { ratePerSecond: 0, connectionsPerSecond: 1_000_000 },
  handshake: {
    validators: {
      slow: ({ sys }: { sys: { platform?: string } }) => {
        if (sys.platform === 'slow') return new Promise<void>((resolve) => setImmediate(resolve))
      }
    }
  }
}

interface Outcome { answers: string[], code: number | undefined }

/** What the model says of these moves, and in which state it leaves. */
function predict (names: readonly string[]): Outcome & { state: State | 'closed' } {
  let state: State | 'closed' = 'start'
  let code: number | undefined
  const answers: string[] = []
  for (const name of names) {
    if (state === 'closed') break
    const effect: Effect = moves[name]!.effects[state]
    if (effect.answer !== undefined) answers.push(effect.answer)
    state = effect.to
    code = effect.code
  }
  return { answers, code, state }
}

/** What brings an open connection to work and to answer once more, so that its state shows. */
function toProbe (state: State): Uint8Array[] {
  const missing = state === 'start' ? ways.working : state === 'greeted' ? ['an ack'] : []
  return [...missing.map((name) => moves[name]!.bytes), probe]
}

function expectedOf ({ answers, state }: { answers: string[], state: State | 'closed' }): string[] {
  return state === 'start' ? [...answers, 'handshake 200'] : answers
}

/** Waits for the answer that must come last, or for the close, and returns what came before. */
async function observe (client: RawClient, isClosing: boolean): Promise<string[]> {
  const answers: string[] = []
  const take = (): void => {
    for (const { type, body } of client.packets.splice(0)) {
      if (type === PacketType.handshake) answers.push(`handshake ${JSON.parse(body.toString()).code}`)
      else if (type === PacketType.data) answers.push(`${body[0] === 0x24 ? 'error' : 'response'} ${body[1]! > 0x7f ? PROBE : body[1]}`)
      else answers.push(`packet of type ${type}`)
    }
  }
  await client.until(() => {
    take()
    return client.isClosed || (!isClosing && answers.at(-1) === `response ${PROBE}`)
  }, `the end of ${answers.join()}`)
  return isClosing ? answers : answers.slice(0, -1)
}

for (const [carrier, connect] of carriers) {
  t.test(`${carrier}: in each state, each packet has the effect of the table`, async (t) => {
    const served: Served = await serve(t, options)
    for (const [state, way] of Object.entries(ways)) {
      for (const name of Object.keys(moves)) {
        const names = [...way, name]
        const wanted = predict(names)
        const isClosing = wanted.state === 'closed'
        const client = await connect(served)
        for (const step of names) client.write(moves[step]!.bytes)
        if (wanted.state !== 'closed') for (const packet of toProbe(wanted.state)) client.write(packet)
        t.strictSame(await observe(client, isClosing), expectedOf(wanted), `${state}: ${name}`)
        if (isClosing) await eventually(() => served.closed.length > 0, 'the server sees the close')
        t.equal(served.closed.pop()?.code, wanted.code, `${state}: ${name}, close code`)
        client.end.destroy()
        await eventually(() => served.app.pitaya.stats.connections === 0, 'the connection is gone')
        served.closed.length = 0
      }
    }
  })
}

const WALKS = propertyRuns()
const AT_ONCE = 50

t.test(`${WALKS} random walks, cut anywhere, go as the model says`, async (t) => {
  const app = await build(t, options)
  const seed = fuzzSeed()
  const random = new Random(seed)
  const names = Object.keys(moves)
  // Half of the steps are those that lead somewhere.
  const likely = ['a handshake', 'an ack', 'a request', 'a heartbeat', 'a handshake checked slowly']
  const walk = async (): Promise<string | undefined> => {
    const taken = random.int(4) === 0 ? [] : ['a handshake', 'an ack'].slice(0, 1 + random.int(2))
    for (let steps = random.int(8); steps >= 0; steps--) taken.push(random.int(2) === 0 ? random.pick(likely) : random.pick(names))
    const wanted = predict(taken)
    const isClosing = wanted.state === 'closed'
    const tail = wanted.state === 'closed' ? [] : toProbe(wanted.state)
    const all = Buffer.concat([...taken.map((name) => moves[name]!.bytes), ...tail])
    const client = rawClient(app)
    for (let from = 0; from < all.length;) {
      const until = from + 1 + random.int(random.int(2) === 0 ? 8 : all.length)
      client.write(all.subarray(from, until))
      from = until
    }
    const answers = await observe(client, isClosing)
    const expected = expectedOf(wanted)
    if (!isClosing) client.end.destroy()
    if (answers.join() === expected.join() && client.closeCode === wanted.code) return undefined
    return `SEED=${seed}: ${taken.join(', ')}: ${answers.join()} ${client.closeCode} instead of ${expected.join()} ${wanted.code}`
  }
  const wrong: string[] = []
  for (let done = 0; done < WALKS; done += AT_ONCE) {
    const outcomes = await Promise.all(Array.from({ length: Math.min(AT_ONCE, WALKS - done) }, walk))
    wrong.push(...outcomes.filter((outcome) => outcome !== undefined))
  }
  t.strictSame(wrong.slice(0, 3), [], `SEED=${seed}`)
  await eventually(() => app.pitaya.stats.connections === 0 && app.pitaya.stats.sessions === 0, 'nothing is left')
})

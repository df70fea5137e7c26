/** Run by memory-pressure.test.ts with a heap of 256 MB: tells what happens as lines of JSON. */
import { getHeapStatistics } from 'node:v8'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import { PitayaError } from '../../lib/errors.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import pitaya from '../../plugins/pitaya.ts'
import { openPair } from '../helpers/app.ts'

const READERS = 5000
const EMPTY = new Uint8Array(0)
const tell = (line: object): void => { process.stdout.write(`${JSON.stringify(line)}\n`) }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const heapUse = (): number => { const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics(); return used / limit }

let worst = 0
const watch = (): void => { worst = Math.max(worst, heapUse()) }

const room = defineHandlers('room', { pushes: { onText: Type.String() } }, {
  ping: request({ response: Type.String() }, () => 'pong')
})
const app = Fastify()
await app.register(pitaya, { acceptors: false, limits: { connectionsPerSecond: 1e6, drainMs: 3000 } })
app.pitaya.register(room)
await app.ready()
const healthy = await app.pitaya.inject()

/** A client that stops reading after its handshake. */
async function stall (): Promise<void> {
  const end = openPair(app)
  end.handler = { onData () { end.pause() }, onDrain () {}, onClose () {} }
  end.write(encodePacket(PacketType.handshake, Buffer.from('{}')))
  end.write(encodePacket(PacketType.ack, EMPTY))
  await turn()
}

async function stallAll (): Promise<void> {
  for (let i = 0; i < READERS; i++) await stall()
  while (app.pitaya.stats.connections < READERS + 1) await turn()
  // The sessions work once their acks are read.
  for (let i = 0; i < 10; i++) await turn()
}

// First what is different for everyone, up to the limit of the process; then tiny pushes shared by all.
await stallAll()
const text = 'x'.repeat(8 * 1024)
for (let round = 0; app.pitaya.stats.sessions > READERS / 2; round++) {
  for (const session of app.pitaya.sessions.page(1, READERS)) session.push('onText', text)
  await turn()
  watch()
}
tell({ step: 'shed', ...app.pitaya.stats, pong: await healthy.request('room.ping') })
while (app.pitaya.stats.connections > 1) { await turn(); watch() }
tell({ step: 'drained', ...app.pitaya.stats, pong: await healthy.request('room.ping') })

await stallAll()
// With a time to live it outlasts its last member.
await app.pitaya.groups.create('all', { ttlMs: 60_000 })
for (const session of app.pitaya.sessions.page(1, READERS)) {
  await session.bind(`u${session.id}`)
  await app.pitaya.groups.add('all', session.uid)
  session.push('onText', text.repeat(2))
}
while (app.pitaya.stats.sessions > 1) {
  for (let i = 0; i < 20; i++) app.pitaya.groups.broadcast('all', 'onText', 'y')
  await turn()
  watch()
}
tell({ step: 'tiny', worst: Math.round(worst * 100), pong: await healthy.request('room.ping') })

// A heap that the application fills: new clients are told to come back.
const ballast: number[][] = []
while (heapUse() < 0.83) ballast.push(new Array<number>(100_000).fill(0.5))
const refusedWith = (): Promise<PitayaError | undefined> =>
  app.pitaya.inject().then(() => undefined, (error: unknown) => error instanceof PitayaError ? error : undefined)
const refusal = await until(refusedWith)
tell({ step: 'full', code: refusal.code, message: refusal.message, pong: await healthy.request('room.ping') })
ballast.length = 0
globalThis.gc!()
const start = performance.now()
await until(() => app.pitaya.inject().catch(() => undefined))
tell({ step: 'recovered', ms: Math.round(performance.now() - start) })
await app.close()

/** The first value that comes, asked again after every turn: the heap is looked at twice a second. */
async function until<T> (ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await ask()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/**
 * The SDK, or a bare `ws` client that makes the same requests, in a process of its own: `node out/clients.js '<Job as JSON>'` prints one
 * Outcome as JSON. Both write every body anew and parse every answer, and keep `inFlight` requests outstanding on one connection.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { connect } from '../../out/client/client.js'
import * as wire from './generator/wire.ts'
import type { Job } from './job.ts'
import { payloads } from './messages.ts'
import { measure, type Tally } from './window.ts'

/** A new process runs no compiled code: so many requests are made before the measured window. */
const WARM_UP = 20_000
const MAX_WARM_UP_MS = 30_000

const job = JSON.parse(process.argv[2] ?? '') as Job
const payload = payloads[job.message]
const tally: Tally = { messages: 0, errors: 0 }
const begin = job.client === 'sdk' ? startSdk : startBare
await begin().catch(fail)
for (const deadline = Date.now() + MAX_WARM_UP_MS; tally.messages < WARM_UP && Date.now() < deadline;) await sleep(100)
process.stdout.write(`${JSON.stringify(await measure(job, tally))}\n`)
process.exit()

async function startSdk (): Promise<void> {
  const serializer = job.serializer === 'json' ? 'json' : 'avro'
  const client = await connect(job.url, { WebSocket, serializer, reconnect: false })
  if (client.answer?.serializer !== serializer) throw new Error(`the server speaks ${client.answer?.serializer}`)
  const ask = async () => {
    while (true) count(await client.request(job.route, payload))
  }
  for (let i = 0; i < job.inFlight; i++) ask().catch(fail)
}

/** Packets packed by hand, answers matched by id; no deadlines, no errors to tell apart, no promises. */
async function startBare (): Promise<void> {
  const socket = new WebSocket(job.url)
  const waiting = new Map<number, (answer: unknown) => void>()
  const route = wire.routeBytes(job.route)
  let nextId = 1

  const request = (body: object, callback: (answer: unknown) => void) => {
    const id = nextId++
    waiting.set(id, callback)
    const text = JSON.stringify(body)
    const idBytes = id < 0x80 ? 1 : id < 0x4000 ? 2 : id < 0x200000 ? 3 : 4
    const length = 1 + idBytes + route.length + Buffer.byteLength(text)
    const packet = Buffer.allocUnsafe(wire.HEADER_BYTES + length)
    packet[0] = wire.DATA
    packet.writeUIntBE(length, 1, 3)
    packet[4] = wire.REQUEST
    let at = 5
    let rest = id
    for (; rest > 0x7f; rest >>>= 7) packet[at++] = (rest & 0x7f) | 0x80
    packet[at++] = rest
    at += route.copy(packet, at)
    packet.write(text, at)
    socket.send(packet)
  }
  const ask = () => {
    request(payload, (answer) => {
      count(answer)
      ask()
    })
  }

  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('open', () => socket.send(wire.packet(wire.HANDSHAKE, Buffer.from('{"sys":{},"user":{}}'))))
    socket.on('message', (data: Buffer) => {
      const type = data[0]
      if (type === wire.HEARTBEAT) socket.send(wire.packet(wire.HEARTBEAT))
      if (type === wire.HANDSHAKE) {
        socket.send(wire.packet(wire.ACK))
        resolve()
      }
      if (type !== wire.DATA) return
      let at = 5
      let id = 0
      for (let shift = 0; ; shift += 7) {
        const byte = data[at++] as number
        id |= (byte & 0x7f) << shift
        if (byte < 0x80) break
      }
      const callback = waiting.get(id)
      if (callback === undefined) return
      waiting.delete(id)
      callback(JSON.parse(data.toString('utf8', at)))
    })
  })
  for (let i = 0; i < job.inFlight; i++) ask()
}

function count (answer: unknown): void {
  if ((answer as { name?: unknown }).name !== payload.name) tally.errors++
  tally.messages++
}

function fail (error: Error): never {
  process.stderr.write(`clients: ${error.message}\n`)
  process.exit(1)
}

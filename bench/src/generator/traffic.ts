import type { Job } from '../job.ts'
import type { Tally } from '../window.ts'
import type { Client } from './client.ts'
import * as wire from './wire.ts'

/** Ids are 2-byte varints, as in a session that has lived for a while. */
const FIRST_ID = 200
/** So many messages are looked at closely before the measured window. */
const CHECKED = 64

/** Keeps `inFlight` requests outstanding on every connection: the replies of one read are answered by one write. */
export function startEcho (clients: Client[], job: Job, body: Uint8Array, fail: (error: Error) => void): Tally {
  const tally: Tally = { messages: 0, errors: 0 }
  const first = clients[0] as Client
  const ids = Array.from({ length: job.inFlight }, (_, i) => FIRST_ID + i)
  const frames = ids.map((id) => first.wrap(wire.request(job.route, id, body)))
  const size = (frames[0] as Buffer).length
  // Twice the set, so that any run of requests is one slice. Where replies overtake each other an id is used again early: no server minds.
  const requests = Buffer.concat([...frames, ...frames])
  const heartbeat = first.wrap(wire.packet(wire.HEARTBEAT))
  const isRaw = job.protocol === 'raw'

  for (const client of clients) {
    let next = 0
    client.onPacket = (data, start, end) => {
      if (data[start] === wire.DATA) {
        const flags = data[start + 4] as number
        if (!isRaw && (flags & wire.TYPE_BITS) !== wire.RESPONSE) return
        if ((flags & wire.ERROR_BIT) !== 0) tally.errors++
        if (tally.messages < CHECKED) check(data, start, end, body, fail)
        tally.messages++
        client.due++
      } else if (data[start] === wire.HEARTBEAT) {
        client.write(heartbeat)
      }
    }
    client.afterRead = () => {
      if (client.due === 0) return
      client.write(requests.subarray(next * size, (next + client.due) * size))
      next = (next + client.due) % job.inFlight
      client.due = 0
    }
  }
  for (const client of clients) client.write(requests.subarray(0, job.inFlight * size))
  return tally
}

/** Keeps `inFlight` broadcasts outstanding: one member notifies, every member's push is a delivery. */
export function startFanout (clients: Client[], job: Job, body: Uint8Array, fail: (error: Error) => void): Tally {
  const tally: Tally = { messages: 0, errors: 0 }
  const sender = clients[0] as Client
  const broadcast = sender.wrap(wire.notify(job.route, body))
  const heartbeat = sender.wrap(wire.packet(wire.HEARTBEAT))
  const head = Buffer.concat([Buffer.from([wire.PUSH]), wire.routeBytes(job.push as string)])
  for (const client of clients) {
    client.onPacket = (data, start, end) => {
      if (data[start] === wire.DATA) {
        // A late push of the joining phase is no delivery.
        for (let i = 0; i < head.length; i++) if (data[start + 4 + i] !== head[i]) return
        if (tally.messages < CHECKED) check(data, start, end, body, fail)
        tally.messages++
        if (tally.messages % clients.length === 0) sender.write(broadcast)
      } else if (data[start] === wire.HEARTBEAT) {
        client.write(heartbeat)
      }
    }
  }
  for (let i = 0; i < job.inFlight; i++) sender.write(broadcast)
  return tally
}

function check (data: Buffer, start: number, end: number, body: Uint8Array, fail: (error: Error) => void): void {
  const packet = data.subarray(start, end)
  if (!packet.includes(Buffer.from(body))) fail(new Error(`a reply does not carry the payload: ${packet.toString('latin1')}`))
}

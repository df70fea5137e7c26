import t from 'tap'
import { once } from 'node:events'
import { decodeMessage, createMessageView } from '../../lib/protocol/message.ts'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, raw, request } from '../../lib/handler/define.ts'
import { eventually, RawClient } from '../helpers/app.ts'
import { byteByByte, readPackets } from '../helpers/packets.ts'
import { fromHex, readVectors } from '../helpers/vectors.ts'
import { serve, tcpEnd, webSocketEnd, type Served } from '../helpers/wire.ts'

// What Pitaya's readers (Go) made of these writes, replayed inside a working session of the running server.

interface Case {
  name: string
  transport: 'tcp' | 'websocket'
  writesHex?: string[] | null
  frames?: Array<{ kind: 'binary' | 'text' | 'ping', hex: string }>
  reads: Array<{ messageHex?: string, goError?: string }>
}

const { vectors } = readVectors<{ vectors: Case[] }>('transport.json')
const isOrderly = (error: string): boolean => error === 'client connection closed' || error.startsWith('websocket: close 1000')

/** What this server does instead of Pitaya's reader, and why. */
const differences: Record<string, { why: string, reads: string[], end: 'peer' | 'badPacket' }> = {
  'ws-two-packets-one-message': { why: 'a message may carry several whole packets', reads: ['03000000', '03000000'], end: 'peer' },
  'tcp-close-inside-header': { why: 'a client that goes away is no bad packet', reads: [], end: 'peer' },
  'tcp-close-inside-body': { why: 'a client that goes away is no bad packet', reads: [], end: 'peer' }
}

const room = defineHandlers('room', { echo: request({ body: raw, response: raw }, (body) => body) })

/** How many of the packets that Pitaya read are whole messages here, and how the connection ends. */
function expected ({ name, reads }: Case): { dropped: number, end: string } {
  const difference = differences[name]
  const packets = difference?.reads ?? reads.flatMap(({ messageHex }) => messageHex ?? [])
  let dropped = 0
  for (const { type, body } of readPackets(packets.map(fromHex))) {
    if (type !== PacketType.data) continue
    try {
      decodeMessage(body, 0, body.length, createMessageView())
      dropped++
    } catch {
      return { dropped, end: 'badPacket' }
    }
  }
  return { dropped, end: difference?.end ?? (isOrderly(reads.at(-1)!.goError!) ? 'peer' : 'badPacket') }
}

async function working (end: ConstructorParameters<typeof RawClient>[0]): Promise<RawClient> {
  const client = new RawClient(end)
  await client.greet()
  return client
}

/** Proves that the connection is in step, then leaves it. */
async function leave (client: RawClient, isCut: boolean): Promise<void> {
  if (!isCut) {
    client.request(1, 'room.echo', 'in step')
    await client.message()
  }
  client.close()
}

/** How one connection ended, and how many notifies of no handler came out of it. */
async function outcome (served: Served, client: RawClient): Promise<{ dropped: number, end: string }> {
  await client.closed()
  await eventually(() => served.closed.length > 0, 'the server sees the close')
  return { dropped: served.drops.length, end: served.closed[0]!.reason }
}

for (const vector of vectors) {
  const { name, transport, writesHex, frames = [] } = vector
  const wanted = expected(vector)
  const why = differences[name]?.why
  const title = `${name}: ${why ?? 'as Pitaya reads it'}`

  if (transport === 'tcp') {
    const whole = (writesHex ?? []).map(fromHex)
    for (const [how, writes] of [['as recorded', whole], ['byte by byte', whole.flatMap(byteByByte)]] as const) {
      t.test(`${title} (${how})`, async (t) => {
        const served = await serve(t, { handlers: [room] })
        const client = await working(await tcpEnd(served.tcpPort))
        for (const bytes of writes) {
          client.write(bytes)
          await new Promise((resolve) => setImmediate(resolve))
        }
        if (wanted.end === 'peer') await leave(client, name.startsWith('tcp-close-inside'))
        t.strictSame(await outcome(served, client), wanted)
      })
    }
    continue
  }

  t.test(title, async (t) => {
    const served = await serve(t, { handlers: [room] })
    const end = await webSocketEnd(served.url)
    const client = await working(end)
    for (const { kind, hex } of frames) {
      if (kind === 'ping') {
        end.socket.ping()
        await once(end.socket, 'pong')
      } else {
        end.socket.send(fromHex(hex), { binary: kind === 'binary' })
      }
    }
    if (wanted.end === 'peer') await leave(client, false)
    t.strictSame(await outcome(served, client), wanted)
    t.strictSame([client.closeCode, client.closeReason], wanted.end === 'peer' ? [1000, ''] : [4500, 'bad packet'])
  })
}

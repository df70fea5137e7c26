/** What tests of the whole server share: an app per test, and a client that speaks the wire by hand. */
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { ClientEnd } from '../../lib/agent/memory-connection.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import type { Facade } from '../../lib/facade.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { encodePacket, PacketDecoder, PacketType } from '../../lib/protocol/packet.ts'
import type { SessionPool } from '../../lib/session/pool.ts'
import pitaya, { type PitayaOptions } from '../../plugins/pitaya.ts'
import { Watched } from './watched.ts'

const DEADLINE_MS = 20_000

interface Teardown { teardown (fn: () => unknown): void }

export interface BuildOptions extends PitayaOptions {
  fastify?: FastifyServerOptions
  handlers?: HandlersDefinition[]
  /** Called with the app before it gets ready. */
  setUp?: (app: FastifyInstance) => void | Promise<void>
}

/** An app without sockets (unless `acceptors` asks for some), ready, closed at the end of the test. */
export async function build (t: Teardown, { fastify, handlers = [], setUp, ...options }: BuildOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(fastify)
  t.teardown(() => app.close())
  await app.register(pitaya, { serverType: 'lobby', acceptors: false, ...options })
  app.pitaya.register(...handlers)
  await setUp?.(app)
  await app.ready()
  return app
}

export interface Received { type: PacketType, body: Buffer }
export interface ReceivedMessage { type: MessageType, id: number, route: string, data: Buffer, isError: boolean, isCompressed: boolean }

/** One client at packet level, over a connection in memory. Heartbeats are counted, not queued. */
export class RawClient extends Watched {
  readonly packets: Received[] = []
  heartbeats = 0
  isClosed = false
  closeCode: number | undefined
  closeReason = ''
  #end: ClientEnd
  #decoder = new PacketDecoder(0xffffff)

  constructor (end: ClientEnd) {
    super()
    this.#end = end
    end.handler = {
      onData: (bytes) => {
        this.#decoder.push(bytes, {
          onPacket: (type, bytes, start, end) => {
            if (type === PacketType.heartbeat) this.heartbeats++
            else this.packets.push({ type, body: Buffer.from(bytes.slice(start, end)) })
            return true
          }
        })
        this.changed()
      },
      onDrain: () => {},
      onClose: () => {
        this.isClosed = true
        this.closeCode = end.closeCode
        this.closeReason = end.closeReason
        this.changed()
      }
    }
  }

  get end (): ClientEnd { return this.#end }
  write (bytes: Uint8Array): void { this.#end.write(Buffer.from(bytes)) }
  writeHex (hex: string): void { this.write(Buffer.from(hex.replaceAll(' ', ''), 'hex')) }
  packet (type: PacketType, body: Uint8Array | string = ''): void { this.write(encodePacket(type, Buffer.from(body))) }

  request (id: number, route: string, data: unknown = {}): void {
    this.packet(PacketType.data, encodeMessage({ type: MessageType.request, id, route, data: toBytes(data) }))
  }

  notify (route: string, data: unknown = {}): void {
    this.packet(PacketType.data, encodeMessage({ type: MessageType.notify, route, data: toBytes(data) }))
  }

  /** Handshake and ack; resolves with the answer. */
  async greet (handshake: object = {}): Promise<any> {
    this.packet(PacketType.handshake, JSON.stringify(handshake))
    const { body } = await this.next(PacketType.handshake)
    this.packet(PacketType.ack)
    return JSON.parse(body.toString())
  }

  /** Takes the oldest packet, which must be of this type. */
  async next (type: PacketType): Promise<Received> {
    await this.until(() => this.packets.length > 0 || this.isClosed, `a packet of type ${type}`)
    const packet = this.packets.shift()
    if (packet === undefined) throw new Error(`closed (${this.closeCode} ${this.closeReason}) instead of a packet of type ${type}`)
    if (packet.type !== type) throw new Error(`a packet of type ${packet.type} instead of ${type}: ${packet.body.toString()}`)
    return packet
  }

  async message (): Promise<ReceivedMessage> {
    const { body } = await this.next(PacketType.data)
    const view = createMessageView()
    decodeMessage(body, 0, body.length, view)
    const { type, id, isError, isCompressed } = view
    return { type, id, isError, isCompressed, route: body.toString('utf8', view.routeStart, view.routeEnd), data: body.subarray(view.dataStart, view.dataEnd) }
  }

  /** The next message, which must answer `id`: its JSON. */
  async answer (id: number): Promise<any> {
    const message = await this.message()
    if (message.type !== MessageType.response || message.id !== id) throw new Error(`not the answer to ${id}: ${JSON.stringify(message)}`)
    return message.data.length === 0 ? undefined : JSON.parse(message.data.toString())
  }

  async closed (): Promise<{ code: number | undefined, reason: string }> {
    await this.until(() => this.isClosed, 'the close')
    return { code: this.closeCode, reason: this.closeReason }
  }

  close (): void { this.#end.close(1000, '') }
}

/** The client's end of a connection in memory, already accepted. */
export function openPair (app: FastifyInstance, remoteAddress?: string): ClientEnd {
  return (app.pitaya as unknown as Facade).openPair(remoteAddress)
}

/** The sessions with what applications do not see of them. */
export function sessionPool (app: FastifyInstance): SessionPool {
  return (app.pitaya as unknown as Facade).sessions
}

/** The server's place in its cluster. */
export function clusterIn (app: FastifyInstance): Cluster {
  return (app as unknown as { pitayaCluster: Cluster }).pitayaCluster
}

/** A client over memory; `greet` does the handshake. */
export function rawClient (app: FastifyInstance, remoteAddress?: string): RawClient {
  return new RawClient(openPair(app, remoteAddress))
}

/** A client that is through its handshake. */
export async function workingClient (app: FastifyInstance, handshake?: object): Promise<RawClient> {
  const client = rawClient(app)
  await client.greet(handshake)
  return client
}

/** Resolves when `holds`, looking after every turn of the event loop: for state that emits no event. */
export async function eventually (holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function toBytes (data: unknown): Uint8Array {
  return data instanceof Uint8Array ? data : Buffer.from(typeof data === 'string' ? data : JSON.stringify(data))
}

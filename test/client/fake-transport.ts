import { connectOver, type Client, type CloseInfo, type ConnectOptions } from '../../client/client.ts'
import { noHandler, type ClientTransport } from '../../client/transport.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { encodePacket, PacketType } from '../../lib/protocol/packet.ts'
import { readPackets } from '../helpers/packets.ts'

export const WELCOME = '{"code":200,"sys":{"heartbeat":0,"dict":{},"serializer":"json"}}'

/** A transport with nobody at the other end; `answer` is what a server would send. */
export class FakeTransport implements ClientTransport {
  handler = noHandler
  readonly sent: Uint8Array[] = []
  isClosed = false
  write (bytes: Uint8Array): void { this.sent.push(bytes) }
  close (): void { this.isClosed = true; this.end(1000, '') }
  end (code: number, reason: string): void { setImmediate(() => this.handler.onClose(code, reason)) }
  answer (type: PacketType, body: string | Uint8Array): void { this.handler.onData(encodePacket(type, Buffer.from(body as string))) }
  push (route: string, data: string | Uint8Array, isCompressed = false): void {
    this.answer(PacketType.data, encodeMessage({ type: MessageType.push, route, data: Buffer.from(data as string), isCompressed }))
  }

  reply (id: number, data: string): void {
    this.answer(PacketType.data, encodeMessage({ type: MessageType.response, id, data: Buffer.from(data) }))
  }

  get packets () { return readPackets(this.sent) }
  /** The handshake's `user`. */
  get user (): unknown { return JSON.parse(Buffer.from(this.packets[0]!.body).toString()).user }
}

export async function connected (options: ConnectOptions = {}): Promise<{ transport: FakeTransport, client: Client }> {
  const transport = new FakeTransport()
  const ready = connectOver(transport, options)
  transport.answer(PacketType.handshake, WELCOME)
  return { transport, client: await ready as Client }
}

/** Opens one transport after the other, greeting each as `greet` says (by default it is welcome; undefined: not at all). */
export class FakeServer {
  readonly transports: FakeTransport[] = []
  greet: () => string | undefined = () => WELCOME
  readonly open = (): ClientTransport => {
    const transport = new FakeTransport()
    this.transports.push(transport)
    setImmediate(() => {
      const answer = this.greet()
      if (answer !== undefined && !transport.isClosed) transport.answer(PacketType.handshake, answer)
    })
    return transport
  }

  get last (): FakeTransport { return this.transports.at(-1)! }
}

export const closeOf = (client: Pick<Client, 'onClose'>): Promise<CloseInfo> => new Promise((resolve) => { client.onClose(resolve) })

/** The running server on real sockets, and clients that speak to it by hand. */
import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { noHandler } from '../../lib/agent/connection.ts'
import type { ClientEnd } from '../../lib/agent/memory-connection.ts'
import { channels } from '../../lib/channels.ts'
import { build, RawClient, type BuildOptions } from './app.ts'

interface Teardown { teardown (fn: () => unknown): void }

export const HOST = '127.0.0.1'

/** What a server told about one closed connection. */
export interface Closed { sessionId: number, code: number, reason: string, transport: string }

export interface Served {
  app: FastifyInstance
  tcpPort: number
  url: string
  /** Every close since the start, in order. */
  closed: Closed[]
  /** What was dropped since the start. */
  drops: Array<{ what: string, why: string, route: string }>
}

/** A server with a TCP and a WebSocket port, closed at the end of the test. */
export async function serve (t: Teardown, options: BuildOptions = {}): Promise<Served> {
  const app = await build(t, { acceptors: { tcp: { port: 0, host: HOST }, websocket: {} }, ...options })
  await app.listen({ port: 0, host: HOST })
  const { closed, drops } = watch(t, app)
  const { port } = app.server.address() as AddressInfo
  return { app, tcpPort: app.pitaya.acceptors[0]!.port, url: `ws://${HOST}:${port}/pitaya`, closed, drops }
}

/** Collects what a server tells about closes and drops. */
export function watch (t: Teardown, app: FastifyInstance): Pick<Served, 'closed' | 'drops'> {
  const closed: Closed[] = []
  const drops: Served['drops'] = []
  const isOurs = (serverId: string): boolean => serverId === app.pitaya.serverId
  const onClose = ({ serverId, sessionId, code, reason, transport }: Closed & { serverId: string }): void => {
    if (isOurs(serverId)) closed.push({ sessionId, code, reason, transport })
  }
  const onDrop = ({ serverId, what, why, route }: { serverId: string, what: string, why: string, route: string }): void => {
    if (isOurs(serverId)) drops.push({ what, why, route })
  }
  channels.close.subscribe(onClose)
  channels.drop.subscribe(onDrop)
  t.teardown(() => {
    channels.close.unsubscribe(onClose)
    channels.drop.unsubscribe(onDrop)
  })
  return { closed, drops }
}

/** The client's end of a TCP connection. */
export class TcpEnd implements ClientEnd {
  handler = noHandler
  readonly closeCode = undefined
  readonly closeReason = ''
  readonly socket: Socket

  constructor (socket: Socket) {
    this.socket = socket.setNoDelay(true)
    socket.on('data', (bytes) => this.handler.onData(bytes))
    socket.on('error', () => {})
    socket.on('close', () => this.handler.onClose())
  }

  get pendingBytes (): number { return this.socket.writableLength }
  write (bytes: Uint8Array): boolean { return this.socket.writable && this.socket.write(bytes) }
  pause (): void { this.socket.pause() }
  resume (): void { this.socket.resume() }
  close (): void { this.socket.end() }
  destroy (): void { this.socket.destroy() }
}

/** The client's end of a WebSocket: one message for each write. */
export class WebSocketEnd implements ClientEnd {
  handler = noHandler
  closeCode: number | undefined
  closeReason = ''
  readonly socket: WebSocket

  constructor (socket: WebSocket) {
    this.socket = socket
    socket.on('message', (bytes) => this.handler.onData(bytes as Buffer))
    socket.on('error', () => {})
    socket.on('close', (code, reason) => {
      this.closeCode = code
      this.closeReason = reason.toString()
      this.handler.onClose()
    })
  }

  get pendingBytes (): number { return this.socket.bufferedAmount }
  write (bytes: Uint8Array): boolean {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes)
    return true
  }

  pause (): void { this.socket.pause() }
  resume (): void { this.socket.resume() }
  close (code = 1000): void { this.socket.close(code) }
  destroy (): void { this.socket.terminate() }
}

export async function tcpEnd (port: number): Promise<TcpEnd> {
  const socket = connect(port, HOST)
  await once(socket, 'connect')
  return new TcpEnd(socket)
}

export async function webSocketEnd (url: string): Promise<WebSocketEnd> {
  const socket = new WebSocket(url, { perMessageDeflate: false })
  const end = new WebSocketEnd(socket)
  await once(socket, 'open')
  return end
}

export async function tcpClient (served: Served): Promise<RawClient> { return new RawClient(await tcpEnd(served.tcpPort)) }
export async function webSocketClient (served: Served): Promise<RawClient> { return new RawClient(await webSocketEnd(served.url)) }

/** The carriers that most behaviour is tested on. */
export const carriers = [['TCP', tcpClient], ['WebSocket', webSocketClient]] as const

/** Resolves when the server has seen the client's ack: something sent after it was answered. */
export async function acked (client: RawClient): Promise<void> {
  client.request(1, 'nobody.home')
  await client.answer(1)
}

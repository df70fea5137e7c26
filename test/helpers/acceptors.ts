/** What the acceptors' tests share: a stand-in for the agents, and clients that look alike over every carrier. */
import { once } from 'node:events'
import { connect as netConnect, type NetConnectOpts, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import fp from 'fastify-plugin'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { WebSocket, type ClientOptions } from 'ws'
import type { Acceptance, Connection, ConnectionHandler } from '../../lib/agent/connection.ts'
import type { ClientEnd } from '../../lib/agent/memory-connection.ts'
import { Watched } from './watched.ts'

/** The agent's side of a connection: keeps what it was told. */
export class Recorder extends Watched implements ConnectionHandler {
  readonly connection: Connection
  readonly request: FastifyRequest | undefined
  readonly messages: Buffer[] = []
  bytes = 0
  drains = 0
  closes = 0
  error: Error | undefined

  constructor (connection: Connection, request?: FastifyRequest) {
    super()
    this.connection = connection
    this.request = request
  }

  onData (bytes: Uint8Array): void {
    if (this.closes > 0) throw new Error('data after close')
    this.messages.push(Buffer.from(bytes))
    this.bytes += bytes.length
    this.changed()
  }

  onDrain (): void {
    this.drains++
    this.changed()
  }

  onClose (error?: Error): void {
    this.closes++
    this.error = error
    this.changed()
  }

  get data (): Buffer { return Buffer.concat(this.messages) }

  /** Sends one packet, framed as the connection asks. */
  send (packet: Uint8Array): boolean { return this.connection.write(frame(this.connection, packet)) }
  async closed (): Promise<void> { await this.until(() => this.closes > 0, 'the server sees the close') }
  async has (count: number): Promise<void> { await this.until(() => this.bytes >= count, `the server has ${count} bytes`) }
}

export function frame (connection: Connection, packet: Uint8Array): Uint8Array {
  const { framing } = connection
  if (framing === undefined) return packet
  const header = framing.size(packet.length)
  const framed = Buffer.allocUnsafe(header + packet.length)
  framing.write(framed, 0, packet.length)
  framed.set(packet, header)
  return framed
}

/** Stands in for the agents: a recorder for each connection, verdicts by hand, everything destroyed before the app closes. */
export class StubAgents extends Watched implements Acceptance {
  readonly recorders: Recorder[] = []
  readonly stops: Array<() => void> = []
  verdict: ReturnType<Acceptance['canAccept']> = 'ok'
  /** Pauses each connection while it is accepted. */
  isPausing = false
  asked = 0
  retryAfterMs = 1500
  #taken = 0

  accept (connection: Connection, request?: unknown): void {
    const recorder = new Recorder(connection, request as FastifyRequest | undefined)
    connection.handler = recorder
    if (this.isPausing) connection.pause()
    this.recorders.push(recorder)
    this.changed()
  }

  canAccept (): ReturnType<Acceptance['canAccept']> {
    this.asked++
    return this.verdict
  }

  onStop (stop: () => void): void { this.stops.push(stop) }

  /** The next connection nobody has asked for yet. */
  async next (): Promise<Recorder> {
    const index = this.#taken++
    await this.until(() => this.recorders.length > index, `connection ${index + 1} is accepted`)
    return this.recorders[index] as Recorder
  }

  /** The plugin that acceptors depend on. */
  readonly plugin = fp(async fastify => {
    const agents: Acceptance = this
    fastify.decorate('pitayaAgents', agents)
    fastify.addHook('preClose', async () => {
      for (const stop of this.stops) stop()
      for (const { connection } of this.recorders) connection.destroy()
    })
  }, { name: 'pitaya-agents' })

  /** What acceptors of one's own depend on: `app.pitaya.accept`. */
  readonly facade = fp(async fastify => {
    const accept = (connection: Connection): void => {
      const verdict = this.canAccept()
      if (verdict === 'rate' || verdict === 'draining') connection.destroy()
      else this.accept(connection)
    }
    fastify.decorate('pitaya', { accept } as unknown as FastifyInstance['pitaya'])
  }, { name: 'fastify-pitaya' })
}

/** A client of any carrier. */
export abstract class TestClient extends Watched {
  readonly received: Buffer[] = []
  bytes = 0
  isClosed = false
  /** WebSocket and memory only. */
  closeCode: number | undefined
  closeReason = ''

  abstract send (bytes: Uint8Array): void
  abstract pause (): void
  abstract resume (): void
  /** Closes politely. */
  abstract end (): void
  /** Goes away without a word. */
  abstract reset (): void

  get data (): Buffer { return Buffer.concat(this.received) }
  async closed (): Promise<void> { await this.until(() => this.isClosed, 'the client sees the close') }
  async has (count: number): Promise<void> { await this.until(() => this.bytes >= count, `the client has ${count} bytes`) }

  protected take (bytes: Buffer): void {
    this.received.push(bytes)
    this.bytes += bytes.length
    this.changed()
  }

  protected over (code?: number, reason = ''): void {
    this.isClosed = true
    this.closeCode = code
    this.closeReason = reason
    this.changed()
  }
}

export class StreamClient extends TestClient {
  readonly socket: Socket
  readonly #carrier: Socket

  /** @param carrier the TCP socket below TLS */
  constructor (socket: Socket, carrier = socket) {
    super()
    this.socket = socket
    this.#carrier = carrier
    socket.on('data', bytes => this.take(bytes))
    socket.on('error', () => {})
    carrier.on('error', () => {})
    socket.on('close', () => this.over())
  }

  send (bytes: Uint8Array): void { this.socket.write(bytes) }
  pause (): void { this.socket.pause() }
  resume (): void { this.socket.resume() }
  end (): void { this.socket.end() }
  reset (): void {
    if (this.#carrier.remoteAddress === undefined) this.#carrier.destroy()
    else this.#carrier.resetAndDestroy()
  }
}

export class WebSocketClient extends TestClient {
  readonly socket: WebSocket

  constructor (socket: WebSocket) {
    super()
    this.socket = socket
    socket.on('message', bytes => this.take(bytes as Buffer))
    socket.on('error', () => {})
    socket.on('close', (code, reason) => this.over(code, reason.toString()))
  }

  send (bytes: Uint8Array): void { this.socket.send(bytes) }
  pause (): void { this.socket.pause() }
  resume (): void { this.socket.resume() }
  end (): void { this.socket.close(1000) }
  reset (): void { (this.socket as unknown as { _socket: Socket })._socket.resetAndDestroy() }
}

export class MemoryClient extends TestClient {
  readonly client: ClientEnd

  constructor (client: ClientEnd) {
    super()
    this.client = client
    client.handler = {
      onData: bytes => this.take(Buffer.from(bytes)),
      onDrain: () => this.changed(),
      onClose: () => this.over(client.closeCode, client.closeReason)
    }
  }

  send (bytes: Uint8Array): void { this.client.write(bytes) }
  pause (): void { this.client.pause() }
  resume (): void { this.client.resume() }
  end (): void { this.client.close(1000, '') }
  reset (): void { this.client.destroy() }
}

export async function connectStream (options: NetConnectOpts, hello?: Uint8Array): Promise<StreamClient> {
  const socket = netConnect(options)
  await once(socket, 'connect')
  if (hello !== undefined) socket.write(hello)
  return new StreamClient(socket)
}

/** TLS over TCP, after `hello` in plain text. */
export async function connectTls (port: number, hello?: Uint8Array, options: object = {}): Promise<StreamClient> {
  const carrier = netConnect(port, '127.0.0.1')
  await once(carrier, 'connect')
  if (hello !== undefined) carrier.write(hello)
  const socket = tlsConnect({ socket: carrier, rejectUnauthorized: false, ...options })
  const client = new StreamClient(socket, carrier)
  await once(socket, 'secureConnect')
  return client
}

export async function connectWebSocket (url: string, options: ClientOptions = {}): Promise<WebSocketClient> {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options })
  const client = new WebSocketClient(socket)
  await once(socket, 'open')
  return client
}

/** One HTTP request written by hand: the answer's status, head and body once the server has closed or `wanted` matches. */
export async function exchange (port: number, text: string | Uint8Array, wanted = /\r\n\r\n/): Promise<string> {
  const client = await connectStream({ port, host: '127.0.0.1' }, typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
  await client.until(() => client.isClosed || wanted.test(client.data.toString('latin1')), 'an HTTP answer')
  client.reset()
  return client.data.toString('latin1')
}

/** Lets the event loop go round, sockets included. */
export async function turns (count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve))
}

import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type SecureContextOptions, type Server as TlsServer, type TlsOptions, type TLSSocket } from 'node:tls'
import { plainAddress, type Acceptance, type AcceptorInfo } from './connection.ts'
import { createTrust, readProxyHeader } from './proxy-protocol.ts'
import { StreamConnection } from './stream-connection.ts'

const TLS_DEFAULTS: TlsOptions = { handshakeTimeout: 10_000, minVersion: 'TLSv1.2' }
const ACCEPT_ERROR_LOG_MS = 1000

export interface TcpListenerOptions {
  /** 0 takes a free one: see `onListening`. */
  port: number
  /** Default: all interfaces, as node's `listen`. */
  host?: string
  /** With it the port speaks TLS only. Defaults besides node's: `handshakeTimeout` 10 s, `minVersion` TLSv1.2. */
  tls?: TlsOptions
  /**
   * Every connection starts with a PROXY protocol header, version 1 or 2, before TLS. `trusted`: addresses and networks of the
   * hops whose header is believed, connections of others are closed; `true` believes everyone who reaches the port.
   */
  proxyProtocol?: boolean | { trusted?: readonly string[] }
  /** For logs and operators. Default `tcp`, `tls` with `tls`. */
  name?: string
  /** Told once, when the port is bound. */
  onListening?: (info: TcpAcceptorInfo) => void
}

const kListener = Symbol('fastify-pitaya.listener')

/** Where a TCP acceptor listens. */
export interface TcpAcceptorInfo extends AcceptorInfo {
  /** TLS only: key and certificate for new connections; those that are open stay. */
  renewTls? (options: SecureContextOptions): void
}

interface Log {
  info (context: object, text: string): void
  debug (context: object, text: string): void
  error (context: object, text: string): void
}

/** One TCP port. Sockets on their way to a Connection (PROXY header, TLS handshake) belong to it, the others to their agents. */
export class TcpListener {
  readonly #options: TcpListenerOptions
  readonly #acceptance: Acceptance
  readonly #log: Log
  readonly #transport: string
  readonly #server: Server
  readonly #tls: TlsServer | undefined
  readonly #isTrusted: ((address: string) => boolean) | undefined
  readonly #sockets = new Set<Socket>()
  /** Addresses from PROXY headers, while TLS shakes hands: the TLS socket knows only the hop. */
  readonly #proxied = new Map<string, string>()
  #isStopped = false
  #lastErrorAt = -Infinity

  constructor (options: TcpListenerOptions, acceptance: Acceptance, log: Log) {
    this.#options = options
    this.#acceptance = acceptance
    this.#log = log
    this.#transport = options.tls === undefined ? 'tcp' : 'tls'
    const { proxyProtocol } = options
    if (typeof proxyProtocol === 'object' && proxyProtocol.trusted !== undefined) this.#isTrusted = createTrust(proxyProtocol.trusted)
    this.#server = createServer({ allowHalfOpen: false, noDelay: true, keepAlive: true }, socket => this.#onSocket(socket))
    if (options.tls !== undefined) {
      this.#tls = createTlsServer({ ...TLS_DEFAULTS, ...options.tls }, socket => this.#onSecure(socket))
      this.#tls.on('tlsClientError', (error, socket) => {
        this.#log.debug({ err: error }, 'TLS handshake failed')
        // After a time-out node leaves this to us.
        socket.destroy()
      })
    }
  }

  /** Rejects when the port is taken. */
  async listen (): Promise<AcceptorInfo> {
    const { port, host, name = this.#transport, onListening } = this.#options
    this.#server.listen({ port, host })
    await once(this.#server, 'listening')
    this.#server.on('error', error => this.#onAcceptError(error))
    const bound = this.#server.address() as AddressInfo
    const info = { name, transport: this.#transport, address: bound.address, port: bound.port }
    const tls = this.#tls
    onListening?.(tls === undefined ? info : { ...info, renewTls: options => tls.setSecureContext(options) })
    return info
  }

  /** No new clients; those on their way in are dropped as they arrive. */
  stop (): void {
    this.#isStopped = true
    this.#server.close()
  }

  /** Ends whatever is left, and resolves when the port is free. */
  async close (): Promise<void> {
    this.#isStopped = true
    const closed = new Promise<void>(resolve => { this.#server.close(() => resolve()) })
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #onSocket (socket: Socket): void {
    socket.on('error', ignore)
    const hop = plainAddress(socket.remoteAddress)
    // Without an address the client has gone already.
    if (hop === '' || this.#isTrusted?.(hop) === false) {
      if (hop !== '') this.#log.info({ remoteAddress: hop }, 'connection refused: not a trusted proxy')
      socket.destroy()
      return
    }
    const verdict = this.#acceptance.canAccept()
    if (verdict === 'rate' || verdict === 'draining') {
      socket.destroy()
      return
    }
    this.#sockets.add(socket)
    ;(socket as Socket & { [kListener]: TcpListener })[kListener] = this
    socket.on('close', TcpListener.#onSocketClose)
    if (this.#options.proxyProtocol === undefined || this.#options.proxyProtocol === false) this.#onClient(socket, hop)
    else this.#readProxyHeader(socket, hop)
  }

  #readProxyHeader (socket: Socket, hop: string): void {
    readProxyHeader(socket, (error, address) => {
      if (error !== undefined) {
        this.#log.info({ err: error, remoteAddress: hop }, 'connection refused: no valid PROXY protocol header')
        return
      }
      if (this.#tls !== undefined && address !== undefined) {
        const peer = peerOf(socket)
        this.#proxied.set(peer, address)
        socket.on('close', () => this.#proxied.delete(peer))
      }
      this.#onClient(socket, address ?? hop)
    })
  }

  #onClient (socket: Socket, address: string): void {
    if (this.#tls === undefined) this.#accept(socket, address)
    else this.#tls.emit('connection', socket)
  }

  #onSecure (socket: TLSSocket): void {
    this.#accept(socket, this.#proxied.get(peerOf(socket)) ?? plainAddress(socket.remoteAddress))
  }

  #accept (socket: Socket, address: string): void {
    if (this.#isStopped || socket.destroyed) socket.destroy()
    else this.#acceptance.accept(new StreamConnection(socket, this.#transport, address))
  }

  static #onSocketClose (this: Socket): void {
    (this as Socket & { [kListener]: TcpListener })[kListener].#sockets.delete(this)
  }

  /** Out of file descriptors, for instance: node goes on accepting by itself, so say so and no more than once a second. */
  #onAcceptError (error: Error): void {
    const now = performance.now()
    if (now - this.#lastErrorAt < ACCEPT_ERROR_LOG_MS) return
    this.#lastErrorAt = now
    this.#log.error({ err: error }, 'connection could not be accepted')
  }
}

/** Tells apart all connections of one port, and is the same for a TLS socket and the socket below it. */
function peerOf (socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}`
}

function ignore (): void {}

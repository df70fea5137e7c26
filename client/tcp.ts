import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { createError } from '../lib/protocol/errors.ts'
import { connectOver, type Connected, type ConnectOptions, type Structures } from './client.ts'
import { noHandler, type ClientTransport } from './transport.ts'

export interface TcpAddress {
  /** Default localhost. */
  host?: string
  port: number
  /** True, or more settings, for TLS. Default plain TCP. */
  tls?: boolean | ConnectionOptions
}

/** How long the server may take to say goodbye too. */
const CLOSE_MS = 2000

/** `connect` over TCP or TLS, in Node. */
export function connectTcp<T extends Structures = any> (address: TcpAddress, options: ConnectOptions = {}): Promise<Connected<T>> {
  return connectOver<T>((signal) => openTcp(address, signal), options, `tcp://${address.host ?? 'localhost'}:${address.port}`)
}

function openTcp ({ host = 'localhost', port, tls = false }: TcpAddress, signal: AbortSignal): Promise<ClientTransport> {
  return new Promise((resolve, reject) => {
    const socket: Socket = tls === false
      ? connect({ host, port, noDelay: true })
      : connectTls({ host, port, servername: host, ...tls === true ? {} : tls })
    socket.setNoDelay(true)
    const transport: ClientTransport = {
      handler: noHandler,
      write (bytes) { socket.write(bytes) },
      close () {
        if (socket.connecting) socket.destroy()
        else socket.setTimeout(CLOSE_MS, () => socket.destroy()).end()
      }
    }
    let error: Error | undefined
    signal.addEventListener('abort', transport.close)
    socket.once(tls === false ? 'connect' : 'secureConnect', () => resolve(transport))
    socket.on('data', (bytes) => transport.handler.onData(bytes))
    socket.on('error', (cause) => { error = cause })
    socket.on('close', () => {
      reject(createError('PIT_ERR_CLIENT_CLOSED', [], { text: `no connection to ${host}:${port}: ${error?.message ?? 'closed'}`, cause: error }))
      transport.handler.onClose(1006, error?.message ?? '')
    })
  })
}

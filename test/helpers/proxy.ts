/** A TCP proxy that makes a network bad: slow, or silent without anyone being told. */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'

const HOST = '127.0.0.1'
const TICK_MS = 20

export interface Proxy {
  readonly port: number
  /** From now on nothing is forwarded either way, and nobody is told: both sides see an open connection. */
  swallow (): void
  /** Ends `swallow`: what was held back arrives after all, as after a partition that TCP survived. */
  release (): void
}

interface Teardown { teardown (fn: () => unknown): void }

/** @param bytesPerSecond what a client gets at most; the other way is not slowed */
export async function startProxy (t: Teardown, target: number, bytesPerSecond = Infinity): Promise<Proxy> {
  const sockets = new Set<Socket>()
  /** Whose other side has closed since, which they are not to know yet. */
  const withheld = new Set<Socket>()
  let isSwallowing = false
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ port: target, host: HOST, allowHalfOpen: true })
    for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
      sockets.add(from)
      from.on('error', () => { to.destroy() })
      from.on('close', () => { if (isSwallowing) withheld.add(to); else to.destroy() })
      from.on('end', () => { if (!isSwallowing) to.end() })
    }
    client.on('data', (bytes) => { upstream.write(bytes) })
    if (bytesPerSecond === Infinity) upstream.on('data', (bytes) => { client.write(bytes) })
    else throttle(upstream, client, bytesPerSecond)
    if (isSwallowing) for (const socket of [client, upstream]) socket.pause()
  })
  server.listen(0, HOST)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const swallow = (): void => {
    isSwallowing = true
    for (const socket of sockets) socket.pause()
  }
  const release = (): void => {
    isSwallowing = false
    for (const socket of withheld) socket.destroy()
    for (const socket of sockets) socket.resume()
  }
  return { port: (server.address() as AddressInfo).port, swallow, release }
}

/** Reads a little at a time, so that the sender's own buffers fill up. */
function throttle (from: Socket, to: Socket, bytesPerSecond: number): void {
  const share = Math.max(1, Math.round(bytesPerSecond * TICK_MS / 1000))
  const timer = setInterval(() => {
    const bytes = from.read(Math.min(share, from.readableLength)) as Buffer | null
    if (bytes !== null && bytes.length > 0) to.write(bytes)
  }, TICK_MS)
  from.on('readable', () => {})
  from.on('close', () => clearInterval(timer))
}

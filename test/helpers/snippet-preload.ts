/**
 * Loaded before a snippet of the documents runs in its own process. The ports that the text names become free ones, told to the
 * parent as `{ asked, port }`, and Node gets the WebSocket that browsers and Node 22 have.
 */
import { Server, type AddressInfo, type ListenOptions } from 'node:net'
import { WebSocket } from 'ws'

const PORTS = [3250, 3251, 3252]

const runtime = globalThis as { WebSocket?: unknown }
runtime.WebSocket ??= WebSocket

type Listen = (this: Server, options: ListenOptions, ...rest: unknown[]) => Server
const prototype = Server.prototype as unknown as { listen: Listen }
const { listen } = prototype

prototype.listen = function (options, ...rest) {
  const asked = options.port
  if (asked === undefined || !PORTS.includes(asked)) return listen.call(this, options, ...rest)
  this.once('listening', () => process.send?.({ asked, port: (this.address() as AddressInfo).port }))
  return listen.call(this, { ...options, port: 0 }, ...rest)
}

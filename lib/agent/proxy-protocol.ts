import { BlockList, isIP, isIPv4, isIPv6, SocketAddress, type Socket } from 'node:net'
import { createError, type PitayaError } from '../errors.ts'
import { plainAddress } from './connection.ts'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V1_PREFIX = Buffer.from('PROXY ', 'latin1')
const V1_MAX_BYTES = 107
const V2_HEADER_BYTES = 16
const V2_MAX_TRAILING_BYTES = 2048
const LOCAL = 0
const PROXY = 1
const UNSPECIFIED = 0x00
const TCP4 = 0x11
const TCP6 = 0x21
const CR = 13
const LF = 10

/** How long a proxy may take to send its whole header. */
export const PROXY_HEADER_TIMEOUT_MS = 5000

export interface ProxyHeader {
  /** The client behind the proxy. Undefined for LOCAL and UNKNOWN, such as a proxy's health check: the socket's own address counts. */
  readonly address: string | undefined
  /** What came after the header. */
  readonly rest: Uint8Array
}

/**
 * Reads the header of the PROXY protocol, version 1 or 2, from any slices. Holds at most 2,064 bytes.
 * Unix addresses and datagrams are refused; the fields that follow the addresses of version 2 (TLV) are skipped.
 */
export class ProxyHeaderParser {
  #bytes: Buffer = Buffer.allocUnsafe(V2_HEADER_BYTES + V2_MAX_TRAILING_BYTES)
  #length = 0

  /** Undefined: the header goes on. Throws PIT_ERR_PROXY_HEADER, at the first byte that cannot belong to one. */
  feed (slice: Uint8Array): ProxyHeader | undefined {
    const had = this.#length
    const taken = Math.min(slice.length, this.#bytes.length - had)
    this.#bytes.set(slice.subarray(0, taken), had)
    this.#length += taken
    if (this.#length === 0) return undefined
    const end = this.#bytes[0] === CR ? this.#endOfV2() : this.#endOfV1(had)
    if (end === 0) return undefined
    return {
      address: this.#bytes[0] === CR ? readV2(this.#bytes.subarray(0, end)) : readV1(this.#bytes.toString('latin1', 0, end - 2)),
      rest: slice.subarray(end - had)
    }
  }

  /** Length of the whole header, 0 as long as it isn't there. */
  #endOfV1 (had: number): number {
    this.#expect(V1_PREFIX)
    const limit = Math.min(this.#length, V1_MAX_BYTES)
    for (let at = Math.max(had, 1); at < limit; at++) {
      const ended = this.#bytes[at - 1] === CR
      if (ended !== (this.#bytes[at] === LF)) throw createError('PIT_ERR_PROXY_HEADER')
      if (ended) return at + 1
    }
    if (limit === V1_MAX_BYTES) throw createError('PIT_ERR_PROXY_HEADER')
    return 0
  }

  #endOfV2 (): number {
    this.#expect(SIGNATURE)
    if (this.#length < V2_HEADER_BYTES) return 0
    const trailing = this.#bytes.readUInt16BE(14)
    if (trailing > V2_MAX_TRAILING_BYTES) throw createError('PIT_ERR_PROXY_HEADER')
    return this.#length < V2_HEADER_BYTES + trailing ? 0 : V2_HEADER_BYTES + trailing
  }

  #expect (prefix: Buffer): void {
    const length = Math.min(prefix.length, this.#length)
    if (this.#bytes.compare(prefix, 0, length, 0, length) !== 0) throw createError('PIT_ERR_PROXY_HEADER')
  }
}

function readV1 (line: string): string | undefined {
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = '', ...more] = line.split(' ')
  if (family === 'UNKNOWN') return undefined
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  if (isAddress === undefined || more.length > 0 || !isAddress(source) || !isAddress(destination) ||
    source.includes('%') || !isPort(sourcePort) || !isPort(destinationPort)) throw createError('PIT_ERR_PROXY_HEADER')
  return family === 'TCP4' ? source : canonical(source)
}

function isPort (text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) < 0x10000
}

function readV2 (header: Buffer): string | undefined {
  const version = header.readUInt8(12) >>> 4
  const command = header.readUInt8(12) & 0x0f
  const family = header.readUInt8(13)
  if (version !== 2 || command > PROXY) throw createError('PIT_ERR_PROXY_HEADER')
  if (command === LOCAL || family === UNSPECIFIED) return undefined
  const trailing = header.subarray(V2_HEADER_BYTES)
  if (family === TCP4 && trailing.length >= 12) return trailing.subarray(0, 4).join('.')
  if (family === TCP6 && trailing.length >= 36) {
    return canonical((trailing.toString('hex', 0, 16).match(/.{4}/g) as string[]).join(':'))
  }
  throw createError('PIT_ERR_PROXY_HEADER')
}

function canonical (address: string): string {
  return plainAddress(new SocketAddress({ address, family: 'ipv6' }).address)
}

/**
 * The hops whose header is believed: addresses and networks (`10.0.0.0/8`).
 * Throws PIT_ERR_OPTIONS for anything else.
 */
export function createTrust (entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', prefix, ...more] = entry.split('/')
    const version = isIP(address)
    const bits = version === 4 ? 32 : 128
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Infinity
    if (version === 0 || more.length > 0 || length > bits) {
      throw createError('PIT_ERR_OPTIONS', [`acceptors.tcp.proxyProtocol.trusted: "${entry}" is neither an address nor a network (10.0.0.0/8)`])
    }
    list.addSubnet(address, length, version === 4 ? 'ipv4' : 'ipv6')
  }
  return address => isIP(address) !== 0 && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

/**
 * Takes the header off a socket and leaves it paused with the rest unread, so that TLS or a Connection may follow.
 * `done` isn't called for a socket that closes before; one with a bad or late header is destroyed after `done` was told.
 */
export function readProxyHeader (socket: Socket, done: (error: PitayaError | undefined, address: string | undefined) => void): void {
  const parser = new ProxyHeaderParser()
  const timer = setTimeout(finish, PROXY_HEADER_TIMEOUT_MS, createError('PIT_ERR_PROXY_HEADER'))
  timer.unref()
  socket.on('data', onData)
  socket.on('close', stop)

  function onData (bytes: Uint8Array): void {
    try {
      const header = parser.feed(bytes)
      if (header === undefined) return
      socket.pause()
      if (header.rest.length > 0) socket.unshift(header.rest)
      finish(undefined, header.address)
    } catch (error) {
      finish(error as PitayaError, undefined)
    }
  }

  function stop (): void {
    clearTimeout(timer)
    socket.off('data', onData)
    socket.off('close', stop)
  }

  function finish (error: PitayaError | undefined, address?: string): void {
    stop()
    done(error, address)
    if (error !== undefined) socket.destroy()
  }
}

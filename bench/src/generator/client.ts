import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import type { SchemaSet } from '../../../out/lib/contract/set.js'
import * as wire from './wire.ts'

const STEP_TIMEOUT_MS = 20_000
const SYS = { platform: 'linux', libVersion: '0.3.5-release', clientBuildNumber: '20', clientVersion: '2.1' }

/** Gets one packet, `data[start]` to `data[end - 1]`. The bytes are only valid during the call. */
export type OnPacket = (data: Buffer, start: number, end: number) => void

/** Of a handshake's answer, what is looked at. */
export interface AnswerSys { need?: unknown, schemas?: { set?: SchemaSet } }

/**
 * One connection of the generator. It does as little per message as it can: no object per packet, no copy but of a packet that a
 * read has cut in two. A server that ends the connection ends the run.
 */
export class Client {
  /** Replies to the packets of one read that are still to be sent; `afterRead` sends them in one write. */
  due = 0
  onPacket: OnPacket = ignore
  afterRead: () => void = ignore
  /** Called when the connection ends without our doing. */
  onFailure: (error: Error) => void = ignore

  readonly #socket: Socket
  readonly #framed: boolean
  #upgraded: boolean
  #rest: Buffer = EMPTY

  /** @param shared what every client's socket reads into; a read is handled before the next one of any client. */
  constructor (url: URL, shared: Buffer) {
    this.#framed = url.protocol === 'ws:'
    this.#upgraded = !this.#framed
    const onread = {
      buffer: shared,
      callback: (length: number) => {
        this.#read(shared, length)
        return true
      }
    }
    this.#socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true, onread })
    this.#socket.on('error', (error) => this.onFailure(error))
    this.#socket.on('close', () => this.onFailure(new Error('the server closed a connection')))
  }

  /** Bytes as they are: frames and packets are prebuilt. */
  write (bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** One packet in its transport's form. */
  wrap (packet: Buffer): Buffer {
    return this.#framed ? wire.frame(wire.BINARY, packet) : packet
  }

  close (): void {
    this.onFailure = ignore
    this.#socket.destroy()
  }

  /** Connects, and upgrades where the transport is a WebSocket. */
  async open (url: URL): Promise<void> {
    await once(this.#socket, 'connect')
    if (!this.#framed) return
    const upgraded = this.#until(() => this.#upgraded)
    this.#socket.write(wire.upgrade(url))
    await upgraded
  }

  /** Connects, shakes hands and acknowledges. Resolves with the `sys` that the server answered. */
  async greet (url: URL, sys: object = {}): Promise<AnswerSys> {
    await this.open(url)
    const greeting = Buffer.from(JSON.stringify({ sys: { ...SYS, ...sys }, user: {} }))
    const answer = await this.ask(wire.packet(wire.HANDSHAKE, greeting), (data, start) => data[start] === wire.HANDSHAKE)
    if (!answer.includes('"code":200')) throw new Error(`handshake refused: ${answer.toString()}`)
    this.write(this.wrap(wire.packet(wire.ACK)))
    return (JSON.parse(answer.toString('utf8', wire.HEADER_BYTES)) as { sys: AnswerSys }).sys
  }

  /** Sends a packet and resolves with a copy of the first packet that answers it. */
  async ask (packet: Buffer, isAnswer: (data: Buffer, start: number) => boolean): Promise<Buffer> {
    let answer: Buffer | undefined
    this.onPacket = (data, start, end) => {
      if (answer === undefined && isAnswer(data, start)) answer = Buffer.from(data.subarray(start, end))
    }
    const answered = this.#until(() => answer !== undefined)
    this.write(this.wrap(packet))
    await answered
    this.onPacket = ignore
    return answer as Buffer
  }

  /** Requests a route and waits for its answer. Rejects when that is an error. */
  async request (route: string, body: Uint8Array): Promise<void> {
    const answer = await this.ask(wire.request(route, 1, body), (data, start) => {
      return data[start] === wire.DATA && ((data[start + 4] as number) & wire.TYPE_BITS) === wire.RESPONSE
    })
    if (((answer[4] as number) & wire.ERROR_BIT) !== 0) throw new Error(`${route} was refused: ${answer.toString('latin1', 4)}`)
  }

  #until (isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`a server gave no answer within ${STEP_TIMEOUT_MS} ms`)), STEP_TIMEOUT_MS)
      const settle = (done: () => void) => {
        clearTimeout(timer)
        this.afterRead = ignore
        this.onFailure = ignore
        done()
      }
      this.afterRead = () => {
        if (isDone()) settle(resolve)
      }
      this.onFailure = (error) => settle(() => reject(error))
    })
  }

  #read (shared: Buffer, length: number): void {
    let data = shared
    if (this.#rest !== EMPTY) {
      data = Buffer.concat([this.#rest, shared.subarray(0, length)])
      length = data.length
    }
    let at = 0
    if (!this.#upgraded) at = this.#readUpgrade(data.subarray(0, length))
    if (this.#upgraded) at = this.#framed ? this.#readFrames(data, at, length) : this.#readPackets(data, at, length)
    this.#rest = at === length ? EMPTY : Buffer.from(data.subarray(at, length))
    this.afterRead()
  }

  #readUpgrade (data: Buffer): number {
    const end = data.indexOf('\r\n\r\n')
    if (end < 0) return 0
    if (!data.toString('latin1', 0, 12).startsWith('HTTP/1.1 101')) {
      this.onFailure(new Error(`upgrade refused: ${data.toString('latin1', 0, end)}`))
      return data.length
    }
    this.#upgraded = true
    return end + 4
  }

  #readFrames (data: Buffer, at: number, length: number): number {
    while (at + 2 <= length) {
      let size = (data[at + 1] as number) & 0x7f
      let start = at + 2
      if (size === 126) {
        if (at + 4 > length) break
        size = data.readUInt16BE(at + 2)
        start = at + 4
      } else if (size === 127) {
        if (at + 10 > length) break
        size = data.readUInt32BE(at + 6)
        start = at + 10
      }
      if (start + size > length) break
      const opcode = (data[at] as number) & 0x0f
      at = start + size
      if (opcode <= wire.BINARY) this.onPacket(data, start, at)
      else if (opcode === wire.PING) this.write(wire.frame(wire.PONG, data.subarray(start, at)))
      else if (opcode === wire.CLOSE) this.onFailure(new Error(`the server closed a WebSocket: ${data.toString('latin1', start + 2, at)}`))
    }
    return at
  }

  #readPackets (data: Buffer, at: number, length: number): number {
    while (at + 4 <= length) {
      const end = at + 4 + data.readUIntBE(at + 1, 3)
      if (end > length) break
      this.onPacket(data, at, end)
      at = end
    }
    return at
  }
}

const EMPTY = Buffer.alloc(0)
function ignore (): void {}

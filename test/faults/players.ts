/** Clients that are cheap enough to have hundreds of, each request of theirs in the ledger; and a load of so many requests per second. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { closes } from '../../lib/errors.ts'
import { createMessageView, decodeMessage, encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import { encodePacket, PacketDecoder, PacketType } from '../../lib/protocol/packet.ts'
import { eventually, within } from './fleet.ts'
import type { Entry, Ledger } from './ledger.ts'

const GREET_MS = 10_000
const TICK_MS = 10
const EMPTY = new Uint8Array(0)

interface Teardown { teardown (fn: () => unknown): void }

export interface Answer { entry: Entry, data: any }
interface Waiting { entry: Entry, bytes: Uint8Array, resolve: (answer: Answer) => void }

export class Player {
  readonly ledger: Ledger
  /** Texts that were pushed. */
  readonly pushes: string[] = []
  /** 0: open, or closed without a reason. */
  closeCode = 0
  /**
   * What had no answer when the server closed with 4001 was not begun, and is sent once more after the next `connect`. How often that
   * happened; undefined: it ends as `closed`, as after any other close.
   */
  resent: number | undefined
  /** Called once for each connection that ended. */
  onClose = (): void => {}
  #socket: Socket | undefined
  #isOpen = false
  #waiting = new Map<number, Waiting>()

  constructor (ledger: Ledger) {
    this.ledger = ledger
  }

  get isOpen (): boolean { return this.#isOpen }

  /** Resolves after the handshake; rejects when there is none. */
  async connect (port: number): Promise<this> {
    this.closeCode = 0
    const socket = this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const decoder = new PacketDecoder(0xffffff)
    const greeted = new Promise<void>((resolve, reject) => {
      socket.on('error', reject)
      socket.on('close', () => {
        reject(new Error('closed'))
        this.#onClose(socket)
      })
      const onPacket = (type: PacketType, bytes: Uint8Array, start: number, end: number): boolean => {
        if (type === PacketType.data) this.#onMessage(bytes, start, end)
        else if (type === PacketType.heartbeat) socket.write(encodePacket(PacketType.heartbeat, EMPTY))
        else if (type === PacketType.kick) this.#onKick(bytes, start, end)
        else if (type === PacketType.handshake) {
          socket.write(encodePacket(PacketType.ack, EMPTY))
          resolve()
        }
        return true
      }
      socket.on('data', (bytes) => { decoder.push(bytes, { onPacket }) })
    })
    greeted.catch(() => {})
    await within(GREET_MS, once(socket, 'connect'), 'a connection')
    socket.write(encodePacket(PacketType.handshake, Buffer.from('{"sys":{"closeReason":true}}')))
    await within(GREET_MS, greeted, 'a handshake')
    this.#isOpen = true
    for (const { bytes } of this.#waiting.values()) {
      this.resent!++
      socket.write(bytes)
    }
    return this
  }

  /** Never rejects: the entry says what became of it. */
  request (route: string, body: object = {}): Promise<Answer> {
    const entry = this.ledger.open(route)
    const data = Buffer.from(JSON.stringify({ id: entry.id, ...body }))
    const bytes = encodePacket(PacketType.data, encodeMessage({ type: MessageType.request, id: entry.id, route, data }))
    return new Promise((resolve) => {
      this.#waiting.set(entry.id, { entry, bytes, resolve })
      if (this.#isOpen) this.#socket!.write(bytes)
      else this.#settle(entry.id, 'closed', undefined)
    })
  }

  /** The same, which must succeed. */
  async ask (route: string, body: object = {}): Promise<any> {
    const { entry, data } = await this.request(route, body)
    if (entry.outcome !== '') throw new Error(`${route} was answered ${entry.outcome}: ${JSON.stringify(data)}`)
    return data
  }

  notify (route: string): Entry {
    const entry = this.ledger.open(route)
    this.ledger.close(entry, '')
    const data = Buffer.from(JSON.stringify({ id: entry.id }))
    this.#socket!.write(encodePacket(PacketType.data, encodeMessage({ type: MessageType.notify, route, data })))
    return entry
  }

  close (): void { this.#socket?.destroy() }

  #onMessage (bytes: Uint8Array, start: number, end: number): void {
    const view = createMessageView()
    decodeMessage(bytes, start, end, view)
    const text = Buffer.from(bytes.slice(view.dataStart, view.dataEnd)).toString()
    if (view.type === MessageType.push) { this.pushes.push(JSON.parse(text) as string); return }
    const data = text === '' ? undefined : JSON.parse(text) as { code?: string }
    this.#settle(view.id, view.isError ? data!.code! : '', data)
  }

  #onKick (bytes: Uint8Array, start: number, end: number): void {
    this.closeCode = (JSON.parse(Buffer.from(bytes.slice(start, end)).toString()) as { code: number }).code
    // What the server says last: nothing that is sent from here on would be answered.
    this.#isOpen = false
  }

  #onClose (socket: Socket): void {
    if (socket !== this.#socket) return
    this.#isOpen = false
    const mayResend = this.resent !== undefined && this.closeCode === closes.shutdown.code
    if (!mayResend) for (const id of [...this.#waiting.keys()]) this.#settle(id, 'closed', undefined)
    this.onClose()
  }

  #settle (id: number, outcome: string, data: unknown): void {
    const waiting = this.#waiting.get(id)
    // Answered twice: `Load.stop` would not see it, so it is an error of the server that ends the test.
    if (waiting === undefined) throw new Error(`a second answer to ${id}`)
    this.#waiting.delete(id)
    this.ledger.close(waiting.entry, outcome)
    waiting.resolve({ entry: waiting.entry, data })
  }
}

/** So many players, spread over these ports in turn. */
export async function connectPlayers (t: Teardown, ledger: Ledger, ports: readonly number[], count: number): Promise<Player[]> {
  const players = Array.from({ length: count }, () => new Player(ledger))
  t.teardown(() => { for (const player of players) player.close() })
  await Promise.all(players.map((player, at) => player.connect(ports[at % ports.length]!)))
  return players
}

/** Sends at a steady rate, whatever is answered. */
export class Load {
  #timer: NodeJS.Timeout
  #ledger: Ledger

  /** @param send sends the nth request */
  constructor (ledger: Ledger, perSecond: number, send: (n: number) => void) {
    this.#ledger = ledger
    const start = performance.now()
    let sent = 0
    this.#timer = setInterval(() => {
      const due = Math.floor((performance.now() - start) * perSecond / 1000)
      while (sent < due) send(sent++)
    }, TICK_MS)
  }

  /** Resolves when all that was sent is answered. */
  async stop (): Promise<void> {
    clearInterval(this.#timer)
    await eventually(() => this.#ledger.unanswered.length === 0, 'every request to be answered')
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The worst and the share-th of some durations, for the line that a test prints. */
export function spread (ms: readonly number[]): string {
  const sorted = [...ms].sort((a, b) => a - b)
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1)
  return `p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)} ms`
}

/** Counts by text. */
export function tally (texts: Iterable<string>): string {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return [...counts].map(([text, count]) => `${text} ${count}`).join(', ') || 'none'
}

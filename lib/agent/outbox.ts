import type { Connection } from './connection.ts'
import type { TimerEntry, TimerWheel } from '../timer-wheel.ts'

const CHUNK_BYTES = 64 * 1024
const OWN_CHUNK_BYTES = 4 * 1024
/** While a client is blocked, a shared packet up to this size costs less copied than kept in a list. */
const COPIED_BYTES = 64
/** What is handed to the network at a time when there is a backlog: small, so that a slow client that drains is seen to drain. */
const SLICE_BYTES = 32 * 1024

export interface OutboxLimits {
  /** Bytes waiting for one client. */
  readonly outboxBytes: number
  /** Bytes waiting for all clients of the process. */
  readonly outboxTotalBytes: number
  /** Milliseconds a client may take to drain what the network was given. */
  readonly drainMs: number
}

/** Where packets are written into. Chunks are filled once and never reused, so a written slice stays as it is until the network has it. */
class Chunks {
  chunk: Buffer
  position = 0
  #bytes: number

  constructor (bytes: number) {
    this.#bytes = bytes
    this.chunk = Buffer.allocUnsafeSlow(bytes)
  }

  renew (length: number): void {
    this.chunk = Buffer.allocUnsafeSlow(Math.max(this.#bytes, length))
    this.position = 0
  }
}

/**
 * What the outboxes of one server share: the chunk that packets are written into, and the list of outboxes to flush when the
 * event-loop turn ends.
 */
export class OutboxPool extends Chunks {
  readonly limits: OutboxLimits
  readonly wheel: TimerWheel
  /** Bytes waiting in all outboxes. */
  waitingBytes = 0
  #dirty: Outbox[] = []
  #spare: Outbox[] = []
  #blocked = new Set<Outbox>()
  #isScheduled = false

  constructor (limits: OutboxLimits, wheel: TimerWheel) {
    super(CHUNK_BYTES)
    this.limits = limits
    this.wheel = wheel
  }

  schedule (outbox: Outbox): void {
    this.#dirty.push(outbox)
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.flush())
  }

  /** Writes what every outbox collected in this turn. */
  flush (): void {
    this.#isScheduled = false
    const dirty = this.#dirty
    this.#dirty = this.#spare
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush()
    dirty.length = 0
    this.#spare = dirty
  }

  block (outbox: Outbox): void { this.#blocked.add(outbox) }
  unblock (outbox: Outbox): void { this.#blocked.delete(outbox) }

  /** Over the process's limit, the client that is owed most is given up first. */
  shed (): void {
    while (this.waitingBytes > this.limits.outboxTotalBytes) {
      let largest: Outbox | undefined
      for (const outbox of this.#blocked) if (largest === undefined || outbox.owedBytes > largest.owedBytes) largest = outbox
      if (largest === undefined) return
      largest.overflow()
    }
  }
}

/**
 * Everything that leaves for one client, in order: the only writer of its connection. Packets of one event-loop turn leave in one
 * write. Bounded in bytes, and in time while the client does not drain; at either bound the owner's `onSlow` is called, once.
 */
export class Outbox implements TimerEntry {
  timerNext: TimerEntry | null = null
  timerPrev: TimerEntry | null = null
  timerTick = 0
  /** Bytes that wait here. */
  waitingBytes = 0
  /** Bytes given to the connection since it opened. */
  writtenBytes = 0
  /** True: the connection asked to wait for `onDrain`. */
  isBlocked = false
  #pool: OutboxPool
  #connection: Connection
  #owner: { onSlow (): void }
  #parts: Uint8Array[] | null = null
  #chunk: Buffer | null = null
  /** While blocked: what waits for long must not hold on to chunks that others have filled. */
  #own: Chunks | null = null
  #start = 0
  #end = 0
  /** Bytes of the write that blocked: the network holds them, and the process's limit counts them. */
  #given = 0
  #pendingBytes = 0
  #isDirty = false
  #isClosed = false

  constructor (pool: OutboxPool, connection: Connection, owner: { onSlow (): void }) {
    this.#pool = pool
    this.#connection = connection
    this.#owner = owner
  }

  /**
   * Room for one packet, its carrier header included. The caller fills all of it at once.
   * @returns where it begins in `chunk()`
   */
  reserve (length: number): number {
    const chunks = this.isBlocked ? this.#own ??= new Chunks(OWN_CHUNK_BYTES) : this.#pool
    const fits = chunks.position + length <= chunks.chunk.length
    if (this.#chunk !== chunks.chunk || this.#end !== chunks.position || !fits || this.#connection.packetPerWrite) {
      this.#seal()
      if (!fits) chunks.renew(length)
      this.#chunk = chunks.chunk
      this.#start = this.#end = chunks.position
    }
    const at = this.#end
    this.#end = chunks.position = at + length
    this.#grow(length)
    return at
  }

  /** What the client has not got, as far as we know. */
  get owedBytes (): number { return this.waitingBytes + this.#given }

  /** The buffer that the last `reserve` points into. */
  chunk (): Buffer { return this.#chunk! }

  /** Appends a packet that is already framed, and shared with other clients: it is never changed. */
  append (packet: Uint8Array): void {
    if (this.isBlocked && packet.length <= COPIED_BYTES && !this.#connection.packetPerWrite) {
      const at = this.reserve(packet.length)
      this.chunk().set(packet, at)
      return
    }
    this.#seal()
    if (this.#parts === null) this.#parts = [packet]
    else this.#parts.push(packet)
    this.#grow(packet.length)
  }

  /** Gives what waits to the connection, in as few writes as possible. */
  flush (): void {
    this.#isDirty = false
    if (this.#isClosed || this.isBlocked || this.waitingBytes === 0) return
    const parts = this.#parts
    if (parts === null) {
      const slice = this.#chunk!.subarray(this.#start, this.#end)
      this.#chunk = null
      this.#writeOne(slice)
      return
    }
    this.#seal()
    this.#parts = null
    if (parts.length === 1) { this.#writeOne(parts[0]!); return }
    if (this.#connection.packetPerWrite) { this.#writeEach(parts); return }
    this.#writeEach(this.waitingBytes <= SLICE_BYTES ? [this.#join(parts, 0, parts.length, this.waitingBytes)] : this.#slices(parts))
  }

  /** Gives everything to the connection whatever its state: the last thing before a close. */
  finish (): void {
    this.isBlocked = false
    while (this.waitingBytes > 0 && !this.#isClosed) {
      this.flush()
      this.isBlocked = false
    }
    this.close()
  }

  /** The connection drained: go on. */
  drained (): void {
    if (!this.isBlocked || this.#isClosed) return
    this.#unblock()
    this.flush()
  }

  /** Drops what waits. Harmless when already closed. */
  close (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#unblock()
    this.#pool.waitingBytes -= this.waitingBytes
    this.waitingBytes = 0
    this.#parts = null
    this.#chunk = null
  }

  overflow (): void {
    this.close()
    this.#owner.onSlow()
  }

  /** Over the time to drain: given up, unless the network took some of it. */
  onTimer (): void {
    const pending = this.#connection.pendingBytes
    if (pending >= this.#pendingBytes) { this.overflow(); return }
    this.#pendingBytes = pending
    this.#pool.wheel.schedule(this, this.#pool.limits.drainMs)
  }

  #grow (length: number): void {
    this.waitingBytes += length
    this.#pool.waitingBytes += length
    if (!this.#isDirty) {
      this.#isDirty = true
      this.#pool.schedule(this)
    }
    if (this.waitingBytes > this.#pool.limits.outboxBytes) this.#atBound()
    if (this.#pool.waitingBytes > this.#pool.limits.outboxTotalBytes) queueMicrotask(() => this.#pool.shed())
  }

  /**
   * A burst of one turn may pass the bound with a client that reads well, so the network is asked first.
   * In a microtask, because the packet that was just reserved is still being written.
   */
  #atBound (): void {
    queueMicrotask(() => {
      if (this.#isClosed) return
      this.flush()
      if (this.waitingBytes > this.#pool.limits.outboxBytes) this.overflow()
    })
  }

  #seal (): void {
    if (this.#chunk === null) return
    const part = this.#chunk.subarray(this.#start, this.#end)
    this.#chunk = null
    if (this.#parts === null) this.#parts = [part]
    else this.#parts.push(part)
  }

  #join (parts: Uint8Array[], from: number, to: number, length: number): Uint8Array {
    const pool = this.#pool
    if (pool.position + length > pool.chunk.length) pool.renew(length)
    const { chunk } = pool
    const start = pool.position
    let at = start
    for (let i = from; i < to; i++) {
      chunk.set(parts[i]!, at)
      at += parts[i]!.length
    }
    pool.position = at
    return chunk.subarray(start, at)
  }

  #slices (parts: Uint8Array[]): Uint8Array[] {
    const slices: Uint8Array[] = []
    let from = 0
    let length = 0
    for (let i = 0; i <= parts.length; i++) {
      const next = i < parts.length ? parts[i]!.length : Infinity
      if (length + next > SLICE_BYTES && i > from) {
        slices.push(i - from === 1 ? parts[from]! : this.#join(parts, from, i, length))
        from = i
        length = 0
      }
      length += next
    }
    return slices
  }

  /** A stream takes a large packet piece by piece, so that a client that drains slowly is seen to drain. A framed one must stay whole. */
  #writeOne (bytes: Uint8Array): void {
    const { packetPerWrite, framing } = this.#connection
    if (bytes.length <= SLICE_BYTES || packetPerWrite || framing !== undefined) { this.#write(bytes); return }
    const slices: Uint8Array[] = []
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) slices.push(bytes.subarray(at, at + SLICE_BYTES))
    this.#writeEach(slices)
  }

  #writeEach (slices: Uint8Array[]): void {
    for (let i = 0; i < slices.length; i++) {
      if (this.#isClosed) return
      if (this.isBlocked) { this.#parts = slices.slice(i); return }
      this.#write(slices[i]!)
    }
  }

  #write (bytes: Uint8Array): void {
    this.waitingBytes -= bytes.length
    this.#pool.waitingBytes -= bytes.length
    this.writtenBytes += bytes.length
    if (this.#connection.write(bytes) || this.#isClosed) return
    this.isBlocked = true
    this.#pendingBytes = this.#connection.pendingBytes
    this.#given += bytes.length
    this.#pool.waitingBytes += bytes.length
    this.#pool.block(this)
    this.#pool.wheel.schedule(this, this.#pool.limits.drainMs)
  }

  #unblock (): void {
    if (!this.isBlocked && this.timerTick === 0) return
    this.isBlocked = false
    this.#own = null
    this.#pool.waitingBytes -= this.#given
    this.#given = 0
    this.#pool.unblock(this)
    this.#pool.wheel.cancel(this)
  }
}

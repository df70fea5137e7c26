import { compileCodec, errorSchema } from '../../lib/avro/codec.ts'
import { PitayaError } from '../../lib/pitaya-error.ts'
import { createError } from '../../lib/protocol/errors.ts'
import { encodeMessage, MessageType } from '../../lib/protocol/message.ts'
import type { CodecHost } from '../codec.ts'
import type { MessageSink } from '../inbox.ts'
import { decodeJson, encodeJson } from '../json.ts'
import { PendingRequests } from '../pending.ts'

/** Ids of the application's requests begin at 1. */
const FIRST_ID = 2 ** 31
const ASK_MS = 10_000
/** Of what comes while a schema is fetched; beyond, the connection is lost. */
const MAX_HELD_BYTES = 16 << 20

const errors = compileCodec(errorSchema)

/** The payload of an answer that is an error. */
export function decodeError (data: Uint8Array): any {
  const error = errors.decode(data) as { metadata?: object }
  if (Object.keys(error.metadata!).length === 0) delete error.metadata
  return error
}

/** What a codec asks its server, and the messages that wait meanwhile: in order, either way. */
export class Exchange implements MessageSink {
  #host: CodecHost
  #sink: MessageSink
  #asked = new PendingRequests()
  #nextId = FIRST_ID
  #incoming: Promise<void> | undefined
  #heldBytes = 0
  #outgoing: Promise<void> | undefined
  #lackOfPush: (push: string) => Promise<void> | undefined

  /** @param lackOfPush what a push waits for */
  constructor (host: CodecHost, lackOfPush: (push: string) => Promise<void> | undefined) {
    this.#host = host
    this.#sink = host.inbox.sink
    host.inbox.sink = this
    this.#lackOfPush = lackOfPush
  }

  /** Makes a request of the server's own, with JSON in and out. It waits for no other message. */
  ask (route: string, body: unknown): Promise<any> {
    const id = this.#nextId++
    const answer = this.#asked.add(id, route, ASK_MS, undefined)
    this.#host.send(encodeMessage({ type: MessageType.request, id, route, data: encodeJson(body) }))
    return answer
  }

  /** When a message may be sent that lacks this; undefined: now. */
  sending (lack: Promise<void> | undefined): Promise<void> | undefined {
    const before = this.#outgoing
    if (lack === undefined && before === undefined) return
    const turn = Promise.all([lack, before]).then(() => {})
    // The message is sent in the step after that.
    const sent = Promise.allSettled([before, turn]).then(() => { if (this.#outgoing === sent) this.#outgoing = undefined })
    this.#outgoing = sent
    return turn
  }

  /** Keeps what comes until this is done. */
  hold (done: Promise<void>): void { this.#queue(() => {}, done) }

  onResponse (id: number, data: Uint8Array, isError: boolean): void {
    const asked = this.#asked.take(id)
    if (asked === undefined) this.#pass(data, (data) => this.#sink.onResponse(id, data, isError))
    else {
      try {
        if (!isError) { asked.resolve(decodeJson(data)); return }
        const { code, msg, metadata } = decodeError(data)
        asked.reject(new PitayaError(code, msg, metadata))
      } catch (error) {
        asked.reject(error)
      }
    }
  }

  onPush (route: string, data: Uint8Array): void {
    this.#pass(data, (data) => this.#sink.onPush(route, data), this.#lackOfPush(route))
  }

  close (): void {
    this.#asked.rejectAll(createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'not connected: nothing was sent', metadata: { executed: 'no' } }))
  }

  #pass (data: Uint8Array, step: (data: Uint8Array) => void, lack?: Promise<void>): void {
    if (lack === undefined && this.#incoming === undefined) { step(data); return }
    const copy = data.slice()
    this.#heldBytes += copy.length
    if (this.#heldBytes > MAX_HELD_BYTES) { this.#host.fail(createError('PIT_ERR_PACKET_SIZE')); return }
    this.#queue(() => { this.#heldBytes -= copy.length; step(copy) }, lack)
  }

  #queue (step: () => void, lack: Promise<void> | undefined): void {
    const passed = Promise.all([lack, this.#incoming]).then(() => { if (!this.#host.isEnded) step() })
      .catch((error: unknown) => this.#host.onUnreadable(error))
      .then(() => { if (this.#incoming === passed) this.#incoming = undefined })
    this.#incoming = passed
  }
}

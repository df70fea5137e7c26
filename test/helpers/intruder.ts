/** Somebody on a cluster's bus who writes messages between servers by hand. */
import { createAvroEnvelope } from '../../lib/cluster/envelopes/avro.ts'
import { RpcType, type RequestFields, type ResponseEnvelope, type SessionPart } from '../../lib/cluster/envelopes/envelope.ts'
import type { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { Subjects } from '../../lib/cluster/names.ts'
import { MemoryTransport } from '../../lib/cluster/transports/memory.ts'

const DEADLINE_MS = 20_000
const ignore = (): void => {}

export async function intruderOn (t: { teardown (fn: () => unknown): void }, bus: MemoryBus) {
  const transport = new MemoryTransport(bus)
  await transport.open({ onUp: ignore, onDown: ignore, onFatal: ignore, onSlow: ignore })
  t.teardown(() => transport.close())
  const envelope = createAvroEnvelope()
  const subjects = new Subjects('pitaya')
  /** Bytes to a subject. @returns all answers that came with the first one or soon after; undefined for one that nobody listens */
  async function ask (subject: string, bytes: Uint8Array): Promise<Array<ResponseEnvelope | undefined>> {
    const answers: Array<ResponseEnvelope | undefined> = []
    const inbox = `intruder.${Math.random().toString(36).slice(2)}`
    let end = ignore
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nobody answered')), DEADLINE_MS)
      end = transport.subscribe(inbox, (data) => {
        answers.push(data === undefined ? undefined : envelope.decodeResponse(data))
        clearTimeout(timer)
        resolve()
      })
      transport.publish(subject, bytes, inbox)
    })
    for (let i = 0; i < 3; i++) await transport.flush()
    end()
    return answers
  }
  return {
    transport,
    envelope,
    subjects,
    ask,
    /** A request as bytes of its own. */
    request (fields: Partial<RequestFields>, data: string | Uint8Array = '', part?: Partial<SessionPart>): Uint8Array {
      const bytes = Buffer.from(data)
      const session = part === undefined
        ? undefined
        : envelope.encodeSession({
          id: 1, uid: '', revision: 0, data: '{}', sys: '{}', user: '', serializer: 'json', remoteAddress: '127.0.0.1', contract: '', ...part
        })
      return new Uint8Array(envelope.encodeRequest({
        type: RpcType.sys,
        route: '',
        isNotify: false,
        remainingMs: 1000,
        caller: 'intruder',
        callerIncarnation: 'x',
        frontend: 'intruder',
        context: undefined,
        session,
        ...fields
      }, bytes, 0, bytes.length))
    }
  }
}

/** What a client would read: its payload, or what its server would make of the error. */
export function told (answer: ResponseEnvelope | undefined): any {
  if (answer === undefined) return undefined
  if (answer.error !== undefined) return answer.error
  return answer.data.length === 0 ? '' : JSON.parse(Buffer.from(answer.data).toString())
}

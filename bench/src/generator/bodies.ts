import { type AvroSchema, compileCodec } from '../../../out/lib/avro/codec.js'
import type { SchemaSet } from '../../../out/lib/contract/set.js'
import type { Job } from '../job.ts'
import { inOtherWords, otherContract, payloads } from '../messages.ts'
import type { AnswerSys, Client } from './client.ts'

/** The job's payload as its clients write it, and what they say in the handshake to do so. */
export class Bodies {
  body: Uint8Array
  readonly sys: object
  readonly #job: Job
  readonly #contract: SchemaSet | undefined

  constructor (job: Job) {
    this.#job = job
    this.body = Buffer.from(JSON.stringify(payloads[job.message]))
    this.#contract = job.serializer === 'avro-pinned' ? otherContract() : undefined
    const { fingerprint } = this.#contract ?? {}
    this.sys = job.serializer === 'json' ? {} : { serializer: 'avro', ...fingerprint === undefined ? { schemas: '' } : { contract: fingerprint } }
  }

  /** Brings the contract to a server that lacks it, and writes the body by it or by the server's schemas. */
  async learn (client: Client, { need, schemas }: AnswerSys): Promise<void> {
    const { serializer, route, message } = this.#job
    if (serializer === 'json') return
    if (need !== undefined) await client.request('sys.contract', Buffer.from(JSON.stringify({ part: 1, of: 1, text: JSON.stringify(this.#contract) })))
    const schema = (this.#contract ?? schemas?.set)?.routes[route]?.body
    if (schema === undefined) throw new Error(`no schema of ${route}`)
    const payload = payloads[message]
    // A codec's bytes are valid until its next use, and each is used once.
    this.body = compileCodec(schema as AvroSchema).encode(this.#contract === undefined ? payload : inOtherWords(payload))
  }
}

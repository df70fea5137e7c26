/** A client that was built with a contract, or that is given schemas by the server, at the level of packets. */
import type { FastifyInstance } from 'fastify'
import { compileCodec, errorSchema, type AvroSchema } from '../../lib/avro/codec.ts'
import { contractOf } from '../../lib/contract/contract.ts'
import { SchemaSets } from '../../lib/contract/schema-sets.ts'
import { routeKey, type SchemaSet } from '../../lib/contract/set.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { MessageType } from '../../lib/protocol/message.ts'
import { rawClient, type RawClient } from './app.ts'

/** What `fastify-pitaya contract` writes of a server with these handlers. */
export function contractFile (handlers: readonly HandlersDefinition[], serverType = 'chat'): SchemaSet {
  const sets = new SchemaSets(serverType)
  sets.setOwn(contractOf(handlers))
  return JSON.parse(sets.text) as SchemaSet
}

export interface AvroAnswer { readonly value?: any, readonly error?: { code: string, msg: string, metadata: Record<string, string> } }

export class PinnedClient {
  readonly raw: RawClient
  set: SchemaSet
  /** True when the server had to be sent the set. */
  needed = false
  #ids = 0

  private constructor (raw: RawClient, set: SchemaSet) {
    this.raw = raw
    this.set = set
  }

  /** Through handshake, ack and upload. */
  static async connect (app: FastifyInstance, set: SchemaSet, { partBytes = 20_000 } = {}): Promise<PinnedClient> {
    const client = new PinnedClient(rawClient(app), set)
    const { sys } = await client.raw.greet({ sys: { serializer: 'avro', contract: set.fingerprint } })
    client.needed = sys.need !== undefined
    if (client.needed) await client.upload(JSON.stringify(set), partBytes)
    return client
  }

  /** Through handshake and ack, with the schemas of the answer. */
  static async given (app: FastifyInstance, has = ''): Promise<PinnedClient> {
    const raw = rawClient(app)
    const { sys: { schemas } } = await raw.greet({ sys: { serializer: 'avro', schemas: has } })
    return new PinnedClient(raw, schemas.set ?? { version: 1, fingerprint: schemas.fingerprint, serverType: '', routes: {}, pushes: {} })
  }

  /** Asks `sys.schemas`, and takes what the answer has. */
  async ask (names: { routes?: string[], pushes?: string[] }): Promise<SchemaSet> {
    const { data } = await this.call('sys.schemas', Buffer.from(JSON.stringify(names)))
    const answer = JSON.parse(data.toString()) as SchemaSet
    const { fingerprint, routes, pushes } = answer
    this.set = { ...this.set, fingerprint, routes: { ...this.set.routes, ...routes }, pushes: { ...this.set.pushes, ...pushes } }
    return answer
  }

  async upload (text: string, partBytes = 20_000): Promise<void> {
    const of = Math.ceil(text.length / partBytes)
    for (let part = 1; part <= of; part++) {
      const { data, isError } = await this.call('sys.contract', Buffer.from(JSON.stringify({ part, of, text: text.slice((part - 1) * partBytes, part * partBytes) })))
      if (isError) throw new Error(data.toString())
    }
  }

  async call (route: string, data: Uint8Array): Promise<{ data: Buffer, isError: boolean }> {
    const id = ++this.#ids
    this.raw.request(id, route, data)
    const message = await this.raw.message()
    if (message.type !== MessageType.response || message.id !== id) throw new Error(`not the answer to ${id} (${route}): ${JSON.stringify(message)}`)
    return message
  }

  async request (route: string, value?: unknown): Promise<AvroAnswer> {
    const { body, response } = this.#schemas(route)
    const { data, isError } = await this.call(route, body === undefined ? new Uint8Array() : encode(body, value))
    return isError ? { error: decode(errorSchema, data) as any } : { value: response === undefined ? undefined : decode(response, data) }
  }

  notify (route: string, value?: unknown): void {
    const { body } = this.#schemas(route)
    this.raw.notify(route, body === undefined ? new Uint8Array() : encode(body, value))
  }

  /** Calls a route that sends one push besides its answer; which comes first, nobody knows. */
  async pushedBy (route: string): Promise<{ route: string, value: unknown }> {
    this.raw.request(++this.#ids, route, new Uint8Array())
    const messages = [await this.raw.message(), await this.raw.message()]
    const push = messages.find(({ type }) => type === MessageType.push)
    if (push === undefined) throw new Error('no push')
    return { route: push.route, value: decode(this.set.pushes[push.route] as AvroSchema, push.data) }
  }

  /** The next push; answers before it are let go. */
  async pushAmongAnswers (): Promise<{ route: string, value: unknown }> {
    while (true) {
      const { type, route, data } = await this.raw.message()
      if (type === MessageType.push) return { route, value: decode(this.set.pushes[route] as AvroSchema, data) }
    }
  }

  async push (): Promise<{ route: string, value: unknown }> {
    const { type, route, data } = await this.raw.message()
    if (type !== MessageType.push) throw new Error('no push')
    return { route, value: decode(this.set.pushes[route] as AvroSchema, data) }
  }

  #schemas (route: string): { body?: AvroSchema, response?: AvroSchema } {
    return (this.set.routes[routeKey(route, this.set.serverType)] ?? {}) as { body?: AvroSchema, response?: AvroSchema }
  }
}

function encode (schema: AvroSchema, value: unknown): Uint8Array { return new Uint8Array(compileCodec(schema).encode(value)) }
function decode (schema: AvroSchema, data: Uint8Array): unknown { return compileCodec(schema).decode(data) }

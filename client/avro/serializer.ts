import { schemaError } from '../../lib/avro/errors.ts'
import type { PitayaError } from '../../lib/pitaya-error.ts'
import { createError } from '../../lib/protocol/errors.ts'
import type { ClientCodec, ClientSerializer, CodecHost } from '../codec.ts'
import { EMPTY } from '../json.ts'
import type { ConnectOptions, ContractFile } from '../options.ts'
import { createCache, type SchemaCache } from './cache.ts'
import { decodeError, Exchange } from './exchange.ts'
import { Schemas } from './schemas.ts'

/** The type of a server that has not told it: no route begins so. */
const UNKNOWN = '.'
/** Characters of a contract in one request: at most 60,000 bytes, however they are escaped. */
const PART = 10_000
const MAX_FETCHES = 1000

/**
 * Avro by the schemas that the server gives, or by those of a contract.
 * @param address names the server whose schemas are kept
 * @throws PIT_ERR_CLIENT_SCHEMA for what is no contract
 */
export function createAvroSerializer ({ contract, storage }: ConnectOptions, address?: string): ClientSerializer {
  return contract === undefined ? unpinned(createCache(address, storage)) : pinned(contract)
}

function pinned (contract: ContractFile): ClientSerializer {
  const schemas = new Schemas(contract)
  const { fingerprint } = schemas
  return {
    name: 'avro',
    sys: () => ({ contract: fingerprint }),
    codec ({ sys }, host) {
      const isNeeded = Array.isArray(sys.need) && sys.need.includes(fingerprint)
      return { ...codecOf(() => schemas), ...isNeeded ? uploading(contract, host) : {} }
    }
  }
}

/** The server answers each part, or says what is wrong with the contract and closes. */
function uploading (contract: ContractFile, host: CodecHost): Pick<ClientCodec, 'open' | 'close'> {
  const exchange = new Exchange(host, () => undefined)
  const upload = async (): Promise<void> => {
    const text = JSON.stringify(contract)
    const of = Math.ceil(text.length / PART)
    await Promise.all(Array.from({ length: of }, (_, i) =>
      exchange.ask('sys.contract', { part: i + 1, of, text: text.slice(i * PART, (i + 1) * PART) })))
    host.opened()
    // What is pushed at once must find who listens.
    await new Promise((resolve) => { setTimeout(resolve) })
  }
  return {
    open () {
      exchange.hold(upload().catch((error: PitayaError) => host.end({ code: error.code === 'PIT-409' ? 4503 : 4008, reason: error.message, error }, error)))
      return true
    },
    close: () => exchange.close()
  }
}

function unpinned (cache: SchemaCache): ClientSerializer {
  let offered: Schemas | undefined
  return {
    name: 'avro',
    sys () {
      offered = cache.get()
      return { schemas: offered?.fingerprint ?? '' }
    },
    codec ({ sys }, host) {
      const { fingerprint, set } = Object(sys.schemas) as { fingerprint: string, set?: ContractFile }
      if (typeof fingerprint !== 'string') throw createError('PIT_ERR_HANDSHAKE', ['the server gives no schemas'])
      const isKnown = fingerprint === offered?.fingerprint
      const schemas = isKnown ? offered! : schemasOf(fingerprint, set)
      cache.set(schemas)
      return fetching(schemas, cache, host)
    }
  }
}

function schemasOf (fingerprint: string, set?: ContractFile): Schemas {
  return new Schemas({ version: 1, serverType: UNKNOWN, routes: {}, pushes: {}, ...set, fingerprint })
}

/** Asks for the schemas that are not there when they are first needed. */
function fetching (schemas: Schemas, cache: SchemaCache, host: CodecHost): ClientCodec {
  const fetches = new Map<string, Promise<void>>()
  const exchange = new Exchange(host, (push) => lack('pushes', push)?.catch((error: unknown) => host.fail(error)))
  function lack (kind: 'routes' | 'pushes', name: string): Promise<void> | undefined {
    if (schemas.has(kind, name)) return
    const key = `${kind} ${name}`
    let fetch = fetches.get(key)
    if (fetch === undefined) {
      if (fetches.size >= MAX_FETCHES) return Promise.reject(createError('PIT_ERR_CLIENT_CLOSED', [], { text: 'too many schemas are fetched' }))
      fetches.set(key, fetch = exchange.ask('sys.schemas', { [kind]: [name] }).then((answer) => {
        // Of another set by now: where nobody is held to it, it may differ in what is known already.
        const isSame = answer.held === true || answer.fingerprint === schemas.fingerprint
        schemas = (isSame ? schemas : schemasOf(answer.fingerprint)).with(answer.fingerprint, kind, name, answer[kind]?.[name])
        cache.set(schemas)
      }).finally(() => fetches.delete(key)))
    }
    return fetch
  }
  return {
    ...codecOf(() => schemas),
    ready: (route) => exchange.sending(lack('routes', route)),
    close: () => exchange.close()
  }
}

/** What no schema is known for is sent without bytes: the server says what is wrong with it. */
function codecOf (current: () => Schemas): ClientCodec {
  return {
    encode: (route, _, value) => current().route(route)?.body.encode(value) ?? EMPTY,
    decode (route, kind, bytes) {
      if (kind === 'error') return decodeError(bytes)
      const codec = kind === 'push' ? current().push(route) : current().route(route)?.response
      if (codec !== undefined) return codec.decode(bytes)
      if (kind === 'push' || bytes.length > 0) throw schemaError(`none for ${route}`)
    }
  }
}

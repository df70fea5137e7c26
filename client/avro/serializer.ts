import { compileCodec, errorSchema } from '../../lib/avro/codec.ts'
import { schemaError } from '../../lib/avro/errors.ts'
import { createError } from '../../lib/protocol/errors.ts'
import { isSystem, type Ask, type ClientCodec, type ClientSerializer } from '../codec.ts'
import { decodeJson, EMPTY, encodeJson } from '../json.ts'
import type { ConnectOptions, ContractFile } from '../options.ts'
import { createCache } from './cache.ts'
import { Schemas } from './schemas.ts'

/** Characters of a contract in one request: at most 60,000 bytes, however they are escaped. */
const PART = 10_000

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
    codec: ({ sys }, ask) => ({
      ...codecOf(() => schemas),
      open: () => Array.isArray(sys.need) && sys.need.includes(fingerprint) ? upload(contract, ask) : undefined
    })
  }
}

function unpinned (cache: ReturnType<typeof createCache>): ClientSerializer {
  let offered: Schemas | undefined
  return {
    name: 'avro',
    sys () {
      offered = cache.get()
      return { schemas: offered?.fingerprint ?? '' }
    },
    codec ({ sys }, ask) {
      const { fingerprint, set } = Object(sys.schemas) as { fingerprint: string, set?: ContractFile }
      if (typeof fingerprint !== 'string') throw createError('PIT_ERR_HANDSHAKE', ['the server gives no schemas'])
      const asked = new Map<string, Promise<void>>()
      let schemas = offered!
      if (fingerprint !== offered?.fingerprint) {
        schemas = new Schemas({ version: 1, serverType: '', routes: {}, pushes: {}, ...set, fingerprint })
        cache.set(schemas)
      }
      return {
        ...codecOf(() => schemas),
        prepare (kind, name) {
          if (schemas.has(kind, name)) return undefined
          const key = `${kind} ${name}`
          let asking = asked.get(key)
          if (asking === undefined) {
            asked.set(key, asking = ask('sys.schemas', { [kind]: [name] }).then((answer) => {
              schemas = schemas.with(answer.fingerprint, kind, name, answer[kind]?.[name])
              cache.set(schemas)
            }).finally(() => asked.delete(key)))
          }
          return asking
        }
      }
    }
  }
}

/** What no schema is known for is sent without bytes: the server says what is wrong with it. */
function codecOf (current: () => Schemas): ClientCodec {
  return {
    encode: (route, _, value) => isSystem(route) ? encodeJson(value) : current().route(route)?.body.encode(value) ?? EMPTY,
    decode (route, kind, bytes) {
      if (kind === 'error') return errors.decode(bytes)
      if (isSystem(route)) return decodeJson(bytes)
      if (kind === 'response') return current().route(route)?.response.decode(bytes)
      const codec = current().push(route)
      if (codec === undefined) throw schemaError(`none for the push ${route}`)
      return codec.decode(bytes)
    }
  }
}

const errors = compileCodec(errorSchema)

/** The server answers each part, or says what is wrong with the contract and closes. */
function upload (contract: ContractFile, ask: Ask): Promise<unknown> {
  const text = JSON.stringify(contract)
  const of = Math.ceil(text.length / PART)
  return Promise.all(Array.from({ length: of }, (_, i) => ask('sys.contract', { part: i + 1, of, text: text.slice(i * PART, (i + 1) * PART) })))
}

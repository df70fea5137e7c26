// Without node: imports, as clients use it.
import type { AvroSchema } from '../serializers/avro-schema.ts'

/** Schema of a body, response or push; `raw`: bytes pass untouched. */
export type PartSchema = AvroSchema | 'raw'

/** What a client must know of a route. A part that is absent has no bytes. */
export interface RouteSchemas {
  readonly kind: 'request' | 'notify'
  readonly body?: PartSchema
  readonly response?: PartSchema
  /** Codes of the errors that are its own, sorted: for who writes the client, and for no fingerprint. */
  readonly errors?: readonly string[]
}

/** All that a client may call on a server and may be sent by it: a contract file, and what `sys.schemas` carries. Schemas are canonical. */
export interface SchemaSet {
  readonly version: 1
  readonly fingerprint: string
  /** Of the server; its own routes are named without it. Empty: not known, as when the set was made of a module. */
  readonly serverType: string
  /** `handler.method` of the server, `serverType.handler.method` of the servers behind it. */
  readonly routes: Readonly<Record<string, RouteSchemas>>
  readonly pushes: Readonly<Record<string, PartSchema>>
}

/** The key of a route in a set that was made by a server of this type: with or without that type, it is one route. */
export function routeKey (route: string, serverType: string): string {
  const dot = route.indexOf('.')
  const isFull = dot !== -1 && route.includes('.', dot + 1)
  return isFull && route.slice(0, dot) === serverType ? route.slice(dot + 1) : route
}

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { connect, type WebSocketConstructor } from '../client/client.ts'
import { isRecord } from '../lib/contract/canonical.ts'
import { contractOf } from '../lib/contract/contract.ts'
import { MAX_ASKED, SchemaSets } from '../lib/contract/schema-sets.ts'
import type { PartSchema, RouteSchemas, SchemaSet } from '../lib/contract/set.ts'
import { isPitayaError } from '../lib/errors.ts'
import { PushRegistry } from '../lib/handler/pushes.ts'
import { HandlerRegistry } from '../lib/handler/registry.ts'
import type { HandlersDefinition } from '../lib/handler/types.ts'

/** Why there is no contract, in a sentence. */
export class ReadError extends Error {}

const TIMEOUT_MS = 10_000

/**
 * The contract of a running server, by its admin routes (http) or as a client (ws).
 * Rejects with ReadError.
 */
export async function fetchContract (url: string, { token, user }: { token?: string | undefined, user?: unknown }): Promise<SchemaSet> {
  if (!URL.canParse(url)) throw new ReadError(`${url} is no url.`)
  return /^ws/i.test(url) ? await fetchAsClient(url, user) : await fetchAsOperator(new URL(url), token)
}

/**
 * The contract of the handlers that these modules export.
 * Rejects with ReadError, PIT_ERR_SCHEMA, PIT_ERR_DUPLICATE_HANDLERS, PIT_ERR_DUPLICATE_PUSH.
 * @param serverType of the server that they run on, if it is known
 */
export async function importContract (files: readonly string[], serverType = ''): Promise<SchemaSet> {
  const definitions = new Set<HandlersDefinition>()
  for (const file of files) {
    const found = Object.values(await load(file)).filter(isHandlers)
    if (found.length === 0) throw new ReadError(`${file} exports no handlers: export what defineHandlers(name, methods) returns.`)
    for (const definition of found) definitions.add(definition)
  }
  const registry = new HandlerRegistry()
  const pushes = new PushRegistry({ deflate: () => undefined }, () => {})
  for (const definition of definitions) {
    registry.register(definition, [])
    pushes.declare(definition.pushes)
  }
  const sets = new SchemaSets(serverType)
  sets.setOwn(contractOf(registry.definitions))
  return sets.set
}

async function load (file: string): Promise<Record<string, unknown>> {
  const path = resolve(file)
  if (!existsSync(path)) throw new ReadError(`${file} is not there.`)
  try {
    return await import(pathToFileURL(path).href) as Record<string, unknown>
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') throw new ReadError(`${file}: this version of Node cannot load it: give the compiled module (.js).`)
    throw new ReadError(`${file} cannot be loaded: ${message}`)
  }
}

function isHandlers (value: unknown): value is HandlersDefinition {
  return isRecord(value) && typeof value.name === 'string' && isRecord(value.methods) && isRecord(value.pushes)
}

async function fetchAsOperator (url: URL, token: string | undefined): Promise<SchemaSet> {
  const path = url.pathname.replace(/\/$/, '') || '/admin'
  url.pathname = path.endsWith('/contract') ? path : `${path}/contract`
  // The runtime's own error would show it.
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) throw new ReadError('ADMIN_TOKEN must be printable ASCII without spaces.')
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((error: Error) => {
    throw new ReadError(`${url.href} cannot be reached: ${(error.cause as Error | undefined)?.message ?? error.message}.`)
  })
  if (response.status === 401) throw new ReadError(`${url.href}: the token is missing or wrong. Set ADMIN_TOKEN.`)
  if (response.status === 404) throw new ReadError(`${url.href}: there is no such route. Give the url of the admin routes (option admin of the server).`)
  if (!response.ok) throw new ReadError(`${url.href} answered ${response.status}.`)
  return checked(await response.json().catch(() => undefined), url.href)
}

async function fetchAsClient (url: string, user: unknown): Promise<SchemaSet> {
  const client = await connect(url, { user, reconnect: false, connectMs: TIMEOUT_MS, WebSocket: webSocket() }).catch((error: unknown) => {
    throw isPitayaError(error) ? new ReadError(`${url}: ${error.message}.`) : error
  })
  const ask = async <T>(asked: Asked): Promise<T> => await client.request('sys.schemas', asked) as T
  try {
    const { fingerprint, serverType, names } = await ask<SchemaSet & { names: Required<Asked> }>({})
    const found = { routes: new Map<string, RouteSchemas>(), pushes: new Map<string, PartSchema>() }
    for (let left = namesOf(names); left.length > 0;) {
      const some = left.slice(0, MAX_ASKED)
      const answer = await ask<SchemaSet>({ routes: named(some, 'routes'), pushes: named(some, 'pushes') })
      if (answer.fingerprint !== fingerprint) throw new ReadError(`${url}: the contract changed while it was read. Try again.`)
      for (const [route, schemas] of Object.entries(answer.routes)) found.routes.set(route, schemas)
      for (const [push, schema] of Object.entries(answer.pushes)) found.pushes.set(push, schema)
      const before = left.length
      left = left.filter(([kind, name]) => !found[kind].has(name))
      if (left.length === before) throw new ReadError(`${url} does not tell all of its contract.`)
    }
    const { routes, pushes } = found
    return checked({ version: 1, fingerprint, serverType, routes: Object.fromEntries(routes), pushes: Object.fromEntries(pushes) }, url)
  } catch (error) {
    throw isPitayaError(error) ? new ReadError(`${url}: sys.schemas: ${error.message}.`) : error
  } finally {
    client.close()
  }
}

type Kind = 'routes' | 'pushes'
type Asked = Partial<Record<Kind, string[]>>
type Names = Array<readonly [Kind, string]>

function namesOf ({ routes, pushes }: Required<Asked>): Names {
  return [...routes.map((name) => ['routes', name] as const), ...pushes.map((name) => ['pushes', name] as const)]
}

function named (names: Names, wanted: Kind): string[] {
  return names.filter(([kind]) => kind === wanted).map(([, name]) => name)
}

function checked (value: unknown, url: string): SchemaSet {
  const isSet = isRecord(value) && value.version === 1 && typeof value.fingerprint === 'string' && isRecord(value.routes) && isRecord(value.pushes)
  if (!isSet) throw new ReadError(`${url} gave no contract: is it fastify-pitaya, and as new as this one?`)
  return value as unknown as SchemaSet
}

/** Node before 22 has none: the one that the server's package brings. */
function webSocket (): WebSocketConstructor {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketConstructor }
  if (WebSocket !== undefined) return WebSocket
  const require = createRequire(createRequire(import.meta.url).resolve('@fastify/websocket'))
  return (require('ws') as { WebSocket: WebSocketConstructor }).WebSocket
}

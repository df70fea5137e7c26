import { isPitayaError } from '../errors.ts'
import { compileAdapter } from './adapt.ts'
import type { Contract } from './contract.ts'
import type { PartSchema, RouteSchemas } from './set.ts'

/** What clients that know another contract cannot use. */
export interface Break {
  /** Of a handler, or of a push. */
  readonly route: string
  readonly why: string
}

/** Places of one schema that are named. */
const MAX_FIELDS = 3

/**
 * What clients that know the contract `theirs` cannot use on a server with the contract `ours`: routes that it does not have, bodies that
 * it cannot read, answers and pushes that they cannot read. What only some values break is none. Schemas that are not known
 * are not compared.
 */
export function findBreaks (ours: Contract, theirs: Contract): Break[] {
  const breaks: Break[] = []
  for (const [route, { kind, schemas }] of theirs.routes) {
    const own = ours.routes.get(route)
    const why = own === undefined
      ? 'there is no such route'
      : own.kind !== kind
        ? `it is a ${own.kind}`
        : own.schemas === undefined || schemas === undefined ? undefined : whyNot(own.schemas, schemas, misfit)
    if (why !== undefined) breaks.push({ route, why })
  }
  for (const [route, schema] of theirs.pushes) {
    const own = ours.pushes.get(route)
    const why = own === undefined ? undefined : misfit(own, schema)
    if (why !== undefined) breaks.push({ route, why: `the push cannot be read: ${why}` })
  }
  return breaks
}

/**
 * What a server calls on servers of the type of another one that the latter does not serve so. Servers do not adapt messages to each other:
 * any difference that the bytes have breaks.
 */
export function findBrokenCalls (server: { readonly type: string, readonly contract: Contract }, caller: Contract): Break[] {
  const breaks: Break[] = []
  for (const [route, schemas] of caller.calls) {
    if (!route.startsWith(`${server.type}.`)) continue
    const served = server.contract.remotes.get(route.slice(server.type.length + 1))
    const why = served === undefined ? 'there is no such remote' : whyNot(served, schemas, difference)
    if (why !== undefined) breaks.push({ route, why })
  }
  return breaks
}

type Compare = (writer: PartSchema | undefined, reader: PartSchema | undefined) => string | undefined

/** Why what is called is not what is served. */
function whyNot (served: RouteSchemas, called: RouteSchemas, compare: Compare): string | undefined {
  const body = compare(called.body, served.body)
  if (body !== undefined) return `the body cannot be read: ${body}`
  const response = compare(served.response, called.response)
  return response === undefined ? undefined : `the response cannot be read: ${response}`
}

/** Why bytes of one cannot be read as the other. */
function difference (writer: PartSchema | undefined, reader: PartSchema | undefined): string | undefined {
  const why = misfit(writer, reader)
  if (why !== undefined || writer === undefined || reader === undefined || writer === 'raw' || reader === 'raw') return why
  const { isSame, fields } = compileAdapter(writer, reader)
  return isSame ? undefined : `another schema${fields.length === 0 ? '' : `: ${fields.slice(0, MAX_FIELDS).join(', ')}`}`
}

/** Why what is written cannot be read. */
function misfit (writer: PartSchema | undefined, reader: PartSchema | undefined): string | undefined {
  if (reader === undefined) return undefined
  if (writer === undefined) return reader === 'raw' ? undefined : 'there is none'
  if (writer === 'raw' || reader === 'raw') return writer === reader ? undefined : 'one is raw, the other is not'
  if (JSON.stringify(writer) === JSON.stringify(reader)) return undefined
  try {
    const { verdict, fields } = compileAdapter(writer, reader)
    return verdict === 'cannot fit' ? fields.slice(0, MAX_FIELDS).map((field) => field === '' ? 'all of it' : field).join(', ') : undefined
  } catch (error) {
    if (!isPitayaError(error)) throw error
    return 'the schemas cannot be compared'
  }
}

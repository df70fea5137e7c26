import { Type, type TObject, type TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { Value } from '@sinclair/typebox/value'
import { createError } from '../errors.ts'
import type { HandlersDefinition } from './types.ts'

/**
 * The one schema of session data or handshake user data: the option's, or what `definePitaya` declared.
 * @throws PIT_ERR_SCHEMA when two differ
 */
export function findSchema (kind: 'session' | 'user', given: TSchema | undefined, definitions: readonly HandlersDefinition[]): TSchema | undefined {
  let found = given
  for (const definition of definitions) {
    const schema = definition[kind]
    if (schema === undefined || schema === found) continue
    if (found !== undefined && JSON.stringify(found) !== JSON.stringify(schema)) {
      throw createError('PIT_ERR_SCHEMA', [`definePitaya({ ${kind} })`, `handlers "${definition.name}" declare another schema than the rest of the server: share one`])
    }
    found = schema
  }
  return found
}

/** Checks session data: every property may be absent, undeclared ones are dropped, in place. Undefined without a schema: anything goes. */
export function createDataCheck (schema: TSchema | undefined): ((data: Record<string, unknown>) => Record<string, unknown>) | undefined {
  if (schema === undefined) return undefined
  const partial = Type.Partial(schema as TObject)
  const compiled = TypeCompiler.Compile(partial)
  return (data) => {
    const cleaned = Value.Clean(partial, data) as Record<string, unknown>
    if (compiled.Check(cleaned)) return cleaned
    const first = compiled.Errors(cleaned).First()
    throw createError('PIT_ERR_DATA', [`${first?.path ?? ''} ${first?.message.toLowerCase() ?? 'is not valid'}`], { metadata: { field: first?.path ?? '' } })
  }
}

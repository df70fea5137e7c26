import { defineHandlers, raw, request } from '../handler/define.ts'
import type { HandlersDefinition } from '../handler/types.ts'
import type { SchemaSets } from './schema-sets.ts'

/** `sys.schemas`: JSON in and out, whatever the session's serializer. */
export function systemHandlers (schemas: SchemaSets): HandlersDefinition {
  return defineHandlers('sys', {
    schemas: request({ body: raw, response: raw }, (body) => schemas.answer(body))
  })
}

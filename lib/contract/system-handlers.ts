import { defineHandlers, raw, request } from '../handler/define.ts'
import type { Call } from '../handler/call.ts'
import type { HandlersDefinition } from '../handler/types.ts'
import type { PinnedSets } from './pinned-sets.ts'
import type { SchemaSets } from './schema-sets.ts'

/** `sys.schemas`, `sys.contract`: JSON in and out, whatever the session's serializer. */
export function systemHandlers (schemas: SchemaSets, pinned: PinnedSets): HandlersDefinition {
  return defineHandlers('sys', {
    schemas: request({ body: raw, response: raw }, (body) => schemas.answer(body)),
    contract: request({ body: raw, response: raw }, (body, context) => pinned.receive((context as unknown as Call).of, body))
  })
}

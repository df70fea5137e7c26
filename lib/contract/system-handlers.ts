import { defineHandlers, raw, request } from '../handler/define.ts'
import type { Call } from '../handler/call.ts'
import type { HandlersDefinition } from '../handler/types.ts'
import type { Session } from '../session/session.ts'
import type { HeldSets } from './held-sets.ts'
import type { PinnedSets } from './pinned-sets.ts'
import type { SchemaSets } from './schema-sets.ts'

/** `sys.schemas`, `sys.contract`: JSON in and out, whatever the session's serializer. */
export function systemHandlers (schemas: SchemaSets, held: HeldSets, pinned: PinnedSets): HandlersDefinition {
  return defineHandlers('sys', {
    // Clients ask while their handlers run, which may push what they ask for.
    schemas: request({ body: raw, response: raw, concurrent: true },
      (body, context) => schemas.answer(body, held.givenTo(sessionOf(context)))),
    contract: request({ body: raw, response: raw }, (body, context) => pinned.receive(sessionOf(context), body))
  })
}

function sessionOf (context: unknown): Session { return (context as Call).of }

import { createError } from '../errors.ts'
import type { Codec, Serializer } from '../serializers/serializer.ts'
import { compileCodecs } from './compile-codecs.ts'
import { encodesNull } from './encode-result.ts'
import { isRaw } from './raw.ts'
import { composeSteps, type Step } from './step.ts'
import type { HandlersDefinition, MessageSchema, MethodDefinition, PipelineSteps } from './types.ts'

/** Codecs by serializer, later also by version of one; `raw`: bytes as they are; undefined: no such part. */
export type CompiledPart = Codec[] | 'raw' | undefined

/** A method with everything decided that its schema, its pipeline and the server's options decide. */
export interface CompiledHandler {
  /** `serverType.handler.method`. */
  readonly route: string
  readonly shortRoute: string
  readonly kind: 'request' | 'notify'
  readonly body: CompiledPart
  readonly response: CompiledPart
  readonly acceptsNull: boolean
  readonly concurrent: boolean
  readonly deadlineMs: number | undefined
  readonly ratePerSecond: number | undefined
  readonly steps: readonly Step[]
  readonly handle: MethodDefinition['handle']
  readonly definition: MethodDefinition
}

interface Registered {
  readonly definition: HandlersDefinition
  /** Pipeline levels from the outermost scope to the one it was registered in; still filling until `compile`. */
  readonly levels: readonly PipelineSteps[]
}

/** The handler structures of one server. */
export class HandlerRegistry {
  #registered = new Map<string, Registered>()

  /** @throws PIT_ERR_DUPLICATE_HANDLERS */
  register (definition: HandlersDefinition, levels: readonly PipelineSteps[]): void {
    if (this.#registered.has(definition.name)) throw createError('PIT_ERR_DUPLICATE_HANDLERS', [definition.name])
    this.#registered.set(definition.name, { definition, levels })
  }

  get definitions (): HandlersDefinition[] { return [...this.#registered.values()].map(({ definition }) => definition) }

  /** Compiles every method: schemas for each serializer, and its steps. Throws PIT_ERR_HANDLER naming the method. */
  compile (serverType: string, serializers: readonly Serializer[]): CompiledHandler[] {
    const compiled: CompiledHandler[] = []
    for (const { definition, levels } of this.#registered.values()) {
      for (const [name, method] of Object.entries(definition.methods)) {
        const shortRoute = `${definition.name}.${name}`
        const route = `${serverType}.${shortRoute}`
        if (Buffer.byteLength(route) > 255) throw createError('PIT_ERR_HANDLER', [route, 'the route is longer than 255 bytes'])
        const { kind, concurrent, deadlineMs, ratePerSecond, handle } = method
        const response = compilePart(method.response, serializers, `${route}.response`)
        compiled.push({
          route,
          shortRoute,
          kind,
          body: compilePart(method.body, serializers, `${route}.body`),
          response,
          acceptsNull: Array.isArray(response) && response.every(encodesNull),
          concurrent,
          deadlineMs,
          ratePerSecond,
          steps: composeSteps([...levels, definition, method]),
          handle,
          definition: method
        })
      }
    }
    return compiled
  }
}

function compilePart (schema: MessageSchema | undefined, serializers: readonly Serializer[], name: string): CompiledPart {
  if (schema === undefined) return undefined
  if (isRaw(schema)) return 'raw'
  return compileCodecs(schema, serializers, name)
}

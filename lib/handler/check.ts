import { createError, type ErrorCode } from '../errors.ts'
import type { HandlersDefinition, MethodDefinition } from './types.ts'

// What defineHandlers refuses. The types refuse most of it too; this is for plain JavaScript and computed values.

const COMMON = ['body', 'concurrent', 'deadlineMs', 'ratePerSecond', 'before', 'after']
const METHOD_OPTIONS = { request: ['response', 'errors', ...COMMON], notify: COMMON }
const HANDLERS_OPTIONS = ['pushes', 'before', 'after']
const MAX_NAME = 64
const MAX_PUSH_BYTES = 255
const MAX_DEADLINE_MS = 86_400_000
/** Of one method. */
export const MAX_ERRORS = 64
const MAX_ERROR_CODE = 64
/** How TypeBox marks its schemas. The symbol is looked up, so that this file needs no TypeBox at run time. */
const kind = Symbol.for('TypeBox.Kind')

/** Takes the arguments of `request` or `notify` apart. The method has no name yet, so its values are checked by `checkHandlers`. */
export function checkMethod (
  kind: MethodDefinition['kind'], args: readonly unknown[]
): { options: Partial<MethodDefinition>, handle: MethodDefinition['handle'] } {
  const options = args.length > 1 ? args[0] ?? {} : {}
  const handle = args[args.length > 1 ? 1 : 0]
  if (!isObject(options)) refuse(`${kind}()`, `its options must be an object: ${kind}({ body }, handler) or ${kind}(handler)`)
  if (typeof handle !== 'function') refuse(`${kind}()`, `its last argument must be the handler function, not ${typeof handle}`)
  checkOptionNames(`${kind}()`, options, METHOD_OPTIONS[kind])
  return { options, handle: handle as MethodDefinition['handle'] }
}

/** Checks everything that `defineHandlers` was given. */
export function checkHandlers (name: string, options: Partial<HandlersDefinition>, methods: HandlersDefinition['methods']): void {
  checkName(name, 'the handler name')
  if (!isObject(options)) refuse(name, 'its options must be an object: defineHandlers(name, { pushes }, methods)')
  checkOptionNames(name, options, HANDLERS_OPTIONS)
  checkHooks(name, options)
  const pushes = options.pushes ?? {}
  if (!isObject(pushes)) refuse(name, 'pushes must be an object of schemas by route')
  for (const [route, schema] of Object.entries(pushes)) {
    const bytes = new TextEncoder().encode(route).length
    if (bytes === 0 || bytes > MAX_PUSH_BYTES) refuse(name, `push "${route}" must have 1 to ${MAX_PUSH_BYTES} bytes`)
    checkSchema(name, `push "${route}"`, schema)
  }
  if (!isObject(methods)) refuse(name, 'its methods must be an object: defineHandlers(name, { join: request(handler) })')
  for (const [method, definition] of Object.entries(methods)) {
    checkName(method, `a method name of "${name}"`)
    checkDefinition(`${name}.${method}`, definition)
  }
}

/** Checks what a server is given to register. */
export function checkDefined (definition: unknown): asserts definition is HandlersDefinition {
  const { name, pushes, methods } = (definition ?? {}) as Partial<HandlersDefinition>
  if (typeof name === 'string' && isObject(pushes) && isObject(methods)) return
  refuse('app.pitaya.register()', 'takes what defineHandlers(name, methods) returns')
}

/** Checks what `definePitaya` was given. */
export function checkPitaya (schemas: object): void {
  for (const [name, schema] of Object.entries(schemas)) {
    if (name !== 'session' && name !== 'user') {
      throw createError('PIT_ERR_OPTIONS', [`"${name}" of definePitaya is unknown: it takes session, user`])
    }
    if (schema !== undefined && !isTypeBox(schema)) {
      throw createError('PIT_ERR_OPTIONS', [`"${name}" of definePitaya must be a TypeBox schema`])
    }
  }
}

function checkDefinition (place: string, method: MethodDefinition): void {
  if (!isObject(method) || (method.kind !== 'request' && method.kind !== 'notify') || typeof method.handle !== 'function') {
    refuse(place, 'must be made by request() or notify()')
  }
  if (method.body !== undefined) checkSchema(place, 'body', method.body)
  if (method.response !== undefined) checkSchema(place, 'response', method.response)
  checkErrors(place, method.errors)
  if (typeof method.concurrent !== 'boolean') refuse(place, 'concurrent must be true or false')
  checkDeadline(place, method.deadlineMs)
  const { ratePerSecond } = method
  if (ratePerSecond !== undefined && !(Number.isFinite(ratePerSecond) && ratePerSecond > 0)) {
    refuse(place, 'ratePerSecond must be a number above 0')
  }
  checkHooks(place, method)
}

function checkErrors (place: string, errors: readonly unknown[]): void {
  if (!Array.isArray(errors) || errors.length > MAX_ERRORS) refuse(place, `errors must be an array of at most ${MAX_ERRORS} codes`)
  for (const code of errors) {
    if (!isOwnCode(code)) refuse(place, `errors: ${JSON.stringify(code)} must have 1 to ${MAX_ERROR_CODE} characters and not begin with PIT_ERR_`)
  }
}

/** What begins as the codes of our own table travels under another name. */
export function isOwnCode (code: unknown): code is string {
  return typeof code === 'string' && code.length > 0 && code.length <= MAX_ERROR_CODE && !code.startsWith('PIT_ERR_')
}

// What handlers and remotes have in common: the code says whose fault it is.

export function checkName (name: unknown, what: string, code?: ErrorCode): void {
  if (typeof name === 'string' && name.length > 0 && name.length <= MAX_NAME && !/[\s.]/.test(name)) return
  refuse(JSON.stringify(name) ?? String(name), `${what} must have 1 to ${MAX_NAME} characters, none of them white space or "."`, code)
}

export function checkOptionNames (place: string, options: object, known: readonly string[], code?: ErrorCode): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) refuse(place, `option "${name}" is unknown: known are ${known.join(', ')}`, code)
  }
}

export function checkDeadline (place: string, ms: number | undefined, code?: ErrorCode, option = 'deadlineMs'): void {
  if (ms === undefined || (Number.isInteger(ms) && ms > 0 && ms <= MAX_DEADLINE_MS)) return
  refuse(place, `${option} must be a whole number of milliseconds, 1 to ${MAX_DEADLINE_MS}`, code)
}

export function checkSchema (place: string, what: string, schema: unknown, code?: ErrorCode): void {
  if (isTypeBox(schema) || (isObject(schema) && (schema as { kind?: unknown }).kind === 'raw')) return
  refuse(place, `${what} must be a TypeBox schema or raw`, code)
}

export function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function checkHooks (place: string, hooks: { before?: unknown, after?: unknown }): void {
  for (const name of ['before', 'after'] as const) {
    const list = hooks[name] ?? []
    if (!Array.isArray(list) || list.some((hook) => typeof hook !== 'function')) refuse(place, `${name} must be an array of functions`)
  }
}

function isTypeBox (schema: unknown): boolean {
  return isObject(schema) && kind in schema
}

function refuse (place: string, text: string, code: ErrorCode = 'PIT_ERR_HANDLER'): never {
  throw createError(code, [place, text])
}

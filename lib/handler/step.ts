import { isThenable } from '../thenable.ts'
import type { Call } from './call.ts'
import type { AfterHook, BeforeHook, Outcome, PipelineSteps, RawHook } from './types.ts'

/**
 * One step of a handler's way: `run` returns a value or a promise of one, `accept` takes the value. Steps are composed when the app
 * gets ready; only steps that exist are in the list, so a hook that nobody registered costs nothing.
 */
export interface Step {
  run (call: Call): unknown
  accept (call: Call, value: any): void
}

const decode: Step = {
  run (call) { return call.decodeBody() },
  accept (call, body: unknown) { call.body = body }
}

const invoke: Step = {
  run (call) { return call.handler.handle(call.body, call) },
  accept (call, result: unknown) { call.result = result }
}

const succeeded = (result: unknown): Outcome => ({ result })
const failed = (error: unknown): Outcome => ({ error: error ?? new Error('thrown: undefined') })

/** As `invoke`, where after-hooks want to see the error too. */
const invokeCaught: Step = {
  run (call) {
    try {
      const result = call.handler.handle(call.body, call)
      return isThenable(result) ? Promise.resolve(result).then(succeeded, failed) : succeeded(result)
    } catch (error) {
      return failed(error)
    }
  },
  accept: takeOutcome
}

const encode: Step = {
  run (call) { call.encodeOutcome() },
  accept () {}
}

/** The serializer's buffer is used again by the next message; a raw after-hook may keep the bytes for longer than that. */
const copyOutput: Step = {
  // Not slice(): a Buffer's shares its memory.
  run (call) { if (call.output !== undefined) call.output = new Uint8Array(call.output) },
  accept () {}
}

const before = (hook: BeforeHook): Step => ({
  run (call) { return hook(call.body, call) },
  accept (call, body: unknown) { if (body !== undefined) call.body = body }
})

const after = (hook: AfterHook): Step => ({
  run (call) {
    try {
      const outcome = hook(call.error === undefined ? succeeded(call.result) : failed(call.error), call)
      return isThenable(outcome) ? Promise.resolve(outcome).catch(failed) : outcome
    } catch (error) {
      return failed(error)
    }
  },
  accept (call, outcome: Outcome | undefined) { if (outcome !== undefined) takeOutcome(call, outcome) }
})

const rawBefore = (hook: RawHook): Step => ({
  run (call) { return hook(call.bytes.subarray(call.start, call.end), call) },
  accept (call, bytes: Uint8Array | undefined) { if (bytes !== undefined) call.setBytes(assertBytes(bytes)) }
})

const rawAfter = (hook: RawHook): Step => ({
  run (call) { return call.output === undefined ? undefined : hook(call.output, call) },
  accept (call, bytes: Uint8Array | undefined) { if (bytes !== undefined) call.output = assertBytes(bytes) }
})

function takeOutcome (call: Call, outcome: Outcome): void {
  const isOutcome = typeof outcome === 'object' && outcome !== null
  const { error, result } = isOutcome ? outcome : failed(new TypeError('an after-function must return { result } or { error }'))
  call.error = error ?? undefined
  call.result = result
}

function assertBytes (value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('a raw before- or after-function must return a Uint8Array')
  return value
}

/** The steps of one handler, outermost level first. */
export function composeSteps (levels: readonly PipelineSteps[]): Step[] {
  const all = <K extends keyof PipelineSteps> (kind: K) => levels.flatMap((level) => level[kind] as Array<PipelineSteps[K][number]>)
  const afters = all('after')
  const rawAfters = all('rawAfter')
  return [
    ...all('rawBefore').map(rawBefore),
    decode,
    ...all('before').map(before),
    afters.length + rawAfters.length > 0 ? invokeCaught : invoke,
    ...afters.map(after),
    encode,
    ...(rawAfters.length > 0 ? [copyOutput, ...rawAfters.map(rawAfter)] : [])
  ]
}

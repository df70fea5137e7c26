import { type Call } from './call.ts'
import { type AfterHook, type BeforeHook, type Outcome, type PipelineSteps, type RawHook } from './types.ts'

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

/** As `invoke`, where after-hooks want to see the error too. */
const invokeCaught: Step = {
  run (call) {
    const failed = (error: unknown): Outcome => ({ error: error ?? new Error('a handler threw nothing') })
    try {
      const result = call.handler.handle(call.body, call)
      if (isThenable(result)) return Promise.resolve(result).then((result): Outcome => ({ result }), failed)
      return { result }
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
  run (call) { call.output = call.output?.slice() },
  accept () {}
}

const before = (hook: BeforeHook): Step => ({
  run (call) { return hook(call.body, call) },
  accept (call, body: unknown) { if (body !== undefined) call.body = body }
})

const after = (hook: AfterHook): Step => ({
  run (call) {
    return hook(call.error === undefined ? { result: call.result } : { error: call.error as {} }, call)
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
  if (typeof outcome !== 'object' || outcome === null) throw new TypeError('an after-function must return { result } or { error }')
  call.error = outcome.error ?? undefined
  call.result = outcome.result
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

export function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

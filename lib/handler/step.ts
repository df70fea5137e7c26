import { isThenable } from '../thenable.ts'
import { JobState } from './job.ts'
import type { AfterHook, BeforeHook, MaybePromise, Outcome } from './types.ts'

/** What steps know of a message: a client's (Call), or another server's (RemoteCall). It is also the context that hooks get. */
export interface PipelineCall {
  readonly handler: { readonly steps: readonly Step[], readonly handle: (body: any, context: any) => unknown }
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  body: unknown
  result: unknown
  error: unknown
  /** What will be answered, once encoded. */
  output: Uint8Array | undefined
  setBytes (bytes: Uint8Array): void
  decodeBody (): unknown
  encodeOutcome (): void
}

/** A message on its way through its steps. */
export interface RunningCall extends PipelineCall {
  readonly state: JobState
  /** Begins, or goes on: if the event loop is blocked from now on, it is by this one. */
  entered (): void
  /** All steps are done. */
  finish (): void
  fail (error: unknown): void
  /** It would have gone on, but is over. */
  late (): void
}

/**
 * One step of a handler's way: `run` returns a value or a promise of one, `accept` takes the value. Steps are composed when the app
 * gets ready; only steps that exist are in the list, so a hook that nobody registered costs nothing.
 */
export interface Step {
  run (call: PipelineCall): unknown
  accept (call: PipelineCall, value: any): void
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

const before = (hook: BeforeHook<any, any>): Step => ({
  run (call) { return hook(call.body, call) },
  accept (call, body: unknown) { if (body !== undefined) call.body = body }
})

const after = (hook: AfterHook<any, any>): Step => ({
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

function takeOutcome (call: PipelineCall, outcome: Outcome): void {
  const isOutcome = typeof outcome === 'object' && outcome !== null
  const { error, result } = isOutcome ? outcome : failed(new TypeError('an after-function must return { result } or { error }'))
  call.error = error ?? undefined
  call.result = result
}

function assertBytes (value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError('a raw before- or after-function must return a Uint8Array')
  return value
}

/** Hooks of one level. */
export interface PipelineLevel {
  readonly before: ReadonlyArray<BeforeHook<any, any>>
  readonly after: ReadonlyArray<AfterHook<any, any>>
  readonly rawBefore?: readonly RawHook[]
  readonly rawAfter?: readonly RawHook[]
}
type RawHook = (bytes: Uint8Array, context: any) => MaybePromise<Uint8Array | void>

/** The steps of one handler, outermost level first. */
export function composeSteps (levels: readonly PipelineLevel[]): Step[] {
  const afters = levels.flatMap((level) => level.after)
  const rawAfters = levels.flatMap((level) => level.rawAfter ?? [])
  return [
    ...levels.flatMap((level) => level.rawBefore ?? []).map(rawBefore),
    decode,
    ...levels.flatMap((level) => level.before).map(before),
    afters.length + rawAfters.length > 0 ? invokeCaught : invoke,
    ...afters.map(after),
    encode,
    ...(rawAfters.length > 0 ? [copyOutput, ...rawAfters.map(rawAfter)] : [])
  ]
}

/** Runs a call's steps from `index` on. On return it has finished or failed, unless something returned a promise. */
export function runSteps (call: RunningCall, index: number): void {
  const { steps } = call.handler
  call.entered()
  try {
    for (let i = index; i < steps.length; i++) {
      const step = steps[i]!
      const value = step.run(call)
      if (isThenable(value)) {
        // A foreign thenable may settle twice; a promise does not.
        Promise.resolve(value).then((value) => resume(call, i, value), (error: unknown) => call.fail(error))
        return
      }
      step.accept(call, value)
    }
  } catch (error) {
    call.fail(error)
    return
  }
  call.finish()
}

function resume (call: RunningCall, index: number, value: unknown): void {
  if (call.state !== JobState.running) { call.late(); return }
  try {
    call.handler.steps[index]!.accept(call, value)
  } catch (error) {
    call.fail(error)
    return
  }
  runSteps(call, index + 1)
}

import { createError, type PitayaError } from '../errors.ts'
import type { PendingContract } from '../session/session.ts'
import { isRecord } from './canonical.ts'
import { MAX_SET_BYTES } from './pinned.ts'

/** Pushes that are kept until the contract is there. */
const MAX_HELD = 64
const MAX_PARTS = 64
/** Of the request that brings it. */
const ROUTE = 'sys.contract'

/** A contract on its way from a client, in parts. The session's other messages wait behind it, pushes to it are kept. */
export class ContractUpload implements PendingContract {
  readonly fingerprint: string
  onSettled: (() => void) | null = null
  #parts: string[] = []
  #bytes = 0
  #of = 0
  #held: Array<() => void> = []

  constructor (fingerprint: string) {
    this.fingerprint = fingerprint
  }

  admits ({ shortRoute }: { readonly shortRoute: string }): boolean { return shortRoute === ROUTE }

  hold (push: () => void): boolean {
    if (this.#held.length >= MAX_HELD) return false
    this.#held.push(push)
    return true
  }

  /**
   * Takes one request: `{"part":1,"of":2,"text":"..."}`, parts in order.
   * @returns the whole text; undefined: there is more to come
   * @throws PIT_ERR_CONTRACT
   */
  take (body: Uint8Array): string | undefined {
    const { part, of, text } = parse(body)
    const isNext = part === this.#parts.length + 1 && Number.isInteger(of) && Number(of) >= Number(part) && Number(of) <= MAX_PARTS
    if (!isNext || (this.#of !== 0 && of !== this.#of) || typeof text !== 'string') throw refusal('sys.contract takes { part, of, text }, parts in order')
    this.#bytes += Buffer.byteLength(text)
    if (this.#bytes > MAX_SET_BYTES) throw refusal(`it is larger than ${MAX_SET_BYTES} bytes`)
    this.#of = Number(of)
    this.#parts.push(text)
    return part === of ? this.#parts.join('') : undefined
  }

  /**
   * The contract is there: called when the session knows it.
   * @returns the pushes that were kept, to be made now
   */
  settle (): Array<() => void> {
    this.onSettled?.()
    this.#parts = []
    return this.#held.splice(0)
  }
}

function parse (body: Uint8Array): Record<string, unknown> {
  try {
    const given: unknown = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
    if (isRecord(given)) return given
  } catch {}
  throw refusal('sys.contract takes JSON')
}

function refusal (reason: string): PitayaError {
  return createError('PIT_ERR_CONTRACT', [reason], { metadata: { field: '' } })
}

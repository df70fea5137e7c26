import { createError, type PitayaError } from '../errors.ts'
import type { Shape } from './shape.ts'

/**
 * `fits`: every value does. `fits by value`: some do, and the adapter refuses the others. `cannot fit`: none does.
 */
export type Verdict = 'fits' | 'fits by value' | 'cannot fit'

export type Adapt = (value: any) => unknown

/** What was found out of one pair of types. */
export interface Part {
  readonly verdict: Verdict
  /** Paths of what is checked by value, or of what cannot fit. */
  readonly fields: readonly string[]
  /** Undefined: values stay as they are. */
  readonly adapt: Adapt | undefined
}

/** @param fallback what an unknown symbol becomes, where the enum itself does not say */
export type CompilePart = (from: Shape, to: Shape, path: string, fallback?: string) => Part

/** Whether what could be changed by who gets it is made for every value: not where values are only written. */
export type Defaults = 'anew' | 'shared'

const MAX_PATH = 128

export const FITS: Part = Object.freeze({ verdict: 'fits', fields: [], adapt: undefined })

export const keep: Adapt = (value) => value

export function byValue (path: string, adapt: Adapt): Part { return { verdict: 'fits by value', fields: [path.slice(0, MAX_PATH)], adapt } }

export function cannotFit (path: string, demand: string): Part {
  return { verdict: 'cannot fit', fields: [path.slice(0, MAX_PATH)], adapt: () => { throw misfit(path, demand) } }
}

/** The PIT_ERR_EVOLUTION of one place. */
export function misfit (path: string, demand: string): PitayaError {
  const field = path.slice(0, MAX_PATH)
  return createError('PIT_ERR_EVOLUTION', [`body${field} does not fit the other version: it must be ${demand}`], { metadata: { field } })
}

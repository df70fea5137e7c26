import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import { ValueErrorType } from '@sinclair/typebox/errors'
import { createError, type PitayaError } from '../errors.ts'
import { refusal, type ReducedSchema } from './schema.ts'

/** A path holds keys that a client chose. */
const MAX_PATH = 128

/** Compiles the check of a reduced schema, the same one for every serializer. @throws PIT_ERR_SCHEMA */
export function compileCheck ({ root, definitions }: ReducedSchema, message: string): TypeCheck<TSchema> {
  try {
    return TypeCompiler.Compile(root, definitions as TSchema[])
  } catch (cause) {
    throw refusal(message, '', `the schema cannot be compiled: ${(cause as Error).message}`)
  }
}

/** The PIT_ERR_BODY of a value that fails `check`: says where and what was wanted, never what came. */
export function violation (check: TypeCheck<TSchema>, value: unknown): PitayaError {
  const { field, text } = explain(check, value)
  return createError('PIT_ERR_BODY', [text], { metadata: { field } })
}

/** What `encode` throws for a value of the application that does not fit. */
export function misfit (check: TypeCheck<TSchema>, value: unknown): TypeError {
  return new TypeError(explain(check, value).text)
}

function explain (check: TypeCheck<TSchema>, value: unknown): { field: string, text: string } {
  const first = check.Errors(value).First()
  const path = first?.path ?? ''
  const field = path.length > MAX_PATH ? path.slice(0, MAX_PATH).replace(/[\ud800-\udbff]$/, '') : path
  return { field, text: `body${field} ${first === undefined ? 'is invalid' : demand(first.type, first.message)}` }
}

function demand (type: ValueErrorType, message: string): string {
  if (type === ValueErrorType.ObjectRequiredProperty) return 'is required'
  if (type === ValueErrorType.ObjectAdditionalProperties) return 'is not declared'
  return message.replace(/^Expected /, 'must be ')
}

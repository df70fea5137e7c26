import { createError, isPitayaError } from '../errors.ts'
import { isName } from '../session/uid.ts'

/** @throws PIT_ERR_GROUP unless `name` is as a uid: a text of 1 to 128 UTF-8 bytes, well formed and without control characters */
export function assertGroupName (name: unknown): asserts name is string {
  if (!isName(name)) throw createError('PIT_ERR_GROUP', ['a name is a text of 1 to 128 bytes without control characters'])
}

/** @throws PIT_ERR_GROUP unless it is undefined or a time in milliseconds */
export function assertTtl (ttlMs: unknown): asserts ttlMs is number | undefined {
  if (ttlMs !== undefined && !(typeof ttlMs === 'number' && ttlMs > 0 && ttlMs < Infinity)) {
    throw createError('PIT_ERR_GROUP', ['ttlMs is a number above 0'])
  }
}

/** Adds who may be a member already. @returns false: it was */
export async function addOnce (add: Promise<void>): Promise<boolean> {
  try {
    await add
    return true
  } catch (error) {
    if (isPitayaError(error) && error.code === 'PIT_ERR_GROUP_MEMBER') return false
    throw error
  }
}

import type { Store, Watch } from '../cluster/stores/store.ts'
import { Deadline } from '../deadline.ts'
import { createError } from '../errors.ts'
import type { TimerWheel } from '../timer-wheel.ts'

/**
 * Waits until the keys are deleted that match `filter` now; what is put meanwhile is not waited for.
 * @param isWaited false for keys of which nobody takes care any more
 * Rejects with PIT_ERR_RPC_TIMEOUT after `ms`, PIT_ERR_STORE.
 */
export async function untilGone (
  store: Store, wheel: TimerWheel, filter: string, ms: number, isWaited: (key: string) => boolean
): Promise<void> {
  const left = new Set<string>()
  let isCaughtUp = false
  let done!: () => void
  const gone = new Promise<void>((resolve) => { done = resolve })
  const settle = (): void => { if (isCaughtUp && left.size === 0) done() }
  let watch: Watch | undefined
  const deadline = new Deadline(wheel, ms, () => {
    for (const key of left) if (!isWaited(key)) left.delete(key)
    done()
  })
  try {
    watch = await store.watch(filter, {
      onPut: ({ key }) => { if (!isCaughtUp && isWaited(key)) left.add(key) },
      onDelete: (key) => {
        left.delete(key)
        settle()
      },
      onCaughtUp: () => {
        isCaughtUp = true
        settle()
      }
    })
    await gone
  } finally {
    deadline.cancel()
    watch?.stop()
  }
  if (left.size > 0) throw createError('PIT_ERR_RPC_TIMEOUT')
}

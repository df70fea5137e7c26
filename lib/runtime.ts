import type { Logger } from './handler/types.ts'
import type { ResolvedOptions } from './options.ts'
import type { Serializer } from './serializers/serializer.ts'
import { TimerWheel } from './timer-wheel.ts'

/** What the parts of one server share. Made once per registration of the plugin, so two servers in one process share nothing. */
export interface Runtime<O extends ResolvedOptions<any> = ResolvedOptions<any>> {
  readonly options: O
  readonly serializers: readonly Serializer[]
  readonly wheel: TimerWheel
  readonly log: Logger
}

export function createRuntime<O extends ResolvedOptions<any>> (options: O, serializers: readonly Serializer[], log: Logger): Runtime<O> {
  return { options, serializers, wheel: new TimerWheel(), log }
}

/** Remotes of one server and a client of them, on a clock of their own, without a transport between. */
import { PitayaError, type WireError } from '../../lib/errors.ts'
import { RemoteClients } from '../../lib/remote/client.ts'
import type { RemoteCallOptions } from '../../lib/remote/client-types.ts'
import { RemoteService, type RemoteHost } from '../../lib/remote/service.ts'
import type { Logger } from '../../lib/handler/types.ts'
import { createAvroSerializer } from '../../lib/serializers/avro.ts'
import { TimerWheel } from '../../lib/timer-wheel.ts'

export interface Reply { data: Uint8Array, error: WireError | undefined }
export interface Line { level: string, fields: Record<string, any>, text: string }

const DEFAULT_MS = 5000

export function createRemotes (options: { maxRunning?: number } = {}) {
  let now = 0
  const wheel = new TimerWheel(25, () => now)
  const lines: Line[] = []
  const drops: string[] = []
  const write = (level: string) => (fields: object | string, text = '') => {
    lines.push({ level, fields: typeof fields === 'string' ? {} : fields, text })
  }
  const log: Logger = {
    trace: write('trace'),
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: (bindings) => ({ ...log, bindings })
  }
  const host: RemoteHost = {
    serverId: 'game-1',
    log,
    latestHandler: undefined,
    abandonedCalls: 0,
    lateEnded () { host.abandonedCalls-- },
    mayLog: () => true,
    dropped (what, why, route) { drops.push(`${what} ${why} ${route}`) }
  }
  const service = new RemoteService({ serverType: 'game', serializer: createAvroSerializer(), wheel, host, handlerMs: DEFAULT_MS, ...options })
  const sent: Array<{ route: string, options: RemoteCallOptions, timeoutMs: number | undefined }> = []
  /** What the wire between would do: every side has bytes of its own. */
  const ask = (route: string, data: Uint8Array, info: { context?: Record<string, string>, remainingMs?: number } = {}): Promise<Reply> =>
    new Promise((resolve) => {
      const { remainingMs = DEFAULT_MS, context } = info
      service.call(route, new Uint8Array(data), { callerId: 'connector-1', remainingMs, context }, (data, error) => {
        resolve({ data: new Uint8Array(data), error })
      })
    })
  const clients = new RemoteClients({
    serializer: createAvroSerializer(),
    send: async (route, data, options, timeoutMs) => {
      sent.push({ route, options, timeoutMs })
      const reply = await ask(route, data, { context: options.propagated as Record<string, string>, remainingMs: timeoutMs })
      if (reply.error !== undefined) throw new PitayaError(reply.error.code, reply.error.msg, reply.error.metadata)
      return reply.data
    }
  })
  return {
    service,
    clients,
    host,
    wheel,
    lines,
    drops,
    sent,
    ask,
    /** Moves the clock on within this turn. */
    skip (ms: number): void {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 25)
        wheel.advance()
      }
    }
  }
}

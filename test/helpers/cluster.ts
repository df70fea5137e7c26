/** Several servers of one cluster in this process: over a bus in memory, or over a real nats-server. */
import type { FastifyInstance } from 'fastify'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { build, type BuildOptions } from './app.ts'

interface Teardown { teardown (fn: () => unknown): void }

export interface ClusterOf {
  /** A frontend: clients connect to it by `rawClient` or `inject`. */
  frontend (options?: BuildOptions): Promise<FastifyInstance>
  backend (options?: BuildOptions): Promise<FastifyInstance>
}

/** Long enough for a process that the machine leaves waiting: tests that wait for the end of a lease name one of their own. */
const LEASE_MS = 10_000

/** @param carrier `nats` of the plugin's option `cluster`, else a bus of this cluster's own */
export function clusterOf (t: Teardown, carrier: BuildOptions['cluster'] = { memory: new MemoryBus() }): ClusterOf {
  const cluster = { leaseMs: LEASE_MS, ...carrier }
  // All at once: each waits a second for the others to know that it goes.
  const endings: Array<() => unknown> = []
  const together = { teardown: (end: () => unknown) => { endings.push(end) } }
  t.teardown(() => Promise.all(endings.map((end) => end())))
  return {
    frontend: (options = {}) => build(together, { serverType: 'connector', ...options, cluster: { ...cluster, ...options.cluster } }),
    backend: (options = {}) => build(together, { serverType: 'chat', frontend: false, ...options, cluster: { ...cluster, ...options.cluster } })
  }
}

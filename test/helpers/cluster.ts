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

export const LEASE_MS = 600

/** @param carrier `nats` of the plugin's option `cluster`, else a bus of this cluster's own */
export function clusterOf (t: Teardown, carrier: BuildOptions['cluster'] = { memory: new MemoryBus() }): ClusterOf {
  const cluster = { leaseMs: LEASE_MS, ...carrier }
  return {
    frontend: (options = {}) => build(t, { serverType: 'connector', ...options, cluster: { ...cluster, ...options.cluster } }),
    backend: (options = {}) => build(t, { serverType: 'chat', frontend: false, ...options, cluster: { ...cluster, ...options.cluster } })
  }
}

import type { ServerInfo } from '../../lib/cluster/discovery/discovery.ts'
import type { RoutingCall } from '../../lib/cluster/routing.ts'

/** A server as discovery tells of it. */
export function server (id: string, options: Partial<ServerInfo> = {}): ServerInfo {
  return {
    id,
    type: 'game',
    frontend: false,
    metadata: {},
    incarnation: '1',
    hostname: 'host',
    version: '0.0.0',
    load: 0,
    draining: false,
    contract: '',
    events: [],
    ...options
  }
}

/** A call to be routed. */
export function routed (options: Partial<RoutingCall> = {}): RoutingCall {
  return { route: 'game.match.join', serverType: 'game', uid: '', session: undefined, key: undefined, inFlight: () => 0, ...options }
}

import { hostname } from 'node:os'
import { HeldSets } from '../contract/held-sets.ts'
import { PinnedSets } from '../contract/pinned-sets.ts'
import { PushMaker } from '../contract/push-maker.ts'
import { SchemaSets } from '../contract/schema-sets.ts'
import { systemHandlers } from '../contract/system-handlers.ts'
import type { Groups } from '../facade-types.ts'
import { ClusterGroups } from '../groups/cluster.ts'
import { MemoryGroups } from '../groups/memory.ts'
import { logFailure } from '../log-failure.ts'
import { RemoteClients } from '../remote/client.ts'
import { RemoteService } from '../remote/service.ts'
import { createAvroSerializer } from '../serializers/avro.ts'
import { describeSession } from '../session/describe.ts'
import { StoreBindings } from './bindings.ts'
import type { ClusterOptions, Stores } from './cluster.ts'
import { Contracts } from './contracts.ts'
import { Deliveries } from './deliveries.ts'
import { Directory } from './directory.ts'
import { LeaseDiscovery } from './discovery/leases.ts'
import { newIncarnation } from './discovery/own-lease.ts'
import { createAvroEnvelope } from './envelopes/avro.ts'
import { Events } from './events.ts'
import { Forwarder } from './forwarder.ts'
import { Subjects } from './names.ts'
import type { EventHook, EventOptions } from './peers.ts'
import type { SessionHome } from './remote-session.ts'
import { Router } from './router.ts'
import { RpcClient } from './rpc-client.ts'
import { RpcServer } from './rpc-server.ts'
import { createPeers, serveSys, sys } from './sys.ts'
import { UserCalls } from './user-calls.ts'

export type Parts = ReturnType<typeof createParts>

/** Makes the parts of one server's place in the cluster and joins them; nothing runs yet. */
export function createParts (options: ClusterOptions, stores: Stores) {
  const { runtime: { options: resolved, wheel, log }, carrier: { transport }, sessions, service, isShared, version } = options
  const { serverId, serverType, frontend, limits, dispatch, session: { policy, scope }, cluster: { prefix, leaseMs, metadata } } = resolved
  const { pushes } = service
  const { handlerMs } = limits
  const subjects = new Subjects(prefix)
  const envelope = createAvroEnvelope()
  const serializer = createAvroSerializer()

  const self = { id: serverId, type: serverType, frontend, metadata, hostname: hostname(), version, contract: '', events: [] }
  const discovery = new LeaseDiscovery({ store: stores.servers, self, wheel, log, isConnected: () => transport.isUp, leaseMs })
  const router = new Router({ discovery, log })
  const rpc = new RpcClient({ transport, envelope, subjects, serverId, incarnation: newIncarnation(), maxPending: limits.rpcPending, log })

  const remotes = new RemoteService({ serverType, serializer, wheel, host: service, handlerMs, maxRunning: limits.remotes })
  const calls = new UserCalls({
    rpc,
    router,
    discovery,
    wheel,
    serverId,
    local: (route, data, remainingMs, context, reply) => remotes.call(route, data, { callerId: serverId, remainingMs, context }, reply)
  })
  const remoteClients = new RemoteClients({
    serializer,
    send: (route, data, call, timeoutMs = handlerMs) => calls.send(route.slice(0, route.indexOf('.')), route, data, call, timeoutMs)
  })
  const peers = createPeers(serializer, (route, data, call, timeoutMs = handlerMs) => {
    return calls.send(undefined, route.slice(route.indexOf('.') + 1), data, call, timeoutMs)
  })

  const events = new Events({ transport, discovery, subjects, serverType, log })
  const directory = new Directory({ store: stores.bindings, discovery, scope, policy, log })
  const manySessions = policy === 'allow'
  // A uid is unique among the frontends of one type only, unless the scope is the cluster.
  const isInMany = () => manySessions || (scope === 'type' && discovery.all().some(({ type, frontend }) => frontend && type !== serverType))
  const deliveries = new Deliveries({ serverId, transport, envelope, subjects, sessions, pushes, directory, peers, isInMany, log })
  sessions.events = events

  const common = { sessions, pushes, wheel, maxGroups: limits.groups, events, serverId }
  const clusterGroups = isShared
    ? new ClusterGroups({
      ...common,
      log,
      transport,
      store: stores.groups,
      subjects,
      envelope,
      discovery,
      peers,
      directory,
      pushToUids: (uids, route, value) => deliveries.pushToUids(uids, route, value, false)
    })
    : undefined
  const groups: Groups & { close (): void | Promise<void> } = Object.assign(clusterGroups ?? new MemoryGroups(common), {
    onJoin: (hook: EventHook, options?: EventOptions) => events.on('join', hook, options),
    onLeave: (hook: EventHook, options?: EventOptions) => events.on('leave', hook, options)
  })
  service.groups = groups

  const bindings = clusterGroups !== undefined && frontend
    ? new StoreBindings({
      store: stores.bindings,
      discovery,
      sessions,
      peers,
      policy,
      scope,
      log,
      groupsOf: (uid) => clusterGroups.handOver(uid),
      adoptGroups: (uid, names) => { clusterGroups.adopt(uid, names).catch((error: unknown) => logFailure(log, error, 'groups could not be taken over')) }
    })
    : undefined
  sessions.bindings = bindings
  if (clusterGroups !== undefined && frontend && manySessions) {
    // The uid's groups reach its sessions elsewhere; from its first session here on they reach those here too.
    sessions.afterBind(async (_, uid) => { if (sessions.ofUid(uid).length === 1) await clusterGroups.follow(uid) })
  }

  const forwarder = new Forwarder({ serverId, service, discovery, router, rpc, envelope, dispatch, handlerMs })
  service.forwarding = forwarder
  const schemas = new SchemaSets(serverType)
  const store = isShared ? stores.servers : undefined
  const ask = (serverId: string, fingerprint: string): Promise<string> => peers.schemas(serverId, fingerprint)
  const pinned = new PinnedSets({ service, schemas, discovery, store, ask, log })
  const held = new HeldSets({ schemas, pinned, sessions })
  service.registerSystem(systemHandlers(schemas, held, pinned))
  const contracts = new Contracts({ store: stores.servers, discovery, forwarder, schemas, log })
  pushes.make = new PushMaker({ ofServer: (id) => contracts.of(id), ofSet: (fingerprint) => pinned.get(fingerprint) }).make

  const home: SessionHome = {
    respond: (reply, payload, isError) => server.respond(reply, payload, isError),
    push: (frontendId, sessionId, route, value, serializer) => deliveries.pushToSession(frontendId, sessionId, route, value, serializer),
    pushToUid: (uid, route, value) => {
      deliveries.pushToUids([uid], route, value, false).catch((error: unknown) => logFailure(log, error, 'a push could not be sent', { uid }))
      return transport.isUp
    },
    kick: (frontendId, sessionId, reason) => { deliveries.kickSession(frontendId, sessionId, reason) },
    close: (frontendId, sessionId) => { deliveries.closeSession(frontendId, sessionId) },
    bind: async (frontendId, sessionId, uid) => { await peers.bind(frontendId, { sessionId, uid }) },
    patch: (frontendId, sessionId, patch, base) => peers.patch(frontendId, { sessionId, patch, base })
  }
  const subject = subjects.rpc(serverId)
  const server = new RpcServer({ transport, envelope, subject, service, remotes, sessions, home, pinned, handlerMs, log })

  remotes.register(sys, serveSys({
    sessions,
    envelope,
    deliveries,
    directory,
    pinned,
    replaced: (claim) => bindings?.onReplaced(claim) ?? { groups: [] },
    groupAdd: (name, uid) => clusterGroups === undefined ? groups.add(name, uid) : clusterGroups.addLocal(name, uid),
    groupRemove: (name, uid) => clusterGroups === undefined ? groups.remove(name, uid) : clusterGroups.removeLocal(name, uid),
    describe: (id) => {
      const session = sessions.get(id)
      return session === undefined ? undefined : describeSession(session)
    }
  }), [])

  return {
    discovery,
    router,
    rpc,
    server,
    remotes,
    remoteClients,
    calls,
    peers,
    events,
    directory,
    deliveries,
    groups,
    clusterGroups,
    bindings,
    forwarder,
    contracts,
    schemas,
    held,
    pinned
  }
}

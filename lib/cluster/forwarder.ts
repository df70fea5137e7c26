import type { Contract } from '../contract/contract.ts'
import type { HandlerService } from '../handler/service.ts'
import type { ForeignRoute, Forwarding } from '../handler/forwarding.ts'
import type { Job } from '../handler/job.ts'
import { Share } from '../handler/share.ts'
import { RouteIndex } from '../protocol/route.ts'
import type { Pin, Session } from '../session/session.ts'
import type { Discovery, ServerInfo } from './discovery/discovery.ts'
import { RpcType, type Envelope } from './envelopes/envelope.ts'
import { ForwardedCall } from './forwarded-call.ts'
import type { Router } from './router.ts'
import type { RpcClient, RpcRequest } from './rpc-client.ts'

export interface ForwarderOptions {
  readonly serverId: string
  readonly service: HandlerService
  readonly discovery: Discovery
  readonly router: Router
  readonly rpc: RpcClient
  readonly envelope: Envelope
  /** Places of the dispatcher: forwarded messages hold half of them, those to one server a quarter. */
  readonly dispatch: number
  /** Milliseconds that a call may take where its route says nothing else. */
  readonly handlerMs: number
}

/** What a session was when it was last written for other servers. */
interface Written {
  readonly bytes: Uint8Array
  readonly uid: string
  readonly data: unknown
  readonly sys: unknown
  readonly pinned: Pin | null
}

/** Forwards clients' messages to the servers that have their handlers (Sys RPC). */
export class Forwarder implements Forwarding {
  readonly service: HandlerService
  readonly router: Router
  readonly rpc: RpcClient
  #options: ForwarderOptions
  /** Routes that servers of other types say they have. */
  #routes = new RouteIndex<ForeignRoute>()
  #forwarded: Share
  #shares = new Map<string, Share>()
  #written = new WeakMap<Session, Written>()
  /** Filled anew for every message. */
  #request: { -readonly [K in keyof RpcRequest]: RpcRequest[K] }

  constructor (options: ForwarderOptions) {
    this.#options = options
    this.service = options.service
    this.router = options.router
    this.rpc = options.rpc
    this.#forwarded = new Share(Math.max(1, Math.floor(options.dispatch / 2)))
    this.#request = {
      type: RpcType.sys, route: '', isNotify: false, remainingMs: 0, frontend: options.serverId, session: undefined, context: undefined
    }
  }

  find (bytes: Uint8Array, start: number, end: number): ForeignRoute | undefined { return this.#routes.get(bytes, start, end) }

  lookUp (route: string, serverType: string): ForeignRoute | undefined {
    const known = this.#routes.getByText(route)
    if (known !== undefined) return known
    if (this.#options.discovery.ofType(serverType).length === 0) return undefined
    return { route, serverType, kind: undefined, concurrent: false, deadlineMs: undefined, ratePerSecond: undefined }
  }

  forward (
    route: ForeignRoute, session: Session, id: number, bytes: Uint8Array, start: number, end: number, isCompressed: boolean
  ): Job {
    return new ForwardedCall(this, route, session, id, bytes, start, end, isCompressed)
  }

  /** What servers of a type have. Where two of them differ, as during a deployment, the more careful one counts. */
  learn (serverType: string, contracts: ReadonlyArray<Pick<Contract, 'routes'>>): void {
    for (const contract of contracts) {
      for (const [shortRoute, { kind, deadlineMs: own, ratePerSecond }] of contract.routes) {
        const route = `${serverType}.${shortRoute}`
        const all = contracts.flatMap((contract) => contract.routes.get(shortRoute) ?? [])
        const deadlines = all.map(({ deadlineMs }) => deadlineMs ?? this.#options.handlerMs)
        const deadlineMs = own === undefined && all.length === 1 ? undefined : Math.max(...deadlines)
        const concurrent = all.every(({ concurrent }) => concurrent)
        this.#routes.set(route, { route, serverType, kind, concurrent, deadlineMs, ratePerSecond })
      }
    }
  }

  shareOf (serverId: string): Share {
    let share = this.#shares.get(serverId)
    if (share === undefined) {
      share = new Share(Math.max(1, Math.floor(this.#options.dispatch / 4)), this.#forwarded)
      this.#shares.set(serverId, share)
    }
    return share
  }

  inFlight ({ id }: ServerInfo): number { return this.#shares.get(id)?.running ?? 0 }

  /** A server is gone: what waits for it may go to another. Calls in flight to it must have failed before. */
  forget (serverId: string): void {
    const share = this.#shares.get(serverId)
    if (share === undefined) return
    this.#shares.delete(serverId)
    this.service.dispatcher.dissolve(share)
  }

  /** @returns the RPC's number; -1: refused */
  send (target: ServerInfo, call: ForwardedCall, bytes: Uint8Array, start: number, end: number): number {
    const request = this.#request
    request.route = call.route
    request.isNotify = !call.isRequest
    request.remainingMs = call.deadlineMs ?? this.#options.handlerMs
    request.session = this.#write(call.of)
    return this.rpc.call(target.id, request, bytes, start, end, call)
  }

  /** The session as it is now; written anew only after a change. */
  #write (session: Session): Uint8Array {
    const { uid, data, sys, pinned } = session
    const known = this.#written.get(session)
    if (known !== undefined && known.uid === uid && known.data === data && known.sys === sys && known.pinned === pinned) return known.bytes
    const { id, user, encoding, remoteAddress, revision } = session
    const bytes = this.#options.envelope.encodeSession({
      id,
      uid,
      revision,
      data: JSON.stringify(data),
      sys: JSON.stringify(sys),
      user: user === undefined ? '' : JSON.stringify(user),
      serializer: encoding,
      remoteAddress,
      contract: ''
    })
    session.track()
    this.#written.set(session, { bytes, uid, data, sys, pinned })
    return bytes
  }
}

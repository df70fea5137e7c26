import type { Session } from './session.ts'

/** A session as operators see it. What was said in the handshake's `user`, and session data without a schema, may hold secrets. */
export interface SessionDescription {
  /** `frontendId:sessionId`. */
  id: string
  uid: string
  transport: string
  remoteAddress: string
  serializer: string
  ageSeconds: number
  sys: Record<string, unknown>
  data?: Record<string, unknown>
}

const SYS = ['platform', 'libVersion', 'clientBuildNumber', 'clientVersion'] as const

export function describeSession (session: Session): SessionDescription {
  const { address, uid, remoteAddress, entity, data, pool } = session
  const sys = Object.fromEntries(SYS.flatMap((name) => typeof session.sys[name] === 'string' ? [[name, session.sys[name]]] : []))
  return {
    id: address,
    uid,
    transport: entity.transport,
    remoteAddress,
    serializer: session.encoding,
    ageSeconds: Math.floor(entity.ageMs / 1000),
    sys,
    data: pool.dataCheck === undefined ? undefined : data
  }
}

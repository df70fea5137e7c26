import type { Session } from './session.ts'

/** Keeps uids by policy beyond this server, for its sessions. The pool asks it in the place of its own rules. */
export interface Bindings {
  /**
   * Takes the uid for a session, then has the pool register it, in one turn with what follows from it: older sessions are kicked.
   * Rejects with PIT_ERR_UID_TAKEN, PIT_ERR_STORE, PIT_ERR_BUSY (too many servers want this uid at once), PIT_ERR_CLOSED; nothing is
   * left behind then.
   */
  claim (session: Session, uid: string): Promise<void>
  /** A session that was registered is the uid's no longer. Harmless for others. */
  release (session: Session, uid: string): void
}

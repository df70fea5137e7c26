/** Where a client stands (protocol.md 1.10, stricter). `checking`: its handshake is being validated, nothing more is read. */
export const State = { start: 0, checking: 1, greeted: 2, working: 3, closed: 4 } as const
export type State = (typeof State)[keyof typeof State]

/** What a packet does. */
export const Action = { illegal: 0, ignore: 1, handshake: 2, ack: 3, beat: 4, data: 5 } as const
export type Action = (typeof Action)[keyof typeof Action]

const { illegal, ignore, handshake, ack, beat, data } = Action

/**
 * State × packet type (0 is no type). Differences from Pitaya: ack and data need what comes before them, a second handshake is
 * refused. A heartbeat is fine anywhere and extends no deadline; a kick from a client is ignored.
 */
export const transitions: ReadonlyArray<readonly Action[]> = [
  //          0        handshake  ack      heartbeat data     kick
  /* start    */ [illegal, handshake, illegal, beat, illegal, ignore],
  /* checking */ [illegal, illegal, illegal, illegal, illegal, illegal],
  /* greeted  */ [illegal, illegal, ack, beat, illegal, ignore],
  /* working  */ [illegal, illegal, ignore, beat, data, ignore],
  /* closed   */ [ignore, ignore, ignore, ignore, ignore, ignore]
]

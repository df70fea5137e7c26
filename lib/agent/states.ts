/** Where a client stands (protocol.md 1.10, stricter). `checking`: its handshake is being validated, nothing more is read. */
export const State = { start: 0, checking: 1, greeted: 2, working: 3, closed: 4 } as const
export type State = (typeof State)[keyof typeof State]

/** What a packet does. `count`: nothing but use up its place in the client's rate. */
export const Action = { illegal: 0, count: 1, handshake: 2, ack: 3, data: 4 } as const
export type Action = (typeof Action)[keyof typeof Action]

const { illegal, count, handshake, ack, data } = Action

/**
 * State × packet type (0 is no type). Differences from Pitaya: ack and data need what comes before them, a second handshake is
 * refused. A heartbeat is fine anywhere and extends no deadline; a kick from a client is ignored.
 */
export const transitions: ReadonlyArray<readonly Action[]> = [
  //          0        handshake  ack      heartbeat data     kick
  /* start    */ [illegal, handshake, illegal, count, illegal, count],
  /* checking */ [illegal, illegal, illegal, illegal, illegal, illegal],
  /* greeted  */ [illegal, illegal, ack, count, illegal, count],
  /* working  */ [illegal, illegal, count, count, data, count],
  /* closed   */ [count, count, count, count, count, count]
]

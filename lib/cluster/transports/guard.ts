import { throwLater } from '../throw-later.ts'
import type { OnMessage, TransportEvents } from './transport.ts'

/** A subscriber that throws must not end the connection to all the other servers. */
export function guard (onMessage: OnMessage, events: () => TransportEvents | undefined): OnMessage {
  return (data, subject, reply) => {
    try {
      onMessage(data, subject, reply)
    } catch (error) {
      (events()?.onError ?? throwLater)(error)
    }
  }
}

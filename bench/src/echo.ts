/** What the servers on the public API have in common. */
import { Type } from '@sinclair/typebox'

export const Message = Type.Object({ name: Type.String({ maxLength: 32 }), content: Type.String({ maxLength: 500 }) })
export const schemas = { body: Message, response: Message }

/** Raised beyond what a generator can reach, so that the limits are on the path and never met. */
export const limits = { ratePerSecond: 10_000_000, rateBurst: 20_000_000, connectionsPerSecond: 1_000_000 }

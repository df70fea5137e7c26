// The first example of the documentation, as a user writes it: only the import of define and the one of randomUUID are ours.
import { randomUUID } from 'node:crypto'
import { defineHandlers, request, notify } from '../../lib/handler/define.ts'
import { Type } from '@sinclair/typebox'

const Message = Type.Object({ name: Type.String({ maxLength: 32 }), content: Type.String({ maxLength: 500 }) })

export const room = defineHandlers('room', { pushes: { onMessage: Message } }, {
  join: request({ response: Type.Object({ code: Type.Integer(), result: Type.String() }) },
    async (_, { session, groups }) => {
      await session.bind(`user-${randomUUID().slice(0, 8)}`)
      await groups.add('lobby', session.uid)
      return { code: 0, result: 'success' }
    }),
  message: notify({ body: Message }, (message, { groups }) => groups.broadcast('lobby', 'onMessage', message))
})

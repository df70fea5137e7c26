import { Type } from '@sinclair/typebox'
import { defineHandlers, notify, request } from '../lib/handler/define.ts'

const ROOM = 'lobby'
const Message = Type.Object({ name: Type.String({ maxLength: 64 }), content: Type.String({ maxLength: 2000 }) })

/** The chat room of Pitaya's public demo, so that its clients work as they are; `echo` is for measurements. */
export const room = defineHandlers('room', {
  pushes: {
    onMembers: Type.Object({ members: Type.Array(Type.String()) }),
    onNewUser: Type.Object({ content: Type.String() }),
    onMessage: Message
  }
}, {
  join: request({ response: Type.Object({ code: Type.Integer(), result: Type.String() }) }, async (_, { session, groups }) => {
    const uid = `user-${crypto.randomUUID().slice(0, 8)}`
    await session.bind(uid)
    await groups.join(ROOM, uid)
    session.push('onMembers', { members: await groups.members(ROOM) })
    await groups.multicast(ROOM, 'onNewUser', { content: `New user: ${uid}` }, (member) => member !== uid)
    return { code: 0, result: 'success' }
  }),
  message: notify({ body: Message }, (message, { groups }) => groups.broadcast(ROOM, 'onMessage', message)),
  echo: request({ body: Message, response: Message }, (message) => message)
})

import { Type, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { channels } from '../../lib/channels.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { build, eventually } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { evolutions, Misfit, type Direction } from '../helpers/evolutions.ts'
import { contractFile, PinnedClient } from '../helpers/pinned.ts'

/** What handlers saw, and what they are to answer and push, by row of the matrix. */
interface Desk { seen: unknown, out: unknown }

/** One structure for each row: takes a body, gives an answer, sends a push. */
function handlersOf (version: 'before' | 'after', desk: Desk): HandlersDefinition[] {
  return evolutions.map((row, i) => {
    const schema: TSchema = row[version]
    return defineHandlers(`r${i}`, { pushes: { [`p${i}`]: schema } }, {
      take: request({ body: schema }, (body) => { desk.seen = body }),
      give: request({ response: schema }, () => desk.out as any),
      push: request({ response: Type.Object({ isSent: Type.Boolean() }) }, (_, { session }) => {
        return { isSent: session.push(`p${i}` as never, desk.out as never) }
      })
    }) as HandlersDefinition
  })
}

type Start = (t: Test, handlers: HandlersDefinition[]) => Promise<FastifyInstance>

const alone: Start = (t, handlers) => build(t, { serverType: 'chat', handlers })
const behind: Start = async (t, handlers) => {
  const { frontend, backend } = clusterOf(t)
  await backend({ handlers })
  return await frontend()
}

for (const [place, start] of [['of this server', alone], ['of a server behind it', behind]] as const) {
  for (const [client, server] of [['before', 'after'], ['after', 'before']] as const) {
    t.test(`clients with the contract from ${client} a change call handlers ${place} from ${server} it: every case of the matrix`, async (t) => {
      const desk: Desk = { seen: undefined, out: undefined }
      const app = await start(t, handlersOf(server, desk))
      const pinned = await PinnedClient.connect(app, contractFile(handlersOf(client, desk)))
      t.equal(pinned.needed, true)
      for (const [i, row] of evolutions.entries()) {
        const [inward, outward] = client === 'before' ? [row.forth, row.back] : [row.back, row.forth]
        const one = { t, client: pinned, desk, i, name: row.name, schema: row[server] }
        await checkBodies(one, inward)
        await checkAnswers(one, outward)
        await checkPushes(one, outward)
      }
    })
  }
}

interface Case {
  readonly t: Test
  readonly client: PinnedClient
  readonly desk: Desk
  readonly i: number
  readonly name: string
  readonly schema: TSchema
}

async function checkBodies ({ t, client, desk, i, name }: Case, { verdict, fields, values = [] }: Direction): Promise<void> {
  for (const [value, becomes] of values) {
    desk.seen = undefined
    const { error } = await client.request(`chat.r${i}.take`, value)
    if (becomes instanceof Misfit) t.strictSame([error?.code, error?.metadata], ['PIT-422', { field: becomes.field }], `${name}: body`)
    else t.strictSame([error, desk.seen], [undefined, becomes], `${name}: body`)
  }
  if (verdict !== 'cannot fit') return
  const { data, isError } = await client.call(`chat.r${i}.take`, new Uint8Array(20))
  t.ok(isError && fields!.every((field) => data.includes(field)), `${name}: the body is refused, the fields named`)
}

async function checkAnswers ({ t, client, desk, i, name }: Case, { verdict, fields, values = [] }: Direction): Promise<void> {
  for (const [value, becomes] of values) {
    desk.out = value
    const { value: got, error } = await client.request(`chat.r${i}.give`)
    if (becomes instanceof Misfit) t.strictSame([error?.code, error?.metadata], ['PIT-422', { field: becomes.field }], `${name}: answer`)
    else t.strictSame([error, got], [undefined, becomes], `${name}: answer`)
  }
  if (verdict !== 'cannot fit') return
  desk.out = {}
  const { error } = await client.request(`chat.r${i}.give`)
  t.strictSame([error?.code, error?.metadata], ['PIT-422', { field: fields!.join(', ') }], `${name}: the answer is refused`)
}

async function checkPushes ({ t, client, desk, i, name, schema }: Case, { verdict, values = [] }: Direction): Promise<void> {
  for (const [value, becomes] of values) {
    desk.out = value
    const drops: string[] = []
    const onDrop = ({ what, why, route }: { what: string, why: string, route: string }): void => { if (route === `p${i}`) drops.push(`${what} ${why}`) }
    channels.drop.subscribe(onDrop)
    if (becomes instanceof Misfit) {
      await client.request(`chat.r${i}.push`)
      await eventually(() => drops.length > 0, 'the push is counted')
      t.strictSame(drops, ['push evolution'], `${name}: the push is dropped, and counted as such`)
    } else {
      t.strictSame(await client.pushedBy(`chat.r${i}.push`), { route: `p${i}`, value: becomes }, `${name}: push`)
    }
    channels.drop.unsubscribe(onDrop)
  }
  if (verdict !== 'cannot fit') return
  desk.out = Value.Create(schema)
  t.equal((await client.request(`chat.r${i}.push`)).error, undefined, `${name}: the push is dropped`)
}

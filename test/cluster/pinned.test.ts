import { Type, type TSchema } from '@sinclair/typebox'
import t from 'tap'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { HandlersDefinition } from '../../lib/handler/types.ts'
import { clusterIn, eventually } from '../helpers/app.ts'
import { clusterOf } from '../helpers/cluster.ts'
import { contractFile, PinnedClient } from '../helpers/pinned.ts'

const Old = Type.Object({ text: Type.String() })
const New = Type.Object({ text: Type.String(), at: Type.Integer({ default: 0 }) })

function roomOf (Message: TSchema): HandlersDefinition {
  return defineHandlers('room', { pushes: { onText: Message } }, {
    echo: request({ body: Message, response: Message }, (body) => body as any),
    join: request(async (_, { session, groups }) => {
      await session.bind(`user-${session.address}`)
      await groups.add('all', session.uid)
    }),
    all: request({ body: Message }, async (body, { groups }) => { await groups.broadcast('all', 'onText', body as any) })
  }) as HandlersDefinition
}

const [old, newer] = [contractFile([roomOf(Old)]), contractFile([roomOf(New)])]

t.test('many messages of a contract that a backend does not know yet wait for one look into the store', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const app = await frontend()
  await backend({ handlers: [roomOf(New)] })
  const client = await PinnedClient.connect(app, old)
  const body = Uint8Array.of(4, 104, 105)
  const clients = [client, ...await Promise.all(Array.from({ length: 20 }, () => PinnedClient.connect(app, old)))]
  const answers = await Promise.all(clients.map((one) => one.call('chat.room.echo', body)))
  t.ok(answers.every(({ data, isError }) => !isError && Buffer.from(body).equals(data)))
})

t.test('a broadcast to clients of two contracts reaches all, on every frontend', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const frontends = [await frontend(), await frontend()]
  const server = await backend({ handlers: [roomOf(New)] })
  const clients: PinnedClient[] = []
  for (const app of frontends) {
    for (const set of [old, newer]) clients.push(await PinnedClient.connect(app, set))
  }
  for (const client of clients) t.equal((await client.request('chat.room.join')).error, undefined)
  const { discovery } = clusterIn(server).parts
  await eventually(() => discovery.all().filter(({ sets = [] }) => sets.length === 2).length === 2, 'the sets in use are known')
  const [first] = clients
  first!.raw.request(1000, 'chat.room.all', Uint8Array.of(4, 104, 105))
  for (const client of clients) {
    const { value } = await client.pushAmongAnswers()
    t.strictSame(value, client.set === old ? { text: 'hi' } : { text: 'hi', at: 0 })
  }
})

t.test('a client that comes to another frontend with a contract that is in use need not upload it', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const [one, two] = [await frontend(), await frontend()]
  await backend({ handlers: [roomOf(New)] })
  const first = await PinnedClient.connect(one, old)
  const second = await PinnedClient.connect(two, old)
  t.strictSame([first.needed, second.needed], [true, false])
  t.strictSame(await second.request('chat.room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

t.test('a contract that nobody used is put into the store again by whoever comes back with it', async (t) => {
  const { frontend, backend } = clusterOf(t)
  const app = await frontend()
  const client = await PinnedClient.connect(app, old)
  // As if the store had lost it.
  const { pinned } = clusterIn(app).parts
  client.raw.close()
  await eventually(() => { pinned.tell(); return (clusterIn(app).discovery.self.sets ?? []).length === 0 }, 'nobody uses it')
  await pinned.forget()
  const server = await backend({ handlers: [roomOf(New)] })
  await t.rejects(clusterIn(server).parts.pinned.load(`avro@${old.fingerprint}`, 'nobody')!, { code: 'PIT_ERR_CONTRACT' })
  const again = await PinnedClient.connect(app, old)
  t.equal(again.needed, false)
  t.strictSame(await again.request('chat.room.echo', { text: 'hi' }), { value: { text: 'hi' } })
})

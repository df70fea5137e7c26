/** What happens on other servers, told to those who asked. */
import t from 'tap'
import { Events } from '../../../lib/cluster/events.ts'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { Subjects } from '../../../lib/cluster/names.ts'
import { MemoryTransport } from '../../../lib/cluster/transports/memory.ts'
import { lineLog } from '../../helpers/discovery.ts'
import { server } from '../../helpers/servers.ts'

const ana = { uid: 'ana', frontendId: 'front', address: 'front:1', group: '' }
const ignore = (): void => {}

/** Servers of a type over one bus; all know of each other's kinds once `meet` is called. */
function cluster (t: { teardown (fn: () => unknown): void }) {
  const bus = new MemoryBus()
  const all: Array<{ events: Events, transport: MemoryTransport }> = []
  const discovery = { all: () => all.map(({ events }, i) => server(`s${i}`, { events: events.kinds })) }
  return {
    bus,
    async add (serverType: string) {
      const transport = new MemoryTransport(bus)
      await transport.open({ onUp: ignore, onDown: ignore, onFatal: ignore, onSlow: ignore })
      t.teardown(() => transport.close())
      const { log, lines } = lineLog()
      const events = new Events({ transport, discovery, subjects: new Subjects('p'), serverType, log })
      all.push({ events, transport })
      return { events, transport, lines }
    },
    meet () {
      for (const { events } of all) {
        events.open()
        events.serversChanged()
      }
    }
  }
}

t.test('one server of each type is told, or every one; nobody of what nobody asked for', async (t) => {
  const { add, meet } = cluster(t)
  const heard: string[] = []
  const [front, a, b, c] = [await add('front'), await add('chat'), await add('chat'), await add('game')]
  for (const [name, { events }] of Object.entries({ a, b })) {
    events.on('bound', ({ uid }) => { heard.push(`chat ${uid}`) })
    events.on('closed', ({ address }) => { heard.push(`${name} ${address}`) }, { every: true })
  }
  c.events.on('bound', ({ uid }) => { heard.push(`game ${uid}`) })
  t.strictSame([a.events.kinds, c.events.kinds, front.events.kinds], [['bound', 'closed'], ['bound'], []])
  front.events.publish('bound', ana)
  meet()
  let published = 0
  const { publish } = front.transport
  front.transport.publish = (...args) => { published++; return publish.apply(front.transport, args) }
  for (const kind of ['bound', 'closed', 'join'] as const) front.events.publish(kind, ana)
  await front.transport.flush()
  t.strictSame(heard.sort(), ['a front:1', 'b front:1', 'chat ana', 'game ana'])
  t.equal(published, 2)
})

t.test('a hook gets the four texts and nothing else; what is no event is not told', async (t) => {
  const { add, meet } = cluster(t)
  const heard: unknown[] = []
  const [front, back] = [await add('front'), await add('chat')]
  back.events.on('closed', (event) => { heard.push(event) })
  meet()
  front.events.publish('closed', { ...ana, secret: 'x' } as typeof ana)
  const send = (text: string) => front.transport.publish('p.event.closed', Buffer.from(text))
  for (const text of ['', 'null', '5', '[]', '{', '{}', JSON.stringify({ ...ana, uid: 5 }), JSON.stringify({ ...ana, group: undefined }), JSON.stringify({ ...ana, uid: 'x'.repeat(5000) })]) send(text)
  await front.transport.flush()
  t.strictSame(heard, [ana])
  t.throws(() => { (heard[0] as { uid: string }).uid = 'eve' })
})

t.test('a hook that fails is logged, and the next one is told', async (t) => {
  const { add, meet } = cluster(t)
  const heard: string[] = []
  const { events, transport, lines } = await add('chat')
  events.on('join', () => { throw new Error('mine') })
  events.on('join', async () => { throw new Error('mine too') })
  events.on('join', ({ uid }) => { heard.push(uid) })
  meet()
  events.publish('join', ana)
  await transport.flush()
  t.strictSame(heard, ['ana'])
  t.strictSame(lines, ['an event hook failed', 'an event hook failed'])
})

t.test('hooks come before the start, and are told nothing after the end', async (t) => {
  const { add, meet, bus } = cluster(t)
  const heard: string[] = []
  const [front, back] = [await add('front'), await add('chat')]
  back.events.on('leave', ({ uid }) => { heard.push(uid) })
  meet()
  t.throws(() => back.events.on('leave', () => {}), { code: 'PIT_ERR_STARTED' })
  bus.disconnect(front.transport)
  front.events.publish('leave', ana)
  bus.reconnect()
  back.events.close()
  back.events.close()
  front.events.publish('leave', ana)
  await front.transport.flush()
  t.strictSame(heard, [])
})

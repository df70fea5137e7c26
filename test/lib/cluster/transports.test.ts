import t from 'tap'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { MemoryTransport } from '../../../lib/cluster/transports/memory.ts'
import { NatsTransport } from '../../../lib/cluster/transports/nats.ts'
import { transportContract } from '../../contracts/transport.ts'
import { natsTest, startNats } from '../../helpers/nats.ts'

t.test('the memory transport keeps the contract', (t) => transportContract(t, async () => {
  const bus = new MemoryBus()
  return { create: () => new MemoryTransport(bus), down: async () => bus.disconnect(), up: async () => bus.reconnect() }
}))

t.test('the NATS transport keeps the contract', natsTest, (t) => transportContract(t, async (t) => {
  const server = await startNats(t, { jetStream: false })
  return { create: () => new NatsTransport({ servers: server.url }), down: () => server.kill(), up: () => server.start() }
}))

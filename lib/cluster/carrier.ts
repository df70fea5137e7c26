import type { Carrier } from './cluster.ts'
import { MemoryBus } from './memory-bus.ts'
import type { NatsOptions } from './nats-options.ts'
import { MemoryStore } from './stores/memory.ts'
import { MemoryTransport } from './transports/memory.ts'

/** A transport and the stores that go with it. A member of the families is loaded when it is asked for. */
const members = {
  memory: async (bus: MemoryBus): Promise<Carrier> => ({
    transport: new MemoryTransport(bus),
    openStore: async (name) => new MemoryStore(bus, name)
  }),
  nats: async (options: NatsOptions, prefix: string): Promise<Carrier> => {
    const { NatsTransport } = await import('./transports/nats.ts')
    const { natsStore } = await import('./stores/nats-kv.ts')
    const transport = new NatsTransport(options)
    return { transport, openStore: (name) => natsStore(transport, `${prefix}-${name}`) }
  }
}

/** The carrier that the options name; without one, a bus of this server's own. */
export async function openCarrier ({ nats, memory, prefix }: { nats?: NatsOptions, memory?: MemoryBus, prefix: string }): Promise<Carrier> {
  return nats === undefined ? await members.memory(memory ?? new MemoryBus()) : await members.nats(nats, prefix)
}

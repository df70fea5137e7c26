import t from 'tap'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import { MemoryStore } from '../../../lib/cluster/stores/memory.ts'
import { natsStore } from '../../../lib/cluster/stores/nats-kv.ts'
import { NatsTransport } from '../../../lib/cluster/transports/nats.ts'
import { storeContract } from '../../contracts/store.ts'
import { natsTest, startNats } from '../../helpers/nats.ts'
import { Recorder } from '../../helpers/recorder.ts'

t.test('the memory store keeps the contract', (t) => storeContract(t, async () => {
  const bus = new MemoryBus()
  return {
    open: async (t, name) => {
      const store = new MemoryStore(bus, name)
      t.teardown(() => store.close())
      return store
    },
    down: async () => bus.disconnect(),
    up: async (isEmpty) => {
      if (isEmpty) bus.wipe()
      bus.reconnect()
    },
    isUp: async () => {}
  }
}))

t.test('the NATS store keeps the contract', natsTest, (t) => storeContract(t, async (t) => {
  const server = await startNats(t)
  let ups = new Recorder<string>()
  let open = 0
  return {
    open: async (t, name) => {
      const transport = new NatsTransport({ servers: server.url, storage: 'file' })
      await transport.open({ onUp: () => ups.add(name), onDown () {}, onFatal: (error) => { throw error }, onSlow () {} })
      open++
      const store = await natsStore(transport, name)
      t.teardown(async () => {
        await store.close()
        await transport.close()
        open--
      })
      return store
    },
    down: () => {
      ups = new Recorder<string>()
      return server.kill()
    },
    up: (isEmpty) => server.restart({ wipe: isEmpty }),
    isUp: async () => { await ups.take(open) }
  }
}))

/** What a server tells others of its handlers, and what they make of it. */
import t from 'tap'
import { decodeContract, encodeContract } from '../../../lib/cluster/contract.ts'
import { Contracts } from '../../../lib/cluster/contracts.ts'
import type { Discovery, ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { createAvroEnvelope } from '../../../lib/cluster/envelopes/avro.ts'
import { Forwarder } from '../../../lib/cluster/forwarder.ts'
import { MemoryBus } from '../../../lib/cluster/memory-bus.ts'
import type { Router } from '../../../lib/cluster/router.ts'
import type { RpcClient } from '../../../lib/cluster/rpc-client.ts'
import { MemoryStore } from '../../../lib/cluster/stores/memory.ts'
import { defineHandlers, notify, request } from '../../../lib/handler/define.ts'
import { createCore } from '../../helpers/core.ts'
import { server } from '../../helpers/servers.ts'

const handlers = (traits: { concurrent?: boolean, deadlineMs?: number } = {}) => createCore([defineHandlers('room', {
  join: request({ ratePerSecond: 5, ...traits }, () => {}),
  leave: notify(() => {})
})]).service.handlers

const bytesOf = (value: unknown): Uint8Array => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))

t.test('a contract has the traits of every handler, and servers of one build have the same one', async (t) => {
  const { name, bytes } = encodeContract(handlers({ concurrent: true, deadlineMs: 100 }))
  t.strictSame([...decodeContract(bytes)], [
    ['room.join', { kind: 'request', concurrent: true, deadlineMs: 100, ratePerSecond: 5 }],
    ['room.leave', { kind: 'notify', concurrent: false, deadlineMs: undefined, ratePerSecond: undefined }]
  ])
  t.equal(encodeContract([...handlers({ concurrent: true, deadlineMs: 100 })].reverse()).name, name)
  t.ok(encodeContract(handlers()).name !== name)
  t.match(name, /^[\w-]{22}$/)
})

t.test('of what is no contract nothing is taken, of what is odd the good part', async (t) => {
  for (const bad of ['', '{', 'null', '5', '[]', '{"routes":null}', '{"routes":[1]}', { routes: { 'a.b': null, 'c.d': { kind: 'push' }, ['x'.repeat(300)]: { kind: 'notify' } } }]) {
    t.equal(decodeContract(bytesOf(bad)).size, 0)
  }
  t.equal(decodeContract(Buffer.alloc(600_000, 0x20)).size, 0)
  const odd = { version: 9, more: 1, routes: { 'a.b': { kind: 'request', concurrent: 'yes', deadlineMs: -1, ratePerSecond: 0, new: true }, __proto__: 5 } }
  t.strictSame([...decodeContract(bytesOf(odd))], [['a.b', { kind: 'request', concurrent: false, deadlineMs: undefined, ratePerSecond: undefined }]])
  t.strictSame(decodeContract(bytesOf({ routes: { 'a.b': { kind: 'request', deadlineMs: 1e12, ratePerSecond: '5' } } })).get('a.b'), {
    kind: 'request', concurrent: false, deadlineMs: undefined, ratePerSecond: undefined
  })
})

function setUp () {
  const core = createCore()
  const store = new MemoryStore(new MemoryBus(), 'servers')
  const servers: ServerInfo[] = [server('self', { type: 'connector' })]
  const discovery = {
    self: servers[0]!,
    all: () => servers,
    ofType: (type: string) => servers.filter((server) => server.type === type)
  } as unknown as Discovery
  const forwarder = new Forwarder({
    serverId: 'self',
    service: core.service,
    discovery,
    router: {} as Router,
    rpc: {} as RpcClient,
    envelope: createAvroEnvelope(),
    dispatch: 16,
    handlerMs: 5000
  })
  const contracts = new Contracts(store, discovery, forwarder)
  return { store, servers, forwarder, contracts }
}

t.test('a contract is read once, and told of every type that has it', async (t) => {
  const { store, servers, forwarder, contracts } = setUp()
  const contract = encodeContract(handlers())
  await contracts.put(contract)
  await contracts.put(contract)
  let reads = 0
  const { get } = store
  store.get = (key) => { reads++; return get.call(store, key) }
  for (const type of ['chat', 'game']) {
    const info = server(type, { type, contract: contract.name })
    servers.push(info)
    t.equal(contracts.isKnown(info), false)
    await contracts.learn(info)
    t.equal(contracts.isKnown(info), true)
    t.equal(forwarder.lookUp(`${type}.room.leave`, type)!.kind, 'notify')
  }
  t.equal(reads, 1)
  t.equal(contracts.isKnown(server('bare', { contract: '' })), true)
})

t.test('one that cannot be read now is read later', async (t) => {
  const { store, servers, contracts } = setUp()
  const contract = encodeContract(handlers())
  const info = server('chat', { type: 'chat', contract: contract.name })
  servers.push(info)
  await contracts.learn(info)
  t.equal(contracts.isKnown(info), false, 'it is not there')
  await contracts.put(contract)
  await store.close()
  await contracts.learn(info)
  t.equal(contracts.isKnown(info), false, 'the store is down')
})

t.test('what nobody has any more is forgotten, by one server in the store too', async (t) => {
  const { store, servers, contracts } = setUp()
  const [old, new_] = [encodeContract(handlers()), encodeContract(handlers({ concurrent: true }))]
  for (const contract of [old, new_]) await contracts.put(contract)
  const before = server('chat', { type: 'chat', contract: old.name })
  servers.push(before)
  await contracts.learn(before)
  servers[1] = server('chat', { type: 'chat', contract: new_.name })
  await contracts.learn(servers[1])
  await contracts.forget(false)
  t.equal(contracts.isKnown(before), false)
  t.equal((await store.keys('contract.*')).length, 2)
  await contracts.forget(true)
  t.strictSame(await store.keys('contract.*'), [`contract.${new_.name}`])
})

t.test('where two servers of a type differ the more careful one counts', async (t) => {
  const { forwarder } = setUp()
  const traits = (concurrent: boolean, deadlineMs?: number) => new Map([['room.join', { kind: 'request' as const, concurrent, deadlineMs, ratePerSecond: undefined }]])
  forwarder.learn('chat', [traits(true)])
  t.match(forwarder.lookUp('chat.room.join', 'chat'), { concurrent: true, deadlineMs: undefined })
  forwarder.learn('chat', [traits(true, 100), traits(false, 200)])
  t.match(forwarder.lookUp('chat.room.join', 'chat'), { concurrent: false, deadlineMs: 200 })
  forwarder.learn('chat', [traits(true, 100), traits(true)])
  t.match(forwarder.lookUp('chat.room.join', 'chat'), { concurrent: true, deadlineMs: 5000 })
  t.equal(forwarder.lookUp('game.room.join', 'game'), undefined)
})

t.test('shares of servers that are gone are let go', async (t) => {
  const { forwarder } = setUp()
  const share = forwarder.shareOf('a')
  t.equal(forwarder.shareOf('a'), share)
  t.strictSame([share.limit, share.parent!.limit], [4, 8])
  forwarder.forget('a')
  forwarder.forget('a')
  t.ok(forwarder.shareOf('a') !== share)
  t.equal(forwarder.inFlight(server('b')), 0)
})

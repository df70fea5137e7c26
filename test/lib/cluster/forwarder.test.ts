/** What is forwarded where, as contracts and losses tell. */
import t from 'tap'
import type { Discovery, ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { createAvroEnvelope } from '../../../lib/cluster/envelopes/avro.ts'
import { Forwarder } from '../../../lib/cluster/forwarder.ts'
import type { Router } from '../../../lib/cluster/router.ts'
import type { RpcClient } from '../../../lib/cluster/rpc-client.ts'
import { createCore } from '../../helpers/core.ts'
import { server } from '../../helpers/servers.ts'

function setUp () {
  const servers: ServerInfo[] = [server('self', { type: 'connector' })]
  const discovery = {
    self: servers[0]!,
    all: () => servers,
    ofType: (type: string) => servers.filter((server) => server.type === type)
  } as unknown as Discovery
  const forwarder = new Forwarder({
    serverId: 'self',
    service: createCore().service,
    discovery,
    router: {} as Router,
    rpc: {} as RpcClient,
    envelope: createAvroEnvelope(),
    dispatch: 16,
    handlerMs: 5000
  })
  return { forwarder }
}

t.test('where two servers of a type differ the more careful one counts', async (t) => {
  const { forwarder } = setUp()
  const traits = (concurrent: boolean, deadlineMs?: number) => ({
    routes: new Map([['room.join', { kind: 'request' as const, concurrent, deadlineMs, ratePerSecond: undefined, schemas: undefined }]])
  })
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

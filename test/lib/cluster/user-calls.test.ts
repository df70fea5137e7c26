/** Calls from server to server: whom they ask, how often, and what their callers hear. */
import t from 'tap'
import { channels } from '../../../lib/channels.ts'
import type { Discovery, ServerInfo } from '../../../lib/cluster/discovery/discovery.ts'
import { Router } from '../../../lib/cluster/router.ts'
import type { RoutingCall } from '../../../lib/cluster/routing.ts'
import type { PendingCall, RpcClient, RpcRequest } from '../../../lib/cluster/rpc-client.ts'
import { UserCalls, type UserCallsOptions } from '../../../lib/cluster/user-calls.ts'
import { createError, type ErrorCode, type WireError } from '../../../lib/errors.ts'
import { TimerWheel } from '../../../lib/timer-wheel.ts'
import { turn } from '../../helpers/core.ts'
import { lineLog } from '../../helpers/discovery.ts'
import { server } from '../../helpers/servers.ts'

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

interface Sent { target: string, request: RpcRequest, text: string, call: PendingCall, number: number }

interface Local {
  route: string
  data: Uint8Array
  remainingMs: number
  context: unknown
  reply (data: Uint8Array, error?: WireError): void
}

/** The server `self` of type `connector`, and others; the test answers what is sent. */
function setUp (others: ServerInfo[] = [server('a'), server('b')]) {
  let now = 0
  const wheel = new TimerWheel(25, () => now)
  const self = server('self', { type: 'connector' })
  const servers = [self, ...others]
  const discovery = {
    self,
    get: (id: string) => servers.find((server) => server.id === id),
    ofType: (type: string) => servers.filter((server) => server.type === type)
  } as unknown as Discovery
  const router = new Router({ discovery, log: lineLog().log })
  const sent: Sent[] = []
  const canceled: number[] = []
  let refusal: ErrorCode | undefined
  const rpc = {
    call (target: string, request: RpcRequest, data: Uint8Array, start: number, end: number, call: PendingCall) {
      if (refusal !== undefined) { call.onFail(createError(refusal)); return -1 }
      const number = sent.length + 1
      sent.push({ target, request: { ...request }, text: Buffer.from(data.subarray(start, end)).toString(), call, number })
      return number
    },
    cancel (number: number) { canceled.push(number) }
  } as unknown as RpcClient
  const locals: Local[] = []
  const local: UserCallsOptions['local'] = (route, data, remainingMs, context, reply) => { locals.push({ route, data, remainingMs, context, reply }) }
  return {
    calls: new UserCalls({ rpc, router, discovery, wheel, serverId: 'self', local }),
    router,
    wheel,
    sent,
    locals,
    canceled,
    servers,
    refuse (code: ErrorCode | undefined) { refusal = code },
    skip (ms: number) {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, now + 25)
        wheel.advance()
      }
    }
  }
}

const success = (text: string) => ({ data: bytes(text), isError: false, error: undefined })

t.test('a call goes to a server of its type and its answer comes back; what was lent for it is given back', async (t) => {
  const { calls, sent, wheel, router } = setUp()
  const seen: RoutingCall[] = []
  router.use('game', (servers, call) => { seen.push(call); return servers[1] })
  const result = calls.send('game', 'game.match.create', bytes('body'), { key: 'k', propagated: { trace: '1' } }, 700)
  t.match(sent, [{ target: 'b', text: 'body', request: { route: 'game.match.create', remainingMs: 700, context: { trace: '1' }, frontend: '', isNotify: false } }])
  t.match(seen, [{ route: 'game.match.create', serverType: 'game', key: 'k', uid: '', session: undefined }])
  t.equal(seen[0]!.inFlight(server('b')), 1)
  sent[0]!.call.onReply(success('done'))
  t.equal(Buffer.from(await result).toString(), 'done')
  t.strictSame([calls.inFlight('b'), wheel.size], [0, 0])
})

t.test('what a remote answered is thrown as it was there, and a code of ours with its status', async (t) => {
  const { calls, sent } = setUp()
  const failing = async (error: WireError | undefined) => {
    const result = calls.send('game', 'game.match.create', bytes(''), {}, 700)
    sent.at(-1)!.call.onReply({ data: bytes(''), isError: true, error })
    return await result
  }
  await t.rejects(failing({ code: 'GAME-1', msg: 'no', metadata: { why: 'dice' } }), { code: 'GAME-1', message: 'no', metadata: { why: 'dice' }, statusCode: 400 })
  for (const [code, statusCode] of [['PIT-503', 503], ['PIT-404', 404], ['PIT-000', 400], ['PIT-5033', 400]] as const) {
    await t.rejects(failing({ code, msg: '', metadata: undefined }), { code, statusCode })
  }
  await t.rejects(failing(undefined), { code: 'PIT_ERR_RPC' })
})

t.test('a server that does not listen is not asked again; another is, and after three the caller is told', async (t) => {
  const { calls, sent, router } = setUp([server('a'), server('b'), server('c'), server('d')])
  router.use('game', (servers) => servers[0])
  const result = calls.send('game', 'game.match.create', bytes(''), {}, 700)
  for (const target of ['a', 'b']) {
    t.equal(sent.at(-1)!.target, target)
    sent.at(-1)!.call.onFail(createError('PIT_ERR_SERVER_UNKNOWN'))
    await turn()
  }
  sent[2]!.call.onReply(success('c'))
  t.equal(Buffer.from(await result).toString(), 'c')
  t.strictSame(['a', 'b', 'c'].map((id) => router.isSuspect(id)), [true, true, false])
  const failing = t.rejects(calls.send('game', 'game.match.create', bytes(''), {}, 700), { code: 'PIT_ERR_SERVER_UNKNOWN' })
  for (let tries = 0; tries < 3; tries++) {
    sent.at(-1)!.call.onFail(createError('PIT_ERR_SERVER_UNKNOWN'))
    await turn()
  }
  await failing
  t.equal(sent.length, 6)
})

t.test('a call to one server is never another\'s, whatever its type', async (t) => {
  const { calls, sent } = setUp()
  const failing = t.rejects(calls.send('game', 'game.match.create', bytes(''), { serverId: 'b' }, 700), { code: 'PIT_ERR_SERVER_UNKNOWN' })
  sent[0]!.call.onFail(createError('PIT_ERR_SERVER_UNKNOWN'))
  await failing
  t.strictSame(sent.map(({ target }) => target), ['b'])
  await t.rejects(calls.send('game', 'game.match.create', bytes(''), { serverId: 'nobody' }, 700), { code: 'PIT_ERR_SERVER_UNKNOWN' })
  await t.rejects(calls.send('chat', 'chat.match.create', bytes(''), { serverId: 'b' }, 700), { code: 'PIT_ERR_SERVER_UNKNOWN' })
  await t.rejects(calls.send('none', 'none.match.create', bytes(''), {}, 700), { code: 'PIT_ERR_NO_SERVER' })
  const short = calls.send(undefined, 'sys.bind', bytes(''), { serverId: 'b' }, 700)
  t.match(sent.at(-1), { target: 'b', request: { route: 'sys.bind' } })
  sent.at(-1)!.call.onReply(success('ok'))
  await short
})

t.test('a call to this very server takes no detour, and shares no bytes with it', async (t) => {
  const { calls, sent, locals } = setUp([])
  const body = bytes('body')
  const byType = calls.send('connector', 'connector.match.create', body, { propagated: { a: 'b' } }, 700)
  const byId = calls.send('connector', 'connector.match.create', body, { serverId: 'self' }, 700)
  body.fill(0)
  t.strictSame(locals.map(({ route, data, remainingMs, context }) => [route, Buffer.from(data).toString(), remainingMs, context]), [
    ['connector.match.create', 'body', 700, { a: 'b' }], ['connector.match.create', 'body', 700, undefined]
  ])
  const output = bytes('out')
  locals[0]!.reply(output)
  output.fill(0)
  locals[1]!.reply(bytes(''), { code: 'PIT-404', msg: 'route not found', metadata: { route: 'x' } })
  t.equal(Buffer.from(await byType).toString(), 'out')
  await t.rejects(byId, { code: 'PIT-404', statusCode: 404, metadata: { route: 'x' } })
  t.strictSame([sent.length, calls.inFlight('self')], [0, 0])
})

t.test('at the deadline the caller is told and the answer is not waited for; three in a row make the server suspect', async (t) => {
  const { calls, sent, skip, canceled, router, wheel } = setUp([server('a')])
  for (let i = 0; i < 3; i++) {
    const failing = t.rejects(calls.send('game', 'game.match.create', bytes(''), {}, 100), { code: 'PIT_ERR_RPC_TIMEOUT', statusCode: 504 })
    skip(200)
    await failing
  }
  t.strictSame(canceled, sent.map(({ number }) => number))
  t.equal(router.isSuspect('a'), true)
  t.strictSame([calls.inFlight('a'), wheel.size], [0, 0])
})

t.test('what is refused at once leaves nothing behind, and each call is told to those who listen', async (t) => {
  const { calls, refuse, wheel } = setUp([server('a')])
  const told: string[] = []
  const listener = ({ serverId, serverType, code }: any): void => { if (serverId === 'self') told.push(`${serverType} ${code}`) }
  channels.remote.subscribe(listener)
  t.teardown(() => channels.remote.unsubscribe(listener))
  for (const code of ['PIT_ERR_CLUSTER_DOWN', 'PIT_ERR_RPC_PENDING', 'PIT_ERR_SERVER_LOST'] as const) {
    refuse(code)
    await t.rejects(calls.send('game', 'game.match.create', bytes(''), {}, 100), { code })
  }
  t.strictSame(told, ['game PIT-503', 'game PIT-503', 'game PIT-503'])
  t.strictSame([calls.inFlight('a'), wheel.size], [0, 0])
})

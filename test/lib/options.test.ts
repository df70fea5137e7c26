import t from 'tap'
import { MemoryBus } from '../../lib/cluster/memory-bus.ts'
import { defaults, resolveOptions, type PitayaOptions } from '../../lib/options.ts'

const SECRET = 'canary-5f2b'
const resolve = (options: object) => resolveOptions({ acceptors: false, ...options } as PitayaOptions)

t.test('without options everything has the documented default', async (t) => {
  const options = resolve({})
  t.equal(options.serverType, 'game')
  t.match(options.serverId, /^[0-9a-f-]{36}$/)
  t.not(resolve({}).serverId, options.serverId)
  t.equal(options.frontend, true)
  t.strictSame(options.serializers, ['json', 'avro'])
  t.equal(options.defaultSerializer, 'json')
  t.equal(options.dictionary, undefined)
  t.equal(options.compressFrom, Infinity)
  t.equal(options.heartbeatMs, 30_000)
  t.equal(options.dispatch, 1024)
  t.equal(options.session.policy, 'kick-old')
  t.equal(options.session.scope, 'type')
  t.equal(options.session.dataBytes, 4096)
  t.strictSame(options.cluster, { prefix: 'pitaya', leaseMs: 10_000, metadata: {} })
  t.equal(options.closeMs, 8000)
  t.strictSame(options.limits, defaults.limits)
})

t.test('what is given replaces its default alone; undefined is as left out', async (t) => {
  const options = resolve({
    serverType: undefined,
    heartbeatSeconds: 5,
    compression: true,
    limits: { packetBytes: 1024, rateBurst: undefined },
    session: { policy: undefined, dataBytes: 100 },
    cluster: { prefix: undefined, leaseMs: 2000 },
    concurrency: { handler: { dispatch: undefined } }
  })
  t.equal(options.serverType, 'game')
  t.equal(options.heartbeatMs, 5000)
  t.equal(options.compressFrom, 1024)
  t.strictSame(options.limits, { ...defaults.limits, packetBytes: 1024 })
  t.equal(options.session.policy, 'kick-old')
  t.equal(options.session.dataBytes, 100)
  t.strictSame(options.cluster, { prefix: 'pitaya', leaseMs: 2000, metadata: {} })
  t.equal(options.dispatch, 1024)
  t.equal(resolve({ compression: { minBytes: 7 } }).compressFrom, 7)
  t.equal(resolve({ concurrency: {} }).dispatch, 1024)
})

t.test('what Fastify passes along with a registration is not ours to check', async (t) => {
  t.equal(resolve({ prefix: '/x', logLevel: 'warn', logSerializers: {} }).serverType, 'game')
})

const mayBeZero = ['ratePerSecond']
for (const name of Object.keys(defaults.limits)) {
  t.test(`limits.${name} refuses what is no limit, and names itself`, async (t) => {
    const wrong = [-1, 1.5, NaN, Infinity, '10', null, SECRET, {}, true, ...mayBeZero.includes(name) ? [] : [0]]
    for (const value of wrong) {
      t.throws(() => resolve({ limits: { [name]: value } }), { code: 'PIT_ERR_OPTIONS', message: new RegExp(`option limits\\.${name} is not valid`) })
    }
    t.equal(resolve({ limits: { [name]: 100 } }).limits[name as 'groups'], 100)
  })
}

const invalid: Array<[option: string, given: object]> = [
  ['serverType', { serverType: `${SECRET}.x` }],
  ['serverType', { serverType: '' }],
  ['serverId', { serverId: `${SECRET} ` }],
  ['frontend', { frontend: SECRET }],
  ['serializers', { serializers: [] }],
  ['serializers.0', { serializers: [SECRET] }],
  ['serializers.1', { serializers: ['json', { name: SECRET, compile: 5 }] }],
  ['defaultSerializer', { defaultSerializer: SECRET }],
  ['defaultSerializer', { serializers: ['json'], defaultSerializer: 'avro' }],
  ['dictionary', { dictionary: { [`a.${SECRET.length}`]: -1 } }],
  ['dictionary', { dictionary: SECRET }],
  ['compression', { compression: SECRET }],
  ['compression.minBytes', { compression: { minBytes: SECRET } }],
  ['heartbeatSeconds', { heartbeatSeconds: 0 }],
  ['heartbeatSeconds', { heartbeatSeconds: SECRET }],
  ['handshake', { handshake: SECRET }],
  ['handshake.validators.auth', { handshake: { validators: { auth: SECRET } } }],
  ['session', { session: SECRET }],
  ['session.policy', { session: { policy: SECRET } }],
  ['session.scope', { session: { scope: SECRET } }],
  ['session.dataBytes', { session: { dataBytes: 0 } }],
  ['session.onBind', { session: { onBind: SECRET } }],
  ['cluster', { cluster: SECRET }],
  ['cluster.nats', { cluster: { nats: `nats://user:${SECRET}@127.0.0.1` } }],
  ['cluster.memory', { cluster: { memory: true } }],
  ['cluster', { cluster: { memory: new MemoryBus(), nats: {} } }],
  ['cluster.memory', { cluster: { memory: {} as never } }],
  ['cluster.nats.connection', { cluster: { nats: { connection: {} as never } } }],
  ['cluster.nats.credentials', { cluster: { nats: { credentials: SECRET } } }],
  ['cluster.nats.replica', { cluster: { nats: { replica: SECRET } } }],
  ['cluster.nats.servers', { cluster: { nats: { servers: [] } } }],
  ['cluster.nats.tls', { cluster: { nats: { tls: SECRET } } }],
  ['cluster.nats.storage', { cluster: { nats: { storage: SECRET } } }],
  ['cluster.prefix', { cluster: { prefix: `${SECRET}.>` } }],
  ['cluster.leaseMs', { cluster: { leaseMs: 299 } }],
  ['cluster.metadata', { cluster: { metadata: SECRET } }],
  ['cluster.metadata.region', { cluster: { metadata: { region: 5 } } }],
  ['concurrency', { concurrency: SECRET }],
  ['concurrency.handler', { concurrency: { handler: SECRET } }],
  ['concurrency.handler.dispatch', { concurrency: { handler: { dispatch: 0 } } }],
  ['limits', { limits: SECRET }],
  ['limits', { limits: null }],
  ['admin.token', { admin: { token: 5 } }],
  ['admin.auth', { admin: { auth: SECRET } }],
  ['admin.prefix', { admin: { prefix: SECRET } }],
  ['ops.prefix', { ops: { prefix: 5 } }],
  ['closeMs', { closeMs: SECRET }],
  ['acceptors', { acceptors: SECRET }],
  ['acceptors', { acceptors: true }],
  ['acceptors.tcp.port', { acceptors: { tcp: { port: SECRET } } }],
  ['acceptors.tcp.port', { acceptors: { tcp: {} } }],
  ['acceptors.tcp.1.host', { acceptors: { tcp: [{ port: 0 }, { port: 0, host: 5 }] } }],
  ['acceptors.tcp.proxyProtocol.trusted', { acceptors: { tcp: { port: 0, proxyProtocol: { trusted: SECRET } } } }],
  ['acceptors.websocket.path', { acceptors: { websocket: { path: SECRET } } }],
  ['acceptors.websocket.origins', { acceptors: { websocket: { origins: SECRET } } }]
]
for (const [option, given] of invalid) {
  t.test(`option ${option} is refused by name, without its value: ${JSON.stringify(given).replaceAll(SECRET, '...').slice(0, 90)}`, async (t) => {
    let message = ''
    try { resolve(given) } catch (error) {
      t.match(error, { code: 'PIT_ERR_OPTIONS' })
      message = (error as Error).message
    }
    t.ok(message.includes(` option ${option} `), message)
    t.notMatch(message, new RegExp(SECRET))
  })
}

const explained: Array<[given: object, message: string]> = [
  [{ session: { policy: 'kick' } }, 'session.policy must be one of kick-old, refuse-new, allow'],
  [{ session: { scope: 'all' } }, 'session.scope must be type or cluster'],
  [{ cluster: { nats: '127.0.0.1:4222' } }, 'cluster.nats must be an object: { servers }'],
  [{ cluster: { prefix: 'a.b' } }, 'cluster.prefix must be 1 to 64 letters, digits, "_" or "-"'],
  [{ serializers: ['xml'] }, "serializers.0 must be 'json', 'avro' or a Serializer: { name, compile, encodeError }"],
  [{ serializers: [] }, 'serializers must be an array with at least one serializer'],
  [{ serializers: ['json'], defaultSerializer: 'avro' }, 'defaultSerializer must be one of the serializers: json'],
  [{ serverType: 'my game' }, 'serverType must be 1 to 64 letters, digits, "_" or "-"'],
  [{ dictionary: 'all' }, "dictionary must be 'auto', or an object of routes with their codes, 0 to 65535"],
  [{ compression: 1024 }, 'compression must be true, false or an object'],
  [{ ops: '/' }, 'ops must be true, false or an object'],
  [{ admin: { prefix: 'admin' } }, 'admin.prefix must be a text that begins with "/"'],
  [{ acceptors: { websocket: { origins: 'x' } } }, "acceptors.websocket.origins must be an array of origins, or '*'"],
  [{ acceptors: { tcp: { port: 0, proxyProtocol: 'v2' } } }, 'acceptors.tcp.proxyProtocol must be true, false or an object'],
  [{ acceptors: { tcp: {} } }, 'acceptors.tcp.port is required'],
  [{ closeMs: 0 }, 'closeMs is not valid: expected integer to be greater or equal to 1']
]
for (const [given, message] of explained) {
  t.test(`the refusal says what is wanted: ${message}`, async (t) => {
    t.throws(() => resolve(given), { code: 'PIT_ERR_OPTIONS', message: `fastify-pitaya: option ${message}` })
  })
}

const unknown: Array<[option: string, given: object]> = [
  ['typo', { typo: SECRET }],
  ['handshake.typo', { handshake: { typo: SECRET } }],
  ['session.typo', { session: { typo: SECRET } }],
  ['cluster.typo', { cluster: { typo: SECRET } }],
  ['concurrency.typo', { concurrency: { typo: SECRET } }],
  ['concurrency.handler.typo', { concurrency: { handler: { typo: SECRET } } }],
  ['limits.typo', { limits: { typo: SECRET } }],
  ['admin.typo', { admin: { typo: SECRET } }],
  ['ops.typo', { ops: { typo: SECRET } }],
  ['compression.typo', { compression: { minBytes: 1, typo: SECRET } }],
  ['acceptors.typo', { acceptors: { typo: SECRET } }],
  ['acceptors.tcp.typo', { acceptors: { tcp: { port: 0, typo: SECRET } } }],
  ['acceptors.tcp.0.typo', { acceptors: { tcp: [{ port: 0, typo: SECRET }] } }],
  ['acceptors.tcp.proxyProtocol.typo', { acceptors: { tcp: { port: 0, proxyProtocol: { typo: SECRET } } } }],
  ['acceptors.websocket.typo', { acceptors: { websocket: { typo: SECRET } } }]
]
for (const [option, given] of unknown) {
  t.test(`unknown option ${option} is refused by name`, async (t) => {
    t.throws(() => resolve(given), { code: 'PIT_ERR_OPTIONS', message: `fastify-pitaya: option ${option} is unknown` })
  })
}

t.test('a frontend needs an acceptor, or says that it has none; a backend needs none', async (t) => {
  for (const given of [{}, { acceptors: {} }, { acceptors: { tcp: [] } }, { acceptors: undefined }]) {
    t.throws(() => resolveOptions(given), { code: 'PIT_ERR_NO_ACCEPTOR' })
    t.equal(resolveOptions({ frontend: false, ...given }).frontend, false)
  }
  t.equal(resolveOptions({ acceptors: { websocket: {} } }).frontend, true)
})

import t from 'tap'
import { describeEnvironment, readEnvironment } from '../../lib/environment.ts'

t.test('without variables everything has its default', async (t) => {
  const { settings, problems, warnings } = readEnvironment({ HOME: '/root', PATH: '/bin' })
  t.strictSame(settings, {
    HOST: '127.0.0.1',
    PORT: 3250,
    TCP_PORT: 3251,
    PITAYA_SERVER_TYPE: 'chat',
    PITAYA_SERVER_ID: undefined,
    PITAYA_FRONTEND: true,
    NATS_URL: undefined,
    PITAYA_LEASE_SECONDS: 10,
    PITAYA_SERIALIZER: 'json',
    PITAYA_COMPRESSION: false,
    PITAYA_HEARTBEAT_SECONDS: 30,
    PITAYA_CONCURRENCY_HANDLER_DISPATCH: 1024,
    PITAYA_RATE_PER_SECOND: 200,
    PITAYA_CONNECTIONS_PER_SECOND: 2000,
    ADMIN_TOKEN: undefined,
    LOG_LEVEL: 'info'
  })
  t.strictSame([problems, warnings], [[], []])
})

t.test('every variable is read', async (t) => {
  const env = {
    HOST: '::1',
    PORT: '0',
    TCP_PORT: '0',
    PITAYA_SERVER_TYPE: 'connector',
    PITAYA_SERVER_ID: 'c-1',
    PITAYA_FRONTEND: 'false',
    NATS_URL: 'nats://ana:s%40crets@one:4222,tls://[::1]:4222,nats://three',
    PITAYA_LEASE_SECONDS: '2.5',
    PITAYA_SERIALIZER: 'avro',
    PITAYA_COMPRESSION: 'true',
    PITAYA_HEARTBEAT_SECONDS: '2.5',
    PITAYA_CONCURRENCY_HANDLER_DISPATCH: '7',
    PITAYA_RATE_PER_SECOND: '0',
    PITAYA_CONNECTIONS_PER_SECOND: '9',
    ADMIN_TOKEN: 'sixteen-and-more!',
    LOG_LEVEL: 'silent'
  }
  const { settings, problems } = readEnvironment(env)
  t.strictSame(problems, [])
  t.strictSame(Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)])), env)
})

t.test('a bad value is one sentence with the name and without the value', async (t) => {
  const bad = {
    HOST: ['a b', 'x/y'],
    PORT: ['-1', '65536', '1e3', '0x10', ' 80', 'canary'],
    TCP_PORT: ['99999999999'],
    PITAYA_SERVER_TYPE: ['a.b', 'x'.repeat(65)],
    PITAYA_SERVER_ID: ['a:b'],
    PITAYA_FRONTEND: ['yes', 'TRUE', '1'],
    NATS_URL: ['canary', 'http://canary', 'nats://', 'nats://user:canary@', 'nats://user:can@ary@host', 'nats://host:99999', 'nats://host,', 'nats://host/canary'],
    PITAYA_LEASE_SECONDS: ['0.2', '3601'],
    PITAYA_SERIALIZER: ['protobuf'],
    PITAYA_COMPRESSION: ['on'],
    PITAYA_HEARTBEAT_SECONDS: ['0', 'NaN', '1e3', 'Infinity'],
    PITAYA_CONCURRENCY_HANDLER_DISPATCH: ['0'],
    PITAYA_RATE_PER_SECOND: ['-5', '2.5'],
    PITAYA_CONNECTIONS_PER_SECOND: ['0'],
    ADMIN_TOKEN: ['canary with spaces in it', 'canary-canary-\ncanary', 'canary-canary-cañary'],
    LOG_LEVEL: ['loud']
  }
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      const { problems } = readEnvironment({ [name]: value })
      t.equal(problems.length, 1, `${name}=${value}`)
      t.match(problems[0], new RegExp(`^${name} must be [^\\n]+\\.$`))
      t.notMatch(problems[0], /canary/)
    }
  }
})

t.test('an empty variable counts as unset', async (t) => {
  t.strictSame(readEnvironment({ PORT: '', ADMIN_TOKEN: '', NATS_URL: '' }), readEnvironment({}))
})

t.test('one port cannot be both, unless the server has no TCP', async (t) => {
  t.match(readEnvironment({ PORT: '4000', TCP_PORT: '4000' }).problems, ['PORT and TCP_PORT must be two different ports.'])
  t.strictSame(readEnvironment({ PORT: '3251', PITAYA_FRONTEND: 'false' }).problems, [])
})

t.test('an unknown PITAYA_ name is a warning with the nearest known one', async (t) => {
  const { problems, warnings } = readEnvironment({ PITAYA_HEARTBEAT_SECOND: '5', PITAYA_RATEPERSECOND: 'canary', PITAYA_SERVICE_PORT: '80', OTHER: 'x' })
  t.strictSame(problems, [])
  t.strictSame(warnings, [
    'PITAYA_HEARTBEAT_SECOND is not known and has no effect; the nearest name is PITAYA_HEARTBEAT_SECONDS.',
    'PITAYA_RATEPERSECOND is not known and has no effect; the nearest name is PITAYA_RATE_PER_SECOND.',
    'PITAYA_SERVICE_PORT is not known and has no effect; the nearest name is PITAYA_SERVER_TYPE.'
  ])
})

t.test('the help names every variable once', async (t) => {
  const names = describeEnvironment().split('\n').map((line) => line.trim().split(' ')[0])
  t.strictSame(names, Object.keys(readEnvironment({}).settings))
})

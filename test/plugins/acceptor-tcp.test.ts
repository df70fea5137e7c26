import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as netConnect, createServer, Server, type AddressInfo } from 'node:net'
import { connect as tlsConnect, type SecureVersion, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import acceptorTcp, { type TcpAcceptorInfo, type TcpAcceptorOptions } from '../../plugins/acceptor-tcp.ts'
import acceptorWs from '../../plugins/acceptor-ws.ts'
import { connectStream, connectTls, connectWebSocket, StubAgents, turns, type StreamClient } from '../helpers/acceptors.ts'
import { createCertificate } from '../helpers/certificate.ts'

interface LogLine { level: number, msg: string, err?: { code?: string } }
interface Started {
  app: FastifyInstance
  agents: StubAgents
  lines: LogLine[]
  info: TcpAcceptorInfo
  connect (hello?: Uint8Array): Promise<StreamClient>
}

async function start (t: Test, options: Partial<TcpAcceptorOptions> = {}): Promise<Started> {
  const lines: LogLine[] = []
  const app = Fastify({ logger: { stream: { write: line => { lines.push(JSON.parse(line) as LogLine) } } } }) as FastifyInstance
  const agents = new StubAgents()
  let info: TcpAcceptorInfo | undefined
  app.register(agents.plugin)
  app.register(acceptorTcp, { port: 0, host: '127.0.0.1', onListening: bound => { info = bound }, ...options })
  t.teardown(() => app.close())
  await app.ready()
  if (info === undefined) throw new Error('onListening was not called')
  const { port } = info
  return { app, agents, lines, info, connect: hello => connectStream({ port, host: '127.0.0.1' }, hello) }
}

async function echoes (started: Started, client: StreamClient): Promise<void> {
  const recorder = await started.agents.next()
  client.send(Buffer.from('hello'))
  await recorder.has(5)
  recorder.send(recorder.data)
  await client.has(5)
}

t.test('the bound port is told, and is in the log', async t => {
  const started = await start(t, { name: 'game' })
  t.match(started.info, { name: 'game', transport: 'tcp', address: '127.0.0.1' })
  t.ok(started.info.port > 0)
  t.match(started.lines.find(({ msg }) => msg === 'acceptor listening'), { acceptor: 'game', transport: 'tcp', port: started.info.port })
})

t.test('a taken port fails ready() and listen(), and the app still closes', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const ready = async (app: FastifyInstance): Promise<void> => { await app.ready() }
  const listen = async (app: FastifyInstance): Promise<void> => { await app.listen({ port: 0 }) }
  for (const begin of [ready, listen]) {
    const app = Fastify() as FastifyInstance
    app.register(new StubAgents().plugin)
    app.register(acceptorTcp, { port: 0, host: '127.0.0.1' })
    app.register(acceptorTcp, { port, host: '127.0.0.1' })
    await t.rejects(begin(app), { code: 'EADDRINUSE' })
    await app.close()
  }
})

t.test('an acceptor without the agents names what is missing', async t => {
  for (const acceptor of [acceptorTcp, acceptorWs]) {
    const app = Fastify()
    app.register(acceptor as typeof acceptorTcp, { port: 0 })
    await t.rejects(async () => { await app.ready() }, { code: 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED' })
  }
})

t.test('two TCP and two WebSocket acceptors live in one app', async t => {
  const app = Fastify() as FastifyInstance
  const agents = new StubAgents()
  const ports: number[] = []
  app.register(agents.plugin)
  for (let i = 0; i < 2; i++) app.register(acceptorTcp, { port: 0, host: '127.0.0.1', onListening: ({ port }) => { ports.push(port) } })
  app.register(acceptorWs, { path: '/a' })
  app.register(acceptorWs, { path: '/b' })
  t.teardown(() => app.close())
  const url = (await app.listen({ port: 0, host: '127.0.0.1' })).replace('http', 'ws')
  const clients = [...await Promise.all(ports.map(port => connectStream({ port, host: '127.0.0.1' }))),
    await connectWebSocket(`${url}/a`), await connectWebSocket(`${url}/b`)]
  for (const client of clients) client.send(Buffer.from('x'))
  for (let i = 0; i < 4; i++) await (await agents.next()).has(1)
  t.strictSame(agents.recorders.map(({ connection }) => connection.transport).sort(), ['tcp', 'tcp', 'websocket', 'websocket'])
})

t.test('too many new connections and draining: closed at once; full: accepted', async t => {
  const started = await start(t)
  for (const verdict of ['rate', 'draining'] as const) {
    started.agents.verdict = verdict
    const client = await started.connect(Buffer.from('hello'))
    await client.closed()
    t.equal(client.bytes, 0)
  }
  t.equal(started.agents.recorders.length, 0)
  started.agents.verdict = 'full'
  await echoes(started, await started.connect())
  t.equal(started.agents.asked, 3, 'asked once for each')
})

t.test('stop takes no new client and leaves the others', async t => {
  const started = await start(t)
  const client = await started.connect()
  for (const stop of started.agents.stops) { stop(); stop() }
  const late = netConnect(started.info.port, '127.0.0.1')
  const [error] = await once(late, 'error') as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNREFUSED')
  await echoes(started, client)
})

t.test('a client that stops in the PROXY header is not taken after stop, and does not hold up close', async t => {
  const started = await start(t, { proxyProtocol: true })
  const client = await started.connect(Buffer.from('PROXY TCP4 1.2.3.4 '))
  const other = await started.connect(Buffer.from('PROX'))
  await started.agents.until(() => started.agents.asked === 2, 'both are there')
  for (const stop of started.agents.stops) stop()
  client.send(Buffer.from('5.6.7.8 1 2\r\nhello'))
  await client.closed()
  t.equal(started.agents.recorders.length, 0)
  await started.app.close()
  await other.closed()
})

const V2_SIGNATURE = '0d0a0d0a000d0a515549540a'
const headers: Array<[name: string, header: Buffer, address: string | undefined]> = [
  ['v1 TCP4', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4000 3251\r\n'), '203.0.113.7'],
  ['v1 TCP6', Buffer.from('PROXY TCP6 2001:db8::7 ::1 4000 3251\r\n'), '2001:db8::7'],
  ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), '127.0.0.1'],
  ['v2 PROXY TCP4', Buffer.from(V2_SIGNATURE + '2111000ccb0071070a0000010fa00cb3', 'hex'), '203.0.113.7'],
  ['v2 LOCAL', Buffer.from(V2_SIGNATURE + '20000000', 'hex'), '127.0.0.1'],
  ['v2 Unix', Buffer.concat([Buffer.from(V2_SIGNATURE + '213100d8', 'hex'), Buffer.alloc(216)]), undefined],
  ['v1 with a bad address', Buffer.from('PROXY TCP4 nobody 10.0.0.1 4000 3251\r\n'), undefined],
  ['v1 without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(100)}`), undefined],
  ['v2 of version 3', Buffer.from(V2_SIGNATURE + '31110000', 'hex'), undefined],
  ['a packet without a header', Buffer.from('01000000', 'hex'), undefined],
  ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n'), undefined],
  ['a TLS hello', Buffer.from('1603010200010001fc0303', 'hex'), undefined]
]

t.test('PROXY headers: believed, or closed and logged as no error of ours', async t => {
  const started = await start(t, { proxyProtocol: true })
  for (const [name, header, address] of headers) {
    const hadLines = started.lines.length
    if (address === undefined) {
      const client = await started.connect(header)
      await client.closed()
      t.equal(client.bytes, 0, name)
      t.match(started.lines.slice(hadLines), [{ level: 30, err: { code: 'PIT_ERR_PROXY_HEADER' } }], name)
      continue
    }
    for (const pieces of [[Buffer.concat([header, Buffer.from('hello')])], [...header, ...Buffer.from('hello')].map(byte => Buffer.from([byte]))]) {
      const client = await started.connect()
      for (const piece of pieces) { client.send(piece); await turns(1) }
      const recorder = await started.agents.next()
      await recorder.has(5)
      t.equal(recorder.data.toString(), 'hello', name)
      t.equal(recorder.connection.remoteAddress, address, name)
    }
  }
  t.equal(started.lines.filter(({ level }) => level > 30).length, 0)
})

t.test('a header that never ends is given up after five seconds, however slowly it grows, and nobody waits for it', async t => {
  const started = await start(t, { proxyProtocol: true })
  const began = performance.now()
  const slow = await started.connect(Buffer.from('PROXY UNKNOWN '))
  const silent = await started.connect()
  const trickle = setInterval(() => { slow.send(Buffer.from('x')) }, 200)
  await echoes(started, await started.connect(Buffer.from('PROXY UNKNOWN\r\n')))
  t.ok(performance.now() - began < 4000, 'others are served meanwhile')
  await slow.closed()
  await silent.closed()
  clearInterval(trickle)
  const took = performance.now() - began
  t.ok(took > 4500 && took < 12_000, `${Math.round(took)} ms`)
})

t.test('a header is believed only from a trusted hop, others are closed', async t => {
  const untrusted = await start(t, { proxyProtocol: { trusted: ['10.0.0.0/8', '::1'] } })
  const client = await untrusted.connect(Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4000 3251\r\n'))
  await client.closed()
  t.equal(untrusted.agents.asked, 0)
  const plain = await start(t)
  const spoofing = await plain.connect(Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4000 3251\r\n'))
  const recorder = await plain.agents.next()
  await recorder.has(1)
  t.equal(recorder.connection.remoteAddress, '127.0.0.1', 'without the option a header is nothing but bytes')
  spoofing.reset()
})

t.test('a trusted hop that is no address is a start error', async t => {
  for (const entry of ['nobody', '10.0.0.0/33', '10.0.0.0/8/8', '::1/129', '10.0.0.0/', '']) {
    const app = Fastify()
    app.register(new StubAgents().plugin)
    app.register(acceptorTcp, { port: 0, proxyProtocol: { trusted: [entry] } })
    await t.rejects(async () => { await app.ready() }, { code: 'PIT_ERR_OPTIONS', message: /option acceptors\.tcp\.proxyProtocol\.trusted: ".*" is neither/ }, entry)
  }
})

t.test('out of file descriptors: some are closed, and it is over when there are descriptors again', async t => {
  const script = `Promise.all(['fastify', ${JSON.stringify(new URL('../../plugins/acceptor-tcp.js', import.meta.url).href)},
    ${JSON.stringify(new URL('../helpers/acceptors.js', import.meta.url).href)}].map(name => import(name))).then(async ([fastify, tcp, helpers]) => {
    const app = fastify.default()
    const agents = new helpers.StubAgents()
    agents.accept = connection => { connection.handler = { onData: bytes => connection.write(bytes), onDrain () {}, onClose () {} } }
    app.register(agents.plugin).register(tcp.default, { port: 0, host: '127.0.0.1', onListening: ({ port }) => console.log(port) })
    await app.ready()
  })`
  const child = spawn('sh', ['-c', 'ulimit -n 64 && exec "$0" -e "$1"', process.execPath, script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill() })
  const [line] = await once(child.stdout, 'data') as [Buffer]
  const connect = (): Promise<StreamClient> => connectStream({ port: Number(line), host: '127.0.0.1' })
  const flood = await Promise.all(Array.from({ length: 100 }, connect))
  for (const client of flood) client.send(Buffer.from('x'))
  for (const client of flood) await client.until(() => client.bytes > 0 || client.isClosed, 'an echo or a close')
  t.ok(flood.some(({ bytes }) => bytes > 0), 'some are served')
  t.ok(flood.some(({ isClosed }) => isClosed), 'some find no place')
  for (const client of flood) client.reset()
  let isServed = false
  while (!isServed) {
    const client = await connect()
    client.send(Buffer.from('x'))
    await client.until(() => client.bytes > 0 || client.isClosed, 'an echo or a close')
    isServed = client.bytes > 0
    client.reset()
  }
  t.equal(child.exitCode, null, 'the process lives')
})

t.test('an error of accept is logged once a second, and clients still come in', async t => {
  const started = await start(t)
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles (): unknown[] }
  const server = handles.call(process).find((handle): handle is Server =>
    handle instanceof Server && (handle.address() as AddressInfo | null)?.port === started.info.port)
  for (let i = 0; i < 100; i++) server?.emit('error', Object.assign(new Error('accept ENOBUFS'), { code: 'ENOBUFS' }))
  t.match(started.lines.filter(({ level }) => level === 50), [{ err: { code: 'ENOBUFS' } }])
  t.equal(started.lines.filter(({ level }) => level === 50).length, 1)
  await echoes(started, await started.connect())
})

const certificate = createCertificate()
const tlsOptions = { skip: certificate === undefined ? 'openssl is not on PATH' : false } as const
const tls = certificate ?? { key: Buffer.alloc(0), cert: Buffer.alloc(0) }

t.test('plain text on the TLS port is closed without a word in the log', tlsOptions, async t => {
  const started = await start(t, { tls })
  const hadLines = started.lines.length
  for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.from('010000027b7d', 'hex'), Buffer.alloc(3)]) {
    const client = await started.connect(bytes)
    if (bytes.length === 3) client.reset()
    await client.closed()
  }
  const client = await connectTls(started.info.port)
  await echoes(started, client)
  t.equal(started.agents.recorders.length, 1)
  t.strictSame(started.lines.slice(hadLines), [])
})

t.test('TLS below 1.2 is refused, 1.2 and 1.3 are served', tlsOptions, async t => {
  const started = await start(t, { tls })
  for (const version of ['TLSv1', 'TLSv1.1'] as SecureVersion[]) {
    await t.rejects(connectTls(started.info.port, undefined, { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' }), version)
  }
  for (const version of ['TLSv1.2', 'TLSv1.3'] as SecureVersion[]) {
    const client = await connectTls(started.info.port, undefined, { minVersion: version, maxVersion: version })
    t.equal((client.socket as TLSSocket).getProtocol(), version)
    await echoes(started, client)
  }
})

t.test('half handshakes end at the deadline and hold up nobody', tlsOptions, async t => {
  const started = await start(t, { tls: { ...tls, handshakeTimeout: 2000 } })
  const halves = await Promise.all(Array.from({ length: 300 }, (_, i) =>
    started.connect(i % 2 === 0 ? undefined : Buffer.from('1603010200010001fc0303', 'hex'))))
  await echoes(started, await connectTls(started.info.port))
  for (const half of halves) await half.closed()
  t.equal(started.agents.recorders.length, 1)
})

t.test('a new certificate is taken without dropping anybody', tlsOptions, async t => {
  const started = await start(t, { tls })
  const fingerprint = (client: StreamClient): string => (client.socket as TLSSocket).getPeerCertificate().fingerprint256
  const before = await connectTls(started.info.port)
  const old = fingerprint(before)
  const renewed = createCertificate()
  if (renewed === undefined) return
  started.info.renewTls?.(renewed)
  const after = await connectTls(started.info.port)
  t.ok(fingerprint(after) !== old)
  await echoes(started, before)
  await echoes(started, after)
})

t.test('a bad certificate is a start error', async t => {
  const app = Fastify()
  app.register(new StubAgents().plugin)
  app.register(acceptorTcp, { port: 0, tls: { key: 'no', cert: 'no' } })
  await t.rejects(async () => { await app.ready() })
})

t.test('a client certificate asked for is checked', tlsOptions, async t => {
  const started = await start(t, { tls: { ...tls, requestCert: true, rejectUnauthorized: true, ca: [tls.cert] } })
  const refused = tlsConnect({ port: started.info.port, host: '127.0.0.1', rejectUnauthorized: false })
  refused.on('error', () => {})
  await new Promise(resolve => refused.once('close', resolve))
  t.equal(started.agents.recorders.length, 0)
  await echoes(started, await connectTls(started.info.port, undefined, tls))
})

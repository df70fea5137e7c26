/** What every acceptor must do, whatever carries its bytes. Run by test/plugins/acceptor-contract.test.ts. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { type Recorder, type StubAgents, turns, type TestClient } from '../helpers/acceptors.ts'

export interface StartedAcceptor {
  connect (): Promise<TestClient>
  /** The next connection that was accepted. */
  next (): Promise<Recorder>
  readonly agents: StubAgents
  /** Closes the app, as far as there is one. */
  close (): Promise<void>
}

export interface AcceptorCase {
  readonly name: string
  readonly transport: string
  readonly remoteAddress: string
  /** The client learns close code and reason. */
  readonly hasCloseCode: boolean
  start (): Promise<StartedAcceptor>
}

export function acceptorContract (acceptor: AcceptorCase): void {
  const { name } = acceptor

  async function start (t: Test): Promise<{ started: StartedAcceptor, client: TestClient, recorder: Recorder }> {
    const started = await acceptor.start()
    t.teardown(() => started.close())
    const client = await started.connect()
    return { started, client, recorder: await started.next() }
  }

  /** Whatever another client can do five times over, the one under test has had time to do too. */
  async function roundTrips (started: StartedAcceptor): Promise<void> {
    const client = await started.connect()
    const recorder = await started.next()
    for (let round = 1; round <= 5; round++) {
      client.send(Buffer.from('ping'))
      await recorder.has(round * 4)
      recorder.send(Buffer.from('pong'))
      await client.has(round * 4)
    }
  }

  t.test(`${name}: names the carrier and the client's address`, async t => {
    const { recorder } = await start(t)
    t.equal(recorder.connection.transport, acceptor.transport)
    t.equal(recorder.connection.remoteAddress, acceptor.remoteAddress)
    t.equal(recorder.connection.pendingBytes, 0)
    t.ok(!recorder.connection.packetPerWrite || recorder.connection.framing === undefined, 'one packet per write has no framing')
  })

  t.test(`${name}: bytes arrive whole and in order, both ways at once`, async t => {
    const { client, recorder } = await start(t)
    const upward: Buffer[] = []
    const downward: Buffer[] = []
    for (const size of [1, 125, 126, 127, 4000, 65535, 65536, 65540, 3, 40000, 1]) {
      upward.push(randomBytes(size))
      downward.push(randomBytes(size))
      client.send(upward.at(-1) as Buffer)
      recorder.send(downward.at(-1) as Buffer)
    }
    const sent = Buffer.concat(upward)
    const pushed = Buffer.concat(downward)
    await recorder.has(sent.length)
    await client.has(pushed.length)
    t.ok(recorder.data.equals(sent), 'client to server')
    t.ok(client.data.equals(pushed), 'server to client')
    if (recorder.connection.wholePackets) t.strictSame(recorder.messages.map(({ length }) => length), upward.map(({ length }) => length))
  })

  t.test(`${name}: many small packets written as one piece`, async t => {
    const { client, recorder } = await start(t)
    const packets = Array.from({ length: 500 }, () => randomBytes(20))
    for (const packet of packets) recorder.send(packet)
    await client.has(500 * 20)
    t.ok(client.data.equals(Buffer.concat(packets)))
  })

  t.test(`${name}: a client that does not read gives back-pressure, and drains when it reads`, async t => {
    const { client, recorder } = await start(t)
    client.pause()
    await turns()
    const packets: Buffer[] = []
    let answer = true
    while (recorder.connection.pendingBytes < 1024 * 1024) {
      const packet = randomBytes(60000)
      packets.push(packet)
      answer = recorder.send(packet)
      if (packets.length % 50 === 0) await turns(1)
      if (packets.length > 2000) break
    }
    t.equal(answer, false, 'write says so')
    const drainsBefore = recorder.drains
    client.resume()
    await recorder.until(() => recorder.drains > drainsBefore, 'onDrain')
    const sent = Buffer.concat(packets)
    await client.has(sent.length)
    t.ok(client.data.equals(sent), 'nothing is lost')
    await recorder.until(() => recorder.connection.pendingBytes === 0, 'nothing is pending')
    t.equal(recorder.send(Buffer.from('more')), true)
  })

  t.test(`${name}: a paused connection takes nothing until it is resumed`, async t => {
    const { started, client, recorder } = await start(t)
    client.send(Buffer.from('before'))
    await recorder.has(6)
    recorder.connection.pause()
    await turns()
    client.send(Buffer.from('after'))
    await roundTrips(started)
    t.equal(recorder.bytes, 6)
    recorder.connection.resume()
    await recorder.has(11)
    t.equal(recorder.data.toString(), 'beforeafter')
  })

  t.test(`${name}: an agent that pauses while it accepts gets no byte until it resumes`, async t => {
    const started = await acceptor.start()
    t.teardown(() => started.close())
    started.agents.isPausing = true
    const client = await started.connect()
    client.send(Buffer.from('early'))
    const recorder = await started.next()
    started.agents.isPausing = false
    await roundTrips(started)
    t.equal(recorder.bytes, 0)
    recorder.connection.resume()
    await recorder.has(5)
    t.equal(recorder.data.toString(), 'early')
  })

  t.test(`${name}: close sends what was written, then ends with its reason`, async t => {
    const { client, recorder } = await start(t)
    const packets = Array.from({ length: 16 }, () => randomBytes(60000))
    for (const packet of packets) recorder.send(packet)
    recorder.connection.close(4001, 'server is shutting down')
    t.equal(recorder.send(Buffer.from('late')), false, 'nothing is written after it')
    await client.closed()
    await recorder.closed()
    t.ok(client.data.equals(Buffer.concat(packets)))
    if (acceptor.hasCloseCode) {
      t.equal(client.closeCode, 4001)
      t.equal(client.closeReason, 'server is shutting down')
    }
    t.equal(recorder.closes, 1)
    t.equal(recorder.error, undefined)
  })

  t.test(`${name}: close works on a paused connection, and no byte comes after it`, async t => {
    const { client, recorder } = await start(t)
    recorder.connection.pause()
    client.send(Buffer.alloc(60000))
    client.send(Buffer.alloc(60000))
    await turns()
    const had = recorder.bytes
    recorder.connection.close(4001, 'server is shutting down')
    await client.closed()
    await recorder.closed()
    t.equal(recorder.bytes, had)
    t.equal(recorder.closes, 1)
  })

  t.test(`${name}: closing and destroying again and again is harmless`, async t => {
    const { client, recorder } = await start(t)
    const { connection } = recorder
    connection.close(4001, 'once')
    connection.close(4002, 'twice')
    connection.destroy()
    connection.destroy()
    await recorder.closed()
    await client.closed()
    connection.close(4003, 'thrice')
    connection.destroy()
    connection.pause()
    connection.resume()
    t.equal(recorder.send(Buffer.from('x')), false)
    await turns()
    t.equal(recorder.closes, 1)
  })

  t.test(`${name}: destroy ends at once`, async t => {
    const { client, recorder } = await start(t)
    client.pause()
    recorder.send(randomBytes(1000))
    recorder.connection.destroy()
    await recorder.closed()
    client.resume()
    await client.closed()
    t.equal(recorder.closes, 1)
  })

  t.test(`${name}: a client that ends politely is one close without an error`, async t => {
    const { client, recorder } = await start(t)
    client.send(Buffer.from('bye'))
    client.end()
    await recorder.closed()
    t.equal(recorder.data.toString(), 'bye')
    t.equal(recorder.send(Buffer.from('late')), false)
    await turns()
    t.equal(recorder.closes, 1)
    t.equal(recorder.error, undefined)
  })

  t.test(`${name}: a client that vanishes is one close, also in the middle of writes`, async t => {
    const { client, recorder } = await start(t)
    client.pause()
    for (let i = 0; i < 40; i++) recorder.send(randomBytes(60000))
    client.reset()
    for (let i = 0; i < 40; i++) recorder.send(randomBytes(60000))
    await recorder.closed()
    for (let i = 0; i < 40; i++) t.equal(recorder.send(Buffer.from('late')), false)
    await turns()
    t.equal(recorder.closes, 1)
  })

  t.test(`${name}: closing the server closes every connection once`, async t => {
    const started = await acceptor.start()
    const clients = []
    const recorders = []
    for (let i = 0; i < 5; i++) {
      clients.push(await started.connect())
      recorders.push(await started.next())
    }
    await started.close()
    for (const client of clients) await client.closed()
    for (const recorder of recorders) await recorder.closed()
    t.strictSame(recorders.map(({ closes }) => closes), [1, 1, 1, 1, 1])
  })
}

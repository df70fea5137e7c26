import t from 'tap'
import { createConnectionPair } from '../../../lib/agent/memory-connection.ts'
import { MemoryClient, Recorder, turns } from '../../helpers/acceptors.ts'

function pair (options?: Parameters<typeof createConnectionPair>[0]): { client: MemoryClient, recorder: Recorder } {
  const { client, server } = createConnectionPair(options)
  const recorder = new Recorder(server)
  server.handler = recorder
  return { client: new MemoryClient(client), recorder }
}

t.test('nothing is delivered in the turn of its write, and everything in order after it', async t => {
  const { client, recorder } = pair()
  for (let i = 0; i < 10; i++) client.send(Buffer.from(String(i)))
  t.equal(recorder.bytes, 0)
  await recorder.has(10)
  t.equal(recorder.data.toString(), '0123456789')
  t.equal(client.client.pendingBytes, 0)
})

t.test('two ends that answer each other leave the event loop its turns', async t => {
  const { client, recorder } = pair()
  recorder.onData = bytes => { recorder.connection.write(bytes) }
  client.client.handler.onData = bytes => { client.send(bytes) }
  client.send(Buffer.from('ping'))
  await turns(100)
  t.ok(true)
  recorder.connection.destroy()
  await recorder.closed()
})

t.test('bytes on their way count, up to the mark', async t => {
  const { client, recorder } = pair({ highWaterMark: 10, remoteAddress: '203.0.113.7' })
  t.equal(recorder.connection.remoteAddress, '203.0.113.7')
  t.equal(recorder.send(Buffer.alloc(9)), true)
  t.equal(recorder.send(Buffer.alloc(1)), false)
  t.equal(recorder.connection.pendingBytes, 10)
  await client.has(10)
  await recorder.until(() => recorder.drains === 1, 'onDrain')
  t.equal(recorder.connection.pendingBytes, 0)
  t.equal(recorder.send(Buffer.alloc(9)), true)
})

t.test('a client that never reads is cut off two seconds after close', async t => {
  const { client, recorder } = pair()
  client.pause()
  recorder.send(Buffer.from('unread'))
  recorder.connection.close(4001, 'server is shutting down')
  const waiting = setInterval(() => {}, 1000)
  await recorder.closed()
  await client.closed()
  clearInterval(waiting)
  t.equal(client.bytes, 0)
  t.equal(client.closeCode, 4001)
})

t.test('a destroyed end says no code', async t => {
  const { client, recorder } = pair()
  recorder.connection.destroy()
  await client.closed()
  t.equal(client.closeCode, undefined)
})

t.test('a handler that ends the connection while it is given bytes gets no more of them', async t => {
  const { client, recorder } = pair()
  recorder.onData = bytes => { recorder.bytes += bytes.length; recorder.connection.destroy() }
  client.send(Buffer.from('a'))
  client.send(Buffer.from('b'))
  await recorder.closed()
  await client.closed()
  t.equal(recorder.bytes, 1)
})

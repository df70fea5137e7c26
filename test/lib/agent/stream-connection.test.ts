import { Duplex, PassThrough } from 'node:stream'
import t from 'tap'
import { StreamConnection } from '../../../lib/agent/stream-connection.ts'
import { plainAddress } from '../../../lib/agent/connection.ts'
import { Recorder, turns } from '../../helpers/acceptors.ts'

function take (stream: Duplex): Recorder {
  const connection = new StreamConnection(stream, 'test', '')
  const recorder = new Recorder(connection)
  connection.handler = recorder
  return recorder
}

t.test('any duplex will do, one that was paused included', async t => {
  const stream = new PassThrough()
  stream.pause()
  stream.write('hello')
  const recorder = take(stream)
  t.equal(recorder.bytes, 0, 'not in the same turn')
  await recorder.has(5)
})

t.test('an error comes with the close, once, and is the first one', async t => {
  const recorder = take(new PassThrough())
  const stream = new Duplex({ read () {}, write (_chunk, _encoding, done) { done(new Error('broken pipe')) } })
  const broken = take(stream)
  broken.send(Buffer.from('x'))
  await broken.closed()
  t.match(broken.error, { message: 'broken pipe' })
  t.equal(broken.send(Buffer.from('x')), false)
  stream.emit('error', new Error('another'))
  await turns()
  t.equal(broken.closes, 1)
  recorder.connection.destroy()
  await recorder.closed()
  t.equal(recorder.error, undefined)
})

t.test('a stream that never ends its side is destroyed two seconds after close', async t => {
  const recorder = take(new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } }))
  const began = performance.now()
  const waiting = setInterval(() => {}, 1000)
  recorder.connection.close(4001, 'server is shutting down')
  await recorder.closed()
  clearInterval(waiting)
  t.ok(performance.now() - began > 1900)
})

t.test('an address is written as people write it', async t => {
  const rows = [[undefined, ''], ['127.0.0.1', '127.0.0.1'], ['::ffff:10.0.0.1', '10.0.0.1'], ['::1', '::1'], ['::ffff:1', '::ffff:1']] as const
  for (const [address, plain] of rows) t.equal(plainAddress(address), plain)
})

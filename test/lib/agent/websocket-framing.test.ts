import t from 'tap'
import { isOriginAllowed } from '../../../lib/agent/origin.ts'
import { closeReason } from '../../../lib/agent/websocket-connection.ts'
import { websocketFraming } from '../../../lib/agent/websocket-framing.ts'

const rows: Array<[length: number, header: string]> = [
  [0, '8200'], [1, '8201'], [125, '827d'], [126, '827e007e'], [255, '827e00ff'], [256, '827e0100'], [65535, '827effff'],
  [65536, '827f0000000000010000'], [65540, '827f0000000000010004'], [0xffffff + 4, '827f0000000001000003']
]

t.test('a frame header is that of an unmasked binary message', async t => {
  for (const [length, header] of rows) {
    const target = Buffer.alloc(14, 0xee)
    t.equal(websocketFraming.size(length), header.length / 2, `size of ${length}`)
    websocketFraming.write(target, 2, length)
    t.equal(target.toString('hex'), `eeee${header}`.padEnd(28, 'e'), `header of ${length}`)
  }
})

t.test('a close reason is never longer than a frame allows', async t => {
  t.equal(closeReason('closed'), 'closed')
  t.equal(closeReason('x'.repeat(123)), 'x'.repeat(123))
  for (const character of ['x', 'ü', '語', '🎮']) {
    for (let before = 0; before < 4; before++) {
      const reason = closeReason('x'.repeat(before) + character.repeat(200))
      t.ok(Buffer.byteLength(reason) <= 123 && Buffer.byteLength(reason) > 115)
    }
  }
})

t.test('an origin is the own host when scheme, host and port say so', async t => {
  const rows: Array<[origin: string, host: string, isAllowed: boolean]> = [
    ['https://example.com', 'example.com', true],
    ['https://example.com', 'example.com:443', true],
    ['http://example.com', 'example.com:80', true],
    ['https://example.com', 'example.com:80', false],
    ['http://example.com:3250', 'example.com:3250', true],
    ['http://example.com:3250', 'example.com', false],
    ['http://EXAMPLE.com', 'example.COM', true],
    ['http://[::1]:3250', '[::1]:3250', true],
    ['http://example.com.', 'example.com', false],
    ['http://evil-example.com', 'example.com', false],
    ['http://example.com.evil', 'example.com', false],
    ['null', 'null', false],
    ['null', '', false],
    ['', '', false],
    ['file://', '', false],
    ['chrome-extension://abc', 'abc', false],
    ['http://example.com', '', false],
    ['http://example.com', 'example.com/x', false],
    ['http://example.com', 'user@example.com', false]
  ]
  for (const [origin, host, isAllowed] of rows) t.equal(isOriginAllowed(origin, host, []), isAllowed, `${origin} at ${host}`)
  t.ok(isOriginAllowed(undefined, '', []), 'a native client sends none')
})

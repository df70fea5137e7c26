import t from 'tap'
import { createTrust, ProxyHeaderParser, type ProxyHeader } from '../../../lib/agent/proxy-protocol.ts'
import { checkFuzz, fuzz } from '../../helpers/fuzz.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const hex = (text: string): Buffer => Buffer.from(text, 'hex')
const v2 = (verCommand: string, family: string, trailing: string): Buffer =>
  hex(SIGNATURE + verCommand + family + (trailing.length / 2).toString(16).padStart(4, '0') + trailing)

const V4 = 'cb0071070a0000010fa00cb3'
const V6 = '20010db8000000000000000000000007' + '00'.repeat(15) + '01' + '0fa00cb3'

const good: Array<[name: string, header: Buffer, address: string | undefined]> = [
  ['TCP4', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4000 3251\r\n'), '203.0.113.7'],
  ['TCP4, the longest', Buffer.from('PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n'), '255.255.255.255'],
  ['TCP4, port 0', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n'), '1.2.3.4'],
  ['TCP6', Buffer.from('PROXY TCP6 2001:db8::7 ::1 4000 3251\r\n'), '2001:db8::7'],
  ['TCP6, the longest', Buffer.from(`PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535\r\n`), 'ffff:'.repeat(7) + 'ffff'],
  ['TCP6 written long', Buffer.from('PROXY TCP6 2001:0db8:0:0:0:0:0:7 ::1 1 2\r\n'), '2001:db8::7'],
  ['TCP6 with IPv4 inside', Buffer.from('PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n'), '203.0.113.7'],
  ['UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  ['UNKNOWN and more', Buffer.from('PROXY UNKNOWN ffff::1 what ever\r\n'), undefined],
  ['UNKNOWN of 107 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), undefined],
  ['v2 TCP4', v2('21', '11', V4), '203.0.113.7'],
  ['v2 TCP4 with fields after it', v2('21', '11', V4 + '03000401020304' + '04000100'), '203.0.113.7'],
  ['v2 TCP6', v2('21', '21', V6), '2001:db8::7'],
  ['v2 TCP6 with IPv4 inside', v2('21', '21', '00000000000000000000ffffcb007107' + '00'.repeat(20)), '203.0.113.7'],
  ['v2 LOCAL', v2('20', '00', ''), undefined],
  ['v2 LOCAL with an address', v2('20', '11', V4), undefined],
  ['v2 unspecified', v2('21', '00', ''), undefined],
  ['v2 of 2,048 bytes', v2('21', '11', V4 + '00'.repeat(2036)), '203.0.113.7']
]

const bad: Array<[name: string, header: Buffer]> = [
  ['nothing known', Buffer.from('HELLO\r\n')],
  ['lower case', Buffer.from('proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n')],
  ['no space', Buffer.from('PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n')],
  ['two spaces', Buffer.from('PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n')],
  ['a space at the end', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n')],
  ['LF alone', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n')],
  ['CR alone', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx')],
  ['an empty line', Buffer.from('PROXY \r\n')],
  ['no addresses', Buffer.from('PROXY TCP4\r\n')],
  ['no ports', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8\r\n')],
  ['one port', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n')],
  ['a port above 65535', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n')],
  ['a port with zeros before it', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n')],
  ['a negative port', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n')],
  ['a name for an address', Buffer.from('PROXY TCP4 localhost 5.6.7.8 1 2\r\n')],
  ['an octet above 255', Buffer.from('PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n')],
  ['IPv6 in TCP4', Buffer.from('PROXY TCP4 ::1 5.6.7.8 1 2\r\n')],
  ['IPv4 in TCP6', Buffer.from('PROXY TCP6 1.2.3.4 ::1 1 2\r\n')],
  ['a zone', Buffer.from('PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n')],
  ['a bad destination', Buffer.from('PROXY TCP4 1.2.3.4 nobody 1 2\r\n')],
  ['UDP4', Buffer.from('PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n')],
  ['108 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['no end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(4000)}`)],
  ['a signature with a fault', hex('0d0a0d0a000d0a515549540b21110000')],
  ['version 1 in the form of 2', v2('11', '11', V4)],
  ['version 3', v2('31', '11', V4)],
  ['command 2', v2('22', '11', V4)],
  ['a datagram', v2('21', '12', V4)],
  ['family 4', v2('21', '41', V4)],
  ['a Unix socket', v2('21', '31', '00'.repeat(216))],
  ['TCP4 cut short', v2('21', '11', V4.slice(2))],
  ['TCP6 cut short', v2('21', '21', V6.slice(2))],
  ['TCP4 without addresses', v2('21', '11', '')],
  ['2,049 bytes', v2('21', '11', V4 + '00'.repeat(2037))],
  ['65,535 bytes announced', hex(SIGNATURE + '2111ffff')]
]

function feedAll (slices: Uint8Array[]): ProxyHeader | undefined {
  const parser = new ProxyHeaderParser()
  for (const [at, slice] of slices.entries()) {
    const header = parser.feed(slice)
    if (header !== undefined) return { ...header, rest: Buffer.concat([header.rest, ...slices.slice(at + 1)]) }
  }
}

const bytewise = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, byte => Uint8Array.of(byte))

t.test('a good header gives the address and what follows, in any slices', async t => {
  for (const [name, header, address] of good) {
    for (const rest of [Buffer.alloc(0), Buffer.from('\r\nPROXY'), Buffer.alloc(100_000, 7)]) {
      const whole = feedAll([Buffer.concat([header, rest])])
      t.equal(whole?.address, address, name)
      t.ok(rest.equals(whole?.rest ?? Buffer.alloc(1)), `${name}: rest`)
    }
    const sliced = feedAll(bytewise(Buffer.concat([header, Buffer.from('rest')])))
    t.equal(sliced?.address, address, `${name}, byte by byte`)
    t.equal(Buffer.from(sliced?.rest ?? []).toString(), 'rest')
    for (let cut = 0; cut < Math.min(header.length, 200); cut++) {
      if (feedAll([header.subarray(0, cut)]) !== undefined) t.fail(`${name}: done after ${cut} bytes`)
      if (feedAll([header.subarray(0, cut), header.subarray(cut)])?.address !== address) t.fail(`${name}: cut at ${cut}`)
    }
  }
})

t.test('a bad header is refused, in any slices', async t => {
  for (const [name, header] of bad) {
    t.throws(() => feedAll([header]), { code: 'PIT_ERR_PROXY_HEADER' }, name)
    t.throws(() => feedAll(bytewise(header)), { code: 'PIT_ERR_PROXY_HEADER' }, `${name}, byte by byte`)
  }
})

t.test('bytes that cannot begin a header are refused at once', async t => {
  for (let first = 0; first < 256; first++) {
    if (first === 0x50 || first === 0x0d) continue
    t.throws(() => feedAll([Uint8Array.of(first)]), { code: 'PIT_ERR_PROXY_HEADER' })
  }
})

t.test('trust is by address and network, of either version', async t => {
  const isTrusted = createTrust(['10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '::1'])
  for (const address of ['10.0.0.1', '10.255.255.255', '192.0.2.1', '2001:db8::7', '::1', '::ffff:10.1.2.3']) t.ok(isTrusted(address), address)
  for (const address of ['11.0.0.1', '192.0.2.2', '2001:db9::1', '::2', '::ffff:11.1.2.3', '', 'nobody']) t.ok(!isTrusted(address), address)
  t.ok(createTrust(['0.0.0.0/0'])('8.8.8.8'))
  t.ok(!createTrust([])('10.0.0.1'), 'an empty list trusts nobody')
})

t.test('no input does anything but give a header, wait or fail by its code', async t => {
  t.setTimeout?.(280_000)
  checkFuzz(t, await fuzz({
    corpus: [...good.map(([, header]) => header), ...bad.map(([, header]) => header)],
    target (input, random) {
      const cut = random.int(input.length + 1)
      let whole: ProxyHeader | undefined
      let failed: unknown
      try { whole = feedAll([input]) } catch (error) { failed = error }
      let sliced: ProxyHeader | undefined
      let failedSliced: unknown
      try { sliced = feedAll([input.subarray(0, cut), input.subarray(cut)]) } catch (error) { failedSliced = error }
      if (whole?.address !== sliced?.address || (failed === undefined) !== (failedSliced === undefined)) throw new Error(`differs when cut at ${cut}`)
      if (failed !== undefined) throw failed
    }
  }))
})

import t from 'tap'
import { inflateSync } from 'node:zlib'
import { Type } from '@sinclair/typebox'
import { PacketType } from '../../lib/protocol/packet.ts'
import { defineHandlers, request } from '../../lib/handler/define.ts'
import type { RawClient } from '../helpers/app.ts'
import { readPackets } from '../helpers/packets.ts'
import { fromHex, readVectors } from '../helpers/vectors.ts'
import { carriers, serve, tcpClient, webSocketClient, type Served } from '../helpers/wire.ts'

interface Body { body: string, bodyHex: string, accepted: boolean, parsed?: { sys: Record<string, string> } }
interface Answer {
  name: string
  config: { dictionary: Record<string, number> | null, heartbeatSeconds: number, messageCompression: boolean, serializer: string }
  ok: { bodyCompressed: boolean, bodyText: string, packetHex: string }
  error: { bodyText: string }
}

const Sys = Type.Object({ text: Type.String() })
const room = defineHandlers('room', { sys: request({ response: Sys }, (_, { session }) => ({ text: JSON.stringify(session.handshake) })) })

/** Sends a handshake; its answer, and the close if there is one. */
async function greet (client: RawClient, body: Uint8Array | string): Promise<{ answer: any, code: number | undefined }> {
  client.packet(PacketType.handshake, body)
  const answer = JSON.parse((await client.next(PacketType.handshake)).body.toString())
  if (answer.code !== 200) return { answer, code: (await client.closed()).code }
  return { answer, code: undefined }
}

t.test('every recorded handshake body is taken or refused as Pitaya does, on both carriers', async (t) => {
  const { handshakeBodies } = readVectors<{ handshakeBodies: Body[] }>('invalid.json')
  const { requests } = readVectors<{ requests: Array<{ packetHex: string, parsed: object }> }>('handshakes.json')
  const good = requests.map(({ packetHex, parsed }) => ({ bodyHex: packetHex.slice(8), accepted: true, body: '', parsed: parsed as { sys: Record<string, string> } }))
  const served = await serve(t, { handlers: [room] })
  for (const [carrier, connect] of carriers) {
    for (const { body, bodyHex, accepted, parsed } of [...handshakeBodies, ...good]) {
      const client = await connect(served)
      const { answer, code } = await greet(client, fromHex(bodyHex))
      t.equal(answer.code, accepted ? 200 : 400, `${carrier}: ${body}`)
      t.equal(code, accepted || carrier === 'TCP' ? undefined : 4503)
      if (!accepted) {
        t.match(answer.error, { code: 'PIT-400', msg: /^handshake: / })
        continue
      }
      client.packet(PacketType.ack)
      client.request(1, 'room.sys')
      const { sys, user } = JSON.parse((await client.answer(1)).text)
      const given = Object.entries(parsed!.sys).filter(([, value]) => value !== '')
      t.strictSame(Object.fromEntries(Object.entries(sys).filter(([, value]) => value !== '')), Object.fromEntries(given))
      t.strictSame(user ?? {}, (parsed as { user?: object }).user ?? {})
      client.close()
    }
  }
})

t.test('answers are those of a Pitaya with the same configuration', async (t) => {
  for (const { name, config, ok, error } of readVectors<{ responses: Answer[] }>('handshakes.json').responses) {
    if (config.serializer !== 'json') continue
    const served = await serve(t, {
      dictionary: config.dictionary ?? undefined,
      heartbeatSeconds: config.heartbeatSeconds,
      compression: config.messageCompression ? { minBytes: 1 } : false
    })
    const client = await tcpClient(served)
    client.packet(PacketType.handshake, '{}')
    const { body } = await client.next(PacketType.handshake)
    if (ok.bodyCompressed) t.equal(inflateSync(body).toString(), ok.bodyText, name)
    else t.strictSame(body, Buffer.from(readPackets([fromHex(ok.packetHex)])[0]!.body), name)
    const refused = await tcpClient(served)
    refused.packet(PacketType.handshake, '[]')
    const bytes = (await refused.next(PacketType.handshake)).body
    const { error: reason, ...answer } = JSON.parse((bytes[0] === 0x78 ? inflateSync(bytes) : bytes).toString())
    t.strictSame(answer, JSON.parse(error.bodyText), `${name}: refused`)
    t.equal(reason.code, 'PIT-400')
    client.close()
  }
})

t.test('a client gets the serializer it asks for, the default when it asks for none, and a refusal for one that is not offered', async (t) => {
  const served = await serve(t, { serializers: ['json', 'avro'] })
  const chosen = async (sys: object): Promise<unknown> => {
    const client = await webSocketClient(served)
    const { answer, code } = await greet(client, JSON.stringify({ sys }))
    client.close()
    return [answer.code, answer.sys.serializer, answer.error?.code, code]
  }
  t.strictSame(await chosen({}), [200, 'json', undefined, undefined])
  t.strictSame(await chosen({ serializer: 'avro' }), [200, 'avro', undefined, undefined])
  t.strictSame(await chosen({ serializer: 'json' }), [200, 'json', undefined, undefined])
  for (const serializer of ['protobuf', '', '__proto__', 'constructor', 'JSON']) {
    t.strictSame(await chosen({ serializer }), [400, 'json', 'PIT-400', 4503], `asks for "${serializer}"`)
  }
  const avro = await serve(t, { serializers: ['json', 'avro'], defaultSerializer: 'avro' })
  const client = await tcpClient(avro)
  t.equal((await client.greet()).sys.serializer, 'avro', 'the default is an option')
  client.close()
})

/** Handshakes that a hostile client might send: refused with 400, or harmless. */
const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
const hostile: Array<readonly [name: string, body: Uint8Array | string, code: 200 | 400]> = [
  ['nested 1,300 deep', `{"user":${nested(1300)}}`, 200],
  ['nested arrays, cut short', `{"user":${'['.repeat(8000)}`, 400],
  ['__proto__ in user', '{"user":{"__proto__":{"polluted":1}}}', 400],
  ['__proto__ in sys', '{"sys":{"__proto__":{"closeReason":true}}}', 400],
  ['__proto__ escaped', '{"user":{"__pro\\u0074o__":{"polluted":1}}}', 400],
  ['constructor.prototype', '{"user":{"constructor":{"prototype":{"polluted":1}}}}', 400],
  ['duplicate keys: the last wins', '{"sys":{"platform":1},"sys":{"platform":"mac"}}', 200],
  ['a lone surrogate', '{"user":{"a":"\\ud800"}}', 200],
  ['bytes that are no UTF-8', Buffer.from('7b2275736572223a7b2261223a22fffe227d7d', 'hex'), 200],
  ['NaN', '{"user":{"a":NaN}}', 400],
  ['a number beyond 2^53', '{"user":{"a":123456789012345678901234567890}}', 200],
  ['an exponent that overflows', '{"user":{"a":1e999}}', 200],
  ['wrong types in sys', '{"sys":{"platform":{}}}', 400],
  ['sys is an array', '{"sys":[]}', 400],
  ['a platform of 257 characters', JSON.stringify({ sys: { platform: 'x'.repeat(257) } }), 400],
  ['closeReason is text', '{"sys":{"closeReason":"yes"}}', 400],
  ['700 keys in user', JSON.stringify({ user: Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`k${i}`, 1])) }), 200],
  ['a NUL byte', '{"sys":\0{}}', 400],
  ['zlib', Buffer.from('789cab56aa0500017500f9', 'hex'), 400]
]

t.test('hostile handshakes are refused with 400 and the field, or do no harm', async (t) => {
  const served = await serve(t, { handlers: [room] })
  for (const [name, body, code] of hostile) {
    const client = await webSocketClient(served)
    const outcome = await greet(client, body)
    t.equal(outcome.answer.code, code, name)
    t.equal(outcome.code, code === 200 ? undefined : 4503, name)
    t.notMatch(JSON.stringify(outcome.answer), /polluted|xxx/, 'what the client sent is never echoed')
    client.close()
  }
  t.equal(({} as { polluted?: number }).polluted, undefined)
  await stillServes(t, served)
})

t.test('a schema for user is checked: the refusal names the field, and what fits reaches the session', async (t) => {
  const user = Type.Object({ age: Type.Integer(), tags: Type.Optional(Type.Array(Type.String())) })
  const served = await serve(t, { handlers: [room], handshake: { user } })
  for (const [body, field] of [['{}', 'user'], ['{"user":{"age":"30"}}', 'user/age'], ['{"user":{"age":1,"tags":["a",5]}}', 'user/tags/1']] as const) {
    const client = await tcpClient(served)
    const { answer } = await greet(client, body)
    t.strictSame([answer.code, answer.error.code, answer.error.metadata], [400, 'PIT-400', { field }])
  }
  const client = await tcpClient(served)
  await client.greet({ user: { age: 30 } })
  client.request(1, 'room.sys')
  t.strictSame(JSON.parse((await client.answer(1)).text), { sys: {}, user: { age: 30 } })
  client.close()
})

async function stillServes (t: { ok: (value: unknown) => unknown }, served: Served): Promise<void> {
  const client = await tcpClient(served)
  await client.greet()
  client.request(1, 'room.sys')
  t.ok(await client.answer(1))
  client.close()
}

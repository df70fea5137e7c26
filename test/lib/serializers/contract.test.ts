import { Type } from '@sinclair/typebox'
import t from 'tap'
import { createError } from '../../../lib/errors.ts'
import { compileCheck, violation } from '../../../lib/serializers/check.ts'
import { compileDeclared } from '../../../lib/serializers/declared.ts'
import { resolveSerializers, serializerNames, type SerializerName } from '../../../lib/serializers/index.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'
import type { Serializer } from '../../../lib/serializers/serializer.ts'
import { hasLoneEscape } from '../../../lib/serializers/text.ts'
import { serializerContract, type SerializerContract } from '../../contracts/serializer.ts'

const ErrorBody = Type.Object({ code: Type.String(), msg: Type.String(), metadata: Type.Record(Type.String(), Type.String()) })

const create = async (option: SerializerName | Serializer): Promise<Serializer> => (await resolveSerializers([option]))[0]!
const readJson = (bytes: Uint8Array): unknown => ({ msg: '', metadata: {}, ...JSON.parse(Buffer.from(bytes).toString()) })

const members: Record<SerializerName, SerializerContract> = {
  json: { create: () => create('json'), readError: readJson, isSelfDescribing: true },
  avro: {
    create: () => create('avro'),
    readError: (bytes) => avro.compile(ErrorBody, 'error').decode(bytes, 0, bytes.length),
    isSelfDescribing: false
  }
}
const avro = await create('avro')

/** What a user's own serializer may look like: JSON text with bytes as arrays. */
function tinySerializer (): Serializer {
  const pack = (_: string, value: unknown): unknown => value instanceof Uint8Array ? { bytes: [...value] } : value
  const unpack = (_: string, value: any): unknown => Array.isArray(value?.bytes) ? Uint8Array.from(value.bytes) : value
  return {
    name: 'tiny',
    compile: (schema, name) => {
      const reduced = reduceSchema(schema, name)
      const check = compileCheck(reduced, name)
      const copy = compileDeclared(reduced, { copy: true }) ?? ((value) => value)
      return {
        encode: (value) => {
          if (!check.Check(value)) throw new TypeError('does not fit')
          const text = JSON.stringify(copy(value), pack)
          if (hasLoneEscape(text)) throw new TypeError('half a character')
          return Buffer.from(text)
        },
        decode: (bytes, start, end) => {
          let value: unknown
          try {
            value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(start, end)), unpack)
          } catch { throw createError('PIT_ERR_BODY', ['invalid tiny data']) }
          if (!check.Check(value)) throw violation(check, value)
          return copy(value)
        }
      }
    },
    encodeError: (error) => Buffer.from(JSON.stringify(error).replace(/\\ud[89a-f][0-9a-f]{2}/g, '\ufffd'))
  }
}

for (const name of serializerNames) t.test(`${name} keeps the contract`, (t) => serializerContract(t, members[name]))
t.test('a serializer given as a value keeps the contract', (t) =>
  serializerContract(t, { create: () => create(tinySerializer()), readError: readJson, isSelfDescribing: true }))

t.test('serializers are resolved in order, anew by each call', async (t) => {
  const tiny = tinySerializer()
  const first = await resolveSerializers(['avro', tiny, 'json'])
  t.strictSame(first.map(({ name }) => name), ['avro', 'tiny', 'json'])
  t.equal(first[1], tiny)
  const second = await resolveSerializers(['json'])
  t.ok(second[0] !== first[2])
  t.strictSame(await resolveSerializers([]), [])
})

t.test('a name given twice, an unknown one and a value that is no serializer are named errors', async (t) => {
  await t.rejects(resolveSerializers(['json', 'json']), { code: 'PIT_ERR_DUPLICATE_SERIALIZER', message: /"json"/ })
  await t.rejects(resolveSerializers(['json', { ...tinySerializer(), name: 'json' }]), { code: 'PIT_ERR_DUPLICATE_SERIALIZER' })
  for (const wrong of ['protobuf', 'constructor', {}, null, { name: '' }]) await t.rejects(resolveSerializers([wrong as 'json']), { code: 'PIT_ERR_OPTIONS' })
})

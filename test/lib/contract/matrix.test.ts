import type { TSchema } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import { compileAdapter } from '../../../lib/contract/adapt.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { deriveAvro, type AvroSchema } from '../../../lib/serializers/avro-schema.ts'
import { reduceSchema } from '../../../lib/serializers/schema.ts'
import type { Codec } from '../../../lib/serializers/serializer.ts'
import { evolutions, Misfit, type Direction } from '../../helpers/evolutions.ts'

interface Version { readonly schema: AvroSchema, readonly codec: Codec }

/** The two versions are of two builds: not even the names of their records are alike. */
function versionOf (schema: TSchema, name: string): Version {
  return { schema: deriveAvro(reduceSchema(schema, name), name), codec: createAvroSerializer().compile(schema, name) }
}

function through (codec: Codec, value: unknown): unknown {
  const bytes = new Uint8Array(codec.encode(value))
  return codec.decode(bytes, 0, bytes.length)
}

function check (t: Test, from: Version, to: Version, { verdict, fields = [], values = [] }: Direction): void {
  const adapter = compileAdapter(from.schema, to.schema)
  t.equal(adapter.verdict, verdict)
  t.strictSame(adapter.fields, fields)
  for (const [value, becomes] of values) {
    const sent = through(from.codec, value)
    if (becomes instanceof Misfit) t.throws(() => adapter.adapt(sent), { code: 'PIT_ERR_EVOLUTION', statusCode: 422, metadata: { field: becomes.field } })
    else t.strictSame(through(to.codec, adapter.adapt(sent)), becomes)
  }
  if (verdict === 'cannot fit') t.throws(() => adapter.adapt({}), { code: 'PIT_ERR_EVOLUTION' })
}

for (const { name, before, after, forth, back } of evolutions) {
  t.test(`${name}: what old clients send to new servers, and old servers to new clients: ${forth.verdict}`, async (t) => {
    check(t, versionOf(before, 'old.build.body'), versionOf(after, 'new.build.response'), forth)
  })
  t.test(`${name}: what new clients send to old servers, and new servers to old clients: ${back.verdict}`, async (t) => {
    check(t, versionOf(after, 'new.build.body'), versionOf(before, 'old.build.response'), back)
  })
}

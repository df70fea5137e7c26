import { createError } from '../errors.ts'
import type { Serializer } from './serializer.ts'

/** Ends the message of PIT_ERR_OPTIONS. */
const CHOICE = "must be 'json', 'avro' or a Serializer: { name, compile, encodeError }"

const members = {
  json: async () => (await import('./json.ts')).createJsonSerializer(),
  avro: async () => (await import('./avro.ts')).createAvroSerializer()
} satisfies Record<string, () => Promise<Serializer>>

export type SerializerName = keyof typeof members
export const serializerNames = Object.keys(members) as SerializerName[]

/**
 * Serializers by name or as values, in the order given. Named ones are made anew by each call, so that two servers share nothing.
 * @throws PIT_ERR_DUPLICATE_SERIALIZER for two of one name, PIT_ERR_OPTIONS for anything that is no serializer
 */
export async function resolveSerializers (options: ReadonlyArray<SerializerName | Serializer>): Promise<Serializer[]> {
  const resolved: Serializer[] = []
  for (const option of options) {
    const serializer = typeof option === 'string' ? await create(option) : option
    if (!isSerializer(serializer)) throw createError('PIT_ERR_OPTIONS', [`serializers ${CHOICE}`])
    if (resolved.some(({ name }) => name === serializer.name)) throw createError('PIT_ERR_DUPLICATE_SERIALIZER', [serializer.name])
    resolved.push(serializer)
  }
  return resolved
}

async function create (name: SerializerName): Promise<Serializer> {
  if (!Object.hasOwn(members, name)) throw createError('PIT_ERR_OPTIONS', [`serializers ${CHOICE}`])
  return await members[name]()
}

function isSerializer (value: unknown): value is Serializer {
  const { name, compile, encodeError } = (value ?? {}) as Partial<Serializer>
  return typeof name === 'string' && name !== '' && typeof compile === 'function' && typeof encodeError === 'function'
}

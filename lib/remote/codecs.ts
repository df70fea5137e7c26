import { isRaw } from '../handler/raw.ts'
import type { MessageSchema } from '../handler/types.ts'
import type { Codec, Serializer } from '../serializers/serializer.ts'
import type { Remotes } from './types.ts'

/** `raw`: bytes as they are; undefined: no such part. */
export type RemoteCodec = Codec | 'raw' | undefined

export interface RemoteCodecs {
  readonly body: RemoteCodec
  readonly response: RemoteCodec
}

/** The codecs of one method, named alike on both sides. @throws PIT_ERR_SCHEMA */
export function compileRemote ({ name, methods }: Remotes, method: string, serializer: Serializer): RemoteCodecs {
  const { body, response } = methods[method]!
  const compile = (schema: MessageSchema | undefined, part: string): RemoteCodec =>
    schema === undefined ? undefined : isRaw(schema) ? 'raw' : serializer.compile(schema, `${name}.${method}.${part}`)
  return { body: compile(body, 'body'), response: compile(response, 'response') }
}

// Apart from handshake.ts so that a browser client need not carry the schema library.
import { createError } from './errors.ts'
import type { RouteDictionary } from './route.ts'

/** Error of a refused handshake, as `toWireError` gives it. */
interface HandshakeError { code: string, msg: string, metadata?: Record<string, string> | undefined }

/**
 * Writes handshake answers; one per server, because all that does not depend on the client is made once.
 *
 * ```
 * answer = {"code":200,"sys":SYS}
 *        / {"code":400 or 503,"sys":SYS,"error":{"code":TEXT,"msg":TEXT,"metadata":{TEXT:TEXT}}[,"retryAfterMs":NUMBER]}
 * SYS    = {"dict":{ROUTE:CODE},"heartbeat":SECONDS,"serializer":NAME [,MORE]}
 * ```
 *
 * Keys in this order, no white space, routes sorted; `<`, `>`, `&`, U+2028 and U+2029 are escaped, as Go's encoder does.
 */
export class HandshakeAnswers {
  #sys: string

  /** @param options.heartbeatSeconds may be fractional; stock Go clients need an integer */
  constructor (options: { dictionary: RouteDictionary, heartbeatSeconds: number }) {
    const dict = options.dictionary.entries().map(([route, code]) => `${quote(route)}:${code}`).join(',')
    this.#sys = `,"sys":{"dict":{${dict}},"heartbeat":${options.heartbeatSeconds},"serializer":`
  }

  /** @param extraSys further members of `sys` as JSON text without braces, such as `"need":["..."]` */
  accept (serializer: string, extraSys?: string): string {
    const more = extraSys === undefined || extraSys === '' ? '' : `,${extraSys}`
    return `{"code":200${this.#sys}${quote(serializer)}${more}}}`
  }

  /** Empty fields of the error are left out, its metadata is sorted. */
  refuse (code: 400 | 503, serializer: string, error: HandshakeError, extra?: { retryAfterMs?: number }): string {
    const retry = extra?.retryAfterMs === undefined ? '' : `,"retryAfterMs":${extra.retryAfterMs}`
    return `{"code":${code}${this.#sys}${quote(serializer)}},"error":${errorText(error)}${retry}}`
  }
}

function errorText ({ code, msg, metadata = {} }: HandshakeError): string {
  const members = [`"code":${quote(code)}`]
  if (msg !== '') members.push(`"msg":${quote(msg)}`)
  const pairs = Object.keys(metadata).sort().map((key) => `${quote(key)}:${quote(metadata[key]!)}`)
  if (pairs.length > 0) members.push(`"metadata":{${pairs.join(',')}}`)
  return `{${members.join(',')}}`
}

const ESCAPED = /[<>&\u2028\u2029]/g

/** A JSON string as Go's encoder writes it. */
export function quote (text: string): string {
  return JSON.stringify(text).replace(ESCAPED, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** What a client takes from an answer. */
export interface HandshakeAnswer {
  /** 200: accepted. */
  code: number
  dict: Map<string, number>
  /** Interval; 0: no heartbeats. */
  heartbeatSeconds: number
  serializer: string
  /** Of a refusal, as it came. */
  error: Partial<HandshakeError> | null | undefined
  retryAfterMs: number | undefined
  /** All of `sys`, for members that are not named here. */
  sys: Record<string, unknown>
}

/**
 * Reads the parsed JSON of a server's answer, in the grammar of HandshakeAnswers. What is absent gets a default
 * (`sys` {}, heartbeat 0, serializer `json`); Pomelo servers leave out much.
 * @throws PIT_ERR_HANDSHAKE with the path of a field that is there and wrong
 */
export function parseHandshakeAnswer (value: unknown): HandshakeAnswer {
  const answer = check(value, 'object', 'answer')
  const sys = check(answer.sys ?? {}, 'object', 'sys')
  const dict = check(sys.dict ?? {}, 'object', 'sys.dict')
  for (const code of Object.values(dict)) if (code !== (check(code, 'number', 'sys.dict') & 0xffff)) refuse('sys.dict')
  return {
    code: check(answer.code, 'number', 'code'),
    dict: new Map(Object.entries(dict) as Array<[string, number]>),
    heartbeatSeconds: check(sys.heartbeat ?? 0, 'number', 'sys.heartbeat'),
    serializer: check(sys.serializer ?? 'json', 'string', 'sys.serializer'),
    error: answer.error as HandshakeAnswer['error'],
    retryAfterMs: answer.retryAfterMs === undefined ? undefined : check(answer.retryAfterMs, 'number', 'retryAfterMs'),
    sys
  }
}

interface Kinds { object: Record<string, unknown>, number: number, string: string }

/** The value, if it is of that kind: an object is no list, a number not negative. */
function check<K extends keyof Kinds> (value: unknown, kind: K, path: string): Kinds[K] {
  const type: string = typeof value
  if (type !== kind || value === null || Array.isArray(value) || (kind === 'number' && (value as number) < 0)) refuse(path)
  return value as Kinds[K]
}

function refuse (path: string): never {
  throw createError('PIT_ERR_HANDSHAKE', [path], { metadata: { field: path } })
}

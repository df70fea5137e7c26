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
  error: { code: string, msg: string, metadata: Record<string, string> } | undefined
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
  const answer = objectAt(value, 'answer')
  const sys = objectAt(answer.sys ?? {}, 'sys')
  const dict = new Map<string, number>()
  for (const [route, code] of Object.entries(objectAt(sys.dict ?? {}, 'sys.dict'))) {
    if (!Number.isInteger(code) || Number(code) < 0 || Number(code) > 0xffff) refuse('sys.dict')
    dict.set(route, Number(code))
  }
  const error = answer.error === undefined ? undefined : objectAt(answer.error, 'error')
  return {
    code: numberAt(answer.code, 'code'),
    dict,
    heartbeatSeconds: numberAt(sys.heartbeat ?? 0, 'sys.heartbeat'),
    serializer: textAt(sys.serializer ?? 'json', 'sys.serializer'),
    error: error && {
      code: textAt(error.code, 'error.code'),
      msg: textAt(error.msg ?? '', 'error.msg'),
      metadata: objectAt(error.metadata ?? {}, 'error.metadata') as Record<string, string>
    },
    retryAfterMs: answer.retryAfterMs === undefined ? undefined : numberAt(answer.retryAfterMs, 'retryAfterMs'),
    sys
  }
}

function objectAt (value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path)
  return value as Record<string, unknown>
}

function numberAt (value: unknown, path: string): number {
  if (typeof value !== 'number' || !(value >= 0)) refuse(path)
  return value
}

function textAt (value: unknown, path: string): string {
  if (typeof value !== 'string') refuse(path)
  return value
}

function refuse (path: string): never {
  throw createError('PIT_ERR_HANDSHAKE', [path], { metadata: { field: path } })
}

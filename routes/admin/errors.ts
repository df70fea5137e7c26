import { STATUS_CODES } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { isPitayaError, type ErrorCode } from '../../lib/errors.ts'

/** Faults of a program elsewhere; here those of the request. */
const STATUSES: Partial<Record<ErrorCode, number>> = { PIT_ERR_PUSH_UNKNOWN: 404, PIT_ERR_PUSH_BODY: 400 }

type Thrown = { statusCode?: unknown, code?: unknown, message?: unknown } | null | undefined

/** Fastify's error shape, whatever the host has made of its own. Texts of unexpected errors stay in the log. */
export function onError (error: Thrown, request: FastifyRequest, reply: FastifyReply): void {
  const statusCode = statusOf(error)
  // 503 and 504: other servers could not be reached, which is no fault of this one.
  const isTold = statusCode < 500 || (statusCode > 500 && isPitayaError(error))
  if (!isTold) request.log.error({ err: error }, 'an admin route failed')
  reply.code(statusCode).send({
    statusCode,
    code: isTold && typeof error?.code === 'string' ? error.code : 'PIT_ERR_INTERNAL',
    error: STATUS_CODES[statusCode] ?? 'Error',
    message: isTold ? String(error?.message) : 'internal error'
  })
}

export function onNotFound (request: FastifyRequest, reply: FastifyReply): void {
  reply.code(404).send({ statusCode: 404, code: 'FST_ERR_NOT_FOUND', error: 'Not Found', message: 'no such admin route' })
}

function statusOf (error: Thrown): number {
  const status = STATUSES[error?.code as ErrorCode] ?? error?.statusCode
  return typeof status === 'number' && status >= 400 && status <= 599 ? status : 500
}

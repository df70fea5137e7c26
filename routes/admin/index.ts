import { TypeBoxValidatorCompiler, type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction, onRequestHookHandler } from 'fastify'
import { createError } from '../../lib/errors.ts'
import { bearerAuth } from './auth.ts'
import contract from './contract.ts'
import { onError, onNotFound } from './errors.ts'
import handlers from './handlers.ts'
import servers from './servers.ts'
import sessions from './sessions.ts'
import users from './users.ts'

/** A token that can be guessed is none. */
const SHORT_TOKEN = 16

export interface AdminOptions {
  /** Asked for as `authorization: Bearer <token>`. */
  token?: string
  /** The host's own guard; with a token too, both must let a request pass. */
  auth?: (this: FastifyInstance, request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction) => unknown
}

/**
 * Operators' routes, below the prefix. Nothing but headers authenticates and mutations take no body but JSON, so no foreign web page
 * can act for an operator. Throws PIT_ERR_ADMIN_OPEN when nothing guards them.
 */
const admin: FastifyPluginAsyncTypebox<AdminOptions> = async (fastify, { token, auth }) => {
  if (token === undefined && auth === undefined) throw createError('PIT_ERR_ADMIN_OPEN')
  // The host's own compiler and parsers may read less, or more, than these routes expect.
  fastify.setValidatorCompiler(TypeBoxValidatorCompiler)
  fastify.removeAllContentTypeParsers()
  const parseJson = fastify.getDefaultJsonParser('error', 'error')
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else parseJson(request, body as string, done)
  })
  fastify.setErrorHandler(onError)
  if (fastify.prefix !== '' && fastify.prefix !== '/') fastify.setNotFoundHandler(onNotFound)

  fastify.addHook('onSend', async (_, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  })
  if (token !== undefined) {
    if (token.length < SHORT_TOKEN) fastify.log.warn(`admin.token has fewer than ${SHORT_TOKEN} characters: make it longer, and random`)
    fastify.addHook('onRequest', bearerAuth(token))
  }
  if (auth !== undefined) fastify.addHook('onRequest', auth as onRequestHookHandler)

  await fastify.register(servers)
  await fastify.register(sessions)
  await fastify.register(users)
  await fastify.register(handlers)
  await fastify.register(contract)
}

export default admin

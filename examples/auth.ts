/**
 * One login for everything: `POST /login` sets a signed cookie, which guards the routes and the WebSocket, and returns a signed token,
 * which clients without cookies (raw TCP) put into their handshake's `user`.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import cookie from '@fastify/cookie'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import pitaya, { PitayaError } from 'fastify-pitaya'
import { defineHandlers, request } from 'fastify-pitaya/define'

const TOKEN_MS = 3_600_000
const Login = Type.Object({ name: Type.String({ maxLength: 32 }), password: Type.String({ maxLength: 128 }) })
const User = Type.Object({ token: Type.Optional(Type.String({ maxLength: 512 })) })

const account = defineHandlers('account', {
  whoami: request({ response: Type.Object({ uid: Type.String() }) }, (_, { session }) => ({ uid: session.uid }))
})

export interface AuthOptions {
  /** Signs cookies and tokens. */
  secret: string
  /** Passwords by name. A real app keeps slow hashes of them. */
  users: ReadonlyMap<string, string>
  tcpPort: number
}

export async function buildApp ({ secret, users, tcpPort }: AuthOptions): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(cookie, { secret })

  app.post('/login', { schema: { body: Login } }, async (request, reply) => {
    const { name, password } = request.body as { name: string, password: string }
    if (!isSame(users.get(name) ?? '', password) || !users.has(name)) return await reply.code(401).send({ error: 'wrong name or password' })
    reply.setCookie('user', name, { signed: true, httpOnly: true, sameSite: 'strict', path: '/' })
    return { token: signToken(name, Date.now() + TOKEN_MS, secret) }
  })

  // The upgrade is a route like any other, so this guards it too.
  app.addHook('onRequest', async (request, reply) => {
    if (request.url !== '/login' && cookieUser(request) === undefined) return await reply.code(401).send({ error: 'log in first' })
  })
  app.get('/me', async (request) => ({ name: cookieUser(request) }))

  await app.register(pitaya, {
    acceptors: { websocket: { path: '/pitaya' }, tcp: { port: tcpPort, host: '127.0.0.1' } },
    handshake: {
      user: User,
      validators: {
        login: ({ request, user }) => {
          const uid = request === undefined ? tokenUser(user.token ?? '', secret) : cookieUser(request)
          if (uid === undefined) throw new PitayaError('LOGIN', 'log in first')
          return { uid }
        }
      }
    }
  })
  app.pitaya.register(account)
  return app
}

/** `name.expiry.signature`, the name in base64url. */
export function signToken (name: string, expiresAt: number, secret: string): string {
  const claim = `${Buffer.from(name).toString('base64url')}.${expiresAt}`
  return `${claim}.${signature(claim, secret)}`
}

function tokenUser (token: string, secret: string): string | undefined {
  const [name = '', expiresAt = '', signed = ''] = token.split('.')
  if (!isSame(signature(`${name}.${expiresAt}`, secret), signed) || !(Number(expiresAt) > Date.now())) return undefined
  return Buffer.from(name, 'base64url').toString()
}

function cookieUser (request: FastifyRequest): string | undefined {
  const { valid, value } = request.unsignCookie(request.cookies.user ?? '')
  return valid ? value : undefined
}

function signature (claim: string, secret: string): string { return createHmac('sha256', secret).update(claim).digest('base64url') }

/** In constant time, whatever the lengths. */
function isSame (a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(text).digest())
  return timingSafeEqual(left!, right!)
}

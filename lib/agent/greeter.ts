import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import { Value } from '@sinclair/typebox/value'
import sjson from 'secure-json-parse'
import { createError, isPitayaError } from '../errors.ts'
import type { HandshakeSys, Logger, MaybePromise } from '../handler/types.ts'
import { normalizeHandshake } from '../protocol/handshake.ts'
import type { PendingContract, Pin, Session } from '../session/session.ts'
import { isThenable } from '../thenable.ts'
import type { Greeting } from './host.ts'

/** What a handshake validator is given. */
export interface HandshakeInput<U = unknown, R = unknown> {
  readonly sys: HandshakeSys
  readonly user: U
  /** The upgrade's Fastify request (cookies, headers, decorators); undefined where there was none, as on TCP. */
  readonly request: R | undefined
  readonly remoteAddress: string
}

/**
 * Checks who may connect. Throwing refuses: a PitayaError's code, message and metadata reach clients that read them, other errors only
 * the log. What it returns is applied before the answer is sent: `uid` is bound, `data` becomes session data. A `uid` that is there but
 * undefined refuses, as does anything else that is no such object.
 */
export type HandshakeValidator<U = any, R = any> = (input: HandshakeInput<U, R>) => MaybePromise<ValidatorResult>
export type ValidatorResult = { uid?: string, data?: Record<string, unknown> } | undefined | void

export interface GreeterOptions {
  /** Run one after the other in this order; the first that throws refuses. */
  readonly validators: ReadonlyMap<string, HandshakeValidator>
  /** Checks the handshake's `user` and drops what is not declared. */
  readonly checkUser: Check | undefined
  /** Names in the order of `serializerIndex`. */
  readonly serializers: readonly string[]
  readonly defaultSerializer: string
  /** What the answer tells clients of the schemas that they lack. @param has fingerprint of what they have */
  readonly schemas?: (has: string) => string
  /** Pins a session to the schemas that its client is told of now, where that can be done. */
  readonly hold?: (session: Session) => void
  /** Contracts that clients are pinned to. */
  readonly pinned?: PinnedContracts
  readonly log: Logger
}

export interface PinnedContracts {
  /** Undefined: not known. @throws PIT_ERR_HANDSHAKE */
  lookUp (fingerprint: string): MaybePromise<Pin | undefined>
  expect (fingerprint: string): PendingContract
}

export type Check = (user: unknown) => unknown

/** Reads and checks handshakes: text, schemas, serializer, validators, bind. Synchronous as long as the validators are. */
export class Greeter {
  #validators: ReadonlyArray<readonly [string, HandshakeValidator]>
  #checkUser: Check | undefined
  #options: GreeterOptions

  constructor (options: GreeterOptions) {
    this.#options = options
    this.#validators = [...options.validators]
    this.#checkUser = options.checkUser
  }

  /** @throws PIT_ERR_HANDSHAKE, or what a validator or the bind threw */
  greet (session: Session, body: Uint8Array, request: unknown): MaybePromise<Greeting> {
    const { sys, user } = normalizeHandshake(parse(body))
    const extraSys = sys.schemas === undefined ? undefined : this.#options.schemas?.(sys.schemas)
    const said = this.#checkUser === undefined ? user : this.#checkUser(user)
    // The session first: validators may cause pushes.
    const greeting = { sys, user: said, serializerName: this.#choose(session, sys.serializer), extraSys }
    const { pinned, hold } = this.#options
    if (greeting.serializerName === 'avro') {
      if (sys.contract !== undefined && pinned !== undefined) return this.#pin(session, greeting, sys.contract, pinned, request)
      if (sys.schemas !== undefined) hold?.(session)
    }
    return this.#validate(session, greeting, request, 0)
  }

  #pin (session: Session, greeting: Greeting, contract: string, pinned: PinnedContracts, request: unknown): MaybePromise<Greeting> {
    const pin = pinned.lookUp(contract)
    const go = (pin: Pin | undefined): MaybePromise<Greeting> => {
      return this.#validate(session, withContract(session, greeting, contract, pin, pinned), request, 0)
    }
    return isThenable(pin) ? pin.then(go) : go(pin)
  }

  #validate (session: Session, greeting: Greeting, request: unknown, from: number): MaybePromise<Greeting> {
    const input: HandshakeInput = { sys: greeting.sys, user: greeting.user, request, remoteAddress: session.remoteAddress }
    for (let i = from; i < this.#validators.length; i++) {
      session.requireOpen()
      const [name, validate] = this.#validators[i]!
      let result
      try {
        result = validate(input)
      } catch (error) {
        throw this.#refusal(name, error)
      }
      const applied = isThenable(result) ? this.#await(session, name, result) : this.#apply(session, name, result)
      if (applied instanceof Promise) return applied.then(() => this.#validate(session, greeting, request, i + 1))
    }
    return greeting
  }

  async #await (session: Session, name: string, pending: PromiseLike<unknown>): Promise<void> {
    let result
    try {
      result = await pending
    } catch (error) {
      throw this.#refusal(name, error)
    }
    await this.#apply(session, name, result as ValidatorResult)
  }

  /** Nothing lets pass. Anything that is no result, `false` or a uid that is undefined, refuses: a slip must not open the door. */
  #apply (session: Session, name: string, result: ValidatorResult): MaybePromise<void> {
    if (result === undefined || result === null) return
    if (typeof result !== 'object' || ('uid' in result && typeof result.uid !== 'string')) {
      throw this.#refusal(name, new TypeError('a validator returns nothing, or { uid, data } with a text as uid; it throws to refuse'))
    }
    if (result.data !== undefined) session.set(result.data)
    if (result.uid !== undefined) return session.bind(result.uid)
  }

  #refusal (name: string, error: unknown): unknown {
    if (isPitayaError(error)) return error
    this.#options.log.warn({ err: error, validator: name }, 'a handshake validator refused with an error that is not public')
    return createError('PIT_ERR_HANDSHAKE_REFUSED', [`refused by handshake validator "${name}"`])
  }

  #choose (session: Session, asked: string | undefined): string {
    const name = asked ?? this.#options.defaultSerializer
    const index = this.#options.serializers.indexOf(name)
    if (index === -1) throw createError('PIT_ERR_HANDSHAKE', ['sys.serializer is not offered'])
    session.serializerIndex = index
    return name
  }
}

/** The session takes its contract's version, or waits for the contract. */
function withContract (session: Session, greeting: Greeting, contract: string, pin: Pin | undefined, pinned: PinnedContracts): Greeting {
  session.requireOpen()
  if (pin !== undefined) {
    session.pin(pin)
    return greeting
  }
  session.awaited = pinned.expect(contract)
  const need = `"need":${JSON.stringify([contract])}`
  return { ...greeting, extraSys: greeting.extraSys === undefined ? need : `${greeting.extraSys},${need}` }
}

function parse (body: Uint8Array): unknown {
  try {
    const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
    return sjson.parse(text, undefined, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    throw createError('PIT_ERR_HANDSHAKE', ['the body is not acceptable JSON'])
  }
}

/** Checks the handshake's `user` and drops what is not declared. Throws PIT_ERR_SCHEMA for what is no TypeBox schema. */
export function compileUserCheck (schema: TSchema): Check {
  let compiled: TypeCheck<TSchema>
  try {
    compiled = TypeCompiler.Compile(schema)
  } catch (cause) {
    throw createError('PIT_ERR_SCHEMA', ['handshake.user', 'it must be a TypeBox schema'], { cause })
  }
  return (user) => {
    if (compiled.Check(user)) return Value.Clean(schema, user)
    const field = `user${compiled.Errors(user).First()?.path ?? ''}`
    throw createError('PIT_ERR_HANDSHAKE', [`${field} is not as the server expects`], { metadata: { field } })
  }
}

import { createError } from '../errors.ts'
import type { Call } from './call.ts'
import { JobState } from './job.ts'
import type { HandlerSession, HandshakeSys } from './types.ts'

/** The session as one call sees it: after the call's deadline it can be read, but no longer written to. */
export class SessionView implements HandlerSession {
  #call: Call

  constructor (call: Call) {
    this.#call = call
  }

  get id (): number { return this.#call.of.id }
  get address (): string { return this.#call.of.address }
  get uid (): string { return this.#call.of.uid }
  get data (): Readonly<Record<string, unknown>> { return this.#call.of.data }
  get handshake (): { readonly sys: HandshakeSys, readonly user: unknown } { return this.#call.of.handshake }
  get remoteAddress (): string { return this.#call.of.remoteAddress }
  get ipVersion (): 'ipv4' | 'ipv6' { return this.#call.of.ipVersion }
  get serializer (): string { return this.#call.of.serializer }
  get isClosed (): boolean { return this.#call.of.isClosed }

  set (patch: Record<string, unknown>): void { this.#writable().set(patch) }
  async pushToFront (): Promise<{ overwritten: string[] }> { return await this.#writable().pushToFront() }
  async bind (uid: string): Promise<void> { await this.#writable().bind(uid) }
  push (route: string, value: unknown): boolean { return this.#writable().push(route, value) }
  kick (reason?: string): void { this.#writable().kick(reason) }
  close (): void { this.#writable().close() }
  onClose (callback: () => void): void { this.#writable().onClose(callback) }

  #writable () {
    if (this.#call.state === JobState.abandoned) throw createError('PIT_ERR_ABANDONED')
    return this.#call.of
  }
}

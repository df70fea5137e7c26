/** What is sent, and how clients that were built with other schemas say it. */
import { type TSchema, Type } from '@sinclair/typebox'
import { contractOf } from '../../out/lib/contract/contract.js'
import { SchemaSets } from '../../out/lib/contract/schema-sets.js'
import type { SchemaSet } from '../../out/lib/contract/set.js'
import { defineHandlers, request } from '../../out/lib/handler/define.js'

const name = 'player-00042'

export const payloads = {
  chat: { name, content: 'hello everyone, this is a chat line of ordinary length' },
  rich: {
    name,
    match: '5f0c2a9e-93b1',
    tick: 184_230,
    home: { zone: 'north-harbour', level: 17, position: { x: 103.25, y: -48.5, z: 12.125 } },
    units: Array.from({ length: 10 }, (_, i) => ({
      id: 70_000 + i * 37,
      kind: i % 3 === 0 ? 'archer' : 'rider',
      x: 100.5 + i * 3.37,
      y: -40.25 - i * 1.91,
      health: 1000 - i * 83,
      isMoving: i % 2 === 0
    }))
  }
}
export type MessageName = keyof typeof payloads

const number = Type.Number()
const position = Type.Object({ x: number, y: number, z: number })
const kind = Type.Union([Type.Literal('archer'), Type.Literal('rider'), Type.Literal('wall')])

/** Numbers, a nested record, a list of records. */
export const Rich = Type.Object({
  name: Type.String({ maxLength: 32 }),
  match: Type.String({ maxLength: 64 }),
  tick: Type.Integer({ minimum: 0 }),
  home: Type.Object({ zone: Type.String({ maxLength: 64 }), level: Type.Integer({ minimum: 0, maximum: 100 }), position }),
  units: Type.Array(Type.Object({
    id: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    kind,
    x: number,
    y: number,
    health: Type.Integer({ minimum: 0, maximum: 1000 }),
    isMoving: Type.Boolean(),
    target: Type.Optional(Type.Integer())
  }), { maxItems: 100 }),
  comment: Type.Optional(Type.String({ maxLength: 500 }))
})

/** Another order, one field under another name, and an optional one that the server has not. */
const OtherChat = Type.Object({
  text: Type.String({ aliases: ['content'] }),
  mood: Type.Optional(Type.String()),
  name: Type.String()
})

/** The same in the list too, where the client lacks an optional field that the server has. */
const OtherRich = Type.Object({
  match: Type.String(),
  name: Type.String(),
  tick: Type.Integer(),
  place: Type.Object({ level: Type.Integer({ minimum: 0, maximum: 100 }), zone: Type.String(), position }, { aliases: ['home'] }),
  units: Type.Array(Type.Object({
    id: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
    kind,
    x: number,
    y: number,
    hitPoints: Type.Integer({ minimum: 0, maximum: 1000, aliases: ['health'] }),
    isMoving: Type.Boolean()
  }))
})

/** The contract of clients that were built with other schemas than the servers here have. */
export function otherContract (): SchemaSet {
  const echo = (schema: TSchema) => request({ body: schema, response: schema }, (message) => message as object)
  const sets = new SchemaSets('')
  sets.setOwn(contractOf([defineHandlers('room', { echo: echo(OtherChat) }), defineHandlers('bench', { rich: echo(OtherRich) })]))
  return sets.set
}

/** A payload in the other contract's words. */
export function inOtherWords ({ content: text, home: place, units, ...rest }: Record<string, any>): object {
  if (units === undefined) return { ...rest, text }
  return { ...rest, place, units: units.map(({ health: hitPoints, ...unit }: Record<string, unknown>) => ({ ...unit, hitPoints })) }
}

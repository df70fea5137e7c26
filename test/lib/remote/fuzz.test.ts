import t from 'tap'
import { Type } from '@sinclair/typebox'
import { PitayaError } from '../../../lib/errors.ts'
import { defineRemotes } from '../../../lib/handler/define.ts'
import { RemoteClients } from '../../../lib/remote/client.ts'
import { createAvroSerializer } from '../../../lib/serializers/avro.ts'
import { checkFuzz, fuzz, FUZZ_TIMEOUT_MS } from '../../helpers/fuzz.ts'
import { createRemotes } from '../../helpers/remotes.ts'

t.setTimeout(FUZZ_TIMEOUT_MS)

const Team = Type.Object({
  name: Type.String({ maxLength: 32 }),
  players: Type.Array(Type.Object({ id: Type.Integer(), score: Type.Optional(Type.Number()) })),
  mode: Type.Union([Type.Literal('duel'), Type.Literal('team')]),
  tags: Type.Record(Type.String(), Type.String())
})
const match = defineRemotes('match', { echo: { body: Team, response: Team } })
const team = { name: 'red', players: [{ id: 1, score: 2.5 }, { id: -70_000 }], mode: 'duel' as const, tags: { region: 'eu' } }
const serializer = createAvroSerializer()
const corpus = [new Uint8Array(serializer.compile(Team, 'match.echo.body').encode(team))]

t.test('no bytes make a remote do anything but answer, or refuse with a code', async (t) => {
  const { service } = createRemotes()
  service.register(match, { echo: (body) => body })
  service.compile()
  const info = { callerId: 'connector-1', remainingMs: 5000, context: undefined }
  let outcome: string | undefined
  const reply = (_: Uint8Array, error?: { code: string }) => { outcome = error?.code ?? 'ok' }
  const report = await fuzz({
    corpus,
    maxBytes: 700,
    target: (input) => {
      outcome = undefined
      service.call('match.echo', input, info, reply)
      if (outcome === 'PIT-400') throw new PitayaError('PIT-400')
      if (outcome !== 'ok') throw new Error(`answered ${outcome}`)
    }
  })
  checkFuzz(t, report)
  t.ok(report.accepted > 0 && report.accepted < report.runs)
  t.equal(service.running, 0)
})

t.test('no response makes a caller do anything but resolve, or reject with a code', async (t) => {
  let answer: Uint8Array
  const game = new RemoteClients({ serializer, send: async () => answer }).of('game', match)
  checkFuzz(t, await fuzz({ corpus, maxBytes: 700, target: (input) => { answer = input; return game.echo(team) } }))
})

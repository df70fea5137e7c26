import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createJsonSerializer } from '../../../lib/serializers/json.ts'
import { checkFuzz, fuzz, fuzzRuns } from '../../helpers/fuzz.ts'
import { serializerFuzz } from './fuzz-target.ts'

t.test('no bytes make the JSON decoder do anything but decode or refuse', async (t) => {
  checkFuzz(t, await fuzz(serializerFuzz(createJsonSerializer())))
  t.equal(({} as Record<string, unknown>).admin, undefined)
  t.strictSame(Object.keys(Object.prototype), [])
})

// In a process of its own: an allocation from an announced count would end it, and no catch would help.
t.test('no bytes make the Avro decoder do anything but decode or refuse, in 512 MB', async (t) => {
  const child = fileURLToPath(new URL('./fuzz-avro.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--max-old-space-size=512', child], { timeout: 280_000 })
  const report = JSON.parse(stdout)
  t.equal(report.runs, fuzzRuns())
  checkFuzz(t, report)
})

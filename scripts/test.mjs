// Runs the compiled tests (out/test) with node's own runner. Arguments: files or parts of their names; none runs them all.
import { existsSync, readdirSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const all = existsSync('out/test')
  ? readdirSync('out/test', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.js')).sort()
  : []
const wanted = process.argv.slice(2)
// A source deleted since the last build leaves its compiled test behind: only files whose source is there are run.
const files = all
  .filter((file) => existsSync(join('test', file.replace(/\.js$/, '.ts'))))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .map((file) => join('out/test', file))
if (files.length === 0) {
  console.error('no test files: run "npx tsc -b test" first, and check the names given')
  process.exit(1)
}
const args = ['--enable-source-maps', '--test', '--test-concurrency=2', '--test-timeout=300000', ...files]
// tap ends a file after 30 s on its own; the runner's limit is the one that counts.
const env = { TAP_TIMEOUT: '300', ...process.env }
process.exit(spawnSync(process.execPath, args, { stdio: 'inherit', env }).status ?? 1)

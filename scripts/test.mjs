// Runs the compiled tests (out/test) with node's own runner.
// usage: node scripts/test.mjs [--coverage] [name ...]   names: parts of file names; none runs all tests
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join, relative } from 'node:path'

/** Lines that tests must reach, in per cent. */
const FLOORS = { '': 90, 'lib/protocol/': 95, 'lib/session/': 95, 'lib/cluster/': 95 }

const wanted = process.argv.slice(2).filter((argument) => argument !== '--coverage')
const withCoverage = process.argv.includes('--coverage')
const all = existsSync('out/test')
  ? readdirSync('out/test', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.js')).sort()
  : []
// A source deleted since the last build leaves its compiled test behind: only files whose source is there are run.
const files = all
  .filter((file) => existsSync(join('test', file.replace(/\.js$/, '.ts'))))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .map((file) => join('out/test', file))
if (files.length === 0) {
  console.error('no test files: run "npx tsc -b test" first, and check the names given')
  process.exit(1)
}

// On a terminal the runner's own report says at its end what failed.
const reporter = process.stdout.isTTY ? [] : ['--test-reporter=./scripts/tap-reporter.mjs', '--test-reporter-destination=stdout']
const runner = ['--enable-source-maps', '--test', '--test-concurrency=2', '--test-timeout=300000', ...reporter, ...files]
const collector = ['node_modules/c8/bin/c8.js', '--reporter=json-summary', '--reporter=html', '--exclude=test/**', '--exclude=examples/**']
// tap ends a file after 30 s on its own; the runner's limit is the one that counts.
const env = { TAP_TIMEOUT: '300', ...process.stdout.isTTY ? {} : { NO_COLOR: '1' }, ...process.env }
const args = withCoverage ? [...collector, process.execPath, ...runner] : runner
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', env })
process.exit(withCoverage && status === 0 && wanted.length === 0 ? checkCoverage() : status ?? 1)

/** Silent when all is well, so that the runner's totals stay the last lines. */
function checkCoverage () {
  const rows = Object.entries(JSON.parse(readFileSync('coverage/coverage-summary.json', 'utf8')))
    .filter(([file]) => file !== 'total').map(([file, { lines }]) => ({ file: relative('', file), ...lines })).filter(({ file }) => !/^(test|examples|out)\//.test(file))
  let result = 0
  for (const [folder, floor] of Object.entries(FLOORS)) {
    const here = rows.filter(({ file }) => file.startsWith(folder))
    const total = here.reduce((sum, row) => sum + row.total, 0)
    const percent = total === 0 ? 0 : 100 * here.reduce((sum, row) => sum + row.covered, 0) / total
    if (percent >= floor) continue
    console.error(`coverage of ${folder || 'all'} is ${percent.toFixed(1)} % of lines, below ${floor} %; see coverage/index.html`)
    result = 1
  }
  return result
}

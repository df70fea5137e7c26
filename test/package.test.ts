import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './helpers/vectors.ts'

interface Locked { version: string, dev?: boolean, optional?: boolean, hasInstallScript?: boolean, license?: string, resolved?: string }

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> }
const shipped = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true)

t.test('few packages come along, and none runs a script when it is installed', async (t) => {
  t.ok(Object.keys(manifest.dependencies).length <= 7, 'direct dependencies')
  t.ok(shipped.length <= 70, `${shipped.length} packages in all`)
  t.strictSame(shipped.filter(([, { hasInstallScript }]) => hasInstallScript === true).map(([path]) => path), [])
})

t.test('every package that comes along has a permissive licence', async (t) => {
  const allowed = new Set(['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'BlueOak-1.0.0', '0BSD', 'Unlicense'])
  t.strictSame(shipped.filter(([, { license }]) => !allowed.has(license ?? '')).map(([path, { license }]) => `${path}: ${license}`), [])
})

t.test('packages with known faults are new enough', async (t) => {
  const floors: Record<string, number[]> = { ws: [8, 21, 0] }
  for (const [path, { version }] of Object.entries(lock.packages)) {
    const floor = floors[path.split('node_modules/').at(-1) ?? '']
    if (floor !== undefined) t.ok(compare(version.split('.').map(Number), floor) >= 0, `${path} ${version} is at least ${floor.join('.')}`)
  }
})

t.test('the lockfile names no host', async (t) => {
  t.strictSame(Object.values(lock.packages).filter(({ resolved }) => resolved !== undefined && /^https?:/.test(resolved)), [])
})

function compare (a: number[], b: number[]): number {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0)
  return 0
}

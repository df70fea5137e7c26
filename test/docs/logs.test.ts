/** docs/guide-operating.md lists the log lines that the code writes, and no other. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readPage, root } from '../helpers/snippets.ts'

const WRITTEN = [/\blog\.(?:info|warn|error|fatal)\((?:.*?, )?'([^']+)'\)/gi, /(?:logFailure|logFault|#failed)\(.*?, '([^']+)'/g]
/** At start, where they say themselves what to do. */
const OF_START = ['admin routes are off: set ADMIN_TOKEN to have them', 'ready']

t.test('every log line is documented, and no other is', async (t) => {
  const filesOf = (folder: string): string[] => readdirSync(join(root, folder), { recursive: true }).map((name) => `${folder}/${String(name)}`)
  const files = ['lib', 'plugins', 'routes'].flatMap(filesOf)
  const sources = [...files, 'server.ts'].filter((file) => file.endsWith('.ts')).map((file) => readFileSync(join(root, file), 'utf8'))
  const written = sources.flatMap((text) => WRITTEN.flatMap((pattern) => [...text.matchAll(pattern)].map(([, line = '']) => line)))
  const rows = readPage('docs/guide-operating.md').matchAll(/^\| `([^`]+)` \| (?:info|warn|error|fatal)/gm)
  const documented = [...rows].map(([, line = '']) => line)
  t.strictSame([...documented, ...OF_START].sort(), [...new Set(written)].sort())
})

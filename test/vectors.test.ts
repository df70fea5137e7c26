import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './helpers/vectors.ts'

const copies = join(root, 'test/vectors')
const originals = join(root, '../shared/vectors')

t.test('the vectors that were recorded of Pitaya are here unchanged', { skip: !existsSync(originals) && 'the original vectors are not beside this repository' }, async (t) => {
  const recorded = readdirSync(originals)
  for (const name of readdirSync(copies).filter((name) => recorded.includes(name))) {
    t.equal(readFileSync(join(copies, name), 'utf8'), readFileSync(join(originals, name), 'utf8'), name)
  }
})

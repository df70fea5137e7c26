import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './helpers/vectors.ts'

const copies = join(root, 'test/vectors')
const originals = join(root, '../shared/vectors')

t.test('the vectors here are the recorded ones, unchanged', { skip: !existsSync(originals) && 'the original vectors are not beside this repository' }, async (t) => {
  for (const name of readdirSync(copies)) {
    t.equal(readFileSync(join(copies, name), 'utf8'), readFileSync(join(originals, name), 'utf8'), name)
  }
})

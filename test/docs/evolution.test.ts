import t from 'tap'
import { evolutions } from '../helpers/evolutions.ts'
import { readPage } from '../helpers/snippets.ts'

t.test('the guide has every change of the matrix that servers and clients are tested with, and its verdicts', async (t) => {
  const rows = readPage('docs/guide-evolution.md').split('\n').filter((line) => /\| (fits|fits by value|cannot fit) \|/.test(line))
  const documented = rows.map((row) => row.split('|').slice(1, 4).map((cell) => cell.trim()))
  t.strictSame(documented, evolutions.map(({ name, forth, back }) => [name, forth.verdict, back.verdict]))
})

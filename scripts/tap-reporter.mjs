// Node's TAP output, with what failed said again before the totals: of a long log often only the end is kept.
import { tap } from 'node:test/reporters'
import { relative } from 'node:path'

const MAX_LINES = 12
// eslint-disable-next-line no-control-regex
const COLOURS = /\x1b\[[\d;]*m/g

export default async function * reporter (source) {
  const failures = []
  const noted = async function * () {
    for await (const event of source) {
      // A parent fails with its parts: the innermost says why.
      if (event.type === 'test:fail' && event.data.details.error?.failureType !== 'subtestsFailed') failures.push(event.data)
      yield event
    }
  }
  for await (const text of tap(noted())) {
    if (text.startsWith('# tests ')) for (const failure of failures.splice(0)) yield * describe(failure)
    yield text
  }
}

function * describe ({ name, file = '', line, details: { error } }) {
  const cause = error?.cause ?? error
  const text = cause instanceof Error ? `${cause.stack ?? cause.message}` : String(cause)
  yield `# failed: ${relative('', file)}${line === undefined ? '' : `:${line}`} ${name}\n`
  for (const part of text.split('\n').slice(0, MAX_LINES)) yield `#   ${part.replace(COLOURS, '').trimEnd()}\n`
}

#!/usr/bin/env node
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { isPitayaError } from '../lib/pitaya-error.ts'
import { fetchContract, importContract, ReadError } from './contract.ts'

const USAGE = `Usage: fastify-pitaya contract <url or modules> [options]

Writes the contract of a server: its routes and pushes with their Avro schemas, which clients may be pinned to.

  http://localhost:3250/admin   a server's admin routes; the token is taken from ADMIN_TOKEN
  ws://localhost:3250/pitaya    a server, as a client sees it
  dist/room.js dist/shop.js     modules that export what defineHandlers returns

  -o, --output <file>   where to write it; default: the standard output
  -t, --type <type>     of modules: the type of the server they run on, for routes that are called with it
  -u, --user <json>     of a ws url: the handshake's user, where the server wants to know who asks
  -h, --help            this text`

const options = {
  output: { type: 'string', short: 'o' },
  type: { type: 'string', short: 't' },
  user: { type: 'string', short: 'u' },
  help: { type: 'boolean', short: 'h' }
} as const

let exitCode = 0
try {
  await run(process.argv.slice(2))
} catch (error) {
  console.error(explain(error))
  exitCode = 1
}
// Modules may have opened something.
process.exit(exitCode)

async function run (args: string[]): Promise<void> {
  const { values: { output, type, user, help }, positionals: [command, ...sources] } = parseArgs({ args, options, allowPositionals: true })
  if (help === true) { console.log(USAGE); return }
  if (command !== 'contract' || sources.length === 0) throw new ReadError(USAGE)
  const isUrl = /^(?:https?|wss?):/i.test(sources[0]!)
  if (isUrl && sources.length > 1) throw new ReadError('One url has all of a server: give no other source with it.')
  if ((isUrl && type !== undefined) || (user !== undefined && !/^wss?:/i.test(sources[0]!))) {
    throw new ReadError('--type is for modules, --user for a ws url.')
  }
  const set = isUrl
    ? await fetchContract(sources[0]!, { token: process.env.ADMIN_TOKEN, user: user === undefined ? undefined : parseUser(user) })
    : await importContract(sources, type)
  const text = `${JSON.stringify(set, null, 2)}\n`
  if (output === undefined) {
    await new Promise((resolve) => process.stdout.write(text, resolve))
    return
  }
  await writeFile(output, text)
  console.log(`${output}: ${Object.keys(set.routes).length} routes, ${Object.keys(set.pushes).length} pushes, fingerprint ${set.fingerprint}`)
}

function parseUser (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new ReadError('--user must be JSON, such as \'{"token":"..."}\'.')
  }
}

/** One sentence for what the caller can mend; a fault keeps its stack. */
function explain (error: unknown): string {
  if (error instanceof ReadError || isPitayaError(error)) return error.message.replace(/^fastify-pitaya: /, '')
  const { code, message, path, stack } = error as NodeJS.ErrnoException
  if (code?.startsWith('ERR_PARSE_ARGS') === true) return `${message}\n\n${USAGE}`
  if (code === 'ENOENT' || code === 'EACCES' || code === 'EISDIR') return `${path} cannot be written: ${code}.`
  return String(stack ?? error)
}

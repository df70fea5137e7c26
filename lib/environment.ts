/** The environment variables of the runnable server. Pure: reads what it is given, and prints nothing. */

interface Variable<T> {
  readonly about: string
  readonly fallback: T
  /** Ends the sentence "NAME must be ...". */
  readonly must: string
  parse (text: string): T | undefined
}

const COUNT = 1_000_000_000
const NATS_URL = /^(?:nats|tls):\/\/(?:[^\s/@]+@)?(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?\/?$/

const variables = {
  HOST: text('address to listen on; 0.0.0.0 for all of them', '127.0.0.1', /^[A-Za-z0-9.:_-]{1,253}$/, 'an address or a host name'),
  PORT: integer('port of HTTP and WebSocket; 0 for any', 3250, 0, 65535),
  TCP_PORT: integer('port of raw TCP; 0 for any', 3251, 0, 65535),
  PITAYA_SERVER_TYPE: text('first part of the routes', 'chat', /^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, "_" or "-"'),
  PITAYA_SERVER_ID: text('unique among all servers; random if unset', undefined, /^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, "_" or "-"'),
  PITAYA_FRONTEND: flag('whether clients connect here', true),
  NATS_URL: natsUrls('nats-server of the cluster, or several, with commas between; unset, this server is alone'),
  PITAYA_LEASE_SECONDS: seconds('others take this server for lost after so long a silence', 10, 0.3, 3600),
  PITAYA_SERIALIZER: oneOf('for clients that ask for none', 'json', ['json', 'avro']),
  PITAYA_COMPRESSION: flag('whether what leaves is compressed, from 1 KiB on', false),
  PITAYA_HEARTBEAT_SECONDS: seconds('interval of heartbeats', 30, 0.1, 86_400),
  PITAYA_CONCURRENCY_HANDLER_DISPATCH: integer('handlers at once', 1024, 1, COUNT),
  PITAYA_RATE_PER_SECOND: integer('messages per second and client, twice as many at once; 0 for no limit', 200, 0, COUNT),
  PITAYA_CONNECTIONS_PER_SECOND: integer('new clients per second', 2000, 1, COUNT),
  ADMIN_TOKEN: text('bearer token of /admin; without it, a terminal gets a random one', undefined, /^[\x21-\x7e]+$/, 'printable ASCII characters without spaces'),
  LOG_LEVEL: oneOf('least level logged', 'info', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
} as const

export type Settings = { readonly [K in keyof typeof variables]: (typeof variables)[K] extends Variable<infer T> ? T : never }

export interface Environment {
  readonly settings: Settings
  /** Sentences that name a variable and never its value. With any of them the server does not start. */
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

/** Reads and checks the variables; an empty one counts as unset. */
export function readEnvironment (env: Readonly<Record<string, string | undefined>>): Environment {
  const problems: string[] = []
  const settings: Record<string, unknown> = {}
  for (const [name, variable] of Object.entries<Variable<unknown>>(variables)) {
    const text = env[name] ?? ''
    const value = settings[name] = text === '' ? variable.fallback : variable.parse(text)
    if (text !== '' && value === undefined) problems.push(`${name} must be ${variable.must}.`)
  }
  if (settings.PITAYA_FRONTEND === true && settings.PORT === settings.TCP_PORT && settings.PORT !== 0) problems.push('PORT and TCP_PORT must be two different ports.')
  const unknown = Object.keys(env).filter((name) => name.startsWith('PITAYA_') && !Object.hasOwn(variables, name))
  const warnings = unknown.map((name) => `${name} is not known and has no effect; the nearest name is ${nearest(name)}.`)
  return { settings: settings as Settings, problems, warnings }
}

/** One line per variable, with its default. */
export function describeEnvironment (): string {
  return Object.entries<Variable<unknown>>(variables).map(([name, { about, fallback }]) => {
    return `  ${name.padEnd(36)} ${about}${fallback === undefined ? '' : ` [${String(fallback)}]`}`
  }).join('\n')
}

function text<F extends string | undefined> (about: string, fallback: F, pattern: RegExp, must: string): Variable<F | string> {
  return { about, fallback, must, parse: (text) => pattern.test(text) ? text : undefined }
}

function integer (about: string, fallback: number, min: number, max: number): Variable<number> {
  return { about, fallback, must: `a whole number from ${min} to ${max}`, parse: (text) => within(/^\d{1,10}$/.test(text) ? Number(text) : NaN, min, max) }
}

function seconds (about: string, fallback: number, min: number, max: number): Variable<number> {
  return { about, fallback, must: `a number from ${min} to ${max}`, parse: (text) => within(/^\d{1,5}(\.\d{1,3})?$/.test(text) ? Number(text) : NaN, min, max) }
}

function flag (about: string, fallback: boolean): Variable<boolean> {
  return { about, fallback, must: 'true or false', parse: (text) => text === 'true' ? true : text === 'false' ? false : undefined }
}

function oneOf<const T extends string> (about: string, fallback: NoInfer<T>, values: readonly T[]): Variable<T> {
  return { about, fallback, must: `one of ${values.join(', ')}`, parse: (text) => values.find((value) => value === text) }
}

function natsUrls (about: string): Variable<string[] | undefined> {
  const must = 'nats://[user:password@]host[:port] or tls://..., several with commas between; what is special in a password as %-code'
  return {
    about,
    fallback: undefined,
    must,
    parse: (text) => {
      const urls = text.split(',').map((url) => url.trim())
      return urls.every((url) => NATS_URL.test(url) && URL.canParse(url)) ? urls : undefined
    }
  }
}

function within (value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined
}

function nearest (name: string): string {
  const known = Object.keys(variables).filter((known) => known.startsWith('PITAYA_'))
  return known.reduce((best, candidate) => distance(name, candidate) < distance(name, best) ? candidate : best)
}

/** Edits that make one text of the other (Levenshtein), row by row. */
function distance (from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]!
}

// A cluster on this machine: nats-server, two connectors (frontends) with the chat page, two chat servers (backends) with the room.
// usage: npm run demo:cluster    PORT: HTTP of the first connector (3250; 0 for free ports); LOG_LEVEL: what is shown of the logs (warn)
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const SERVER = fileURLToPath(new URL('../out/server.js', import.meta.url))
/** Debian's package puts nats-server where the PATH of an ordinary user does not look. */
const PATH = `${process.env.PATH}:/usr/local/sbin:/usr/sbin`
const NO_NATS = 'nats-server is not on the PATH: install it by "apt-get install nats-server" (Debian, Ubuntu), "brew install nats-server" (macOS) ' +
  'or "go install github.com/nats-io/nats-server/v2@latest".'
const START_MS = 20_000
const POLL_MS = 50
const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60, silent: Infinity }

const shown = LEVELS[process.env.LOG_LEVEL] ?? LEVELS.warn
const basePort = Number(process.env.PORT || 3250)
const folder = mkdtempSync(join(tmpdir(), 'pitaya-demo-'))
/** In the order they were started; stopped the other way round. */
const children = []
let stopping

process.on('exit', () => {
  for (const { process: child } of children) if (isAlive(child)) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (stopping !== undefined) process.exit(1)
    stop(0)
  })
}

try {
  await run()
} catch (error) {
  if (stopping === undefined) {
    console.error(error.message)
    stop(1)
  }
}

async function run () {
  const url = await startNats()
  const [chats, connectors] = [['chat-1', 'chat-2'], ['connector-1', 'connector-2']]
  const backends = await Promise.all(chats.map((id) => startServer(url, id, { PITAYA_SERVER_TYPE: 'chat', PITAYA_FRONTEND: 'false', PORT: '0' })))
  const frontends = await Promise.all(connectors.map(async (id, i) => {
    const port = basePort === 0 ? 0 : await freePort(basePort + 10 * i)
    const tcpPort = port === 0 ? 0 : await freePort(port + 1)
    return await startServer(url, id, { PITAYA_SERVER_TYPE: 'connector', PORT: String(port), TCP_PORT: String(tcpPort) })
  }))
  await Promise.all([...backends, ...frontends].map(isReady))
  console.log(`
  Chat    ${frontends[0].url}/   (${frontends[0].id})
          ${frontends[1].url}/   (${frontends[1].id})

  Open both and chat: each page is served by its connector, the room is in ${chats.join(' and ')}.
  See what happens when a server dies:  kill -9 ${backends[0].process.pid}   (${backends[0].id})

  Ctrl+C stops.
`)
}

async function startNats () {
  const child = start('nats-server', 'nats-server', ['-js', '-sd', folder, '-a', '127.0.0.1', '-p', '-1'])
  const port = await new Promise((resolve, reject) => {
    child.process.on('error', ({ code, message }) => reject(new Error(code === 'ENOENT' ? NO_NATS : `nats-server does not start: ${message}`)))
    child.process.on('close', () => reject(new Error(`nats-server does not start: ${child.lines.at(-1) ?? 'it said nothing'}`)))
    onLine(child, 'stderr', (line) => {
      child.lines.push(line)
      const [, port] = /Listening for client connections on .*:(\d+)$/.exec(line) ?? []
      if (port !== undefined) child.port = port
      if (line.includes('Server is ready')) resolve(child.port)
    })
  })
  console.log(`nats-server  nats://127.0.0.1:${port}  (pid ${child.process.pid})`)
  return `nats://127.0.0.1:${port}`
}

async function startServer (natsUrl, id, env) {
  const common = { HOST: '127.0.0.1', NATS_URL: natsUrl, PITAYA_SERVER_ID: id, PITAYA_LEASE_SECONDS: '3', LOG_LEVEL: 'info' }
  const child = start(id, process.execPath, [SERVER], { ...common, ...env })
  onLine(child, 'stderr', (line) => console.error(`${id}: ${line}`))
  child.url = await new Promise((resolve, reject) => {
    child.process.on('close', () => reject(new Error(`${id} did not start.`)))
    onLine(child, 'stdout', (text) => {
      const line = JSON.parse(text)
      if (line.msg === 'ready') resolve(line.url)
      if (line.level >= shown) console.log(`${id}: ${line.msg}${line.err === undefined ? '' : `: ${line.err.message}`}`)
    })
  })
  console.log(`${id.padEnd(12)} ${child.url}  (pid ${child.process.pid})`)
  return child
}

/** In a process group of its own: Ctrl+C is for this program, which stops the others in order. */
function start (id, command, args, env = {}) {
  const stdio = ['ignore', 'pipe', 'pipe']
  const child = { id, lines: [], process: spawn(command, args, { detached: true, stdio, env: { ...process.env, PATH, ...env } }) }
  children.push(child)
  child.process.on('exit', (code, signal) => {
    if (stopping === undefined) console.log(`${id} (pid ${child.process.pid}) ended: ${signal ?? `exit code ${code}`}`)
  })
  return child
}

function onLine ({ process: child }, stream, callback) {
  createInterface({ input: child[stream] }).on('line', callback)
}

async function isReady ({ id, url, process: child }) {
  const deadline = performance.now() + START_MS
  while (performance.now() < deadline && isAlive(child)) {
    const { status } = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1000) }).catch(() => ({}))
    if (status === 200) return
    await sleep(POLL_MS)
  }
  throw new Error(`${id} was not ready within ${START_MS / 1000} s.`)
}

/** The port, or 0 (any) when somebody has it. */
async function freePort (port) {
  return await new Promise((resolve) => {
    const probe = createServer().once('error', () => resolve(0))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(port)))
  })
}

/** Frontends first, which tells their clients; then the backends, which have nothing in hand by then; nats-server last. */
async function stop (code) {
  stopping = code
  const rest = children.filter(({ process: child }) => isAlive(child))
  if (rest.length > 0) console.log(`stopping ${rest.length} processes; Ctrl+C again ends them at once`)
  for (const type of ['connector', 'chat', 'nats-server']) {
    await Promise.all(rest.filter(({ id }) => id.startsWith(type)).map(end))
  }
  process.exit(stopping)
}

async function end ({ id, process: child }) {
  if (!isAlive(child)) return
  const ended = new Promise((resolve) => { child.once('close', resolve) })
  child.kill('SIGTERM')
  const code = await ended
  console.log(`${id} stopped${code === 0 || code === null || id === 'nats-server' ? '' : ` with exit code ${code}`}`)
  if (code !== 0 && id !== 'nats-server') stopping = 1
}

function isAlive ({ pid, exitCode, signalCode }) {
  return pid !== undefined && exitCode === null && signalCode === null
}

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { accepting, type Children, freePort, type Running } from './children.ts'
import { type ClusterName, clusters, isCluster, startCluster } from './clusters.ts'
import { buildGo, GO_PEER } from './pitaya-go.ts'

/** Servers that can be measured. */
export type ServerName = SingleName | ClusterName
type SingleName = 'fastify-pitaya' | 'handlers' | 'pitaya-go' | 'ws' | 'ws-cork' | 'net'

interface Definition {
  /** A reason why it cannot run here, or undefined. */
  unavailable?: () => string | undefined
  command: (wsPort: number, tcpPort: number) => string[]
  env?: (wsPort: number, tcpPort: number) => NodeJS.ProcessEnv
  /** Which of its two ports it opens; both unless given. */
  only?: 'ws' | 'tcp'
}

const OUT = import.meta.dirname
const ROOT = join(OUT, '../..')
/** Raised beyond what a generator can reach, so that the limits are on the path and never met. */
const RATES = { PITAYA_RATE_PER_SECOND: '10000000', PITAYA_CONNECTIONS_PER_SECOND: '1000000' }

const definitions: Record<SingleName, Definition> = {
  'fastify-pitaya': {
    unavailable: () => existsSync(join(ROOT, 'out/server.js')) ? undefined : 'out/server.js is missing: run "npm run build" in the repository first',
    command: () => [process.execPath, join(ROOT, 'out/server.js')],
    env: (wsPort, tcpPort) => ({
      HOST: '127.0.0.1',
      PORT: String(wsPort),
      TCP_PORT: String(tcpPort),
      LOG_LEVEL: 'warn',
      PITAYA_COMPRESSION: 'false',
      PITAYA_HEARTBEAT_SECONDS: '30',
      ...RATES
    })
  },
  handlers: {
    unavailable: () => existsSync(join(ROOT, 'out/plugins/pitaya.js')) ? undefined : 'out/plugins/pitaya.js is missing: run "npm run build" in the repository first',
    command: (wsPort, tcpPort) => [process.execPath, join(OUT, 'server.js'), String(wsPort), String(tcpPort)]
  },
  'pitaya-go': {
    unavailable: buildGo,
    command: () => [GO_PEER],
    env: (wsPort, tcpPort) => ({ WS_ADDR: `127.0.0.1:${wsPort}`, TCP_ADDR: `127.0.0.1:${tcpPort}` })
  },
  ws: { command: (wsPort) => [process.execPath, join(OUT, 'peers/ws-echo.js'), String(wsPort)], only: 'ws' },
  'ws-cork': { command: (wsPort) => [process.execPath, join(OUT, 'peers/ws-echo.js'), String(wsPort), 'cork'], only: 'ws' },
  net: { command: (_, tcpPort) => [process.execPath, join(OUT, 'peers/net-echo.js'), String(tcpPort)], only: 'tcp' }
}

/** Why a server cannot be measured here, or undefined. Builds it if it has to be built. */
export function unavailable (name: ServerName): string | undefined {
  return isCluster(name) ? clusters[name].unavailable() : definitions[name].unavailable?.()
}

/** Starts a server on free loopback ports and waits until it accepts connections. */
export async function start (name: ServerName, children: Children): Promise<Running> {
  if (isCluster(name)) return await startCluster(name, children)
  const { command, env, only } = definitions[name]
  const [wsPort, tcpPort] = [await freePort(), await freePort()]
  const child = children.start('server', command(wsPort, tcpPort), env?.(wsPort, tcpPort))
  try {
    if (only !== 'tcp') await accepting(wsPort, child)
    if (only !== 'ws') await accepting(tcpPort, child)
  } catch (error) {
    throw new Error(`${name} ${(error as Error).message}`)
  }
  return {
    processes: [{ name: 'server', pid: child.pid, isCounted: true }],
    urls: { ws: `ws://127.0.0.1:${wsPort}/`, tcp: `tcp://127.0.0.1:${tcpPort}` },
    end: () => child.end()
  }
}

/** Clusters, each measured as one server: a frontend, a backend and a nats-server of its own. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Broker, missing, startEtcd, startNats } from './brokers.ts'
import { accepting, type Child, type Children, complaint, freePort, type Running } from './children.ts'
import { Client } from './generator/client.ts'
import { payloads } from './messages.ts'
import { buildGo, GO_PEER } from './pitaya-go.ts'

export type ClusterName = 'fastify-pitaya-cluster' | 'pitaya-go-cluster'

interface Addresses { nats: string, etcd: string, wsPort: number }

interface Definition {
  /** A reason why it cannot run here, or undefined. */
  unavailable: () => string | undefined
  /** Pitaya Go finds its servers through etcd, fastify-pitaya through NATS. */
  needsEtcd: boolean
  command: (serverType: 'connector' | 'chat', addresses: Addresses) => string[]
  env?: (serverType: 'connector' | 'chat', addresses: Addresses) => NodeJS.ProcessEnv
}

/** What every cluster here answers, once its members have found each other. */
const ROUTE = 'chat.room.echo'
const DISCOVERY_TIMEOUT_MS = 20_000
const OUT = import.meta.dirname
const PLUGIN = join(OUT, '../../out/plugins/pitaya.js')

export const clusters: Record<ClusterName, Definition> = {
  'fastify-pitaya-cluster': {
    unavailable: () => existsSync(PLUGIN) ? missing('nats-server') : 'out/plugins/pitaya.js is missing: run "npm run build" in the repository first',
    needsEtcd: false,
    command: (serverType, { nats, wsPort }) => [process.execPath, join(OUT, 'cluster-server.js'), serverType, nats, String(wsPort)]
  },
  'pitaya-go-cluster': {
    unavailable: () => missing('nats-server') ?? missing('etcd') ?? buildGo(),
    needsEtcd: true,
    command: () => [GO_PEER],
    env: (serverType, { nats, etcd, wsPort }) => ({
      SERVER_TYPE: serverType,
      NATS_URL: nats,
      ETCD_URL: etcd,
      WS_ADDR: `127.0.0.1:${wsPort}`
    })
  }
}

export function isCluster (name: string): name is ClusterName {
  return Object.hasOwn(clusters, name)
}

/** Starts brokers, backend and frontend on free loopback ports and waits until a request comes through. */
export async function startCluster (name: ClusterName, children: Children): Promise<Running> {
  const { needsEtcd, command, env } = clusters[name]
  const folder = mkdtempSync(join(tmpdir(), 'pitaya-bench-'))
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  process.once('exit', removeFolder)
  const started: Child[] = []
  const broker = async (start: typeof startNats): Promise<Broker> => {
    const running = await start(folder, children)
    started.push(running.child)
    return running
  }
  const member = (serverType: 'connector' | 'chat', addresses: Addresses): Child => {
    const child = children.start('server', command(serverType, addresses), env?.(serverType, addresses))
    started.push(child)
    return child
  }
  const end = async () => {
    // Members before brokers: what they take leave of is still there.
    for (const child of started.toReversed()) await child.end()
    removeFolder()
    process.off('exit', removeFolder)
  }

  try {
    const nats = await broker(startNats)
    const etcd = needsEtcd ? await broker(startEtcd) : undefined
    const addresses = { nats: nats.url, etcd: etcd?.url ?? '', wsPort: await freePort() }
    const back = member('chat', addresses)
    const front = member('connector', addresses)
    const url = `ws://127.0.0.1:${addresses.wsPort}/`
    await accepting(addresses.wsPort, front)
    await answering(url, [front, back])
    const counted = Object.entries({ front, back, 'nats-server': nats.child }).map(([name, { pid }]) => ({ name, pid, isCounted: true }))
    return {
      processes: etcd === undefined ? counted : [...counted, { name: 'etcd', pid: etcd.child.pid, isCounted: false }],
      urls: { ws: url, tcp: '' },
      end
    }
  } catch (error) {
    await end()
    throw new Error(`${name}: ${(error as Error).message}`)
  }
}

/** Resolves when a request is answered through both members, rejects when one of them ends or it takes too long. */
async function answering (url: string, members: Child[]): Promise<void> {
  const abort = new AbortController()
  for (const { ended } of members) ended.then(({ code, stderr }) => abort.abort(new Error(`a member ended with code ${code}: ${complaint(stderr)}`)))
  for (const deadline = Date.now() + DISCOVERY_TIMEOUT_MS; !abort.signal.aborted; await sleep(100)) {
    const client = new Client(new URL(url), Buffer.alloc(4096))
    try {
      await client.greet(new URL(url))
      await client.request(ROUTE, Buffer.from(JSON.stringify(payloads.chat)))
      return
    } catch (error) {
      if (Date.now() > deadline) throw error
    } finally {
      client.close()
    }
  }
  throw abort.signal.reason
}

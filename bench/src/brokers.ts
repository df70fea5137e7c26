/** What a cluster of servers needs beside them. Each keeps its files in the folder it is given. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { accepting, type Child, type Children, freePort } from './children.ts'

/** A broker that is up. */
export interface Broker { child: Child, url: string }

/** Why a program cannot be started, or undefined. */
export function missing (program: string): string | undefined {
  return spawnSync(program, ['--version']).error === undefined ? undefined : `${program} is not on PATH`
}

export async function startNats (folder: string, children: Children): Promise<Broker> {
  const port = await freePort()
  const args = ['-js', '-sd', join(folder, 'nats'), '-a', '127.0.0.1', '-p', String(port)]
  const child = children.start('server', tethered(['nats-server', ...args]))
  await accepting(port, child)
  return { child, url: `nats://127.0.0.1:${port}` }
}

/** On the generator's core: what it does is not measured and must not be in the way of what is. */
export async function startEtcd (folder: string, children: Children): Promise<Broker> {
  const [port, peerPort] = [await freePort(), await freePort()]
  const [url, peerUrl] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`]
  const child = children.start('generator', tethered([
    'etcd',
    '--name', 'bench',
    '--data-dir', join(folder, 'etcd'),
    '--listen-client-urls', url,
    '--advertise-client-urls', url,
    '--listen-peer-urls', peerUrl,
    '--initial-advertise-peer-urls', peerUrl,
    '--initial-cluster', `bench=${peerUrl}`,
    '--log-level', 'error'
  ]))
  await accepting(port, child)
  return { child, url }
}

/** Brokers, unlike our own servers, don't end with their standard input: where setpriv is there to ask, the kernel ends them with us. */
function tethered (command: string[]): string[] {
  return missing('setpriv') === undefined ? ['setpriv', '--pdeathsig', 'KILL', ...command] : command
}

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** The program that `buildGo` makes: a server of its own or a member of a cluster, as its environment says. */
export const GO_PEER = join(import.meta.dirname, 'pitaya-go')

/** Builds the peer, quickly where nothing changed. Returns why it cannot, or undefined. */
export function buildGo (): string | undefined {
  const { error, status, stderr } = spawnSync('go', ['build', '-o', GO_PEER, '.'], {
    cwd: join(import.meta.dirname, '../peers/go'),
    encoding: 'utf8'
  })
  if (error !== undefined) return 'Go is not on PATH'
  return status === 0 ? undefined : `it does not build: ${stderr.trim().split('\n').at(-1)}`
}

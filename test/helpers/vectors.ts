import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's top, whether this runs from source or compiled. */
export const root = findRoot(dirname(fileURLToPath(import.meta.url)))

function findRoot (folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder))
}

/** A file of test/vectors: what Pitaya's Go code wrote or read, recorded. */
export function readVectors<T> (name: string): T {
  return JSON.parse(readFileSync(join(root, 'test/vectors', name), 'utf8')) as T
}

export function fromHex (hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

export function toHex (bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

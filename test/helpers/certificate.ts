import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Certificate { key: Buffer, cert: Buffer }

/** A self-signed certificate for localhost, by the openssl on PATH; undefined where there is none, which is an error in CI. */
export function createCertificate (): Certificate | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'pitaya-tls-'))
  try {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=localhost', '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')], { stdio: 'ignore' })
    return { key: readFileSync(join(folder, 'key.pem')), cert: readFileSync(join(folder, 'cert.pem')) }
  } catch (error) {
    if (process.env['CI'] === 'true') throw error
    return undefined
  } finally {
    rmSync(folder, { recursive: true })
  }
}

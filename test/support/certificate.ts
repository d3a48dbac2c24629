// A certificate of its own for `localhost`, made by openssl.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const OPENSSL = '/usr/bin/openssl'

/** Empty, or why nothing is tried over TLS: said aloud; under DEPUTY_NO_SKIP=1 it throws. */
export const opensslMissing = (): string => {
  if (existsSync(OPENSSL)) return ''
  const missing = `${OPENSSL} is missing (apt-get install openssl): nothing is tried over TLS`
  if (process.env['DEPUTY_NO_SKIP'] === '1') throw new Error(missing)
  process.stderr.write(`SKIPPED: ${missing}\n`)
  return ` (SKIPPED: ${missing})`
}

/** Writes `tls.crt` and `tls.key` into a folder. `names`: as openssl has them. */
export const makeCertificate = (
  folder: string,
  names = 'DNS:localhost,IP:127.0.0.1',
): { readonly cert: string; readonly key: string; readonly pem: string } => {
  const [cert, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key]
  const name = ['-subj', '/CN=localhost', '-addext', `subjectAltName=${names}`]
  execFileSync(OPENSSL, ['req', '-x509', '-days', '2', ...curve, '-out', cert, ...name], {
    stdio: 'ignore',
  })
  return { cert, key, pem: readFileSync(cert, 'utf8') }
}

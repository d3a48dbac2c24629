// An authority of client certificates, and certificates that it gives out, made by openssl.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const openssl = (...args: readonly string[]): void =>
  void execFileSync('/usr/bin/openssl', args, { stdio: 'ignore' })
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

export type Shown = { readonly cert: string; readonly key: string }
export type Authority = {
  /** File of its own certificate. */
  readonly path: string
  /**
   * A certificate of it. `names` as openssl has them: `URI:spiffe://corp/a`.
   */
  readonly give: (
    names: string,
    how?: {
      readonly cn?: string
      readonly ca?: boolean
      readonly usage?: string
      /** -1: it ended yesterday. */
      readonly days?: number
    },
  ) => Shown
}

export const makeAuthority = (folder: string, name: string): Authority => {
  const at = (file: string): string => join(folder, `${name}-${file}`)
  const ca = { path: at('ca.crt'), key: at('ca.key') }
  openssl(
    'req',
    '-x509',
    '-days',
    '2',
    ...KEY,
    '-keyout',
    ca.key,
    '-out',
    ca.path,
    '-subj',
    `/CN=${name}`,
  )
  let n = 0
  return {
    path: ca.path,
    give: (names, { cn = 'agent', ca: isCa = false, usage = 'clientAuth', days = 2 } = {}) => {
      const own = String(++n)
      const [key, request, cert, more] = ['key', 'csr', 'crt', 'ext'].map((end) =>
        at(`${own}.${end}`),
      ) as [string, string, string, string]
      writeFileSync(
        more,
        `basicConstraints=critical,CA:${isCa ? 'TRUE' : 'FALSE'}\nextendedKeyUsage=${usage}\n${names === '' ? '' : `subjectAltName=${names}\n`}`,
      )
      openssl('req', ...KEY, '-keyout', key, '-out', request, '-subj', `/CN=${cn}`)
      const by = ['-CA', ca.path, '-CAkey', ca.key, '-CAcreateserial']
      openssl(
        'x509',
        '-req',
        '-in',
        request,
        ...by,
        '-out',
        cert,
        '-extfile',
        more,
        '-days',
        String(days),
      )
      return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
    },
  }
}

// `deputy ca`: makes the certificate authority of a forward proxy, which can vouch for the hosts that are served and no other.
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CA_CERT, CA_KEY, namesOf, unvouched } from '../compose/authority.ts'
import type { Loaded } from '../config/load.ts'
import { replaceFile } from '../files.ts'
import { makeAuthority } from '../net/authority.ts'
import { outOfDate } from '../net/certificate.ts'

/** Exit code 0: made, or there already and good; 1: it is there and cannot serve; 78: the configuration has no place for it. */
export const makeCa = async (options: {
  readonly loaded: Loaded
  readonly days: number
  /** In place of the one that is there. */
  readonly renew: boolean
  readonly now: number
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { loaded, days, renew, now, print, complain } = options
  const { forward } = loaded.config
  if (forward === undefined) {
    complain(
      'forward: the configuration has no forward proxy: add `forward: { listen: 127.0.0.1:7414, ca: ./ca }`',
    )
    return 78
  }
  const folder = loaded.at(forward.ca)
  const [cert, key] = [join(folder, CA_CERT), join(folder, CA_KEY)]
  const connections = [...loaded.connections.values()]
  if (existsSync(cert) && existsSync(key) && !renew) {
    const text = readFileSync(cert, 'utf8')
    const old = outOfDate(text, now)
    const missing = await unvouched(text, connections)
    if (old === null && missing.length === 0) {
      print(`${cert} is there and good; --renew makes another`)
      return 0
    }
    complain(
      `${cert} ${old ?? `cannot vouch for ${missing.join(', ')}`}: --renew makes another, and agents must then trust that one`,
    )
    return 1
  }
  const hosts = namesOf(connections)
  if (hosts.length === 0) {
    complain('connections: none serves a host, so there is nothing to vouch for')
    return 78
  }
  const made = await makeAuthority(hosts, now, days)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  // The key first: a certificate without its key is seen at once, the other way round nobody would trust it.
  replaceFile(key, made.key)
  replaceFile(cert, made.cert)
  chmodSync(cert, 0o644)
  const { host, port } = forward.listen
  print(`${cert}: for ${hosts.length} hosts and ${days} days; ${key} stays where deputy runs`)
  print('What an agent needs, and nothing else:')
  print(`  HTTPS_PROXY=http://${host}:${port}`)
  print(
    `  SSL_CERT_FILE, REQUESTS_CA_BUNDLE, NODE_EXTRA_CA_CERTS, CURL_CA_BUNDLE, GIT_SSL_CAINFO=${cert}`,
  )
  return 0
}

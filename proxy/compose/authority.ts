// What a forward proxy shows its clients: read with the configuration, and again with each next one.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Loaded } from '../config/load.ts'
import { openToAll, readText, toldOf } from '../files.ts'
import type { Connection } from '../model.ts'
import { permits, permitted, type Authority } from '../net/authority.ts'
import { outOfDate } from '../net/certificate.ts'

export const CA_CERT = 'ca.crt'
export const CA_KEY = 'ca.key'

/** The certificate and the key below `forward.ca`. */
export const filesOf = (folder: string): readonly [string, string] => [
  join(folder, CA_CERT),
  join(folder, CA_KEY),
]

/** Every name that these connections serve; those that begin with a dot are the ends of names. */
export const namesOf = (connections: Iterable<Connection>): readonly string[] =>
  [
    ...new Set(
      [...connections].flatMap(({ provider }) => [
        ...provider.hosts.keys(),
        ...provider.assets.keys(),
        ...(provider.hostFromToken?.suffixes ?? []).map((one) => `.${one.replace(/^\./, '')}`),
      ]),
    ),
  ].toSorted()

/** Hosts that are served and for which this authority may not vouch: what clients make of them is an error of TLS. */
export const unvouched = async (
  cert: string,
  connections: Iterable<Connection>,
): Promise<readonly string[]> => {
  const names = await permitted(cert)
  return namesOf(connections).filter((name) => !permits(names, name.replace(/^\./, '')))
}

/** Who has its key can vouch for every host that is served: nobody else may read it. */
const checkKey = async (path: string, { cert, key }: Authority): Promise<void> => {
  const mode = await openToAll(path)
  if (mode !== null)
    throw new Error(
      `forward.ca: ${path} can be read by everybody (mode ${mode}): chmod 600 it, and make another (\`deputy ca --renew\`) if others use this machine`,
    )
  const own = ((): boolean => {
    try {
      const parsed = createPrivateKey(key)
      const { namedCurve } = parsed.asymmetricKeyDetails ?? {}
      return namedCurve === 'prime256v1' && new X509Certificate(cert).checkPrivateKey(parsed)
    } catch {
      return false // the parser's own words are OpenSSL's
    }
  })()
  if (!own)
    throw new Error(`forward.ca: ${path} is not the key of its ${CA_CERT}: run \`deputy ca\``)
}

/**
 * The authority that vouches for the hosts of a configuration; null: it has no forward proxy.
 * @param now ms since the epoch
 * @throws Error that says what is wrong with its folder and what to do
 */
export const readAuthority = async (
  { config: { forward }, at, connections }: Pick<Loaded, 'config' | 'at' | 'connections'>,
  now: number,
): Promise<Authority | null> => {
  if (forward === undefined) return null
  const [certFile, keyFile] = filesOf(at(forward.ca))
  const again = 'run `deputy ca`'
  const read = (path: string): Promise<string> =>
    readText(path).catch((error: unknown) => {
      const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      throw new Error(
        absent
          ? `forward.ca: ${path} does not exist: ${again}`
          : `forward.ca: ${toldOf(error)}; or ${again}`,
      )
    })
  const authority = { cert: await read(certFile), key: await read(keyFile) }
  const old = ((): string | null => {
    try {
      return outOfDate(authority.cert, now)
    } catch {
      throw new Error(`forward.ca: ${certFile} is no certificate: ${again}`)
    }
  })()
  if (old !== null) throw new Error(`forward.ca: ${certFile} ${old} with \`deputy ca --renew\``)
  await checkKey(keyFile, authority)
  const missing = await unvouched(authority.cert, connections.values())
  if (missing.length > 0)
    throw new Error(
      `forward.ca: the certificate was made before these hosts were served, and cannot vouch for them: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}: run \`deputy ca --renew\``,
    )
  return authority
}

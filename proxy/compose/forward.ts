// What a forward proxy shows its clients: read when deputy starts, by those that the configuration lets it serve.
import { join } from 'node:path'
import { readText } from '../files.ts'
import type { Connection } from '../model.ts'
import { createLeaves, permits, permitted, type Authority } from '../net/authority.ts'
import { outOfDate } from '../net/certificate.ts'
import type { TunnelOptions } from '../net/tunnels.ts'
import { messageOf } from '../problem.ts'
import type { Scope } from './scope.ts'

export const CA_CERT = 'ca.crt'
export const CA_KEY = 'ca.key'

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

/** @throws Error that says what is wrong with the folder and what to do */
const readAuthority = async (folder: string, now: number): Promise<Authority> => {
  const again = 'run `deputy ca`'
  const read = (name: string): Promise<string> =>
    readText(join(folder, name)).catch((error: unknown) => {
      throw new Error(
        `forward.ca: ${join(folder, name)} cannot be read (${messageOf(error)}): ${again}`,
      )
    })
  const authority = { cert: await read(CA_CERT), key: await read(CA_KEY) }
  const old = ((): string | null => {
    try {
      return outOfDate(authority.cert, now)
    } catch {
      throw new Error(`forward.ca: ${join(folder, CA_CERT)} is no certificate: ${again}`)
    }
  })()
  if (old !== null)
    throw new Error(`forward.ca: ${join(folder, CA_CERT)} ${old} with \`deputy ca --renew\``)
  return authority
}

/** Hosts that are served and for which this authority may not vouch: what clients make of them is an error of TLS. */
export const unvouched = async (
  cert: string,
  connections: Iterable<Connection>,
): Promise<readonly string[]> => {
  const names = await permitted(cert)
  return namesOf(connections).filter((name) => !permits(names, name.replace(/^\./, '')))
}

/** null: the configuration has no forward proxy. @throws Error that says what is wrong with its authority */
export const openForward = async ({
  config,
  at,
  clock,
  connections,
}: Pick<Scope, 'config' | 'at' | 'clock' | 'connections'>): Promise<Pick<
  TunnelOptions,
  'tagHeader' | 'leaf'
> | null> => {
  const { forward, identity } = config
  if (forward === undefined) return null
  const authority = await readAuthority(at(forward.ca), clock.now())
  const missing = await unvouched(authority.cert, connections.values())
  if (missing.length > 0)
    throw new Error(
      `forward.ca: the certificate was made before these hosts were served, and cannot vouch for them: ${missing.slice(0, 5).join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}: run \`deputy ca --renew\``,
    )
  return { tagHeader: identity.header, leaf: createLeaves(authority, clock.now) }
}

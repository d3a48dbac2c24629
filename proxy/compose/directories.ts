// Sources of entitlements, by the names that a configuration has for them.
import type { Loaded } from '../config/load.ts'
import { ldapKindOf, ldapServerOf, type LdapConfig } from '../config/ldap.ts'
import { credentialsOf, kindOf } from '../config/directory.ts'
import { sourcesOf, type Config } from '../config/schema.ts'
import type { Seen } from '../directory/asked.ts'
import { openFileDirectory } from '../directory/file.ts'
import { createHttpDirectory } from '../directory/http.ts'
import { joined } from '../directory/joined.ts'
import type { Directory } from '../directory/source.ts'
import { toldOf } from '../files.ts'
import type { Clock, ConnectionTls, Log, Person, PolicyEngine, SourceName } from '../model.ts'
import type { Fetch, Open as OpenSocket } from '../net/dial.ts'
import { createOwnToken } from '../oauth/own_token.ts'
import type { Keep } from './kept.ts'

export type Preparing = {
  readonly clock: Clock
  readonly log: Log
  readonly keep: Keep
  /** How often a bundle service is asked; absent: as long as this goes on. */
  readonly bundles?: 'always' | 'once' | 'never'
  readonly changed: {
    readonly people: () => void
    readonly policy: (engine: PolicyEngine) => void
    /** A bundle or tables are refused. */
    readonly policyRefused: (problem: string) => void
    /** Learns how sources that are asked over the network answer. */
    readonly seen: Seen
  }
}
/** What somebody said about a source counts no more. */
export type Invalidated = {
  /** null: anybody. */
  readonly person: Person | null
  readonly source: SourceName | 'signals'
  /** Of a closed set: `file_changed`, the kind of a signal. */
  readonly cause: string
}

export type Directories = ReadonlyMap<SourceName, Directory>

type Making = Preparing & {
  /** Realm of people whose row names none. */
  readonly realm: string
  readonly fetch: Fetch
  readonly open: OpenSocket
}
type Open = (loaded: Loaded, making: Making) => Promise<Directory>

/** What did not open needs no end. */
const nothing = (): void => undefined

const openFile: Open = ({ config, at }, { realm, clock, log, keep, changed }) => {
  const path = at(config.entitlements?.file ?? '')
  return keep('directory', [path, realm], () => {
    const value = openFileDirectory({ path, realm, clock, log, onChange: changed.people })
    return { value, close: () => value.then(({ close }) => close(), nothing) }
  })
}

const openHttp: Open = ({ config }, { realm, clock, log, keep, changed, fetch }) => {
  const { entitlements, network, upstream } = config
  const http = entitlements?.http
  if (http === undefined) throw new Error('nothing says what is asked')
  const ages = entitlements?.max_age
  const keepMs = Math.max(0, ...Object.values(ages ?? {}))
  const of = http.people_realm ?? realm
  // Its connections go by the same settings as all, and end with them.
  return keep('http', [http, of, keepMs, network, upstream], () => {
    const value = createHttpDirectory({
      kind: kindOf(http),
      realm: of,
      get: { fetch, authorization: createOwnToken(credentialsOf(http), { fetch, clock }) },
      timeoutMs: http.timeout,
      keepMs,
      clock,
      log,
      seen: changed.seen,
    })
    return { value: Promise.resolve(value), close: value.close }
  })
}

/** What its connections believe. */
export const ldapFiles = (
  { ca }: LdapConfig,
  at: (path: string) => string,
): ConnectionTls | null =>
  ca === undefined
    ? null
    : { connection: 'ldap', where: 'entitlements.ldap.ca', ca: at(ca), client: null }

const openLdap: Open = async ({ config, at }, { realm, clock, log, keep, changed, open }) => {
  const { entitlements, network, upstream } = config
  const ldap = entitlements?.ldap
  if (ldap === undefined) throw new Error('nothing says what is asked')
  const keepMs = Math.max(0, ...Object.values(entitlements?.max_age ?? {}))
  const of = ldap.people_realm ?? realm
  const server = ldapServerOf(ldap.url)
  // Its library is loaded by whoever has such a directory.
  const { createLdapDirectory } = await import('../directory/ldap.ts')
  // Its connections go by the same settings as all, and end with them.
  return keep('ldap', [ldap, of, keepMs, network, upstream], () => {
    const value = createLdapDirectory({
      kind: ldapKindOf(ldap),
      server: {
        ...server,
        tls: server.tls ? 'at_once' : ldap.starttls ? 'starttls' : 'none',
        files: ldapFiles(ldap, at),
        dn: ldap.bind.dn,
        password: ldap.bind.password,
        domainScope: ldap.preset === 'active_directory',
      },
      realm: of,
      open,
      timeoutMs: ldap.timeout,
      keepMs,
      clock,
      log,
      seen: changed.seen,
    })
    return { value, close: value.close }
  })
}

/** Those that are opened before the store is. */
const OPEN: Readonly<Partial<Record<SourceName, Open>>> = {
  file: openFile,
  http: openHttp,
  ldap: openLdap,
}

/** @throws Error whose message begins with the key that is wrong */
export const openDirectories = async (loaded: Loaded, making: Making): Promise<Directories> => {
  const opened = new Map<SourceName, Directory>()
  for (const name of sourcesOf(loaded.config.entitlements)) {
    const open = OPEN[name]
    if (open === undefined) continue
    opened.set(
      name,
      await open(loaded, making).catch((error: unknown) => {
        const told = toldOf(error).split('\n')
        throw new Error(told.map((line) => `entitlements.${name}: ${line}`).join('\n'), {
          cause: error,
        })
      }),
    )
  }
  return opened
}

/**
 * All that the configuration names, as one; null: it names none that can be asked.
 * @param directories those that are open, whoever opened them
 */
export const directoryOf = (config: Config, directories: Directories): Directory | null => {
  const [first, ...rest] = sourcesOf(config.entitlements).map((name) => {
    const one = directories.get(name)
    if (one === undefined) throw new Error(`entitlements.${name}: it is not open`)
    return one
  })
  return first === undefined ? null : joined([first, ...rest])
}

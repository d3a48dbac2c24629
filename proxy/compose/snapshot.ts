// Files → what a call decides by: keys, issuers, people, policy, tables of hosts and operations; every problem at once.
import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import { dirname, join } from 'node:path'
import { createClock, type GuardedClock } from '../clock.ts'
import { controlSocket } from '../config/address.ts'
import type { Config } from '../config/schema.ts'
import type { Loaded } from '../config/load.ts'
import { openFileDirectory, type Directory } from '../directory/file.ts'
import { readText, toldOf, tryFolder } from '../files.ts'
import { readLogo, type Logo } from '../config/logo.ts'
import type { Clock, Connection, Log, PolicyEngine } from '../model.ts'
import { createDial } from '../net/dial.ts'
import { commonTrust, trustOf, trustProblems } from '../net/trust.ts'
import type { Snapshot } from '../pipeline/exchange.ts'
import { readJwks } from '../oauth/issuer_keys.ts'
import { openPolicySource, type PolicySource } from '../policy/source.ts'
import { readRing } from '../vault/rotate.ts'
import { createKms } from '../vault/kms.ts'
import type { KeyRing } from '../vault/seal.ts'
import { createRings, type Rings } from '../vault/wrapped.ts'
import { createClassify } from '../pipeline/classify.ts'
import type { Issuer } from '../pipeline/identify.ts'
import { buildRoutes, serves } from '../pipeline/route.ts'

export type Parts = {
  readonly ring: KeyRing
  readonly rings: Rings
  readonly policy: PolicySource
  readonly issuers: readonly Issuer[]
  readonly directory: Directory | null
  readonly logo: Logo | null
}

/** Looked up at each question: that is how a test moves them. */
export const systemClock = (): GuardedClock =>
  createClock({
    wall: () => Date.now(),
    mono: () => performance.now(),
    boot: () => uptime() * 1_000,
  })

const message = toldOf

const readIssuer = async (
  issuer: Config['identity']['issuers'][number],
  at: (path: string) => string,
): Promise<Issuer> => {
  const jwksFile = issuer.jwks === undefined ? null : at(issuer.jwks)
  if (jwksFile !== null)
    try {
      readJwks(await readText(jwksFile))
    } catch (error) {
      throw new Error(`${issuer.jwks} is no JWKS: ${message(error)}`, { cause: error })
    }
  return {
    issuer: issuer.issuer,
    jwksUri: issuer.jwks_uri ?? null,
    jwksFile,
    realm: issuer.realm ?? issuer.issuer,
    audience: issuer.audience,
    user: issuer.user,
    agent: issuer.agent,
    tenant: issuer.tenant ?? null,
    tenants: issuer.tenants ?? null,
  }
}

/** How the ring is read: asked of the program of `vault.kms`, where there is one. */
export const ringsOf = ({ kms }: Pick<Loaded, 'kms'>): Rings =>
  createRings(kms === null ? null : createKms(kms))

/** What is wrong with the key file, where the configuration is wrong too: both are told at once. */
export const ringProblems = async ({ config, at, kms }: Loaded): Promise<readonly string[]> => {
  if (config.vault.keys === 'missing') return []
  try {
    await readRing(at(config.vault.keys), ringsOf({ kms }))
    return []
  } catch (error) {
    return [message(error).replace(/^(?!vault\.k(?:eys|ms))/, 'vault.keys: ')]
  }
}

/** What deputy writes: the key of the configuration that names it, its path, and what it is. */
const writes = ({ config, written }: Loaded): readonly (readonly [string, string, string])[] => {
  const { listeners, vault, audit, connect } = config
  const sockets = [listeners.agent, ...listeners.extra.map(({ listen }) => listen)]
  const file = (name: string, scheme: string): readonly string[] =>
    name.startsWith(scheme) ? [written(name.slice(scheme.length))] : []
  return [
    ['vault.spool', join(written(vault.spool), '*'), 'tokens that the vault cannot take'] as const,
    ...file(vault.store, 'sqlite:').map((at) => ['vault.store', at, 'the vault'] as const),
    ...audit.sink.flatMap((sink) =>
      file(sink, 'file:').map((at) => ['audit.sink', at, 'the evidence'] as const),
    ),
    ...sockets.flatMap((listen) =>
      'path' in listen ? [['listeners', written(listen.path), 'a socket'] as const] : [],
    ),
    ['state', controlSocket(vault.store, written), 'deputy.sock'],
    ...(connect.sign_in === 'local'
      ? [['state', written('.deputy-code'), 'the one-time code'] as const]
      : []),
  ]
}
const codeOf = (error: unknown): string =>
  error instanceof Error && 'errno' in error && 'code' in error
    ? String(error.code)
    : message(error)
/** @param made it is made when it is needed, in what is there */
const tryMade = (folder: string, made: boolean): Promise<void> =>
  tryFolder(folder).catch((error: unknown) => {
    if (made && codeOf(error) === 'ENOENT' && dirname(folder) !== folder)
      return tryMade(dirname(folder), true)
    throw error
  })
/** Folders that deputy will have to write to and cannot: found out now, not when there is a token to keep. */
const unwritable = async (loaded: Loaded): Promise<readonly string[]> => {
  const tried = new Set<string>()
  const problems: string[] = []
  for (const [key, path, what] of writes(loaded)) {
    const folder = dirname(path)
    if (tried.has(folder)) continue
    tried.add(folder)
    await tryMade(folder, key === 'vault.spool').catch((error: unknown) => {
      const code = codeOf(error)
      problems.push(
        code === 'ENOENT'
          ? `${key}: the folder ${folder} does not exist: create it`
          : `${key}: the folder ${folder} cannot be written to (${code}), and deputy keeps ${what} there: make it writable for the user that runs deputy, or name a writable folder as state: in the configuration`,
      )
    })
  }
  return problems
}

/** Connections out, as the configuration allows them. */
export const dialOf = ({ config: { network, upstream }, at }: Loaded, log: Log) =>
  createDial({
    allowPrivate: network.allow_private,
    connectTimeout: upstream.connect_timeout,
    idleTimeout: upstream.idle_timeout,
    ca: upstream.ca === undefined ? null : at(upstream.ca),
    proxy: upstream.proxy ?? null,
    direct: upstream.no_proxy,
    log,
  })

/** What is wrong with the certificates that connections out need. */
const certificateProblems = async (loaded: Loaded): Promise<readonly string[]> => {
  const { config, at, connections } = loaded
  const { ca } = config.upstream
  const common = commonTrust(ca === undefined ? null : at(ca))
  const all = [...connections.values()].flatMap(({ tls }) => (tls ? trustOf(common, tls) : []))
  return [...new Set((await Promise.all([common, ...all].map(trustProblems))).flat())]
}

/** Opens what the configuration names beside the vault: keys, policy, issuers, people. Every problem at once. */
export const prepare = async (
  loaded: Loaded,
  clock: Clock,
  log: Log,
  changed: { readonly people: () => void; readonly policy: (engine: PolicyEngine) => void },
): Promise<{ readonly parts: Parts } | { readonly problems: readonly string[] }> => {
  const { config, at } = loaded
  const problems: string[] = []
  const attempt = async <T>(where: string, make: () => Promise<T>): Promise<T | null> => {
    try {
      return await make()
    } catch (error) {
      problems.push(
        ...message(error)
          .split('\n')
          .map((line) =>
            line.startsWith(where) || line.startsWith('vault.kms: ') ? line : `${where}: ${line}`,
          ),
      )
      return null
    }
  }
  const rings = ringsOf(loaded)
  const ring = await attempt('vault.keys', () => readRing(at(config.vault.keys), rings))
  const issuers = await Promise.all(
    config.identity.issuers.map((issuer, i) =>
      attempt(`identity.issuers.${i}.jwks`, () => readIssuer(issuer, at)),
    ),
  )
  const logoFile = config.connect.brand?.logo
  const logo =
    logoFile === undefined
      ? null
      : await attempt('connect.brand.logo', async () => {
          const read = readLogo(await readFile(at(logoFile)))
          if (typeof read === 'string') throw new Error(`${logoFile} ${read}`)
          return read
        })
  const { entitlements, identity } = config
  const realm = identity.trust === 'plain' ? identity.realm : (issuers[0]?.realm ?? '')
  const directory =
    entitlements?.source === 'file'
      ? await attempt('entitlements.file', () =>
          openFileDirectory({
            path: at(entitlements.file ?? ''),
            realm,
            clock,
            log,
            onChange: changed.people,
          }),
        )
      : null
  let policy: Parts['policy'] | null = null
  try {
    policy = await openPolicySource({
      bundle: at(config.policy.bundle),
      data: config.policy.data === undefined ? null : at(config.policy.data),
      providers: [...loaded.connections.values()].map(({ provider }) => provider),
      inputLimit: config.limits.policy_input,
      log,
      clock,
      onChange: changed.policy,
    })
  } catch (error) {
    problems.push(
      ...message(error)
        .split('\n')
        .map((line) => `policy: ${line}`),
    )
  }
  problems.push(...(await certificateProblems(loaded)), ...(await unwritable(loaded)))
  const known = issuers.filter((issuer) => issuer !== null)
  if (problems.length > 0 || ring === null || policy === null) {
    directory?.close()
    await policy?.close()
    return { problems }
  }
  return { parts: { ring, rings, policy, issuers: known, directory, logo } }
}

/** The tables that one call decides by. */
export const snapshotOf = (connections: ReadonlyMap<string, Connection>): Snapshot => {
  const routes = buildRoutes(connections.values())
  return {
    routes,
    classify: createClassify([...connections.values()].map(({ provider }) => provider)),
    served: (host) => serves(routes, host) || (routes.reached.get(host) ?? false),
  }
}

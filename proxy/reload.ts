// Files → what a call decides by: keys, issuers, people, policy, tables of hosts and operations; every problem at once.
import { readFileSync } from 'node:fs'
import { uptime } from 'node:os'
import { createClock, type GuardedClock } from './clock.ts'
import type { Config } from './config/config.ts'
import type { Loaded } from './config/load.ts'
import { openFileDirectory, type Directory } from './directory/file.ts'
import type { Clock, Connection, Log, PolicyEngine } from './model.ts'
import { createDial } from './net/dial.ts'
import { readJwks } from './oauth/issuer_keys.ts'
import type { Snapshot } from './pep.ts'
import { openPolicySource, type PolicySource } from './policy/source.ts'
import { readRing } from './vault/rotate.ts'
import type { KeyRing } from './vault/seal.ts'
import { createClassify } from './way/classify.ts'
import type { Issuer } from './way/identify.ts'
import { buildRoutes, serves } from './way/route.ts'

export type Parts = {
  readonly ring: KeyRing
  readonly policy: PolicySource
  readonly issuers: readonly Issuer[]
  readonly directory: Directory | null
  readonly ca: string | null
}

/** Looked up at each question: that is how a test moves them. */
export const systemClock = (): GuardedClock =>
  createClock({
    wall: () => Date.now(),
    mono: () => performance.now(),
    boot: () => uptime() * 1_000,
  })

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const readIssuer = (
  issuer: Config['identity']['issuers'][number],
  at: (path: string) => string,
): Issuer => {
  const jwksFile = issuer.jwks === undefined ? null : at(issuer.jwks)
  if (jwksFile !== null)
    try {
      readJwks(readFileSync(jwksFile, 'utf8'))
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

/** What is wrong with the key file, where the configuration is wrong too: both are told at once. */
export const ringProblems = ({ config, at }: Loaded): readonly string[] => {
  if (config.vault.keys === 'missing') return []
  try {
    readRing(at(config.vault.keys))
    return []
  } catch (error) {
    return [message(error).replace(/^(?!vault\.keys)/, 'vault.keys: ')]
  }
}

/** Connections out, as the configuration allows them. */
export const dialOf = ({ network, upstream }: Config, ca: string | null) =>
  createDial({
    allowPrivate: network.allow_private,
    connectTimeout: upstream.connect_timeout,
    idleTimeout: upstream.idle_timeout,
    ca,
  })

/** Opens what the configuration names beside the vault: keys, policy, issuers, people. Every problem at once. */
export const prepare = async (
  loaded: Loaded,
  clock: Clock,
  log: Log,
  changed: { readonly people: () => void; readonly policy: (engine: PolicyEngine) => void },
): Promise<{ readonly parts: Parts } | { readonly problems: readonly string[] }> => {
  const { config, at } = loaded
  const problems: string[] = []
  const attempt = <T>(where: string, make: () => T): T | null => {
    try {
      return make()
    } catch (error) {
      problems.push(
        ...message(error)
          .split('\n')
          .map((line) => (line.startsWith(where) ? line : `${where}: ${line}`)),
      )
      return null
    }
  }
  const ring = attempt('vault.keys', () => readRing(at(config.vault.keys)))
  const issuers = config.identity.issuers.map((issuer, i) =>
    attempt(`identity.issuers.${i}.jwks`, () => readIssuer(issuer, at)),
  )
  const ca =
    config.upstream.ca === undefined
      ? null
      : attempt('upstream.ca', () => readFileSync(at(config.upstream.ca ?? ''), 'utf8'))
  const { entitlements, identity } = config
  const realm = identity.trust === 'plain' ? identity.realm : (issuers[0]?.realm ?? '')
  const directory =
    entitlements?.source === 'file'
      ? attempt('entitlements.file', () =>
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
  const known = issuers.filter((issuer) => issuer !== null)
  if (problems.length > 0 || ring === null || policy === null) {
    directory?.close()
    await policy?.close()
    return { problems }
  }
  return { parts: { ring, policy, issuers: known, directory, ca } }
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

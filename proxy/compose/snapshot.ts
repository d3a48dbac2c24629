// Files → what a call decides by: keys, issuers, people, policy, tables of hosts and operations; every problem at once.
import { readFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import { dirname, join } from 'node:path'
import { INPUTS } from '../audit/inputs.ts'
import { createClock, type GuardedClock } from '../clock.ts'
import { controlSocket } from '../config/address.ts'
import { naming } from '../config/backend.ts'
import type { Loaded } from '../config/load.ts'
import { readPem, statOf, toldOf, tryFolder } from '../files.ts'
import { readLogo, type Logo } from '../config/logo.ts'
import { isService } from '../config/policy.ts'
import type { Connection, Log } from '../model.ts'
import type { Authority } from '../net/authority.ts'
import { readPair, unreadableCa, type Shown } from '../net/certificate.ts'
import { createDial, type Dial } from '../net/dial.ts'
import { commonTrust, trustOf, trustProblems } from '../net/trust.ts'
import type { Snapshot } from '../pipeline/exchange.ts'
import { createOwnToken } from '../oauth/own_token.ts'
import { BUNDLE_LIMITS } from '../policy/bundle.ts'
import { createDownload } from '../policy/download.ts'
import { createKeptBundle } from '../policy/kept.ts'
import { openPolicySource, type PolicySource, type Serviced } from '../policy/source.ts'
import { openShadow, type Shadow } from '../policy/shadow.ts'
import { messageOf } from '../problem.ts'
import { readRing } from '../vault/ring_file.ts'
import { createKms } from '../vault/kms.ts'
import type { KeyRing } from '../vault/seal.ts'
import { createRings, type Rings } from '../vault/wrapped.ts'
import { createClassify } from '../pipeline/classify.ts'
import type { ToolFile } from '../tools/load.ts'
import type { Issuer } from '../pipeline/identify.ts'
import type { WorkloadIssuer } from '../pipeline/workload/workload.ts'
import type { WorkloadRow } from '../pipeline/workload/rows.ts'
import { buildRoutes, serves } from '../pipeline/route.ts'
import { ldapFiles, openDirectories, type Directories, type Preparing } from './directories.ts'
import { filesOf, readAuthority } from './authority.ts'
import { certificateRows, readIssuer, readWorkloads, sourceOf } from './issuers.ts'

/** What one configuration names beside the vault, opened. */
export type Parts = {
  readonly ring: KeyRing
  readonly rings: Rings
  readonly dial: Dial
  readonly policy: PolicySource
  /** `policy.shadow`; null: there is none. */
  readonly shadow: Shadow | null
  readonly issuers: readonly Issuer[]
  readonly workloads: {
    readonly issuers: readonly WorkloadIssuer[]
    readonly certificates: readonly WorkloadRow[]
  }
  /** Sources of entitlements that need no store. */
  readonly directories: Directories
  readonly logo: Logo | null
  /** Of agents, by their id. */
  readonly marks: ReadonlyMap<string, Logo>
  /** `tools.files`, read. */
  readonly toolFiles: readonly ToolFile[]
  /** What `listeners.agent_tls` shows. */
  readonly tls: Shown | null
  /** Who vouches for the hosts that `forward` serves. */
  readonly authority: Authority | null
}

/** Looked up at each question: that is how a test moves them. */
export const systemClock = (): GuardedClock =>
  createClock({
    wall: () => Date.now(),
    mono: () => performance.now(),
    boot: () => uptime() * 1_000,
  })

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
    return [messageOf(error).replace(/^(?!vault\.k(?:eys|ms))/, 'vault.keys: ')]
  }
}

/** Where the last good bundle of a service is kept. */
export const BUNDLES = 'bundles'
/** What deputy writes: the key of the configuration that names it, its path, and what it is. */
const writes = ({ config, written }: Loaded): readonly (readonly [string, string, string])[] => {
  const { listeners, vault, audit, connect, policy } = config
  const sockets = [listeners.agent, ...listeners.extra.map(({ listen }) => listen)]
  const file = (name: string, scheme: string): readonly string[] =>
    name.startsWith(scheme) ? [written(name.slice(scheme.length))] : []
  return [
    ['vault.spool', join(written(vault.spool), '*'), 'tokens that the vault cannot take'] as const,
    ...file(vault.store, 'sqlite:').map((at) => ['vault.store', at, 'the vault'] as const),
    ...(audit.spool === undefined
      ? []
      : [['audit.spool', join(written(audit.spool), '*'), 'evidence for the collector'] as const]),
    ...audit.sink.flatMap((sink) =>
      file(sink, 'file:').map((at) => ['audit.sink', at, 'the evidence'] as const),
    ),
    ...(audit.inputs === 'off'
      ? []
      : [['audit.inputs', written(INPUTS), 'what policy was asked'] as const]),
    ...sockets.flatMap((listen) =>
      'path' in listen ? [['listeners', written(listen.path), 'a socket'] as const] : [],
    ),
    ['state', controlSocket(vault.store, written), 'deputy.sock'],
    ...(isService(policy.bundle)
      ? [['policy.bundle', join(written(BUNDLES), '*'), 'the last good bundle'] as const]
      : []),
    ...(connect.sign_in === 'local'
      ? [['state', written('.deputy-code'), 'the one-time code'] as const]
      : []),
  ]
}
const codeOf = (error: unknown): string =>
  error instanceof Error && 'errno' in error && 'code' in error
    ? String(error.code)
    : messageOf(error)
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
    const isFolder = await statOf(path).then(
      (found) => found.isDirectory(),
      () => false, // not there yet
    )
    if (isFolder && (key === 'vault.store' || key === 'audit.sink')) {
      problems.push(`${key}: ${path} is a folder: name a file`)
      continue
    }
    if (tried.has(folder)) continue
    tried.add(folder)
    await tryMade(folder, /\.(?:spool|bundle)$/.test(key)).catch((error: unknown) => {
      const code = codeOf(error)
      problems.push(
        code === 'ENOENT'
          ? `${key}: the folder ${folder} does not exist: create it`
          : code === 'ENOTDIR'
            ? `${key}: ${folder} is no folder, and deputy keeps ${what} there: name one, as state: in the configuration does for all that it writes`
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
  const { ldap } = config.entitlements ?? {}
  const files = [...connections.values()].map(({ tls }) => tls)
  const all = [...files, ...(ldap === undefined ? [] : [ldapFiles(ldap, at)])].flatMap((tls) =>
    tls ? trustOf(common, tls) : [],
  )
  return [...new Set((await Promise.all([common, ...all].map(trustProblems))).flat())]
}

type Attempt = <T>(where: string, make: () => Promise<T>) => Promise<T | null>
/** What could be made, null in place of what could not; every problem is listed. */
const attempts =
  (problems: string[]): Attempt =>
  async (where, make) => {
    try {
      return await make()
    } catch (error) {
      problems.push(
        ...toldOf(error)
          .split('\n')
          .map((line) =>
            line.startsWith(where) || line.startsWith('vault.kms: ') ? line : `${where}: ${line}`,
          ),
      )
      return null
    }
  }

const logoIn = (
  where: string,
  file: string,
  at: Loaded['at'],
  attempt: Attempt,
): Promise<Logo | null> =>
  attempt(where, async () => {
    const read = readLogo(await readFile(at(file)))
    if (typeof read === 'string') throw new Error(`${file} ${read}`)
    return read
  })
const logoOf = async ({ config, at }: Loaded, attempt: Attempt): Promise<Logo | null> => {
  const file = config.connect.brand?.logo
  return file === undefined ? null : logoIn('connect.brand.logo', file, at, attempt)
}
const marksOfAgents = async (
  { agents, at }: Loaded,
  attempt: Attempt,
): Promise<ReadonlyMap<string, Logo>> => {
  const marks = new Map<string, Logo>()
  for (const { id, logo } of agents.values()) {
    const mark = logo === null ? null : await logoIn(`agents: the logo of ${id}`, logo, at, attempt)
    if (mark !== null) marks.set(id, mark)
  }
  return marks
}

const tlsOf = async ({ config, at }: Loaded, problems: string[]): Promise<Shown | null> => {
  const { agent_tls: tls } = config.listeners
  if (tls === undefined) return null
  const read = await readPair('listeners.agent_tls', { cert: at(tls.cert), key: at(tls.key) })
  if ('problems' in read) problems.push(...read.problems)
  const where = 'listeners.agent_tls.client_ca'
  const clientCa =
    tls.client_ca === undefined
      ? null
      : await readPem(at(tls.client_ca)).catch((error: unknown) => {
          problems.push(`${where}: ${toldOf(error)}`)
          return null
        })
  const wrong = clientCa === null ? null : unreadableCa(clientCa)
  if (wrong !== null) problems.push(`${where}: ${at(tls.client_ca ?? '')} ${wrong}`)
  return 'pair' in read ? { ...read.pair, clientCa } : null
}

/** `tools.files`, and what is wrong with them at the connections that they are for. Without such files nothing of tools is loaded. */
const toolsOf = async (
  { config, at, connections }: Loaded,
  problems: string[],
): Promise<readonly ToolFile[]> => {
  if (config.tools.files.length === 0) return []
  const { loadTools, ownToolFiles, unclaimed } = await import('../tools/load.ts')
  const { files, problems: unread } = await ownToolFiles(config.tools.files.map(at))
  problems.push(...unread.map((problem) => `tools.files: ${problem}`))
  const providers = [...new Set([...connections.values()].map(({ provider }) => provider))]
  problems.push(...unclaimed(providers, files).map((problem) => `tools.files: ${problem}`))
  for (const provider of providers)
    problems.push(
      ...(await loadTools(provider, files)).problems.map((problem) => `tools.files: ${problem}`),
    )
  return files
}

/** Files that are read here once, when the configuration is. */
export const readBeside = ({ config, agents, at }: Loaded): readonly string[] =>
  [
    ...config.tools.files,
    config.upstream.ca,
    config.connect.brand?.logo,
    config.listeners.agent_tls?.cert,
    config.listeners.agent_tls?.key,
    ...[...agents.values()].map(({ logo }) => logo ?? undefined),
    config.listeners.agent_tls?.client_ca,
    ...(config.forward === undefined ? [] : filesOf(config.forward.ca)),
  ].flatMap((path) => (path === undefined ? [] : [at(path)]))

/** What did not open needs no end. */
const nothing = (): void => undefined

const POLL_MS = 60_000
/** How `policy.bundle` is asked for where it is a URL. */
const servicedOf = (
  { config: { policy }, written }: Loaded,
  { clock, bundles = 'always' }: Preparing,
  { fetch }: Dial,
): Serviced => {
  const bearer = policy.bundle_auth?.bearer
  const token = createOwnToken(
    bearer === undefined ? { kind: 'none' } : { kind: 'bearer', scheme: 'Bearer', token: bearer },
    { fetch, clock },
  )
  return {
    download: createDownload({ url: policy.bundle, fetch, authorization: () => token(null) }),
    kept: createKeptBundle(written(BUNDLES), policy.bundle, BUNDLE_LIMITS.bytes),
    poll: policy.bundle_poll ?? POLL_MS,
    ask: bundles,
  }
}

const policyOf = (loaded: Loaded, preparing: Preparing, dial: Dial): Promise<PolicySource> => {
  const { config, at, connections } = loaded
  const { clock, log, keep, changed } = preparing
  const { data: folder, verification = null, allow_rollback: rollback } = config.policy
  const far = isService(config.policy.bundle)
  const bundle = far ? config.policy.bundle : at(config.policy.bundle)
  const data = folder === undefined ? null : at(folder)
  const providers = [...connections.values()].map(({ provider }) => provider)
  const inputLimit = config.limits.policy_input
  const { bundle_auth: auth = null, bundle_poll: poll = null } = config.policy
  // Its connections go by the same settings as all, and end with them.
  const asked = far ? [auth, poll, config.network, config.upstream] : []
  const settings = [bundle, data, inputLimit, verification, rollback, ...asked]
  return keep('policy', settings, () => {
    const value = openPolicySource({
      bundle,
      verification,
      rollback,
      data,
      providers,
      connections: [...connections.keys()],
      seals: config.audit.inputs === 'sealed',
      inputLimit,
      log,
      clock,
      service: far ? servicedOf(loaded, preparing, dial) : null,
      onChange: changed.policy,
      onRefused: changed.policyRefused,
    })
    return { value, close: () => value.then(({ close }) => close(), nothing) }
  })
}

const shadowOf = (
  { config, at }: Loaded,
  { clock, log, keep }: Pick<Preparing, 'clock' | 'log' | 'keep'>,
): Shadow | null => {
  const { shadow, data: tables } = config.policy
  if (shadow === undefined) return null
  const [bundle, data] = [at(shadow), tables === undefined ? null : at(tables)]
  const { verification = null } = config.policy
  const inputLimit = config.limits.policy_input
  return keep('shadow', [bundle, data, inputLimit, verification], () => {
    const value = openShadow({
      bundle,
      verification,
      data,
      inputLimit,
      seals: config.audit.inputs === 'sealed',
      log,
      clock,
    })
    return { value, close: value.close }
  })
}

/** Opens what the configuration names beside the vault: keys, policy, issuers, people. Every problem at once. */
export const prepare = async (
  loaded: Loaded,
  preparing: Preparing,
): Promise<{ readonly parts: Parts } | { readonly problems: readonly string[] }> => {
  const { config, at } = loaded
  const problems: string[] = []
  const attempt = attempts(problems)
  const rings = ringsOf(loaded)
  const ring = await attempt('vault.keys', () => readRing(at(config.vault.keys), rings))
  const read = await Promise.all(
    config.identity.issuers.map((issuer, i) =>
      attempt(`identity.issuers.${i}.jwks`, () => readIssuer(issuer, at)),
    ),
  )
  const issuers = read.filter((issuer) => issuer !== null)
  const callers = await Promise.all(
    [...new Set(config.workloads.map(sourceOf))].map((source) =>
      attempt('workloads', () => readWorkloads(config, source, at)),
    ),
  )
  const workloads = {
    issuers: callers.filter((issuer) => issuer !== null),
    certificates: certificateRows(config),
  }
  const logo = await logoOf(loaded, attempt)
  const marks = await marksOfAgents(loaded, attempt)
  const [ofPeople = ''] = naming(config).realms
  const dial = preparing.keep('dial', [config.network, config.upstream], () => {
    const value = dialOf(loaded, preparing.log)
    return { value, close: value.close, retire: value.retire }
  })
  const asking = { ...preparing, realm: ofPeople, fetch: dial.fetch, open: dial.open }
  const directories = await attempt('entitlements', () => openDirectories(loaded, asking))
  const policy = await attempt('policy', () => policyOf(loaded, preparing, dial))
  const shadow = shadowOf(loaded, preparing)
  const tls = await tlsOf(loaded, problems)
  const authority = await attempt('forward.ca', () => readAuthority(loaded, preparing.clock.now()))
  const toolFiles = await toolsOf(loaded, problems)
  problems.push(...(await certificateProblems(loaded)), ...(await unwritable(loaded)))
  if (problems.length > 0 || ring === null || policy === null || directories === null)
    return { problems }
  return {
    parts: {
      ring,
      rings,
      dial,
      policy,
      shadow,
      issuers,
      workloads,
      directories,
      logo,
      marks,
      tls,
      authority,
      toolFiles,
    },
  }
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

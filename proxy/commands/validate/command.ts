// `deputy validate`: everything that `serve` would refuse, found without serving.
import { randomUUID } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { naming } from '../../config/backend.ts'
import { checkAddressesOf } from '../../config/checks.ts'
import { addressesOf } from '../../config/directory.ts'
import { located } from '../../config/lines.ts'
import type { Loaded } from '../../config/load.ts'
import { isService } from '../../config/policy.ts'
import { oddities } from '../../config/rules.ts'
import { toldOf } from '../../files.ts'
import type { Clock, Connection } from '../../model.ts'
import { createAddressRule } from '../../net/address.ts'
import { askIssuer, createDiscovery } from '../../oauth/discovery.ts'
import { createIssuerKeys } from '../../oauth/issuer_keys.ts'
import { sourceOf } from '../../compose/issuers.ts'
import { prepareAside, QUIET } from '../aside.ts'
import { dialOf, systemClock, type Parts } from '../../compose/snapshot.ts'
import { askedAboutNobody } from './checks.ts'
import { endpoints } from './endpoints.ts'
import { certificate, database, ports } from './machine.ts'
import { idleHooks, pages, scopes, who } from './sense.ts'

const hostOf = (url: string): string => new URL(url).hostname.replace(/^\[|\]$/g, '')

/** Who is asked because of a row of workloads. */
const askedOf = (row: Loaded['config']['workloads'][number]): readonly string[] => {
  if (row.token_review !== undefined) return [row.token_review.server]
  const asked = row.jwks_uri ?? row.issuer
  return row.jwks !== undefined || asked === undefined ? [] : [asked]
}

/** Hosts whose address needs `network.allow_private`, or that cannot be resolved now: told, with what to write. */
const addressNotes = async (
  loaded: Loaded,
  connections: ReadonlyMap<string, Connection>,
): Promise<readonly string[]> => {
  const rule = createAddressRule(loaded.config.network.allow_private)
  const wanted = new Map<string, string>()
  for (const { name, provider } of connections.values())
    for (const url of [
      provider.discover ? provider.issuer : null,
      provider.authorize,
      provider.token,
      provider.userinfo,
      provider.revoke,
      provider.introspect?.url ?? null,
      provider.par ?? null,
      provider.refresh?.url ?? null,
      ...provider.hosts.values(),
    ])
      // The person's browser, not deputy, opens the authorize address.
      if (url !== null && url !== provider.authorize) wanted.set(hostOf(url), `connections.${name}`)
  for (const [i, { issuer }] of loaded.config.identity.issuers.entries())
    wanted.set(hostOf(issuer), `identity.issuers.${i}`)
  for (const [i, row] of loaded.config.workloads.entries())
    for (const asked of askedOf(row)) wanted.set(hostOf(asked), `workloads.${i}`)
  const { http } = loaded.config.entitlements ?? {}
  for (const url of http === undefined ? [] : addressesOf(http))
    wanted.set(hostOf(url), 'entitlements.http')
  const { ldap, checks = [] } = loaded.config.entitlements ?? {}
  if (ldap !== undefined) wanted.set(hostOf(ldap.url), 'entitlements.ldap')
  for (const [i, check] of checks.entries())
    for (const url of checkAddressesOf(check)) wanted.set(hostOf(url), `entitlements.checks.${i}`)
  for (const [i, { url }] of loaded.config.hooks.entries()) wanted.set(hostOf(url), `hooks.${i}`)
  const { sign_in: signIn, notify } = loaded.config.connect
  if (typeof signIn === 'object') wanted.set(hostOf(signIn.issuer), 'connect.sign_in')
  if (notify !== undefined) wanted.set(hostOf(notify.webhook), 'connect.notify')
  const { bundle } = loaded.config.policy
  if (isService(bundle)) wanted.set(hostOf(bundle), 'policy.bundle')
  const notes: string[] = []
  for (const [host, where] of wanted) {
    const addresses =
      isIP(host) !== 0
        ? [host]
        : await lookup(host, { all: true }).then(
            (found) => found.map(({ address }) => address),
            () => null,
          )
    if (addresses === null) notes.push(`${where}: ${host} cannot be resolved from here now`)
    else if (!addresses.some((address) => rule(host, address)))
      notes.push(
        `${where}: ${host === addresses[0] ? host : `${host}, at ${addresses.join(', ')},`} is private or local, and deputy will not go there: add { host: ${host}, net: ${addresses[0] ?? ''}/${(addresses[0] ?? '').includes(':') ? 128 : 32} } under network.allow_private`,
      )
  }
  return notes
}

/** Sources that are asked over the network, asked once about nobody: what came of it. */
const sources = async (
  { config }: Loaded,
  { directories }: Parts,
  clock: Clock,
): Promise<readonly string[]> => {
  const { realms, tenants } = naming(config)
  const ask = async (name: 'http' | 'ldap'): Promise<readonly string[]> => {
    const directory = directories.get(name)
    if (directory === undefined) return []
    const nobody = {
      tenant: tenants[0] ?? 'default',
      realm: config.entitlements?.[name]?.people_realm ?? realms[0] ?? '',
      id: `deputy-validate-${randomUUID()}`,
    }
    const began = clock.mono()
    try {
      const said = await directory.ask(nobody, 0)
      const ms = Math.round(clock.mono() - began)
      return [
        said === null
          ? `entitlements.${name}: asked about somebody who is not there, it answers in ${ms} ms that it knows nobody, as it should`
          : `entitlements.${name}: asked about somebody who is not there, it answers with a person: it does not look at the id that it is asked about, so nobody can be told apart`,
      ]
    } catch (error) {
      return [`entitlements.${name}: nobody is let through until it answers: ${toldOf(error)}`]
    }
  }
  return (await Promise.all([ask('http'), ask('ldap')])).flat()
}

/** What issuers say of themselves now; what they do not say is told, and ends nothing: others are served meanwhile. */
const discovered = async (
  loaded: Loaded,
): Promise<{
  readonly connections: ReadonlyMap<string, Connection>
  readonly notes: readonly string[]
}> => {
  const { connections } = loaded
  const dial = dialOf(loaded, QUIET)
  const discovery = createDiscovery({ connections, fetch: dial.fetch, log: QUIET })
  await discovery.start()
  discovery.close()
  await dial.close()
  const notes = [...discovery.connections().values()].flatMap(({ name, provider }) => {
    const { discover, issuer, authorize, token, clientAuth } = provider
    if (!discover) return []
    return discover.problem === null
      ? `connections.${name}: ${issuer} says authorize ${authorize}, token ${token}; client_auth ${clientAuth}`
      : `connections.${name}: nobody can connect or refresh there until ${issuer} says its endpoints: ${discover.problem}`
  })
  return { connections: discovery.connections(), notes }
}

/** Issuers of tags and of people at the page that cannot be asked now: they may be back before they are needed. */
const issuers = async (loaded: Loaded): Promise<readonly string[]> => {
  const { config } = loaded
  const dial = dialOf(loaded, QUIET)
  const clock = systemClock()
  try {
    const named = [
      ...config.identity.issuers.map((issuer, i) => ({ issuer, key: `identity.issuers.${i}` })),
      ...config.workloads.flatMap((row, i) =>
        row.certificate === undefined && row.token_review === undefined
          ? [{ issuer: { ...row, issuer: sourceOf(row) }, key: `workloads.${i}` }]
          : [],
      ),
    ]
    const keys = named.map(async ({ issuer, key }) => {
      if (issuer.jwks !== undefined) return []
      const spiffe = 'spiffe' in issuer ? issuer.spiffe : undefined
      const source = {
        issuer: issuer.issuer,
        jwksUri: issuer.jwks_uri ?? null,
        jwksFile: null,
        spiffe,
      }
      const asked = createIssuerKeys(source, { grace: 0, fetch: dial.fetch, clock, log: QUIET })
      const problem = await asked.serving().then(
        () => null,
        (error: unknown) => (error instanceof Error ? toldOf(error.cause ?? error) : String(error)),
      )
      asked.close()
      return problem === null
        ? []
        : [
            `${key}: nobody whom ${issuer.issuer} names is believed until its keys can be read: ${problem}`,
          ]
    })
    const { sign_in: signIn } = config.connect
    const door =
      typeof signIn === 'object'
        ? await askIssuer(dial.fetch, signIn.issuer, signIn.insecure)
        : null
    return [
      ...(await Promise.all(keys)).flat(),
      ...(door !== null && 'problem' in door && typeof signIn === 'object'
        ? [`connect.sign_in: nobody can sign in until ${signIn.issuer} answers: ${door.problem}`]
        : []),
    ]
  } finally {
    await dial.close()
  }
}

/** Whose fault it is that the policy is refused. */
const ofTables = ({ config }: Loaded, why: string): string =>
  config.policy.data !== undefined && why.startsWith('the policy tables')
    ? 'policy.data'
    : 'policy.bundle'

/** What follows only from a value that is missing or wrong is no problem of its own. */
const further = (told: readonly string[], found: readonly string[]): readonly string[] => {
  const wrong = told.map((problem) => problem.slice(0, Math.max(0, problem.indexOf(':'))))
  return found.filter((problem) => {
    const path = problem.slice(0, Math.max(0, problem.indexOf(':')))
    return !wrong.some((key) => key !== '' && (path.startsWith(key) || key.startsWith(`${path}.`)))
  })
}

/**
 * @param options.problems what loading found already; then `loaded` is what could be read all the same
 * @param options.offline nothing beyond this machine's own files and addresses is asked
 * @returns exit code: 0, also with warnings, or 78 with every problem
 */
export const validate = async (options: {
  readonly loaded: Loaded
  readonly problems?: readonly string[]
  readonly offline?: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { loaded, offline = false, problems: told = [] } = options
  const { clock, kept, prepared } = await prepareAside(loaded, offline ? 'never' : 'once')
  const parts = 'parts' in prepared ? prepared.parts : null
  const engine = parts?.policy.current() ?? null
  const said = parts?.policy.problem() ?? null
  // A service that is away, or that nobody asks, leaves open what a deputy that serves would do.
  const open =
    said !== null && (engine !== null || (offline && isService(loaded.config.policy.bundle)))
  const broken = open ? null : said
  const none = { problems: [], warnings: [] }
  const findings = [
    { problems: 'problems' in prepared ? prepared.problems : [], warnings: [] },
    { problems: broken === null ? [] : [`${ofTables(loaded, broken)}: ${broken}`], warnings: [] },
    { problems: (parts?.policy.vain() ?? []).map((row) => `policy: ${row}`), warnings: [] },
    await ports(loaded),
    await certificate(loaded, Date.now()),
    offline ? none : await database(loaded),
    parts === null ? none : await endpoints(loaded, parts),
    await who(loaded, engine === null ? undefined : parts?.policy.tables()),
    {
      problems: idleHooks(loaded),
      warnings: [
        ...(open ? [`policy.bundle: ${said}`] : []),
        ...scopes(loaded.connections),
        ...pages(loaded),
      ],
    },
  ]
  const found = new Set(findings.flatMap((each) => each.problems))
  const problems = [...told, ...further(told, [...found])]
  const asked =
    offline || told.length > 0 || parts === null
      ? null
      : [
          ...(await sources(loaded, parts, clock)),
          ...(await askedAboutNobody(loaded, parts.dial.fetch, clock)),
        ]
  await kept.close()
  const warnings = [...oddities(loaded.config), ...findings.flatMap((each) => each.warnings)]
  if (!offline && told.length === 0) {
    const { connections, notes } = await discovered(loaded)
    warnings.push(
      ...notes,
      ...(asked ?? []),
      ...(await issuers(loaded)),
      ...(await addressNotes(loaded, connections)),
    )
  }
  if (problems.length > 0) {
    options.complain(
      `${loaded.path}: ${problems.length} problem${problems.length === 1 ? '' : 's'}`,
    )
    for (const problem of await located(loaded.path, problems)) options.complain(`  ${problem}`)
  } else
    options.print(
      `${loaded.path}: fine; policy ${engine?.revision ?? ''} (${engine?.digest ?? ''}), ${loaded.connections.size} connection${loaded.connections.size === 1 ? '' : 's'}`,
    )
  for (const note of warnings)
    (problems.length > 0 ? options.complain : options.print)(`  note: ${note}`)
  return problems.length > 0 ? 78 : 0
}

// `deputy validate`: everything that `serve` would refuse, found without serving.
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Loaded } from '../config/load.ts'
import { oddities } from '../config/rules.ts'
import type { Connection, Log } from '../model.ts'
import { createAddressRule } from '../net/address.ts'
import { createDiscovery } from '../oauth/discovery.ts'
import { dialOf, prepare, systemClock } from '../reload.ts'

const QUIET: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

const hostOf = (url: string): string => new URL(url).hostname.replace(/^\[|\]$/g, '')

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
  const { sign_in: signIn, notify } = loaded.config.connect
  if (typeof signIn === 'object') wanted.set(hostOf(signIn.issuer), 'connect.sign_in')
  if (notify !== undefined) wanted.set(hostOf(notify.webhook), 'connect.notify')
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

/** What issuers say of themselves now; what they do not say is told, and ends nothing: others are served meanwhile. */
const discovered = async (
  { config, connections }: Loaded,
  ca: string | null,
): Promise<{
  readonly connections: ReadonlyMap<string, Connection>
  readonly notes: readonly string[]
}> => {
  const dial = dialOf(config, ca)
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

/** @returns exit code: 0, or 78 with every problem */
export const validate = async (options: {
  readonly loaded: Loaded
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}): Promise<number> => {
  const { loaded } = options
  const prepared = await prepare(loaded, systemClock(), QUIET, {
    people: () => {},
    policy: () => {},
  })
  if ('problems' in prepared) {
    options.complain(
      `${loaded.path}: ${prepared.problems.length} problem${prepared.problems.length === 1 ? '' : 's'}`,
    )
    for (const problem of prepared.problems) options.complain(`  ${problem}`)
    return 78
  }
  const { policy, directory } = prepared.parts
  const broken = policy.problem()
  if (broken !== null || policy.vain().length > 0) {
    if (broken !== null) options.complain(`${loaded.path}: policy.bundle: ${broken}`)
    for (const row of policy.vain()) options.complain(`${loaded.path}: policy: ${row}`)
    directory?.close()
    await policy.close()
    return 78
  }
  const engine = policy.current()
  options.print(
    `${loaded.path}: fine; policy ${engine?.revision ?? ''} (${engine?.digest ?? ''}), ${loaded.connections.size} connections`,
  )
  const { connections, notes } = await discovered(loaded, prepared.parts.ca)
  const about = [...oddities(loaded.config), ...notes, ...(await addressNotes(loaded, connections))]
  for (const note of about) options.print(`  note: ${note}`)
  directory?.close()
  await policy.close()
  return 0
}

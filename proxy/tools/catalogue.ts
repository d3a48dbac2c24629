// Which tools exist now: those of files, at the connections that have their operations, and every operation by itself.
import type { Connection, OperationRow } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Tool } from './definition.ts'
import { nearestOf, nearIndex, spelling, wireName } from './names.ts'
import { isPlain, plainName, plainTool, type ParametersOf } from './plain.ts'
import { remoteTools } from './remote.ts'

/** A tool at a connection. */
export type Offer = { readonly tool: Tool; readonly connection: Connection }

export type Catalogue = {
  /** Those of files, by name, each with the connections that have it. */
  readonly made: readonly { readonly tool: Tool; readonly offers: readonly Offer[] }[]
  /** Those that are an operation by itself; made when they are first asked for. */
  readonly plain: () => Promise<
    readonly { readonly tool: Tool; readonly offers: readonly Offer[] }[]
  >
  /** Those of MCP servers, as their definitions list them. */
  readonly remote: Catalogue['made']
  /**
   * By any spelling of its name, an alias, its name on the wire, the id of an operation; `connection/` or `connection@`
   * before it chooses.
   * @throws Problem tool_not_found with the nearest names, connection_ambiguous
   */
  readonly find: (name: string, connection?: string) => Promise<Offer>
  /** What files of tools say wrong. */
  readonly problems: readonly string[]
}

type Rows = Map<string, { readonly connection: Connection; readonly row: OperationRow }[]>

const grouped = (offers: readonly Offer[]): Catalogue['made'] => {
  const groups = new Map<string, Offer[]>()
  for (const offer of offers) {
    const group = groups.get(offer.tool.name) ?? []
    group.push(offer)
    groups.set(offer.tool.name, group)
  }
  return [...groups.values()]
    .flatMap((all) => (all[0] === undefined ? [] : [{ tool: all[0].tool, offers: all }]))
    .toSorted((a, b) => (a.tool.name < b.tool.name ? -1 : 1))
}

const chosen = (
  offers: readonly Offer[],
  { name, connection }: { readonly name: string; readonly connection: string | undefined },
): Offer => {
  const fit =
    connection === undefined
      ? offers
      : offers.filter((offer) => offer.connection.name === connection)
  const [only] = fit
  const names = offers.map((offer) => offer.connection.name)
  if (only === undefined)
    throw new Problem(
      'tool_not_found',
      `connection ${JSON.stringify(connection)} has no ${name}; ${names.join(', ')} ${names.length === 1 ? 'has' : 'have'} it`,
      { extra: { connections: names } },
    )
  if (fit.length > 1)
    throw new Problem(
      'connection_ambiguous',
      `several connections have ${name}: name one of ${names.join(', ')} as connection, or write ${names[0] ?? ''}/${name}`,
      { extra: { connections: names } },
    )
  return only
}

/** Every operation that can be a tool by itself, by each spelling of its name. */
const rowsOf = (connections: Iterable<Connection>): Rows => {
  const rows: Rows = new Map()
  for (const connection of connections) {
    const { provider } = connection
    const seen = new Set<string>()
    for (const row of provider.operations) {
      if (!isPlain(row) || seen.has(row.id)) continue
      seen.add(row.id)
      const name = plainName(provider.id, row.id)
      for (const key of new Set([spelling(name), spelling(wireName(name)), `=${row.id}`])) {
        const all = rows.get(key) ?? []
        all.push({ connection, row })
        rows.set(key, all)
      }
    }
  }
  return rows
}

/**
 * @param made the tools of files, at the connections that have them
 */
export const createCatalogue = (
  connections: ReadonlyMap<string, Connection>,
  {
    offers,
    problems,
    parametersOf,
  }: {
    readonly offers: readonly Offer[]
    readonly problems: readonly string[]
    readonly parametersOf: ParametersOf
  },
): Catalogue => {
  const made = grouped(offers)
  const servers = [...connections.values()].map(remoteTools)
  const remote = grouped(servers.flatMap((one) => one.offers))
  const byName = new Map<string, Offer[]>()
  for (const offer of [...offers, ...servers.flatMap((one) => one.offers)])
    for (const name of [offer.tool.name, wireName(offer.tool.name), ...offer.tool.aliases]) {
      const all = byName.get(spelling(name)) ?? []
      if (!all.some((one) => one.connection === offer.connection)) all.push(offer)
      byName.set(spelling(name), all)
    }
  let rows: Rows | null = null
  let near: ReturnType<typeof nearIndex> | null = null
  let plain: Promise<Catalogue['made']> | null = null

  const plainOffers = async (key: string): Promise<readonly Offer[]> => {
    rows ??= rowsOf(connections.values())
    const found: Offer[] = []
    for (const { connection, row } of rows.get(key) ?? []) {
      const known = await parametersOf(connection.provider)
      const tool = plainTool(connection.provider, row, known.get(row.id))
      if (tool !== null) found.push({ tool, connection })
    }
    return found
  }
  const allPlain = async (): Promise<Catalogue['made']> => {
    rows ??= rowsOf(connections.values())
    const all: Offer[] = []
    for (const key of rows.keys()) if (key.startsWith('=')) all.push(...(await plainOffers(key)))
    return grouped(all.filter(({ tool }) => !byName.has(spelling(tool.name))))
  }
  const split = (wanted: string): { readonly name: string; readonly connection?: string } => {
    const [, connection, name] = /^([a-z0-9][a-z0-9-]*)[/@](.+)$/.exec(wanted) ?? []
    return connection !== undefined && name !== undefined && connections.has(connection)
      ? { name, connection }
      : { name: wanted }
  }
  return {
    made,
    remote,
    problems: [...problems, ...servers.flatMap((one) => one.problems)],
    plain: () => (plain ??= allPlain()),
    find: async (wanted, asked) => {
      const { name, connection = asked } = split(wanted)
      if (asked !== undefined && connection !== asked)
        throw new Problem('request_invalid', 'tool_name and connection name different connections')
      // A version may stand behind it: there is one only.
      const bare = name.replace(/@[\w.-]*$/, '')
      const byId = await plainOffers(`=${name}`)
      const own = byId.length > 0 ? [] : (byName.get(spelling(bare)) ?? [])
      if (own.length > 0) return chosen(own, { name: bare, connection })
      const plainOnes = byId.length > 0 ? byId : await plainOffers(spelling(bare))
      if (plainOnes.length > 0) return chosen(plainOnes, { name: bare, connection })
      near ??= nearIndex(
        new Set([...[...made, ...remote].map(({ tool }) => tool.name), ...ids(connections)]),
      )
      // By the tool's own name: what is not served is no more like one thing than what nobody has.
      const nearest = nearestOf(
        name.replace(/^[a-z0-9][a-z0-9-]*[/@]/, '').replace(/@.*$/, ''),
        near,
      )
      throw new Problem(
        'tool_not_found',
        `there is no tool ${JSON.stringify(wanted.slice(0, 128))}${nearest.length === 0 ? '' : `; near it: ${nearest.join(', ')}`}`,
        { extra: { nearest } },
      )
    },
  }
}

const ids = (connections: ReadonlyMap<string, Connection>): readonly string[] =>
  [...connections.values()].flatMap(({ provider }) =>
    provider.operations.filter(isPlain).map(({ id }) => plainName(provider.id, id)),
  )

// Which tools one MCP endpoint lists, and under which names. Pure but for the catalogue, which loads what it is asked for.
import { hash } from 'node:crypto'
import type { JsonObject } from '../model.ts'
import { Problem } from '../problem.ts'
import { fits } from '../wire/pattern.ts'
import type { Catalogue, Offer } from './catalogue.ts'
import { spelling, wireName } from './names.ts'
import { inputSchema } from './schema.ts'

/** A row of `tools.endpoints`. */
export type EndpointRow = {
  readonly path: string
  /** absent: the hand-checked ones of every connection. */
  readonly tools?: readonly string[] | undefined
  /** absent: every agent may ask it. */
  readonly agents?: readonly string[] | undefined
  readonly discovery: boolean
}
/** A tool as a host calls it. */
export type Entry = { readonly name: string; readonly offer: Offer }
export type Endpoint = {
  /** In the order of their names, which is the same each time. */
  readonly entries: readonly Entry[]
  /** By any spelling. Throws Problem connection_ambiguous where it may mean several. */
  readonly find: (name: string) => Entry | undefined
  /** Its tools are searched for, since they are too many for a list, or the configuration says so. */
  readonly discovery: boolean
  /** Its row names too many for a list without saying that they are to be searched for. */
  readonly tooMany: boolean
  /** Patterns that no tool fits. */
  readonly unmatched: readonly string[]
}

/** Beyond that many, models choose badly, and hosts refuse lists. */
export const MOST_LISTED = 40

export const ENDPOINTS: readonly EndpointRow[] = [{ path: '/mcp', discovery: false }]

type Group = Catalogue['made'][number]

/** `Gmail.*`, `Gmail_SendEmail`, `connection/Gmail.*`; in any case. */
const matched = (pattern: string, groups: readonly Group[]): readonly Offer[] => {
  const [, connection, glob = ''] = /^(?:([a-z0-9][a-z0-9-]*)[/@])?(.*)$/.exec(pattern) ?? []
  const wanted = glob.toLowerCase().replaceAll('_', '.')
  const named = (name: string): boolean => fits(wanted, name.toLowerCase().replaceAll('_', '.'))
  return groups.flatMap(({ offers }) =>
    offers.filter(
      (offer) =>
        (connection === undefined || offer.connection.name === connection) &&
        [offer.tool.name, wireName(offer.tool.name), ...offer.tool.aliases].some(named),
    ),
  )
}

/** The same of MCP servers, where the pattern says which: a `*` for every toolkit was not written for what others offer. */
const matchedRemote = (pattern: string, { remote }: Catalogue): readonly Offer[] => {
  const [, connection, kit = ''] = /^(?:([a-z0-9][a-z0-9-]*)[/@])?([^._]*)/.exec(pattern) ?? []
  return matched(pattern, remote).filter(
    (offer) => connection !== undefined || spelling(kit) === spelling(offer.tool.toolkit),
  )
}

/** One name each: where several connections have a tool, theirs stands before it. */
const entriesOf = (offers: Iterable<Offer>): readonly Entry[] => {
  const byTool = new Map<string, Offer[]>()
  for (const offer of offers) {
    const same = byTool.get(offer.tool.name) ?? []
    if (!same.some((one) => one.connection === offer.connection)) same.push(offer)
    byTool.set(offer.tool.name, same)
  }
  const entries = [...byTool.values()].flatMap((same) =>
    same.map((offer) => ({
      name: wireName(
        same.length === 1 ? offer.tool.name : `${offer.connection.name}_${offer.tool.name}`,
      ),
      offer,
    })),
  )
  const same = Map.groupBy(entries, ({ name }) => name)
  return entries
    .map((entry) => ((same.get(entry.name)?.length ?? 0) > 1 ? apart(entry) : entry))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}
/** With a sum of what it is of, where another comes to the same name. */
const apart = ({ name, offer }: Entry): Entry => {
  const sum = hash('sha256', JSON.stringify([offer.connection.name, offer.tool.name]), 'hex')
  return { name: `${name.slice(0, 41)}_${sum.slice(0, 6)}`, offer }
}
/** The one that is meant by a spelling, of the name in the list or of the tool's own. */
const finding = (entries: readonly Entry[]): Endpoint['find'] => {
  const exact = new Map(entries.map((entry) => [entry.name, entry]))
  const named = Map.groupBy(entries, ({ name }) => spelling(name))
  const tools = Map.groupBy(entries, ({ offer }) => spelling(offer.tool.name))
  return (name) => {
    const one = exact.get(name)
    if (one !== undefined) return one
    const all = named.get(spelling(name)) ?? tools.get(spelling(name)) ?? []
    if (all.length > 1)
      throw new Problem(
        'connection_ambiguous',
        `several tools are called so: call one of ${all.map((entry) => entry.name).join(', ')}`,
      )
    return all[0]
  }
}

export const endpointOf = async (row: EndpointRow, catalogue: Catalogue): Promise<Endpoint> => {
  const { made } = catalogue
  const all = made.flatMap(({ offers }) => offers)
  const chosen: Offer[] = []
  const unmatched: string[] = []
  if (row.tools === undefined) {
    chosen.push(...all)
    if (row.discovery || entriesOf(all).length > MOST_LISTED)
      chosen.push(
        ...[...(await catalogue.plain()), ...(row.discovery ? catalogue.remote : [])].flatMap(
          ({ offers }) => offers,
        ),
      )
  } else
    for (const pattern of row.tools) {
      const own = [...matched(pattern, made), ...matchedRemote(pattern, catalogue)]
      // A star stands for what somebody has checked; an operation by itself is there where it is named, or searched for.
      const rest =
        own.length === 0 || row.discovery ? matched(pattern, await catalogue.plain()) : []
      if (own.length + rest.length === 0) unmatched.push(pattern)
      chosen.push(...own, ...rest)
    }
  const entries = entriesOf(chosen)
  return {
    entries,
    find: finding(entries),
    discovery: row.discovery || entries.length > MOST_LISTED,
    tooMany: row.tools !== undefined && !row.discovery && entries.length > MOST_LISTED,
    unmatched,
  }
}

/** By what it is searched; made once. */
const words = new WeakMap<Entry, { readonly name: string; readonly said: string }>()
const wordsOf = (entry: Entry): { readonly name: string; readonly said: string } => {
  const known = words.get(entry)
  if (known !== undefined) return known
  const { tool } = entry.offer
  const made = {
    name: `${tool.name} ${tool.aliases.join(' ')}`.toLowerCase(),
    said: tool.description.toLowerCase(),
  }
  words.set(entry, made)
  return made
}

const texts = new WeakMap<Entry, string>()
const HINTS = ({ behaviour }: Offer['tool']): JsonObject => ({
  readOnlyHint: behaviour.readOnly,
  destructiveHint: behaviour.destructive,
  idempotentHint: behaviour.idempotent,
  openWorldHint: behaviour.openWorld,
})
/** As `tools/list` tells it. */
export const shapeOf = ({ name, offer: { tool } }: Entry): JsonObject => ({
  name,
  title: tool.name,
  description: tool.description,
  inputSchema: inputSchema(tool),
  annotations: HINTS(tool),
})
/** The same as text: it is made once. */
export const textOf = (entry: Entry): string => {
  const known = texts.get(entry)
  if (known !== undefined) return known
  const text = JSON.stringify(shapeOf(entry))
  texts.set(entry, text)
  return text
}

/** The best first: each word of the question counts where the name has it, and less where the description has. */
export const searched = (entries: readonly Entry[], query: string): readonly Entry[] => {
  const asked = query
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '')
    .slice(0, 16)
  const scored = entries.map((entry) => {
    const { tool } = entry.offer
    const { name, said } = wordsOf(entry)
    const points = asked.reduce(
      (sum, word) => sum + (name.includes(word) ? 3 : 0) + (said.includes(word) ? 1 : 0),
      0,
    )
    // Somebody looked at those that are made by hand.
    return { entry, points: points === 0 ? 0 : points + (tool.plain ? 0 : 0.5) }
  })
  return scored
    .filter(({ points }) => points > 0)
    .toSorted((a, b) => b.points - a.points)
    .map(({ entry }) => entry)
}

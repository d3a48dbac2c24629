// Which host, provider, connection? Pure: one table built at load, one reading of the target.
import type { IncomingMessage } from 'node:http'
import type { Addressing, Connection, Provider, Route } from '../model.ts'
import { Problem, sentence } from '../problem.ts'
import type { Dedicated } from '../net/admit.ts'
import { remembered } from '../memo.ts'
import { meant } from '../mistakes.ts'
import { canonicalTarget, decodePathPerson } from '../wire/canonical.ts'

type Entry = {
  readonly connection: Connection
  readonly host: string
  readonly origin: string
  readonly authority: string
  readonly port: number
  readonly asset: boolean
}
export type RouteTable = {
  /** host name → connections that serve it; credentialed ones win over assets. */
  readonly hosts: ReadonlyMap<string, readonly Entry[]>
  /** `host[:port]` where a name is reached → that name: URLs in answers may name either. */
  readonly reached: ReadonlyMap<string, string>
  /** Connections whose hosts come from each person's token: any name that fits, until the credential says which. */
  readonly open: readonly Connection[]
}

const entryOf = (connection: Connection, host: string, origin: string, asset: boolean): Entry => {
  const { host: authority, port, protocol } = new URL(origin)
  const usual = protocol === 'https:' ? 443 : 80
  return { connection, host, origin, authority, port: Number(port) || usual, asset }
}

const openTo = (table: RouteTable, host: string): readonly Connection[] =>
  table.open.filter((connection) =>
    connection.provider.hostFromToken?.suffixes.some(
      (suffix) => host.endsWith(suffix) && /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(host),
    ),
  )
/** May a URL in an answer that names this host come back to deputy? */
export const serves = (table: RouteTable, host: string): boolean =>
  table.hosts.has(host) || openTo(table, host).length > 0

export const buildRoutes = (connections: Iterable<Connection>): RouteTable => {
  const all = [...connections]
  const hosts = new Map<string, Entry[]>()
  const reached = new Map<string, string>()
  const open: Connection[] = []
  for (const connection of all)
    for (const [map, asset] of [
      [connection.provider.hosts, false],
      [connection.provider.assets, true],
    ] as const)
      for (const [host, origin] of map) {
        const entries = hosts.get(host) ?? []
        const entry = entryOf(connection, host, origin, asset)
        entries.push(entry)
        hosts.set(host, entries)
        reached.set(entry.authority, host)
      }
  for (const connection of all)
    if (connection.provider.hostFromToken && connection.provider.hosts.size === 0)
      open.push(connection)
  return { hosts, reached, open }
}

/** Clients of many vendors show a `message`; whose this one is, nobody knows here. */
const notFound = (detail: string): Problem =>
  new Problem('route_not_found', detail, { extra: { message: sentence(detail) } })

/** One connection, or a refusal: an ambiguous call is never a guess. */
const choose = (entries: readonly Entry[], host: string, wanted: string | null): Entry => {
  const fit =
    wanted === null ? entries : entries.filter((entry) => entry.connection.name === wanted)
  if (fit.length === 0)
    throw notFound(`connection ${JSON.stringify(wanted)} does not serve ${host}`)
  const holding = fit.some((entry) => !entry.asset)
    ? fit.filter((entry) => !entry.asset)
    : fit.slice(0, 1)
  const only = holding[0]
  if (only === undefined || holding.length > 1)
    throw new Problem(
      'connection_ambiguous',
      `several connections serve ${host}: use /{connection}@${host}/… or Deputy-Connection`,
      {
        extra: { connections: holding.map((entry) => entry.connection.name) },
      },
    )
  return only
}

const NONE: readonly Entry[] = []

const lookUp = (table: RouteTable, host: string, wanted: string | null): Entry => {
  const listed = table.hosts.get(host) ?? NONE
  const [only] = listed
  if (only !== undefined && listed.length === 1 && table.open.length === 0 && wanted === null)
    return only
  const open = table.open.length === 0 ? [] : openTo(table, host)
  const entries = [
    ...listed,
    ...open.map((connection) => entryOf(connection, host, `https://${host}`, false)),
  ]
  if (entries.length === 0)
    throw notFound(
      `no configured connection serves ${JSON.stringify(host)}${meant(host, table.hosts.keys())}`,
    )
  return choose(entries, host, wanted)
}

/** `{served host}.localhost`, with or without port. */
const SERVED = /^(.+)\.localhost(?::\d+)?$/i
const FIRST = /^(?:([a-z0-9][a-z0-9-]*)@)?([A-Za-z0-9.-]+)(?::(\d{1,5}))?$/
const servedIn = remembered((host) => SERVED.exec(host)?.[1]?.toLowerCase() ?? null)
const readFirst = remembered((first) => {
  const match = FIRST.exec(first)
  return { chosen: match?.[1] ?? null, host: match?.[2]?.toLowerCase() ?? null, port: match?.[3] }
})

/** Cuts one segment off a path: `/a/b?c` → [`a`, `/b?c`]. */
const cut = (target: string): readonly [string, string] => {
  const mark = target.indexOf('?')
  const pathEnd = mark === -1 ? target.length : mark
  const slash = target.indexOf('/', 1)
  return slash === -1 || slash > pathEnd
    ? [target.slice(1, pathEnd), `/${target.slice(pathEnd)}`]
    : [target.slice(1, slash), target.slice(slash)]
}

/** `/api/v3/user` → `/user`, where the definition says that it is the same. */
const unprefixed = (target: string, prefixes: Provider['prefixes']): string => {
  for (const prefix in prefixes)
    if (target.startsWith(prefix) && /^[/?]?$/.test(target.charAt(prefix.length))) {
      const rest = (prefixes[prefix] ?? '') + target.slice(prefix.length)
      return rest.startsWith('/') ? rest : `/${rest}`
    }
  return target
}

/**
 * @param dedicated host and person that a dedicated listener fixes
 * @throws Problem 400 request_invalid, 401 for a malformed `~person`, 404 route_not_found, 409 connection_ambiguous
 */
export const matchRoute = (
  table: RouteTable,
  req: Pick<IncomingMessage, 'url' | 'method' | 'headers'>,
  dedicated: Dedicated | null,
): Route => {
  const url = req.url ?? ''
  const selector = req.headers['deputy-connection']
  const wanted = typeof selector === 'string' ? selector : null
  const made = (
    { connection, host, origin, authority, port, asset }: Entry,
    addressing: Addressing,
    named: string | null,
    rest: string,
  ): Route => ({
    connection,
    host,
    origin,
    authority,
    port,
    asset,
    addressing,
    named,
    target: canonicalTarget(req.method ?? '', unprefixed(rest, connection.provider.prefixes)),
  })
  if (dedicated !== null) {
    const [name, host] = split(dedicated.upstream)
    return made(
      lookUp(table, host, name ?? wanted),
      { kind: dedicated.forward ? 'forward' : 'listener' },
      dedicated.user,
      url,
    )
  }
  if (!url.startsWith('/')) {
    const absolute = /^http:\/\/([^/?#]*)(.*)$/i.exec(url)
    const authority = absolute?.[1] ?? ''
    const port = /:(\d+)$/.exec(authority)?.[1]
    if (port !== undefined && port !== '80' && port !== '443')
      throw notFound(`no configured connection serves port ${port}`)
    const rest = absolute?.[2] ?? ''
    const host = authority.replace(/:\d+$/, '').toLowerCase()
    return made(
      lookUp(table, host, wanted),
      { kind: 'absolute' },
      null,
      rest.startsWith('/') ? rest : `/${rest}`,
    )
  }
  const served = servedIn(req.headers.host ?? '')
  let rest = url
  let named: string | null = null
  let prefix = '/'
  if (rest.startsWith('/~')) {
    const [person, after] = cut(rest)
    named = decodePathPerson(person)
    prefix = `/${person}/`
    rest = after
  }
  if (served !== null && serves(table, served))
    return made(
      lookUp(table, served, wanted),
      { kind: 'host', prefix: prefix.slice(0, -1) },
      named,
      rest,
    )
  const [first, after] = cut(rest)
  const { chosen, host, port } = readFirst(first)
  if (host === null || !host.includes('.'))
    throw notFound(
      'the path must begin with the provider’s host: /api.example.com/… or /{connection}@api.example.com/…',
    )
  if (port !== undefined && port !== '443' && port !== '80')
    throw notFound(`no configured connection serves ${host}:${port}`)
  if (chosen !== null && wanted !== null && chosen !== wanted)
    throw new Problem(
      'request_invalid',
      'the path and Deputy-Connection name different connections',
    )
  const entry = lookUp(table, host, chosen ?? wanted)
  return made(
    entry,
    { kind: 'path', prefix: `${prefix}${chosen === null ? '' : `${chosen}@`}` },
    named,
    after,
  )
}

const split = (upstream: string): readonly [string | null, string] => {
  const { chosen, host } = readFirst(upstream)
  return [chosen, host ?? upstream.toLowerCase()]
}

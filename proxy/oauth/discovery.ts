// Fills in what a definition leaves out with what its issuer publishes about itself (OpenID Connect
// Discovery 1.0, RFC 8414).
import { urlProblem } from '../providers/definition.ts'
import type { ClientAuth, Connection, ConnectionTls, Log, Provider } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { isObject } from '../wire/json.ts'
import { parseBody, type Fields } from './body.ts'
import { messageOf } from '../problem.ts'
import type { Client, Clients } from './registration.ts'
import { createSend } from './transport.ts'

type Metadata = {
  readonly authorize: string | null
  readonly token: string | null
  readonly userinfo: string | null
  readonly revoke: string | null
  /** RFC 9126 5. */
  readonly par: string | null
  /** RFC 7591; null: it registers nobody. */
  readonly registration: string | null
  /** Reads what a client says of itself at the URL that is its id. */
  readonly cimd: boolean
  /** RFC 9207 3. */
  readonly issRequired: boolean
  /** null: not told, which means client_secret_basic (RFC 8414 2). */
  readonly clientAuth: readonly string[] | null
  /** null: not told. */
  readonly challenges: readonly string[] | null
  readonly scopes: readonly string[]
  /** Where the endpoints are for a client that shows a certificate (RFC 8705 5). */
  readonly mtls: Readonly<Partial<Record<'token' | 'userinfo' | 'revoke' | 'par', string>>>
}
/** `issuer`: of an MCP server, which named it. */
type Found =
  { readonly metadata: Metadata; readonly issuer?: string } | { readonly problem: string }
/** An MCP server, which is asked for its issuer. */
type Server = { readonly url: string; /** Where it is reached. */ readonly at: string }

const TIMEOUT_MS = 5_000
const EVERY_MS = 3_600_000
/** After a failure: doubled up to `EVERY_MS / 12`. */
const AGAIN_MS = 5_000

/** Discovery 4.1 appends, RFC 8414 3.1 puts it between host and path. */
const wellKnown = (issuer: string): readonly string[] => {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  return [
    `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${path}`,
    ...(path === '' ? [] : [`${origin}/.well-known/openid-configuration${path}`]),
  ]
}

const words = (value: unknown): readonly string[] | null =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : null

/** Checks a metadata document. @param insecure plain http to other machines is allowed */
export const readMetadata = (body: Fields, issuer: string, insecure: boolean): Found => {
  // Discovery 4.3, RFC 8414 3.3: identical, so that nobody speaks for another.
  if (body['issuer'] !== issuer)
    return {
      problem: 'the document names another issuer: write `issuer` exactly as it stands there',
    }
  const problems: string[] = []
  const at = (key: string, from: Fields = body): string | null => {
    const value = from[key]
    if (value === undefined || value === null) return null
    if (typeof value !== 'string' || value.length > 2_000) {
      problems.push(`${key} is no URL`)
      return null
    }
    // An issuer under TLS has no reason to name an endpoint without it, on loopback neither.
    const plain = issuer.startsWith('https:') && !insecure && !value.startsWith('https:')
    const problem = plain ? 'must begin with https://' : urlProblem(value, insecure)
    if (problem !== null) problems.push(`${key} ${problem}`)
    return value
  }
  const aliases = body['mtls_endpoint_aliases']
  const alias = (name: string, key: string) => {
    const url = isObject(aliases) ? at(key, aliases) : null
    return url === null ? {} : { [name]: url }
  }
  const metadata: Metadata = {
    authorize: at('authorization_endpoint'),
    token: at('token_endpoint'),
    userinfo: at('userinfo_endpoint'),
    revoke: at('revocation_endpoint'),
    par: at('pushed_authorization_request_endpoint'),
    registration: at('registration_endpoint'),
    cimd: body['client_id_metadata_document_supported'] === true,
    issRequired: body['authorization_response_iss_parameter_supported'] === true,
    clientAuth: words(body['token_endpoint_auth_methods_supported']),
    challenges: words(body['code_challenge_methods_supported']),
    scopes: words(body['scopes_supported']) ?? [],
    mtls: {
      ...alias('token', 'token_endpoint'),
      ...alias('userinfo', 'userinfo_endpoint'),
      ...alias('revoke', 'revocation_endpoint'),
      ...alias('par', 'pushed_authorization_request_endpoint'),
    },
  }
  return problems.length > 0 ? { problem: problems.join('; ') } : { metadata }
}

/** Asks an issuer. Never throws for what it or the network does. */
export const askIssuer = async (
  fetch: Fetch,
  issuer: string,
  insecure: boolean,
  tls: ConnectionTls | null = null,
): Promise<Found> => {
  const send = createSend(fetch, TIMEOUT_MS)
  const said: string[] = []
  for (const url of wellKnown(issuer)) {
    const headers = { accept: 'application/json', 'user-agent': 'deputy' }
    const raw = await send(url, { method: 'GET', headers, tls })
    if ('kind' in raw)
      return {
        problem:
          raw.error === 'DEPUTY_ADDRESS_PROHIBITED'
            ? 'its address is private: list it under network.allow_private if it is meant'
            : `it cannot be reached (${raw.description ?? raw.error})`,
      }
    const body = raw.status === 200 ? parseBody(raw) : null
    if (isObject(body)) return readMetadata(body, issuer, insecure)
    said.push(`${url} answers ${raw.status === 200 ? 'no JSON object' : raw.status}`)
  }
  return { problem: said.join(', ') }
}

/**
 * Asks an MCP server who issues its tokens (RFC 9728): at the address that its refusal names, else at the usual ones.
 * One that says nothing is its own issuer (revision 2025-03-26).
 */
const askServer = async (
  fetch: Fetch,
  { url, at }: Server,
  insecure: boolean,
  tls: ConnectionTls | null,
): Promise<Found> => {
  const send = createSend(fetch, TIMEOUT_MS)
  const headers = { accept: 'application/json', 'user-agent': 'deputy' }
  const { origin, pathname } = new URL(at)
  const path = pathname.replace(/\/$/, '')
  const usual = [...new Set([path, ''])].map(
    (end) => `${origin}/.well-known/oauth-protected-resource${end}`,
  )
  const refusal = await send(at, { method: 'GET', headers, tls })
  const named = 'kind' in refusal ? null : resourceMetadata(refusal.headers.get('www-authenticate'))
  // Under the name that the world knows, though it is reached elsewhere.
  const told = named?.startsWith(new URL(url).origin)
    ? origin + named.slice(new URL(url).origin.length)
    : named
  const there =
    told !== null && told !== undefined && urlProblem(told, insecure) === null ? [told] : []
  for (const place of [...there, ...usual]) {
    const raw = await send(place, { method: 'GET', headers, tls })
    if ('kind' in raw) return { problem: `it cannot be reached (${raw.description ?? raw.error})` }
    const body = raw.status === 200 ? parseBody(raw) : null
    if (!isObject(body)) continue
    // RFC 9728 3.3: what another resource says is nothing to this one.
    if (!sameResource(body['resource'], url))
      return { problem: 'its metadata is that of another resource: write `url` as it stands there' }
    const issuer = words(body['authorization_servers'])?.[0]
    if (issuer === undefined) return { problem: 'it names no authorization server: write `issuer`' }
    const problem = urlProblem(issuer, insecure)
    if (problem !== null) return { problem: `its authorization server ${problem}` }
    const found = await askIssuer(fetch, issuer, insecure, tls)
    return 'metadata' in found ? { ...found, issuer } : found
  }
  const found = await askIssuer(fetch, origin, insecure, tls)
  return 'metadata' in found ? { ...found, issuer: origin } : found
}
/** Clients write the same URL with and without its last slash. */
const sameResource = (said: unknown, url: string): boolean =>
  typeof said === 'string' && said.replace(/\/$/, '') === url.replace(/\/$/, '')
const resourceMetadata = (wwwAuthenticate: string | null): string | null =>
  /\bresource_metadata\s*=\s*"([^"\\]{1,2000})"/i.exec(wwwAuthenticate ?? '')?.[1] ?? null

const methodOf = (connection: Connection, offered: readonly string[]): ClientAuth | null => {
  const shown: readonly ClientAuth[] = connection.tls?.client
    ? ['tls_client_auth', 'self_signed_tls_client_auth']
    : []
  const able: readonly ClientAuth[] =
    connection.clientSecret === null
      ? [...shown, 'none']
      : ['client_secret_basic', 'client_secret_post']
  return able.find((method) => offered.includes(method)) ?? null
}

/** The connection with what its definition left out; `problem` in `discover` says what does not fit. Pure. */
export const laidUnder = (
  given: Connection,
  found: Found,
  client: Client | { readonly problem: string } | null = null,
): Connection => {
  const { discover } = given.provider
  if (!discover) return given
  const own = client !== null && 'id' in client ? client : null
  const connection = own === null ? given : { ...given, clientId: own.id, clientSecret: own.secret }
  const { provider } = connection
  const failed = (problem: string): Connection => ({
    ...connection,
    provider: { ...provider, discover: { ...discover, problem } },
  })
  if ('problem' in found) return failed(found.problem)
  if (client !== null && 'problem' in client) return failed(client.problem)
  const { mtls, ...told } = found.metadata
  const m: Metadata = connection.tls?.client ? { ...told, ...mtls, mtls } : found.metadata
  const left = new Set(discover.left)
  const filled = <K extends 'authorize' | 'token' | 'userinfo' | 'par'>(key: K): string | null =>
    provider[key] ?? (left.has(key) ? m[key] : null)
  const authorize = filled('authorize')
  const token = filled('token')
  if (authorize === null) return failed('it names no authorization_endpoint: write `authorize`')
  if (token === null) return failed('it names no token_endpoint: write `token`')
  // A list without S256 would have us go without PKCE in silence (RFC 9700 4.8.2).
  const silent = provider.mcp ? false : undefined
  if (provider.pkce && left.has('pkce') && (m.challenges?.includes('S256') ?? silent) === false)
    return failed('it offers no PKCE with S256: write `pkce: false` to go without')
  const signs = provider.clientAuth === 'private_key_jwt' || !left.has('client_auth')
  const offered = m.clientAuth ?? ['client_secret_basic']
  const method = own?.auth ?? (signs ? provider.clientAuth : methodOf(connection, offered))
  if (method === null)
    return failed(
      `it takes ${offered.join(', ')}, and the connection has ${connection.clientSecret === null ? 'no client_secret' : 'a client_secret'}: give it what is wanted, or write \`client_auth\``,
    )
  const userinfo = filled('userinfo')
  // A token for an MCP server is for that server alone, and opens no userinfo.
  const openid =
    !provider.mcp && (m.scopes.includes('openid') || (m.scopes.length === 0 && userinfo !== null))
  const always = ['openid', 'offline_access'].filter((scope) =>
    scope === 'openid' ? openid : m.scopes.includes(scope),
  )
  const account: Provider['account'] =
    left.has('account') && userinfo !== null && openid
      ? { from: 'userinfo', id: '/sub', label: ['/email', '/preferred_username', '/name'] }
      : provider.account
  const revoke = provider.revoke ?? (left.has('revoke') ? m.revoke : null)
  const { refresh } = provider
  return {
    ...connection,
    provider: {
      ...provider,
      issuer: provider.issuer ?? found.issuer ?? null,
      authorize,
      token,
      userinfo,
      par: filled('par'),
      revoke,
      revokeStyle: provider.revoke === null && revoke !== null ? 'rfc7009' : provider.revokeStyle,
      issRequired: m.issRequired,
      clientAuth: method,
      ...(refresh && left.has('refresh.client_auth')
        ? { refresh: { ...refresh, clientAuth: method } }
        : {}),
      account,
      scopeAlways: left.has('scope.always') ? always : (provider.scopeAlways ?? []),
      // OpenID Connect Core 11: without it there is no offline access; and nobody is connected in silence.
      authorizeParams:
        openid && left.has('authorize_params') ? { prompt: 'consent' } : provider.authorizeParams,
      discover: { ...discover, problem: null },
    },
  }
}

type Discovery = {
  /** The same map as long as nothing changes. */
  readonly connections: () => ReadonlyMap<string, Connection>
  /** Asks every issuer once, at the same time; goes on asking until `close`. Never throws. */
  readonly start: () => Promise<void>
  /** Has an issuer not said anything yet? */
  readonly unknown: () => boolean
  /** What each issuer said last, for the discovery that follows this one. */
  readonly said: () => Said
  readonly close: () => void
}
type Said = ReadonlyMap<string, string>

/** Follows the issuers of connections whose definitions leave endpoints out; one that cannot be asked concerns no other. */
export const createDiscovery = (deps: {
  readonly connections: ReadonlyMap<string, Connection>
  /** Checks addresses when it dials (net/dial). */
  readonly fetch: Fetch
  readonly log: Log
  /** What issuers said before the configuration changed: it counts until they say otherwise. */
  readonly before?: Said
  /** Who deputy is where a connection names no client_id; absent: such connections do not work. */
  readonly clients?: Clients
  /** An issuer said something new. */
  readonly onChange?: (issuer: string, metadata: Metadata, names: readonly string[]) => void
  /** ms since the epoch */
  readonly now?: () => number
  /** In [0, 1). */
  readonly random?: () => number
  readonly after?: (ms: number, work: () => void) => NodeJS.Timeout
}): Discovery => {
  const { log, random = Math.random } = deps
  const now = deps.now ?? Date.now
  const after = deps.after ?? ((ms, work) => setTimeout(work, ms).unref())
  const issuers = new Map<
    string,
    {
      /** Of a server that has to name it: the server's own address. */
      readonly issuer: string
      readonly server: Server | null
      readonly insecure: boolean
      readonly tls: ConnectionTls | null
    }
  >()
  const serverOf = ({ provider: { mcp, issuer, hosts } }: Connection): Server | null => {
    const [origin] = hosts.values()
    return !mcp || issuer !== null || origin === undefined
      ? null
      : { url: mcp.url, at: origin + mcp.path }
  }
  const keyOf = (connection: Connection): string => {
    const { provider, tls = null } = connection
    const who = serverOf(connection) ?? provider.issuer
    return JSON.stringify([who, provider.discover?.insecure, tls])
  }
  for (const connection of deps.connections.values()) {
    const { provider, tls = null } = connection
    const { discover } = provider
    const server = serverOf(connection)
    const issuer = server?.url ?? provider.issuer
    if (discover && issuer !== null)
      issuers.set(keyOf(connection), { issuer, server, insecure: discover.insecure, tls })
  }
  /** Of connections whose configuration names no client. */
  const clients = new Map<string, Client | { readonly problem: string }>()
  const known = new Map<string, string>()
  const stale = new Set<string>()
  const timers = new Map<string, NodeJS.Timeout>()
  let current = deps.connections
  let closed = false

  const learn = (key: string, found: Found, again = false): void => {
    const text = JSON.stringify(found)
    if (known.get(key) === text && !stale.delete(key)) return
    known.set(key, text)
    stale.delete(key)
    const ours = [...deps.connections].filter(
      ([, connection]) => connection.provider.discover && keyOf(connection) === key,
    )
    const next = new Map(current)
    for (const [name, connection] of ours) {
      const made = laidUnder(connection, found, clients.get(name) ?? null)
      next.set(name, made)
      const problem = made.provider.discover?.problem ?? null
      if (problem !== null)
        log.error(
          { connection: name, issuer: issuers.get(key)?.issuer, problem },
          'the endpoints of a provider are not known: nobody can connect or refresh there',
        )
    }
    current = next
    const issuer = issuers.get(key)?.issuer ?? ''
    if ('metadata' in found && !again)
      deps.onChange?.(
        issuer,
        found.metadata,
        ours.map(([name]) => name),
      )
  }

  /** false: a connection without a client did not get one, and it is tried again soon. */
  const clientsFor = async (key: string, found: Found): Promise<boolean> => {
    if (!('metadata' in found)) return true
    let all = true
    for (const [name, connection] of deps.connections) {
      const { provider, clientId } = connection
      if (!provider.discover || clientId !== '' || keyOf(connection) !== key) continue
      const issuer = found.issuer ?? provider.issuer ?? ''
      const client = (await deps
        .clients?.(connection, issuer, found.metadata)
        .catch((error: unknown) => ({
          problem: `its client cannot be kept (${messageOf(error)})`,
        }))) ?? { problem: 'it needs a client_id' }
      const before = clients.get(name)
      if ('late' in client && client.late !== undefined)
        log.warn(
          { connection: name, issuer, problem: client.late },
          'the client that deputy registered ends soon, and there is no other yet',
        )
      const better = !('problem' in client) || before === undefined || 'problem' in before
      // What was learnt without it is laid anew.
      if (better && JSON.stringify(before) !== JSON.stringify(client)) stale.add(key)
      if (better) clients.set(name, client)
      all &&= !('problem' in client)
    }
    return all
  }

  /** ms until a client of this issuer is to be another; never so few that a server which gives such would be flooded. */
  const renewal = (key: string): number => {
    const ends = [...clients].flatMap(([name, client]) => {
      const connection = deps.connections.get(name)
      return connection !== undefined && keyOf(connection) === key && 'renewAt' in client
        ? [client.renewAt - now()]
        : []
    })
    return Math.max(AGAIN_MS, Math.min(...ends))
  }
  /** Does a connection of this issuer bring a client from the configuration? */
  const ownClient = (key: string): boolean =>
    [...deps.connections.values()].some(
      (one) => one.provider.discover && one.clientId !== '' && keyOf(one) === key,
    )

  const round = async (key: string, failures: number): Promise<void> => {
    const issuer = issuers.get(key)
    if (issuer === undefined || closed) return
    const { server, insecure, tls } = issuer
    const found = await (server === null
      ? askIssuer(deps.fetch, issuer.issuer, insecure, tls)
      : askServer(deps.fetch, server, insecure, tls))
    const before = known.get(key)
    const last = before === undefined ? null : (JSON.parse(before) as Found)
    const registered = await clientsFor(key, 'metadata' in found ? found : (last ?? found))
    const good = 'metadata' in found && registered
    // A server that names another issuer would get there what is for the first: only the operator can move it.
    const moved =
      'metadata' in found &&
      last !== null &&
      'metadata' in last &&
      last.issuer !== found.issuer &&
      (!registered || ownClient(key))
    // Known endpoints stay: an issuer that is down for an hour has not moved.
    const kept =
      (moved || !('metadata' in found)) && known.get(key)?.startsWith('{"metadata"') === true
    if (!kept) learn(key, found)
    else if (stale.has(key) && last !== null) learn(key, last, true)
    else if (moved)
      log.warn(
        { issuer: issuer.issuer, named: found.issuer },
        'a server names another authorization server than before: if that is meant, write it as `issuer`',
      )
    else
      log.warn(
        { issuer: issuer.issuer, ...found },
        'an issuer cannot be asked again: what it said before counts',
      )
    const ms = good ? EVERY_MS : Math.min(AGAIN_MS * 2 ** failures, EVERY_MS / 12)
    if (!closed)
      timers.set(
        key,
        after(
          Math.min(ms * (0.8 + 0.4 * random()), good ? renewal(key) : ms),
          () => void round(key, good ? 0 : failures + 1),
        ),
      )
  }

  for (const [key, text] of deps.before ?? [])
    if (issuers.has(key) && text.startsWith('{"metadata"'))
      learn(key, JSON.parse(text) as Found, true)

  return {
    connections: () => current,
    said: () => known,
    unknown: () => issuers.keys().some((key) => !known.has(key)),
    start: async () => {
      await Promise.all([...issuers.keys()].map((key) => round(key, 0)))
    },
    close: () => {
      closed = true
      for (const timer of timers.values()) clearTimeout(timer)
    },
  }
}

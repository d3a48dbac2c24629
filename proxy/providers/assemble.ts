// Turns a valid definition into a Provider: names of YAML become names of the model, and what was
// left out gets its default.
import type {
  AnswerRules,
  Discover,
  Json,
  JsonObject,
  OperationRow,
  Provider,
  RefreshRules,
} from '../model.ts'
import type { AnswerDefinition, Definition } from './definition.ts'
import { PRESENT } from './definition.ts'
import type { ScopeReach } from '../wire/scopes.ts'

/** What `parseProvider` has read with checks of its own. */
export type Parts = {
  readonly hosts: ReadonlyMap<string, string>
  readonly assets: ReadonlyMap<string, string>
  readonly rows: readonly OperationRow[]
  readonly slots: ReadonlyMap<string, Provider>
  readonly discover: Discover | null
  /** null: it is an API. */
  readonly mcp: Provider['mcp']
}

const lower = (list: readonly string[]): string[] => list.map((name) => name.toLowerCase())

export const userinfoUrl = ({ userinfo }: Pick<Definition, 'userinfo'>): string | null =>
  userinfo === null || typeof userinfo === 'string' ? userinfo : userinfo.url
export const revokeOf = ({ revoke }: Pick<Definition, 'revoke'>) =>
  typeof revoke === 'string'
    ? { url: revoke, style: 'rfc7009' as const, access_outlives: false }
    : revoke

/**
 * @param implies wider scope → narrower ones; followed to the end, circles too
 * @param aliases other name → the name that operations and connections use
 */
export const scopeReach = (
  implies: Readonly<Record<string, readonly string[]>>,
  aliases: Readonly<Record<string, string>>,
): ScopeReach => {
  const next = new Map<string, Set<string>>()
  const add = (from: string, to: string): void =>
    void next.set(from, (next.get(from) ?? new Set<string>()).add(to))
  for (const [wide, list] of Object.entries(implies)) for (const one of list) add(wide, one)
  for (const [alias, name] of Object.entries(aliases)) {
    add(alias, name)
    add(name, alias)
  }
  const reach = new Map<string, readonly string[]>()
  for (const from of next.keys()) {
    // A set grows while it is walked: what is reached is walked too.
    const all = new Set([from])
    for (const scope of all) for (const to of next.get(scope) ?? []) all.add(to)
    reach.set(from, [...all])
  }
  return reach
}

/** @param at a refresh need not name the host again: what was pinned stays */
const answerRules = (d: Definition, answer: AnswerDefinition, at: 'grant' | 'refresh') =>
  ({
    accessToken: answer.access_token,
    refreshToken: answer.refresh_token,
    scope: answer.scope,
    expiresIn: answer.expires_in,
    scopeSeparator: answer.scope_separator ?? d.scope?.separator ?? ' ',
    scopePrefix: answer.scope_prefix ?? null,
    onlyIf: answer.only_if,
    assumeTtl: d.access_token_ttl,
    zeroIsNever: answer.zero_is_never,
    errors: { ...d.answer.errors, ...answer.errors },
    host: d.host_from_token === null ? null : { ...d.host_from_token, required: at === 'grant' },
  }) satisfies AnswerRules

const refreshOf = (d: Definition): RefreshRules | null =>
  d.refresh === null
    ? null
    : {
        url: d.refresh?.url ?? null,
        clientAuth: d.refresh?.client_auth ?? d.client_auth,
        params: d.refresh?.params ?? d.token_params,
        answer: answerRules(d, d.refresh?.answer ?? d.answer, 'refresh'),
      }

const PLACE = '{origin}'
/**
 * An endpoint of a product that people host themselves: `{origin}` is where its first host is
 * reached.
 */
export const placeUrl = <T extends string | null>(url: T, origin: string): T | string =>
  url?.startsWith(`${PLACE}/`) === true ? origin + url.slice(PLACE.length) : url

/**
 * All endpoints at the origin of the first host; without a host they wait for a connection that
 * names one.
 */
export const placed = (provider: Provider): Provider => {
  const [origin] = provider.hosts.values()
  if (origin === undefined) return provider
  const at = <T extends string | null>(url: T): T | string => placeUrl(url, origin)
  const { introspect, refresh } = provider
  return {
    ...provider,
    issuer: at(provider.issuer),
    authorize: at(provider.authorize),
    token: at(provider.token),
    userinfo: at(provider.userinfo),
    par: at(provider.par ?? null),
    revoke: at(provider.revoke),
    introspect: introspect ? { ...introspect, url: at(introspect.url) } : null,
    ...(refresh ? { refresh: { ...refresh, url: at(refresh.url) } } : {}),
  }
}

const introspectOf = ({ introspect }: Definition): NonNullable<Provider['introspect']> | null =>
  introspect === null
    ? null
    : {
        url: introspect.url,
        auth: introspect.auth,
        at: introspect.at,
        scope: introspect.scope,
        expiresIn: introspect.expires_in,
      }

const accountOf = ({ account }: Definition): Provider['account'] =>
  account === null
    ? null
    : {
        from: account.from,
        id: account.id,
        label: account.label ?? (typeof account.id === 'string' ? account.id : []),
      }

export const assemble = (d: Definition, parts: Parts): Provider => {
  const revoke = revokeOf(d)
  const [, header = '', scheme = '', before, after] = PRESENT.exec(d.present) ?? []
  const pair = before !== undefined || after !== undefined
  // Whoever pastes a key names no scopes: it opens what it opens.
  const scopeless = d.scope === null || d.credential === 'api_key'
  return {
    id: d.id,
    lineage: [d.id],
    name: d.name ?? d.id,
    credential: d.credential,
    issuer: d.issuer,
    discover: parts.discover,
    mcp: parts.mcp ?? null,
    authorize: d.authorize,
    token: d.token,
    userinfo: userinfoUrl(d),
    userinfoBody:
      d.userinfo === null || typeof d.userinfo === 'string'
        ? null
        : JSON.stringify(d.userinfo.post),
    introspect: introspectOf(d),
    par: d.par,
    resource: d.resource,
    revoke: revoke?.url ?? null,
    revokeStyle: revoke?.style ?? 'none',
    accessOutlivesRevoke: revoke?.access_outlives ?? false,
    clientAuth: d.client_auth,
    assertionAudience: d.assertion_audience,
    tokenFormat: d.token_format,
    refresh: refreshOf(d),
    pkce: d.pkce,
    scopeParam: scopeless ? null : (d.scope?.param ?? null),
    scopeSeparator: d.scope?.separator ?? ' ',
    scopeAlways: d.scope?.always ?? [],
    scopeWhole: d.scope?.whole ?? false,
    scopeKnown: d.scope?.known ?? null,
    scopeReach: d.scope === null ? null : scopeReach(d.scope.implies, d.scope.aliases),
    scopeWords: new Map(Object.entries(d.scopes)),
    unauthorized: d.unauthorized,
    scopeRepeat: d.scope?.repeat ?? [],
    authorizeParams: d.authorize_params,
    tokenParams: d.token_params,
    account: accountOf(d),
    answer: answerRules(d, d.answer, 'grant'),
    rotation: d.rotation,
    lostResponse: d.lost_response,
    refreshIdleDays: d.refresh_idle_days,
    hosts: parts.hosts,
    hostFromToken: d.host_from_token,
    slots: parts.slots,
    assets: parts.assets,
    http2: d.http2,
    present: {
      header: header.toLowerCase(),
      scheme,
      ...(pair ? { pair: { before: before ?? '', after: after ?? '' } } : {}),
    },
    requiredHeaders: d.required_headers,
    strip: {
      headers: lower(d.strip.headers),
      query: lower(d.strip.query),
      body: lower(d.strip.body),
      provided: lower(d.strip.provided),
      pass: lower(d.strip.pass),
    },
    names: { insensitive: d.names === 'insensitive', spellings: d.spellings },
    rewrite: d.rewrite,
    errors: (d.errors as Json | undefined) ?? null,
    trailingSlash: d.trailing_slash === 'ignored',
    prefixes: d.prefixes,
    // Without scopes at the provider no row can ask for one (a GitHub App that extends the OAuth
    // app).
    operations: scopeless ? parts.rows.map((one) => ({ ...one, scopes: [[]] })) : parts.rows,
    envelopes: d.envelopes.map(({ call, holds, host, rewrite }) => {
      const [method = '', path = ''] = call.split(' ')
      return { format: holds, method, segments: path.slice(1).split('/'), host, rewrite }
    }),
    secretSegments: d.secret_segments,
    example: d.example === undefined ? null : (d.example as JsonObject & Record<string, Json>),
  }
}

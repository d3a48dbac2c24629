// Providers are data: a definition and its catalogue of operations → Provider, or every problem with its path.
import { z } from 'zod'
import type { Provider } from '../model.ts'
import {
  definition,
  explain,
  isFields,
  PRESENT,
  readHosts,
  reporter,
  urlProblem,
} from './definition.ts'
import type { Fields, HostList, Report } from './definition.ts'
import { catalogueSchema, readCatalogue } from './operations.ts'

export type Parsed = { readonly provider: Provider } | { readonly problems: readonly string[] }
/** What one connection may change of its provider. A list of hosts narrows; a map narrows and maps. */
export type ProviderOverrides = {
  readonly issuer?: string | undefined
  readonly authorize?: string | undefined
  readonly token?: string | undefined
  readonly userinfo?: string | undefined
  readonly revoke?: string | undefined
  readonly hosts?: HostList | undefined
  readonly insecure?: boolean | undefined
}

/** A file must not set what the flow itself decides (RFC 6749 4.1.1, RFC 7636 4.3), nor frame the request. */
const FLOW_PARAMS = new Set(
  'client_id client_secret redirect_uri response_type state nonce scope code code_challenge code_challenge_method code_verifier grant_type refresh_token'.split(
    ' ',
  ),
)
const FRAMING = new Set(
  'host connection content-length transfer-encoding te trailer upgrade keep-alive expect proxy-authorization authorization cookie'.split(
    ' ',
  ),
)

/** JSON Schema of a definition, generated from the parser. */
export const providerJsonSchema = (): Record<string, unknown> =>
  z.toJSONSchema(
    definition.extend({
      operations: z.union([z.string(), catalogueSchema]).optional(),
    }),
    { io: 'input' },
  )

/** A definition laid over its base: a key of the definition replaces the base's whole value. */
const inherit = (base: unknown, raw: unknown): unknown =>
  isFields(base) && isFields(raw) ? { ...base, ...raw } : raw

const folderOf = (where: string): string => where.slice(0, where.lastIndexOf('/') + 1)
const lower = (list: readonly string[]): string[] => list.map((name) => name.toLowerCase())

/**
 * Reads one definition.
 * @param where its file, named in every problem
 * @param operations the parsed catalogue, when `operations` is a file name
 * @param base the parsed definition that `extends` names, itself already laid over its own base
 */
export const parseProvider = (
  raw: unknown,
  where: string,
  operations?: unknown,
  base?: unknown,
): Parsed => {
  const problems: string[] = []
  const report = reporter(problems, where)
  const parsed = definition.safeParse(inherit(base, raw))
  if (!parsed.success) {
    explain(parsed.error, report)
    return { problems }
  }
  const d = parsed.data
  if (d.extends !== undefined && base === undefined)
    report('extends', `there is no definition ${d.extends}`)
  const revoke =
    typeof d.revoke === 'string' ? { url: d.revoke, style: 'rfc7009' as const } : d.revoke
  const endpoints = {
    issuer: d.issuer,
    authorize: d.authorize,
    token: d.token,
    userinfo: d.userinfo,
    revoke: revoke?.url ?? null,
  }
  for (const [key, value] of Object.entries(endpoints)) {
    const problem = value === null ? null : urlProblem(value, d.insecure)
    if (problem !== null) report(key, problem)
  }
  for (const key of ['authorize', 'token'] as const) {
    if (d.credential === 'oauth2' && d[key] === null)
      report(key, 'is needed for credential: oauth2')
    if (d.credential === 'api_key' && d[key] !== null) report(key, 'has no use with an api_key')
  }
  if (d.account?.from === 'userinfo' && d.userinfo === null)
    report('account', 'reads userinfo, but userinfo has no URL')
  for (const key of ['authorize_params', 'token_params'] as const)
    for (const name of Object.keys(d[key]))
      if (FLOW_PARAMS.has(name.toLowerCase())) report(`${key}.${name}`, 'is set by deputy itself')
  for (const name of Object.keys(d.required_headers))
    if (FRAMING.has(name.toLowerCase()))
      report(`required_headers.${name}`, 'is set by deputy itself')
  const [, header = '', scheme = ''] = PRESENT.exec(d.present) ?? []
  if (FRAMING.has(header.toLowerCase()) && header.toLowerCase() !== 'authorization')
    report('present', `${header} cannot carry a token`)

  if (d.hosts === undefined) report('hosts', 'is needed; [] serves nothing')
  const hosts = readHosts(d.hosts ?? [], d.insecure, (key, what) => report(`hosts.${key}`, what))
  const assets = readHosts(d.assets, d.insecure, (key, what) => report(`assets.${key}`, what))
  for (const name of assets.keys())
    if (hosts.has(name)) report('assets', `${name} is a host already: assets carry no credential`)

  const file = typeof d.operations === 'string' ? d.operations : null
  const inherited = isFields(raw) && !Object.hasOwn(raw, 'operations')
  if (file !== null && operations === undefined) report('operations', `there is no file ${file}`)
  const rows = readCatalogue(
    file === null ? d.operations : (operations ?? []),
    d.id,
    (host) => hosts.has(host),
    inherited,
    file === null
      ? (at, what) => report(at === '' ? 'operations' : `operations.${at}`, what)
      : reporter(problems, folderOf(where) + file),
  )
  if (problems.length > 0) return { problems }
  const separator = d.scope?.separator ?? ' '
  return {
    provider: {
      id: d.id,
      name: d.name ?? d.id,
      credential: d.credential,
      ...endpoints,
      revokeStyle: revoke?.style ?? 'none',
      clientAuth: d.client_auth,
      pkce: d.pkce,
      scopeParam: d.scope?.param ?? null,
      scopeSeparator: separator,
      scopeAlways: d.scope?.always ?? [],
      authorizeParams: d.authorize_params,
      tokenParams: d.token_params,
      account: d.account === null ? null : { ...d.account, label: d.account.label ?? d.account.id },
      answer: {
        accessToken: d.answer.access_token,
        refreshToken: d.answer.refresh_token,
        scope: d.answer.scope,
        expiresIn: d.answer.expires_in,
        scopeSeparator: d.answer.scope_separator ?? separator,
        assumeTtl: d.access_token_ttl,
        zeroIsNever: d.answer.zero_is_never,
        errors: d.answer.errors,
      },
      rotation: d.rotation,
      lostResponse: d.lost_response,
      hosts,
      assets,
      present: { header: header.toLowerCase(), scheme },
      requiredHeaders: d.required_headers,
      strip: {
        headers: lower(d.strip.headers),
        query: lower(d.strip.query),
        body: lower(d.strip.body),
      },
      rewrite: d.rewrite,
      // Without scopes at the provider no row can ask for one (a GitHub App that extends the OAuth app).
      operations: d.scope === null ? rows.map((one) => ({ ...one, scopes: [[]] })) : rows,
      secretSegments: d.secret_segments,
    },
  }
}

/**
 * Compiles definitions and catalogues together.
 * @param files parsed YAML or JSON by label (`providers/github.yaml`); a list is a catalogue, an object a definition.
 *   `operations` and `extends` are looked up among them, a catalogue in the folder of its definition.
 */
export const compileProviders = (
  files: ReadonlyMap<string, unknown>,
): { readonly providers: ReadonlyMap<string, Provider>; readonly problems: readonly string[] } => {
  const problems: string[] = []
  const providers = new Map<string, Provider>()
  const byId = new Map<string, { readonly where: string; readonly raw: Fields }>()
  const used = new Set<string>()
  for (const [where, raw] of files) {
    if (Array.isArray(raw)) continue
    if (!isFields(raw) || typeof raw['id'] !== 'string')
      reporter(problems, where)('', 'must be a definition with an id, or a list of operations')
    else if (byId.has(raw['id']))
      reporter(problems, where)('id', `${raw['id']} is defined in ${byId.get(raw['id'])?.where}`)
    else byId.set(raw['id'], { where, raw })
  }
  for (const [id, { where, raw }] of byId) {
    const chain = [{ where, raw }]
    const seen = new Set([id])
    for (let last = raw; typeof last['extends'] === 'string';) {
      const next = byId.get(last['extends'])
      if (next === undefined || seen.has(last['extends'])) break
      seen.add(last['extends'])
      chain.push(next)
      last = next.raw
    }
    const end = chain.at(-1)?.raw['extends']
    if (typeof end === 'string' && seen.has(end))
      reporter(problems, where)('extends', `${[...seen, end].join(' → ')} is a circle`)
    else if (typeof end === 'string' && chain.length > 1)
      reporter(problems, where)('extends', `there is no definition ${end}`)
    const base = chain
      .slice(1)
      .reduceRight<unknown>((under, { raw }) => inherit(under, raw), undefined)
    const owner = chain.find((link) => Object.hasOwn(link.raw, 'operations'))
    const file = owner?.raw['operations']
    const label =
      typeof file === 'string' && owner !== undefined ? folderOf(owner.where) + file : null
    if (label !== null) used.add(label)
    const parsed = parseProvider(raw, where, label === null ? undefined : files.get(label), base)
    if ('provider' in parsed) providers.set(id, parsed.provider)
    else problems.push(...parsed.problems)
  }
  for (const [where, raw] of files)
    if (Array.isArray(raw) && !used.has(where))
      reporter(problems, where)('', 'no definition names this catalogue')
  return { providers, problems }
}

/** The provider as one connection sees it: other endpoints, fewer hosts, or hosts reached elsewhere. */
export const overrideProvider = (
  provider: Provider,
  overrides: ProviderOverrides,
  where = `provider ${provider.id}`,
): Parsed => {
  const problems: string[] = []
  const report = reporter(problems, where)
  const { hosts: wanted, insecure = false } = overrides
  for (const key of ['issuer', 'authorize', 'token', 'userinfo', 'revoke'] as const) {
    const problem = overrides[key] === undefined ? null : urlProblem(overrides[key], insecure)
    if (problem !== null) report(key, problem)
  }
  const hosts = wanted === undefined ? new Map(provider.hosts) : new Map<string, string>()
  const assets = new Map(provider.assets)
  const bad: Report = (key, what) => report(`hosts.${key}`, what)
  for (const [name, origin] of readHosts(wanted ?? [], insecure, bad)) {
    if (provider.hosts.has(name))
      hosts.set(name, Array.isArray(wanted) ? (provider.hosts.get(name) ?? origin) : origin)
    else if (provider.assets.has(name) && !Array.isArray(wanted)) assets.set(name, origin)
    else report('hosts', `${provider.id} does not serve ${name}`)
  }
  if (hosts.size === 0 && problems.length === 0) report('hosts', 'no host is left')
  if (problems.length > 0) return { problems }
  return {
    provider: {
      ...provider,
      issuer: overrides.issuer ?? provider.issuer,
      authorize: overrides.authorize ?? provider.authorize,
      token: overrides.token ?? provider.token,
      userinfo: overrides.userinfo ?? provider.userinfo,
      revoke: overrides.revoke ?? provider.revoke,
      revokeStyle:
        overrides.revoke !== undefined && provider.revokeStyle === 'none'
          ? 'rfc7009'
          : provider.revokeStyle,
      hosts,
      assets,
    },
  }
}

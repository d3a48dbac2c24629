// Providers are data: turns a definition and its catalogue of operations into a Provider, or into
// every problem with its path.
import { z } from 'zod'
import type { OperationRow, Provider } from '../model.ts'
import { assemble, placed, placeUrl, revokeOf, userinfoUrl } from './assemble.ts'
import type { Parts } from './assemble.ts'
import { definition, explain, PRESENT, readHosts, reporter, urlProblem } from './definition.ts'
import type { Definition, Fields, HostList, Report } from './definition.ts'
import { catalogueSchema, readCatalogue, withGenerated } from './catalogue.ts'
import type { Serving } from './catalogue.ts'
import { readGenerated } from './generated.ts'
import { mcpPlace, mcpRows } from './mcp.ts'
import { salvage } from '../mistakes.ts'
import { isObject } from '../wire/json.ts'

type Parsed = { readonly provider: Provider } | { readonly problems: readonly string[] }
/** What one connection may change of its provider. A list of hosts narrows; a map narrows and maps. */
type ProviderOverrides = {
  readonly issuer?: string | undefined
  readonly authorize?: string | undefined
  readonly token?: string | undefined
  readonly userinfo?: string | undefined
  readonly revoke?: string | undefined
  readonly hosts?: HostList | undefined
  /** Which kind of token, where the definition has `slots`. */
  readonly slot?: string | undefined
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

/** Words of another product: no start translates them. */
const FOREIGN = [
  'oauth2',
  'authorize_request',
  'authorization_request',
  'token_request',
  'user_info_request',
]
const FOREIGN_WORD =
  'is how another product writes a provider: `deputy import FILE` writes it in the words of deputy'

/** JSON Schema of a definition, generated from the parser. */
export const providerJsonSchema = (): Record<string, unknown> =>
  z.toJSONSchema(
    definition.extend({
      operations: z.union([z.string(), catalogueSchema]).optional(),
    }),
    { io: 'input' },
  )

/** A definition laid over its base: a key of the definition replaces the base's whole value. */
const inherit = (base: unknown, raw: unknown): unknown => {
  if (!isObject(base) || !isObject(raw)) return raw
  const { catalogue, ...rest } = base
  // Whoever lists the operations anew means those alone.
  const kept = Object.hasOwn(raw, 'operations') || catalogue === undefined ? {} : { catalogue }
  return { ...rest, ...kept, ...raw }
}

/** The files that `operations` and `catalogue` name, parsed; absent: there is no such file. */
export type Beside = { readonly operations?: unknown; readonly catalogue?: unknown }

/** `providers/google.catalogue.json` */
const isGenerated = (where: string): boolean => where.endsWith('.catalogue.json')
const folderOf = (where: string): string => where.slice(0, where.lastIndexOf('/') + 1)
/** `acme.my.salesforce.com` fits `.my.salesforce.com`. */
const fits = (suffixes: readonly string[], host: string): boolean =>
  suffixes.some((suffix) => host.endsWith(suffix) && host.length > suffix.length)

/**
 * Reads one definition.
 * @param where its file, named in every problem
 * @param base the parsed definition that `extends` names, itself already laid over its own base
 */
export const parseProvider = (
  raw: unknown,
  where: string,
  beside: Beside = {},
  base?: unknown,
): Parsed => {
  const { operations } = beside
  const problems: string[] = []
  const told = reporter(problems, where)
  /** What is wrong already is not also missing. */
  const wrong = new Set<string>()
  const report: Report = (path, what) => {
    if (!wrong.has(path.split('.')[0] ?? '')) told(path, what)
  }
  const foreign = isObject(raw) ? FOREIGN.find((word) => Object.hasOwn(raw, word)) : undefined
  if (foreign !== undefined) {
    told(foreign, FOREIGN_WORD)
    return { problems }
  }
  const merged = inherit(base, raw)
  const parsed = definition.safeParse(merged, { jitless: true }) // as config/parse
  if (!parsed.success) explain(parsed.error, told)
  for (const { path } of parsed.error?.issues ?? []) wrong.add(String(path[0] ?? ''))
  // With mistakes the rest is read all the same, to tell of as many as there are.
  const said = parsed.success
    ? parsed.data
    : salvage(definition, merged, parsed.error.issues, [[['id'], 'missing']])
  if (said === null) return { problems }
  const d = withServer(said)
  if (d.extends !== undefined && base === undefined)
    report('extends', `there is no definition ${d.extends}`)
  const mcp = serverOf(d, report)
  const discover = discoverOf(d, merged)
  checkEndpoints(d, discover, report)
  checkParams(d, report)
  checkTogether(d, report)
  if (d.hosts === undefined && d.host_from_token === null)
    report('hosts', 'is needed; [] serves nothing')
  const hosts = readHosts(d.hosts ?? [], d.insecure, (key, what) => report(`hosts.${key}`, what))
  const assets = readHosts(d.assets, d.insecure, (key, what) => report(`assets.${key}`, what))
  for (const name of assets.keys())
    if (hosts.has(name)) report('assets', `${name} is a host already: assets carry no credential`)
  for (const name of hosts.keys())
    if (d.host_from_token !== null && !fits(d.host_from_token.suffixes, name))
      report('hosts', `${name} fits no suffix of host_from_token`)

  for (const [i, { host }] of d.envelopes.entries())
    if (host !== null && !hosts.has(host) && isObject(raw) && Object.hasOwn(raw, 'envelopes'))
      report(`envelopes.${i}`, `${host} is not among this provider’s hosts`)

  const file = typeof d.operations === 'string' ? d.operations : null
  const inherited = isObject(raw) && !Object.hasOwn(raw, 'operations')
  if (file !== null && operations === undefined) report('operations', `there is no file ${file}`)
  const serving = { serves: (host: string) => hosts.has(host), inherited }
  const read = () =>
    readCatalogue(
      file === null ? d.operations : (operations ?? []),
      d.id,
      serving,
      file === null
        ? (at, what) => report(at === '' ? 'operations' : `operations.${at}`, what)
        : reporter(problems, folderOf(where) + file),
    )
  const from = {
    raw: beside.catalogue,
    inherited: isObject(raw) && !Object.hasOwn(raw, 'catalogue'),
  }
  const rows =
    mcp === null
      ? withCatalogue(d, read(), { ...serving, ...from }, report)
      : mcpRows(d, mcp.path, report)
  if (!d.http2 && rows.some(({ opaque }) => opaque === 'application/grpc'))
    report('http2', 'must be true: gRPC (opaque: application/grpc) is spoken in HTTP/2')
  const slots = readSlots(d, parsed.success ? merged : null, (name, changed) => {
    const read = parseProvider(changed, `${where}: slots.${name}`, {
      ...beside,
      operations: operations ?? d.operations,
    })
    if ('problems' in read) problems.push(...read.problems)
    return 'provider' in read ? read.provider : null
  })
  if (parsed.success && d.slot !== undefined && !slots.has(d.slot))
    report(
      'slot',
      `${d.slot} is none of slots: ${[...slots.keys()].join(', ') || 'there are none'}`,
    )
  if (d.slot === undefined && d.slots !== undefined)
    report('slot', 'is needed: which of slots is meant where a connection names none')
  if (problems.length > 0) return { problems }
  const provider = placed(assemble(d, { hosts, assets, rows, slots, discover, mcp }))
  const chosen = slots.get(d.slot ?? '')
  return { provider: chosen === undefined ? provider : { ...chosen, slots } }
}

/** The rows that were listed, and behind them those of the generated catalogue. */
const withCatalogue = (
  { catalogue }: Definition,
  listed: readonly OperationRow[],
  at: Serving & { readonly raw: unknown },
  report: Report,
): readonly OperationRow[] => {
  if (catalogue === undefined) return listed
  const told: Report = (path, what) => report(`catalogue${path === '' ? '' : `.${path}`}`, what)
  if (at.raw === undefined) told('', `there is no file ${catalogue}`)
  return at.raw === undefined
    ? listed
    : withGenerated(listed, readGenerated(at.raw, told), at, told)
}

/** An MCP server serves its own host, and tokens are for it alone (RFC 8707), where the definition says nothing else. */
const withServer = (d: Definition): Definition => {
  const at = d.kind === 'mcp' ? mcpPlace(d.url) : ''
  if (typeof at === 'string' || d.url === null) return d
  return {
    ...d,
    hosts: d.hosts ?? { [at.host]: at.origin },
    resource: d.resource.length > 0 ? d.resource : [d.url],
  }
}
const serverOf = (
  d: Definition,
  report: Report,
): { readonly url: string; readonly path: string } | null => {
  const listed = d.tools.length + d.prompts.length + d.resources.length > 0
  if (d.kind === 'api') {
    if (listed || d.url !== null)
      report('kind', 'must be mcp where url, tools, prompts or resources are written')
    return null
  }
  const at = mcpPlace(d.url)
  if (typeof at === 'string' || d.url === null) {
    report('url', typeof at === 'string' ? at : 'is missing')
    return null
  }
  if (typeof d.operations === 'string' || d.operations.length > 0)
    report('operations', 'have no place with kind: mcp: list tools, prompts and resources')
  const named = Array.isArray(d.hosts) ? d.hosts : Object.keys(d.hosts ?? {})
  if (named.length !== 1 || named[0] !== at.host)
    report('hosts', `must be the one host of url: ${at.host}`)
  return { url: d.url, path: at.path }
}

/** Keys that an issuer's metadata can fill in. */
const DISCOVERED =
  'authorize token userinfo revoke par client_auth refresh.client_auth pkce account scope.always authorize_params'.split(
    ' ',
  )
/** An issuer whose authorize or token endpoint nobody wrote down is asked for what is left out. */
const discoverOf = (d: Definition, merged: unknown): Parts['discover'] => {
  if (d.credential !== 'oauth2' || (d.issuer === null && d.kind === 'api')) return null
  if (d.authorize !== null && d.token !== null) return null
  const has = (within: unknown, [key = '', ...rest]: readonly string[]): boolean =>
    isObject(within) &&
    Object.hasOwn(within, key) &&
    (rest.length === 0 || within[key] === null || has(within[key], rest))
  return {
    left: DISCOVERED.filter((key) => !has(merged, key.split('.'))),
    insecure: d.insecure,
    problem: 'it was not asked yet',
  }
}

/** What only an authorization server has. */
const OAUTH_ONLY = [
  'issuer',
  'authorize',
  'token',
  'introspect',
  'par',
  'revoke',
  'refresh',
] as const

const checkEndpoints = (d: Definition, discover: Parts['discover'], report: Report): void => {
  const endpoints = {
    issuer: d.issuer,
    authorize: d.authorize,
    token: d.token,
    userinfo: userinfoUrl(d),
    introspect: d.introspect?.url ?? null,
    par: d.par,
    url: d.url,
    revoke: revokeOf(d)?.url ?? null,
    'refresh.url': d.refresh?.url ?? null,
  }
  for (const [key, value] of Object.entries(endpoints)) {
    const problem =
      value === null ? null : urlProblem(placeUrl(value, 'https://a.host'), d.insecure)
    if (problem !== null) report(key, problem)
  }
  for (const key of ['authorize', 'token'] as const) {
    if (d.credential === 'oauth2' && d[key] === null && !discover?.left.includes(key))
      report(key, 'is needed for credential: oauth2, or an issuer that can be asked for it')
  }
  if (d.credential === 'api_key') {
    for (const key of OAUTH_ONLY)
      if (d[key] !== null && d[key] !== undefined) report(key, 'has no use with an api_key')
    if (d.account !== null && d.account.from !== 'userinfo')
      report('account', 'is read from userinfo: with an api_key there is no other answer')
  }
  // RFC 8707 2
  d.resource.forEach((resource, i) => {
    const url = URL.parse(resource)
    if (url === null || url.hash !== '')
      report(`resource.${i}`, 'must be an absolute URI without a fragment')
  })
  if (discover !== null && URL.parse(d.issuer ?? '')?.search)
    report('issuer', 'must have no query (RFC 8414 2)')
  if (d.account?.from === 'userinfo' && d.userinfo === null && !discover?.left.includes('userinfo'))
    report('account', 'reads userinfo, but userinfo has no URL')
  if (d.account?.from === 'introspect' && d.introspect === null)
    report('account', 'reads introspect, but introspect has no URL')
  const signs = d.client_auth === 'private_key_jwt' || d.refresh?.client_auth === 'private_key_jwt'
  if (signs && d.assertion_audience === 'issuer' && d.issuer === null)
    report(
      'assertion_audience',
      'is the issuer unless it says otherwise, and there is no issuer: write token, or the text that the provider wants',
    )
}

const checkParams = (d: Definition, report: Report): void => {
  const lists = { authorize_params: d.authorize_params, token_params: d.token_params }
  const all = { ...lists, 'refresh.params': d.refresh?.params ?? {} }
  for (const [key, params] of Object.entries(all))
    for (const name of Object.keys(params))
      if (FLOW_PARAMS.has(name.toLowerCase())) report(`${key}.${name}`, 'is set by deputy itself')
  for (const name of Object.keys(d.required_headers))
    if (FRAMING.has(name.toLowerCase()))
      report(`required_headers.${name}`, 'is set by deputy itself')
  const header = PRESENT.exec(d.present)?.[1]?.toLowerCase() ?? ''
  for (const name of Object.keys(d.required_headers))
    if (name.toLowerCase() === header)
      report(`required_headers.${name}`, 'is the header of the token: `present` sets it')
  if (FRAMING.has(header) && header !== 'authorization')
    report('present', `${PRESENT.exec(d.present)?.[1]} cannot carry a token`)
}

/** Keys that would be read and change nothing, or undo each other. */
const checkTogether = (d: Definition, report: Report): void => {
  if (d.names === 'exact' && d.spellings.length > 0)
    report('spellings', 'are compared only with names: insensitive')
  const folded = (name: string): string => name.toLowerCase().replaceAll(/[\s.-]/g, '_')
  const cut = new Set([...d.strip.query, ...d.strip.provided].map(folded))
  for (const name of d.strip.pass)
    if (cut.has(folded(name)) || /^(?:access|bearer|oauth)_token$/.test(folded(name)))
      report(
        'strip.pass',
        `${name} is a credential: strip.query or strip.provided names it, or RFC 6750 does`,
      )
}

/** Each slot is a whole provider: the definition with what the slot changes laid over it. */
const readSlots = (
  d: Definition,
  merged: unknown,
  read: (name: string, changed: Fields) => Provider | null,
): ReadonlyMap<string, Provider> => {
  const slots = new Map<string, Provider>()
  if (!isObject(merged)) return slots
  const { slots: _slots, slot: _slot, extends: _extends, ...plain } = merged
  for (const [name, changes] of Object.entries(d.slots ?? {})) {
    const provider = read(name, { ...plain, ...changes })
    if (provider !== null) slots.set(name, provider)
  }
  return slots
}

/** With its ancestors, in each of its slots. */
const descended = (provider: Provider, lineage: readonly string[]): Provider => ({
  ...provider,
  lineage,
  ...(provider.slots
    ? { slots: new Map([...provider.slots].map(([name, one]) => [name, { ...one, lineage }])) }
    : {}),
})

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
    if (Array.isArray(raw) || isGenerated(where)) continue
    if (!isObject(raw) || typeof raw['id'] !== 'string')
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
    const lister = chain.find(
      ({ raw: own }) => Object.hasOwn(own, 'catalogue') || Object.hasOwn(own, 'operations'),
    )
    const named = lister?.raw['catalogue']
    const catalogue =
      typeof named === 'string' && lister !== undefined
        ? files.get(folderOf(lister.where) + named)
        : undefined
    const operations = label === null ? undefined : files.get(label)
    const parsed = parseProvider(raw, where, { operations, catalogue }, base)
    if ('provider' in parsed) providers.set(id, descended(parsed.provider, [...seen]))
    else problems.push(...parsed.problems)
  }
  for (const [where, raw] of files)
    if (Array.isArray(raw) && !used.has(where))
      reporter(problems, where)('', 'no definition names this catalogue')
  return { providers, problems }
}

/** Hosts in one sentence. */
const MOST_NAMED = 6

/** The provider as one connection sees it: one of its slots, other endpoints, fewer hosts, or hosts reached elsewhere. */
export const overrideProvider = (
  whole: Provider,
  overrides: ProviderOverrides,
  where = `provider ${whole.id}`,
): Parsed => {
  const problems: string[] = []
  const report = reporter(problems, where)
  const { hosts: wanted, insecure = false, slot } = overrides
  const provider = slot === undefined ? whole : (whole.slots?.get(slot) ?? whole)
  if (slot !== undefined && !whole.slots?.has(slot))
    report('slot', `${whole.id} has ${[...(whole.slots?.keys() ?? [])].join(', ') || 'no slots'}`)
  for (const key of ['issuer', 'authorize', 'token', 'userinfo', 'revoke'] as const) {
    const problem = overrides[key] === undefined ? null : urlProblem(overrides[key], insecure)
    if (problem !== null) report(key, problem)
  }
  const hosts = wanted === undefined ? new Map(provider.hosts) : new Map<string, string>()
  const assets = new Map(provider.assets)
  const bad: Report = (key, what) => report(`hosts.${key}`, what)
  const suffixes = provider.hostFromToken?.suffixes ?? ['']
  for (const [name, origin] of readHosts(wanted ?? [], insecure, bad)) {
    if (provider.hosts.has(name) || (provider.hosts.size === 0 && fits(suffixes, name)))
      hosts.set(name, Array.isArray(wanted) ? (provider.hosts.get(name) ?? origin) : origin)
    else if (provider.assets.has(name) && !Array.isArray(wanted)) assets.set(name, origin)
    else {
      const served = [...provider.hosts.keys()]
      const some = served.slice(0, MOST_NAMED).join(', ')
      report(
        'hosts',
        `${provider.id} does not serve ${name}${some === '' ? '' : `: it serves ${some}${served.length > MOST_NAMED ? ' and others' : ''}`}`,
      )
    }
  }
  const open = provider.hostFromToken !== null && provider.hostFromToken !== undefined
  if (hosts.size === 0 && problems.length === 0 && !(open && wanted === undefined))
    report(
      'hosts',
      provider.hosts.size === 0
        ? `${provider.name} has no host of its own: name yours, such as [git.example.com]`
        : 'no host is left',
    )
  if (problems.length > 0) return { problems }
  const at = placed({ ...provider, hosts })
  return {
    provider: {
      ...at,
      discover: at.discover ? { ...at.discover, insecure: at.discover.insecure || insecure } : null,
      issuer: overrides.issuer ?? at.issuer,
      authorize: overrides.authorize ?? at.authorize,
      token: overrides.token ?? at.token,
      userinfo: overrides.userinfo ?? at.userinfo,
      revoke: overrides.revoke ?? at.revoke,
      revokeStyle:
        overrides.revoke !== undefined && provider.revokeStyle === 'none'
          ? 'rfc7009'
          : provider.revokeStyle,
      assets,
    },
  }
}

// A provider written as `oauth2: { authorize_request, token_request, … }` with {{placeholders}} and JSONPath, as another
// product has it → our definition. What it says and we cannot do is reported, each thing at its place.
import { z } from 'zod'
import { salvage } from '../../mistakes.ts'
import { explain } from '../../providers/definition.ts'
import type { Fields, Report } from '../../providers/definition.ts'
import { placeOf } from './jsonpath.ts'

const text = z.string().max(2000)
const optional = text.nullish()
const request = z.strictObject({
  enabled: z.boolean().nullish(),
  endpoint: text,
  method: optional,
  auth_method: optional,
  auth_header_value_format: optional,
  params: z.record(z.string(), text).nullish(),
  request_content_type: optional,
  response_content_type: optional,
  response_map: z.record(z.string(), text).nullish(),
  expiration_format: z.enum(['absolute_unix_timestamp', 'relative_seconds']).nullish(),
  triggers: z
    .strictObject({
      on_token_grant: z.boolean().nullish(),
      on_token_refresh: z.boolean().nullish(),
    })
    .nullish(),
})
type Request = z.output<typeof request>
const section = z.strictObject({
  client_id: optional,
  client_secret: z.unknown().optional(),
  /** deputy has its own. */
  redirect_uri: optional,
  scope_delimiter: z.enum([' ', ',']).nullish(),
  pkce: z
    .strictObject({
      enabled: z.boolean().nullish(),
      code_challenge_method: z.literal('S256').nullish(),
    })
    .nullish(),
  authorize_request: request,
  token_request: request,
  refresh_request: request.nullish(),
  user_info_request: request.nullish(),
  token_introspection_request: request.nullish(),
})

/** Newer words, and what the same part is called in older files. */
const NEWER: readonly (readonly [newer: string, older: string])[] = [
  ['authorization_request', 'authorize_request'],
  ['user_info', 'user_info_request'],
]

/** The section in the older words, and a report that names each part as the file does. */
const inOlderWords = (written: Fields, report: Report): readonly [Fields, Report] => {
  const found: Record<string, unknown> = { ...written }
  const names = new Map<string, string>()
  for (const [newer, older] of NEWER) {
    if (!Object.hasOwn(written, newer)) continue
    if (Object.hasOwn(written, older)) report(newer, `says the same as ${older}: keep one of them`)
    else {
      found[older] = written[newer]
      names.set(older, newer)
    }
    delete found[newer]
  }
  const named: Report = (at, what) => {
    const [first = '', ...rest] = at.split('.')
    report([names.get(first) ?? first, ...rest].join('.'), what)
  }
  return [found, named]
}

const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = 'application/json'

/** Each place's own report: `oauth2.token_request.params.x`. */
const below =
  (report: Report, path: string): Report =>
  (at, what) =>
    report(at === '' ? path : `${path}.${at}`, what)

const placeholders = (value: string): readonly string[] =>
  [...value.matchAll(/\{\{\s*([\w.-]*)\s*\}\}/g)].map((match) => match[1] ?? '')
const only = (value: string, name: string): boolean =>
  new RegExp(`^\\{\\{\\s*${name}\\s*\\}\\}$`).test(value)
const namesScopes = (value: string): boolean => {
  const names = placeholders(value)
  return names.includes('scopes') && names.every((name) => /^(?:existing_)?scopes$/.test(name))
}

const PLAIN =
  "is no path that deputy can follow: write $.a.b[0], join($.list, ' ') or jwt_decode($.token, $.claim)"
const answerOf = ({ response_map: map }: Request, separator: string, report: Report): Fields => {
  const found: Record<string, unknown> = { scope_separator: separator }
  for (const [key, expression] of Object.entries(map ?? {})) {
    const place = placeOf(expression)
    const at = below(report, `response_map.${key}`)
    if (key === 'token_type') continue
    if (place === null) at('', PLAIN)
    else if (key === 'scope' || key === 'expires_in') found[key] = [place]
    else if (key !== 'access_token' && key !== 'refresh_token')
      at('', 'is nothing that deputy reads from a token answer')
    else if (typeof place === 'string') found[key] = [place]
    else at('', 'cannot stand inside a JWT')
  }
  return found
}

const methodIs = ({ method }: Request, wanted: string, report: Report): void => {
  if ((method ?? wanted).toUpperCase() !== wanted) report('method', `must be ${wanted}`)
}

/** A header as it would be written anyway. */
const plainHeader = ({ auth_header_value_format: format, auth_method: method }: Request): boolean =>
  format == null ||
  (method === 'bearer_access_token' && /^Bearer \{\{\s*access_token\s*\}\}$/.test(format))

/** How the client names itself; what is left of the parameters is sent as it is. */
const clientAuth = (
  asked: Request,
  report: Report,
): { auth: string; params: [string, string][] } => {
  const params = Object.entries(asked.params ?? {})
  const has = (name: string): boolean =>
    params.some(([key, value]) => key === name && only(value, name))
  const method = asked.auth_method ?? ''
  const basic = method === 'client_secret_basic'
  if (!plainHeader(asked))
    report(
      'auth_header_value_format',
      'cannot be expressed: client_auth has raw_basic and client_secret_basic',
    )
  // Named in the body beside Basic, as these files often have it: said once all the same (RFC 6749 2.3).
  const auth = basic
    ? 'client_secret_basic'
    : method === 'bearer_access_token'
      ? 'bearer'
      : has('client_secret') || method === 'client_secret_post'
        ? 'client_secret_post'
        : 'none'
  if (
    !['', 'none', 'client_secret_basic', 'client_secret_post', 'bearer_access_token'].includes(
      method,
    )
  )
    report('auth_method', `${method} cannot be expressed`)
  const own = [
    'client_id',
    'client_secret',
    'redirect_uri',
    'refresh_token',
    'code',
    'code_verifier',
  ]
  return { auth, params: params.filter(([key, value]) => !(own.includes(key) && only(value, key))) }
}

type Format = 'form' | 'json'
const formatOf = (asked: Request, report: Report): Format => {
  const wanted = asked.request_content_type ?? FORM
  if (wanted !== FORM && wanted !== JSON_TYPE)
    report('request_content_type', `must be ${FORM} or ${JSON_TYPE}`)
  const answered = asked.response_content_type ?? JSON_TYPE
  if (answered !== FORM && answered !== JSON_TYPE)
    report('response_content_type', `must be ${FORM} or ${JSON_TYPE}`)
  return wanted === JSON_TYPE ? 'json' : 'form'
}

/** Parameters of a token request that are neither the client nor the flow: fixed ones, and whether the scopes are named. */
const tokenParams = (params: readonly [string, string][], grant: string, report: Report) => {
  const fixed: Record<string, string> = {}
  let scopes = false
  for (const [name, value] of params) {
    const at = below(report, `params.${name}`)
    if (name === 'grant_type') {
      if (value !== grant) at('', `must be ${grant}`)
    } else if (name === 'scope' && namesScopes(value)) scopes = true
    else if (placeholders(value).length > 0) at('', `${value} cannot be sent as ${name}`)
    else fixed[name] = value
  }
  return { fixed, scopes }
}

const authorizeOf = (asked: Request, separator: string, report: Report) => {
  methodIs(asked, 'GET', report)
  const fixed: Record<string, string> = {}
  let scope: { param: string; separator: string; always: string[] } | null = null
  for (const [name, value] of Object.entries(asked.params ?? {})) {
    const at = below(report, `params.${name}`)
    if (name === 'response_type') {
      if (value !== 'code') at('', 'must be code: deputy knows the authorization code flow only')
    } else if ((name === 'client_id' || name === 'redirect_uri') && only(value, name)) continue
    else if (namesScopes(value) || (name === 'scope' && placeholders(value).length === 0)) {
      if (scope !== null) at('', 'is a second parameter of scopes')
      const always = value.replaceAll(/\{\{.*?\}\}/g, ' ').split(/[\s,]+/)
      scope = { param: name, separator, always: always.filter((word) => word !== '') }
    } else if (placeholders(value).length > 0) at('', `${value} cannot be sent as ${name}`)
    else fixed[name] = value
  }
  return { fixed, scope }
}

const userinfoOf = (asked: Request, report: Report): Fields => {
  if ((asked.auth_method ?? 'bearer_access_token') !== 'bearer_access_token')
    report('auth_method', 'must be bearer_access_token')
  const params = Object.entries(asked.params ?? {})
  for (const [name, value] of params)
    if (placeholders(value).length > 0)
      report(`params.${name}`, `${value} cannot be sent: the token goes into the header`)
  if (!plainHeader({ auth_method: 'bearer_access_token', ...asked }))
    report('auth_header_value_format', 'must be Bearer {{access_token}}: `present` says otherwise')
  const mapped: Record<string, string[]> = { id: [], label: [] }
  for (const [key, expression] of Object.entries(asked.response_map ?? {})) {
    const place = placeOf(expression)
    if (typeof place === 'string')
      mapped[/^(?:user_?)?id$|^sub$/i.test(key) ? 'id' : 'label']?.push(place)
    else report(`response_map.${key}`, place === null ? PLAIN : 'cannot stand inside a JWT')
  }
  const { id = [], label = [] } = mapped
  const account = {
    from: 'userinfo',
    id: [id.length > 0 ? id : ['/sub', '/id', '/user_id', '/data/id', '/user/id']],
    label: [...label, '/email', '/preferred_username', '/login', '/username', '/name'],
  }
  if ((asked.method ?? 'GET').toUpperCase() === 'POST') {
    if (formatOf(asked, report) === 'form' && params.length > 0)
      report('request_content_type', `must be ${JSON_TYPE} where userinfo is asked with parameters`)
    return { userinfo: { url: asked.endpoint, post: Object.fromEntries(params) }, account }
  }
  methodIs(asked, 'GET', report)
  const url = URL.parse(asked.endpoint)
  if (url === null || params.length === 0) return { userinfo: asked.endpoint, account }
  for (const [name, value] of params) url.searchParams.append(name, value)
  return { userinfo: url.href, account }
}

const introspectOf = (asked: Request, report: Report): Fields => {
  if (asked.enabled === false) return {}
  methodIs(asked, 'POST', report)
  const { auth, params } = clientAuth(asked, report)
  for (const [name, value] of params)
    if (!(name === 'token' && only(value, 'access_token')) && name !== 'token_type_hint')
      report(`params.${name}`, 'cannot be sent: token and token_type_hint are')
  const { scope, expires_in } = answerOf(asked, ' ', report)
  const { on_token_grant: grant, on_token_refresh: refresh } = asked.triggers ?? {}
  const at = [...(grant === false ? [] : ['grant']), ...(refresh === true ? ['refresh'] : [])]
  if (at.length === 0) return {}
  const lists = { scope: scope ?? [], expires_in: expires_in ?? [] }
  return {
    introspect: { url: asked.endpoint, auth: auth === 'bearer' ? auth : 'client', at, ...lists },
  }
}

/**
 * @param written what stands under `oauth2`
 * @param report told of each thing that our definition cannot say; the rest is translated all the same
 * @returns the definition but for `id`, `hosts` and `operations`; null: the requests themselves cannot be read
 */
export const translate = (written: Fields, report: Report): Fields | null => {
  const [raw, at] = inOlderWords(written, report)
  const parsed = section.safeParse(raw)
  if (!parsed.success) explain(parsed.error, at)
  const read = parsed.success ? parsed.data : salvage(section, raw, parsed.error.issues, [])
  if (read === null) return null
  const { token_request: token, refresh_request: refresh, ...asked } = read
  const separator = asked.scope_delimiter ?? ' '
  const authorize = authorizeOf(asked.authorize_request, separator, below(at, 'authorize_request'))
  const atToken = below(at, 'token_request')
  methodIs(token, 'POST', atToken)
  const client = clientAuth(token, atToken)
  const bearer = client.auth === 'bearer'
  if (bearer) atToken('auth_method', 'there is no access token yet')
  const sent = tokenParams(client.params, 'authorization_code', atToken)
  const format = formatOf(token, atToken)
  const again =
    refresh == null || refresh.enabled === false
      ? null
      : refreshOf(refresh, { token, format, separator }, below(at, 'refresh_request'))
  const repeat = [...(sent.scopes ? ['token'] : []), ...(again?.scopes === true ? ['refresh'] : [])]
  const { user_info_request: info, token_introspection_request: introspection } = asked
  return {
    authorize: asked.authorize_request.endpoint,
    token: token.endpoint,
    client_auth: bearer ? 'none' : client.auth,
    token_format: format,
    pkce: asked.pkce?.enabled ?? false,
    scope: authorize.scope === null ? null : { ...authorize.scope, repeat },
    authorize_params: authorize.fixed,
    token_params: sent.fixed,
    answer: answerOf(token, separator, atToken),
    // No refresh_request: refresh tokens are never used.
    refresh: again?.refresh ?? null,
    ...(info == null || info.enabled === false || info.triggers?.on_token_grant === false
      ? {}
      : userinfoOf(info, below(at, 'user_info_request'))),
    ...(introspection == null
      ? {}
      : introspectOf(introspection, below(at, 'token_introspection_request'))),
  }
}

const refreshOf = (
  asked: Request,
  {
    token,
    format,
    separator,
  }: { readonly token: Request; readonly format: Format; readonly separator: string },
  report: Report,
) => {
  methodIs(asked, 'POST', report)
  const { auth, params } = clientAuth(asked, report)
  if (formatOf(asked, report) !== format)
    report('request_content_type', 'must be that of token_request')
  const { fixed, scopes } = tokenParams(params, 'refresh_token', report)
  const url = asked.endpoint === token.endpoint ? null : asked.endpoint
  return {
    scopes,
    refresh: { url, client_auth: auth, params: fixed, answer: answerOf(asked, separator, report) },
  }
}

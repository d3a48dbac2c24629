// What each kind of directory needs to be said of it, and what that means for whoever asks it.
import type { By, Kind } from '../directory/presets.ts'
import type { OwnCredentials } from '../oauth/own_token.ts'
import type { HttpConfig } from './schema.ts'

type Preset = HttpConfig['preset']
type Key = keyof HttpConfig

const NEEDS: Readonly<Record<Preset, readonly Key[]>> = {
  keycloak: ['url', 'realm', 'client_id'],
  okta: ['url'],
  entra: ['tenant', 'client_id'],
  google: ['client_id', 'client_key'],
  none: ['url', 'id'],
}
/** Beside what it needs. */
const TAKES: Readonly<Record<Preset, readonly Key[]>> = {
  keycloak: ['client_secret', 'client_key', 'token', 'follow'],
  okta: ['bearer', 'client_id', 'client_key', 'scope', 'token'],
  entra: ['url', 'client_secret', 'client_key', 'scope', 'token'],
  google: ['url', 'subject', 'scope', 'token'],
  none: [
    ...(['bearer', 'client_id', 'client_secret', 'client_key', 'scope', 'token'] as const),
    ...(['method', 'body', 'active', 'groups', 'roles', 'entitlements'] as const),
    ...(['manager', 'next'] as const),
  ],
}
const ALWAYS: readonly Key[] = ['preset', 'by', 'people_realm', 'timeout', 'insecure']
const BY: Readonly<Record<Preset, readonly By[]>> = {
  keycloak: ['id', 'name', 'email'],
  okta: ['id', 'name'],
  entra: ['id', 'name'],
  google: ['id', 'email'],
  none: ['id'],
}
const texts = (value: unknown): readonly string[] =>
  typeof value === 'string'
    ? [value]
    : typeof value === 'object' && value !== null
      ? Object.values(value).flatMap(texts)
      : []

/** `entitlements.http.…: message` for everything that does not go together. */
export const httpProblems = (http: HttpConfig): readonly string[] => {
  const { preset, by, url, bearer, client_id: id, client_secret: secret, client_key: key } = http
  const said = (Object.keys(http) as Key[]).filter((name) => http[name] !== undefined)
  const known = new Set([...ALWAYS, ...NEEDS[preset], ...TAKES[preset]])
  const problems = [
    ...NEEDS[preset].flatMap((name) =>
      http[name] === undefined ? [`${name}: the preset ${preset} needs it`] : [],
    ),
    ...said.flatMap((name) =>
      known.has(name) ? [] : [`${name}: is not read with the preset ${preset}: remove it`],
    ),
    BY[preset].includes(by)
      ? ''
      : `by: the preset ${preset} finds people by ${BY[preset].join(' or ')}`,
    secret !== undefined && key !== undefined
      ? 'client_key: there is a client_secret too: keep one'
      : '',
    id !== undefined && secret === undefined && key === undefined
      ? 'client_id: needs a client_secret or a client_key'
      : '',
    id === undefined && (secret ?? key) !== undefined ? 'client_id: the secret has none' : '',
    id !== undefined && bearer !== undefined
      ? 'bearer: there is a client_id too: deputy gets its own token with it, so keep one'
      : '',
    preset === 'okta' && id === undefined && bearer === undefined
      ? 'bearer: name an API token, or a client_id with its client_key'
      : '',
    preset === 'none' && id !== undefined && http.token === undefined
      ? 'token: say where the client gets its token'
      : '',
    preset === 'none' && ![url ?? '', ...texts(http.body)].some((one) => one.includes('{id}'))
      ? 'url: nothing says who is asked about: put {id} where the person’s id belongs'
      : '',
    preset === 'none' &&
    url !== undefined &&
    /\{id\}/.test(url.split(/[/?#]/).slice(0, 3).join('/'))
      ? 'url: a person’s id may stand in the path or the query, and nowhere before'
      : '',
    http.body !== undefined && http.method !== 'POST' ? 'body: needs method: POST' : '',
  ]
  return problems
    .filter((problem) => problem !== '')
    .map((problem) => `entitlements.http.${problem}`)
}

const bare = (url: string): string => url.replace(/\/+$/, '')
const GOOGLE_SCOPES = ['user', 'group']
  .map((name) => `https://www.googleapis.com/auth/admin.directory.${name}.readonly`)
  .join(' ')

/** What is asked. The configuration has kept its rules. */
export const kindOf = (http: HttpConfig): Kind => {
  const { preset, by, url = '', realm = '' } = http
  switch (preset) {
    case 'keycloak':
      return { preset, url: bare(url), realm, by }
    case 'okta':
      return { preset, url: bare(url), by }
    case 'entra':
      return { preset, url: bare(http.url ?? 'https://graph.microsoft.com'), by }
    case 'google':
      return { preset, url: bare(http.url ?? 'https://admin.googleapis.com'), by }
    case 'none':
      return {
        preset,
        url,
        method: http.method ?? 'GET',
        body: http.body,
        places: {
          id: http.id ?? '/id',
          active: http.active ?? null,
          groups: http.groups ?? null,
          roles: http.roles ?? null,
          entitlements: http.entitlements ?? null,
          manager: http.manager ?? null,
          next: http.next ?? null,
        },
      }
    default:
      return preset satisfies never
  }
}

/** Where the token is got, and for what. */
const tokenOf = (http: HttpConfig): { readonly url: string; readonly scope: string | null } => {
  const { preset, url = '', realm = '', tenant = '', scope = null } = http
  const usual = {
    keycloak: `${bare(url)}/realms/${encodeURIComponent(realm)}/protocol/openid-connect/token`,
    okta: `${bare(url)}/oauth2/v1/token`,
    entra: `https://login.microsoftonline.com/${encodeURIComponent(tenant)}/oauth2/v2.0/token`,
    google: 'https://oauth2.googleapis.com/token',
    none: '',
  }[preset]
  const scopes = {
    keycloak: null,
    okta: 'okta.users.read okta.groups.read',
    entra: 'https://graph.microsoft.com/.default',
    google: GOOGLE_SCOPES,
    none: null,
  }[preset]
  return { url: http.token ?? usual, scope: scope ?? scopes }
}

export const credentialsOf = (http: HttpConfig): OwnCredentials => {
  const { preset, bearer, client_id: id, client_secret: secret, client_key: key } = http
  if (bearer !== undefined)
    return { kind: 'bearer', scheme: preset === 'okta' ? 'SSWS' : 'Bearer', token: bearer }
  if (id === undefined) return { kind: 'none' }
  const { url, scope } = tokenOf(http)
  if (preset === 'google' && key !== undefined)
    return { kind: 'account', url, id, key, scope: scope ?? '', subject: http.subject ?? null }
  const auth = key !== undefined ? 'private_key_jwt' : 'client_secret_post'
  return { kind: 'client', url, auth, id, secret: secret ?? null, key: key ?? null, scope }
}

/** Whom deputy calls for it. */
export const addressesOf = (http: HttpConfig): readonly string[] => {
  const credentials = credentialsOf(http)
  return [kindOf(http).url, ...('url' in credentials ? [credentials.url] : [])]
}

// A file in another product's words → connections and providers of ours, and what could not be carried over. Pure.
import type { Provider } from '../../model.ts'
import { definition, HOST, reporter } from '../../providers/definition.ts'
import type { Fields, Report } from '../../providers/definition.ts'
import { parseProvider } from '../../providers/parse.ts'
import { isObject } from '../../wire/json.ts'
import { translate } from './provider.ts'

export type Imported = {
  readonly connections: ReadonlyMap<string, Fields>
  readonly providers: readonly Fields[]
  /** What could not be carried over, each thing at its place. */
  readonly left: readonly string[]
  /** What was left out on purpose, or is for a person to look at. */
  readonly notes: readonly string[]
}
type From = {
  /** The file, named in each line. */
  readonly name: string
  /** Definitions that ship, by id. */
  readonly shipped: ReadonlyMap<string, Provider>
}
type Found = {
  readonly connections: Map<string, Fields>
  readonly providers: Fields[]
  readonly left: string[]
  readonly notes: string[]
}
/** One entry of the file, and where what is said of it goes. */
type Entry = {
  readonly raw: Fields
  readonly name: string
  /** Said of the file: could not be carried over. */
  readonly lost: Report
  readonly note: Report
}

const REQUESTS =
  'authorize_request authorization_request token_request refresh_request user_info_request user_info token_introspection_request'.split(
    ' ',
  )
const BESIDE_REQUESTS = ['scope_delimiter', 'pkce', 'redirect_uri', 'scopes']
/** Of the whole entry; they say nothing that deputy acts on, or are read by name. */
const LABELS =
  'id type description status enabled external_id provider_id binding created_at updated_at client_id client_secret scopes oauth2'.split(
    ' ',
  )

const below =
  (report: Report, path: string): Report =>
  (at, what) =>
    report([path, at].filter((part) => part !== '').join('.'), what)
const nameOf = (id: string): string =>
  id
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')

/** What deputy puts in itself; another product's further ways to keep secrets mean nothing here. */
const KNOWN = /^(?:env:[A-Za-z_][A-Za-z0-9_]*(?::-.*)?|file:.+)$/s
const written = (value: unknown, variable: string, entry: Pick<Entry, 'lost' | 'note'>): string => {
  const inside = typeof value === 'string' ? [...value.matchAll(/\$\{([^}]*)\}/g)] : []
  const odd = inside.find(([, inner = '']) => !KNOWN.test(inner))
  if (odd !== undefined)
    entry.lost('', `${odd[0]} names no variable and no file: ${variable} stands for it, set that`)
  else if (typeof value === 'string' && value !== '') return value
  else entry.note('', `is not in the file: set the variable ${variable}`)
  return `\${env:${variable}}`
}

const scopesOf = (value: unknown, { lost, note, name }: Entry): readonly string[] => {
  if (value === undefined || value === null)
    note(
      '',
      `say in connections.${name}.scopes which ones may be asked for at most: none are named`,
    )
  const list = typeof value === 'string' ? value.split(/[\s,]+/) : (value ?? [])
  if (Array.isArray(list) && list.every((each) => typeof each === 'string'))
    return list.filter((each) => each !== '')
  lost('scopes', 'must be a list of texts')
  return []
}

/** The client of an entry, which stands in `oauth2` or beside it. */
const connectionOf = (entry: Entry, section: Fields, provider: Provider): Fields => {
  const { raw, name, lost, note } = entry
  const variable = name.toUpperCase().replaceAll('-', '_')
  const of = (key: string, suffix: string): string => {
    const at = { lost: below(lost, key), note: below(note, key) }
    return written(section[key] ?? raw[key], `${variable}_${suffix}`, at)
  }
  const secret = section['client_secret'] ?? raw['client_secret']
  const asked = scopesOf(section['scopes'] ?? raw['scopes'], entry)
  const known = provider.scopeKnown ?? null
  const scopes = asked.filter((scope) => known === null || known.includes(scope))
  for (const scope of asked)
    if (!scopes.includes(scope)) lost('scopes', `${scope} is no scope of ${provider.name}`)
  const open = provider.hosts.size === 0 && !provider.hostFromToken
  if (open) note('', `name your host in connections.${name}.hosts: it has none of its own`)
  return {
    provider: provider.id,
    ...(open ? { hosts: [`${provider.id}.example.com`] } : {}),
    client_id: of('client_id', 'CLIENT_ID'),
    ...(provider.clientAuth === 'none' && (secret === undefined || secret === null)
      ? {}
      : { client_secret: of('client_secret', 'CLIENT_SECRET') }),
    scopes,
  }
}

/** Where calls may go is nowhere in such a file: where user info is read, a token goes already. */
const hostsOf = (words: Fields, { name, note }: Entry): Fields => {
  const { userinfo, token } = words
  const info = isObject(userinfo) ? userinfo['url'] : userinfo
  const url = URL.parse(typeof info === 'string' ? info : String(token))
  if (url === null) return {}
  const host = HOST.test(url.hostname) ? url.hostname : `${name}.localhost`
  note(
    '',
    `say in providers.${name}.hosts and operations where its API is and what it does: ${host} is a guess, and policy refuses operations that nobody named`,
  )
  return { hosts: url.origin === `https://${host}` ? [host] : { [host]: url.origin } }
}

/** `${env:…}` in a definition is put in at start: to judge the rest, something plain stands for it. */
const filled = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value).replaceAll(
      /("?)\$\{(?:env:\w+(?::-([^}"]*))?|file:[^}]*)\}/g,
      (_, quote: string, or?: string) =>
        `${quote}${or ?? (quote === '' ? 'x' : 'https://x.example')}`,
    ),
  )

const customEntry = (entry: Entry, section: Fields, at: Report, into: Found): void => {
  const { raw, lost } = entry
  const { client_id: _id, client_secret: _secret, scopes: _scopes, ...requests } = section
  const words = translate(requests, at)
  if (words === null) return lost('', 'is left out: its requests cannot be read')
  const own = Object.entries(raw).filter(
    ([key]) => ![...LABELS, ...REQUESTS, ...BESIDE_REQUESTS].includes(key),
  )
  const beside = own.filter(([key]) => Object.hasOwn(definition.shape, key) && key !== 'extends')
  for (const [key] of own)
    if (!beside.some(([kept]) => kept === key)) lost(key, 'cannot stand beside oauth2')
  const made = {
    id: entry.name,
    ...(Object.hasOwn(raw, 'hosts') ? {} : hostsOf(words, entry)),
    ...words,
    ...Object.fromEntries(beside),
  }
  const parsed = parseProvider(filled(made), '', { operations: [] })
  if ('provider' in parsed) {
    into.providers.push(made)
    into.connections.set(entry.name, connectionOf(entry, section, parsed.provider))
    return
  }
  for (const problem of parsed.problems) lost('', problem.replace(/^: /, ''))
  lost('', 'is left out: what is told above does not make a provider of deputy')
}

const shippedEntry = (entry: Entry, section: Fields, from: From, into: Found): void => {
  const { raw, lost } = entry
  const id = raw['provider_id']
  const provider = typeof id === 'string' ? from.shipped.get(id) : undefined
  if (provider === undefined)
    return lost(
      'provider_id',
      `${typeof id === 'string' ? id : 'it'} is no provider that ships with deputy (${[...from.shipped.keys()].join(', ')}), and there are no requests to make one from`,
    )
  for (const key of Object.keys(section))
    if (!['client_id', 'client_secret', 'scopes', 'redirect_uri'].includes(key))
      lost(`oauth2.${key}`, `${provider.id} ships with deputy: its definition says how`)
  for (const key of Object.keys(raw))
    if (!LABELS.includes(key)) lost(key, 'is nothing that deputy knows here')
  into.connections.set(entry.name, connectionOf(entry, section, provider))
}

const importEntry = (raw: unknown, place: string, from: From, into: Found): void => {
  const told = (list: string[]): Report => below(reporter(list, from.name), place)
  const [lost, note] = [told(into.left), told(into.notes)]
  if (!isObject(raw)) return lost('', 'is no provider: keys and values stand here')
  const { id, provider_id: known, type = 'oauth2', enabled = true, status = 'active' } = raw
  if (type !== 'oauth2') return lost('type', 'must be oauth2: the entry is left out')
  if (enabled === false || status === 'inactive')
    return note(enabled === false ? 'enabled' : 'status', 'the entry is off and left out')
  if (enabled !== true) lost('enabled', 'must be true or false: the entry is on')
  if (status !== 'active') lost('status', 'must be active: the entry is taken for active')
  const inner = raw['oauth2']
  const nested = isObject(inner)
  // In some files the requests stand in the entry itself.
  const section = nested
    ? inner
    : Object.fromEntries(
        Object.entries(raw).filter(([key]) => [...REQUESTS, ...BESIDE_REQUESTS].includes(key)),
      )
  const custom = REQUESTS.some((key) => Object.hasOwn(section, key))
  const wanted = nameOf(typeof id === 'string' ? id : typeof known === 'string' ? known : '')
  const name = custom && from.shipped.has(wanted) ? `${wanted}-own` : wanted
  if (name === '') return lost('id', 'is missing: the entry is left out')
  if (into.connections.has(name)) return lost('id', `${name} is named twice: the entry is left out`)
  if (name !== (id ?? known)) note('id', `is ${name} at deputy`)
  const entry = { raw, name, lost, note }
  if (custom) customEntry(entry, section, nested ? below(lost, 'oauth2') : lost, into)
  else shippedEntry(entry, section, from, into)
}

/** @returns null: there is no provider in it */
export const importFile = (raw: unknown, from: From): Imported | null => {
  if (!isObject(raw)) return null
  const into: Found = { connections: new Map(), providers: [], left: [], notes: [] }
  const lost = reporter(into.left, from.name)
  const rest = (of: Fields, known: readonly string[], place: string): void => {
    for (const key of Object.keys(of))
      if (!known.includes(key)) lost(place + key, 'is left out: only providers are carried over')
  }
  const { auth, providers } = raw
  const list = isObject(auth) ? auth['providers'] : providers
  if (Array.isArray(list)) {
    const place = isObject(auth) ? 'auth.providers' : 'providers'
    for (const [i, each] of list.entries()) importEntry(each, `${place}.${i}`, from, into)
    if (isObject(auth)) rest(auth, ['providers'], 'auth.')
    rest(raw, ['$schema', 'version', isObject(auth) ? 'auth' : 'providers'], '')
  } else if (['oauth2', 'provider_id', ...REQUESTS].some((key) => Object.hasOwn(raw, key)))
    importEntry(raw, '', from, into)
  else return null
  return into
}

// The client that deputy is at an authorization server where nobody registered one: by its own document (Client ID
// Metadata), or registered once (RFC 7591) and kept.
import type { ClientAuth, Connection, ConnectionTls } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { secret, type Secret } from '../secret.ts'
import { parseBody } from './body.ts'
import { createSend } from './transport.ts'

/** What deputy says of itself. */
type ClientDocument = {
  readonly client_name: string
  readonly redirect_uris: readonly string[]
  readonly grant_types: readonly string[]
  readonly response_types: readonly string[]
  readonly token_endpoint_auth_method: 'none' | 'client_secret_basic'
}
export type Client = {
  readonly id: string
  readonly secret: Secret | null
  readonly auth: ClientAuth
  /** When another is to be registered in its place, ms since the epoch; absent: its secret does not end. */
  readonly renewAt?: number
  /** Why that was not done in time; the one before still holds. */
  readonly late?: string
}
/** What an authorization server says of how clients come to it (oauth/discovery). */
type Registering = {
  /** RFC 7591; null: it registers nobody. */
  readonly registration: string | null
  /** Reads what a client says of itself at the URL that is its id. */
  readonly cimd: boolean
  /** null: not told. */
  readonly clientAuth: readonly string[] | null
}
export type Clients = (
  connection: Connection,
  issuer: string,
  metadata: Registering,
) => Promise<Client | { readonly problem: string }>

const TIMEOUT_MS = 10_000
/** After a client could not be renewed. */
const AGAIN_MS = 300_000
const METHODS = ['none', 'client_secret_basic', 'client_secret_post'] as const
type Method = (typeof METHODS)[number]

const redirectOf = (publicUrl: string, connection: string): string =>
  `${publicUrl}/callback/${connection}`
/** Where the document of a connection's client is, which is also its id. */
export const documentUrl = (publicUrl: string, connection: string): string =>
  `${publicUrl}/oauth-client/${connection}`

export const clientDocument = (
  publicUrl: string,
  connection: string,
  auth: ClientDocument['token_endpoint_auth_method'],
): ClientDocument => ({
  client_name: 'deputy',
  redirect_uris: [redirectOf(publicUrl, connection)],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: auth,
})

type Made = {
  readonly id: string
  readonly secret: string | null
  readonly auth: Method
  /** Its secret begins and ends, ms since the epoch (RFC 7591 3.2.1); absent: it does not end. */
  readonly ends?: { readonly from: number; readonly at: number }
}
/** Another has to be there before: a code that is under way, and clocks that differ, need some of its life. */
const MOST_BEFORE_MS = 86_400_000
const renewAt = ({ from, at }: NonNullable<Made['ends']>): number =>
  at - Math.min(MOST_BEFORE_MS, (at - from) / 5)

/** `client_secret_expires_at`: seconds since the epoch, 0 where it does not end; a text says nothing that could be trusted. */
const endOf = (said: unknown, from: number): Pick<Made, 'ends'> | { readonly problem: string } => {
  if (said === undefined || said === null || said === 0) return {}
  if (typeof said !== 'number' || !Number.isSafeInteger(said) || said * 1_000 <= from)
    return { problem: 'it gives a client_secret that has ended, or says no time when it does' }
  return { ends: { from, at: said * 1_000 } }
}

/** Registers. A server that gives a secret wants it. */
const register = async (
  fetch: Fetch,
  url: string,
  document: object,
  { tls, now }: { readonly tls: ConnectionTls | null; readonly now: number },
): Promise<Made | { readonly problem: string }> => {
  const send = createSend(fetch, TIMEOUT_MS)
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json',
    'user-agent': 'deputy',
  }
  const raw = await send(url, { method: 'POST', headers, body: JSON.stringify(document), tls })
  if ('kind' in raw) return { problem: `its registration cannot be reached (${raw.error})` }
  const body = raw.status >= 200 && raw.status < 300 ? parseBody(raw) : null
  const id = body?.['client_id']
  if (typeof id !== 'string' || !/^[\x20-\x7e]{1,2000}$/.test(id))
    return {
      problem: `it does not register deputy (status ${raw.status}): register it by hand and write client_id`,
    }
  const given = body?.['client_secret']
  const key = typeof given === 'string' && given !== '' ? given : null
  const end = key === null ? {} : endOf(body?.['client_secret_expires_at'], now)
  if ('problem' in end) return end
  const said = METHODS.find((method) => method === body?.['token_endpoint_auth_method'])
  return {
    id,
    secret: key,
    ...end,
    auth:
      key === null ? 'none' : said === undefined || said === 'none' ? 'client_secret_basic' : said,
  }
}

/**
 * @param deps.find what was kept under this key; null: nothing
 * @param deps.keep in place of this one, if it still stands there; null: the first one stays
 * @param deps.now ms since the epoch
 */
export const createClients = (deps: {
  readonly fetch: Fetch
  readonly publicUrl: string
  readonly find: (key: string) => Promise<string | null>
  readonly keep: (key: string, text: string, instead: string | null) => Promise<void>
  readonly now: () => number
  readonly registered: (connection: string, issuer: string) => void
}): Clients => {
  const { publicUrl } = deps
  const kept = async (
    key: string,
  ): Promise<{
    readonly client: Client
    readonly issuer: string
    readonly text: string
  } | null> => {
    const text = await deps.find(key)
    if (text === null) return null
    const { id, secret: given, auth, ends, issuer } = JSON.parse(text) as Made & { issuer: string }
    const end = ends === undefined ? {} : { renewAt: renewAt(ends) }
    const client = { id, secret: given === null ? null : secret(given), auth, ...end }
    return { client, issuer, text }
  }
  return async ({ name, provider, tls = null }, issuer, metadata) => {
    // Who named the issuer once cannot name another: grants and clients are of the first. The operator can.
    const named = provider.issuer === null ? [] : [provider.issuer]
    const key = JSON.stringify([name, redirectOf(publicUrl, name), ...named])
    const before = await kept(key)
    const now = deps.now()
    if (before !== null && before.issuer !== issuer) return { problem: moved(before.issuer) }
    if (before !== null && now < (before.client.renewAt ?? Infinity)) return before.client
    const made = await makeFor(deps.fetch, publicUrl, name, { metadata, tls, now })
    if ('problem' in made) return before === null ? made : overdue(before, made.problem, now)
    await deps.keep(key, JSON.stringify({ ...made, issuer }), before?.text ?? null)
    deps.registered(name, issuer)
    // Another replica may have been first: its client is everybody's.
    return (await kept(key))?.client ?? { problem: 'its client could not be kept' }
  }
}

/** What holds until it ends is used until then, while another is asked for now and again. */
const overdue = (
  { client, text }: { readonly client: Client; readonly text: string },
  problem: string,
  now: number,
): Client | { readonly problem: string } => {
  const { ends } = JSON.parse(text) as Made
  return ends === undefined || ends.at <= now
    ? { problem }
    : { ...client, renewAt: now + AGAIN_MS, late: problem }
}

const moved = (before: string): string =>
  `the server names another authorization server than before (${before}): if that is meant, write it as \`issuer\``

const makeFor = async (
  fetch: Fetch,
  publicUrl: string,
  name: string,
  {
    metadata,
    ...by
  }: {
    readonly metadata: Registering
    readonly tls: ConnectionTls | null
    readonly now: number
  },
): Promise<Made | { readonly problem: string }> => {
  // The server fetches it: it must be there for others, and not by plain http.
  if (metadata.cimd && publicUrl.startsWith('https:'))
    return { id: documentUrl(publicUrl, name), secret: null, auth: 'none' }
  if (metadata.registration === null)
    return {
      problem: 'it registers no clients by itself: register deputy there and write client_id',
    }
  const offered = metadata.clientAuth ?? []
  const auth = offered.length === 0 || offered.includes('none') ? 'none' : 'client_secret_basic'
  return register(fetch, metadata.registration, clientDocument(publicUrl, name, auth), by)
}

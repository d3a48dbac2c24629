// The client that deputy is at an authorization server where nobody registered one: by its own document (Client ID
// Metadata), or registered once (RFC 7591) and kept.
import type { ClientAuth, Connection, ConnectionTls } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import { secret, type Secret } from '../secret.ts'
import { parseBody } from './body.ts'
import { createSend } from './transport.ts'

/** What deputy says of itself. */
export type ClientDocument = {
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
}
/** What an authorization server says of how clients come to it (oauth/discovery). */
export type Registering = {
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
const METHODS = ['none', 'client_secret_basic', 'client_secret_post'] as const
type Method = (typeof METHODS)[number]

export const redirectOf = (publicUrl: string, connection: string): string =>
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

type Made = { readonly id: string; readonly secret: string | null; readonly auth: Method }
/** Registers. A server that gives a secret wants it. */
const register = async (
  fetch: Fetch,
  url: string,
  document: object,
  tls: ConnectionTls | null,
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
  const said = METHODS.find((method) => method === body?.['token_endpoint_auth_method'])
  return {
    id,
    secret: key,
    auth:
      key === null ? 'none' : said === undefined || said === 'none' ? 'client_secret_basic' : said,
  }
}

/**
 * @param deps.find what was kept under this key; null: nothing
 * @param deps.keep the first one stays
 */
export const createClients = (deps: {
  readonly fetch: Fetch
  readonly publicUrl: string
  readonly find: (key: string) => Promise<string | null>
  readonly keep: (key: string, text: string) => Promise<void>
  readonly registered: (connection: string, issuer: string) => void
}): Clients => {
  const { publicUrl } = deps
  const kept = async (key: string): Promise<(Client & { readonly issuer: string }) | null> => {
    const text = await deps.find(key)
    if (text === null) return null
    const { id, secret: given, auth, issuer } = JSON.parse(text) as Made & { issuer: string }
    return { id, secret: given === null ? null : secret(given), auth, issuer }
  }
  return async ({ name, provider, tls = null }, issuer, metadata) => {
    // Who named the issuer once cannot name another: grants and clients are of the first. The operator can.
    const named = provider.issuer === null ? [] : [provider.issuer]
    const key = JSON.stringify([name, redirectOf(publicUrl, name), ...named])
    const before = await kept(key)
    if (before !== null)
      return before.issuer === issuer ? before : { problem: moved(before.issuer) }
    const made = await makeFor(deps.fetch, publicUrl, name, { metadata, tls })
    if ('problem' in made) return made
    await deps.keep(key, JSON.stringify({ ...made, issuer }))
    deps.registered(name, issuer)
    // Another replica may have been first: its client is everybody's.
    return (await kept(key)) ?? { problem: 'its client could not be kept' }
  }
}

const moved = (before: string): string =>
  `the server names another authorization server than before (${before}): if that is meant, write it as \`issuer\``

const makeFor = async (
  fetch: Fetch,
  publicUrl: string,
  name: string,
  { metadata, tls }: { readonly metadata: Registering; readonly tls: ConnectionTls | null },
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
  return register(fetch, metadata.registration, clientDocument(publicUrl, name, auth), tls)
}

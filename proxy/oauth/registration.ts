// The client that deputy is at an authorization server where nobody registered one: by its own document (Client ID
// Metadata), or registered once (RFC 7591) and kept.
import type { ClientAuth, Connection, ConnectionTls } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import type { Metadata } from './discovery.ts'
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
export type Clients = (
  connection: Connection,
  issuer: string,
  metadata: Metadata,
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

/** Registers. A server that gives a secret wants it. */
const register = async (
  fetch: Fetch,
  url: string,
  document: object,
  tls: ConnectionTls | null,
): Promise<
  | { readonly id: string; readonly secret: string | null; readonly auth: Method }
  | { readonly problem: string }
> => {
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
  const kept = async (key: string): Promise<Client | null> => {
    const text = await deps.find(key)
    if (text === null) return null
    const {
      id,
      secret: given,
      auth,
    } = JSON.parse(text) as {
      id: string
      secret: string | null
      auth: Method
    }
    return { id, secret: given === null ? null : secret(given), auth }
  }
  return async ({ name, tls = null }, issuer, metadata) => {
    // The server fetches it: it must be there for others, and not by plain http.
    if (metadata.cimd && publicUrl.startsWith('https:'))
      return { id: documentUrl(publicUrl, name), secret: null, auth: 'none' }
    const key = JSON.stringify([name, issuer, redirectOf(publicUrl, name)])
    const before = await kept(key)
    if (before !== null) return before
    if (metadata.registration === null)
      return {
        problem: 'it registers no clients by itself: register deputy there and write client_id',
      }
    const offered = metadata.clientAuth ?? []
    const auth = offered.length === 0 || offered.includes('none') ? 'none' : 'client_secret_basic'
    const made = await register(
      deps.fetch,
      metadata.registration,
      clientDocument(publicUrl, name, auth),
      tls,
    )
    if ('problem' in made) return made
    await deps.keep(key, JSON.stringify(made))
    deps.registered(name, issuer)
    // Another replica may have been first: its client is everybody's.
    return (await kept(key)) ?? { problem: 'its client could not be kept' }
  }
}

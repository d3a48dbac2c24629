// Builds the URL of the authorization request (RFC 6749 4.1.1, RFC 7636). Nothing in it is secret.
import type { Connection } from '../model.ts'
import { absent } from './request.ts'

export type Ask = {
  readonly redirectUri: string
  readonly state: string
  /** S256 of the verifier (RFC 7636 4.2); null where the provider knows no PKCE. */
  readonly challenge: string | null
  readonly scopes: readonly string[]
  readonly nonce?: string | null
  readonly extra?: Readonly<Record<string, string>>
}

/** Where the person's browser goes. Throws when a scope is asked that the connection may not ask for. */
export const authorizationUrl = (connection: Connection, ask: Ask): URL => {
  const { provider, name } = connection
  if (provider.authorize === null) throw absent(connection, 'authorize')
  const beyond = ask.scopes.filter((scope) => !connection.scopes.includes(scope))
  if (beyond.length > 0)
    throw new Error(`connections.${name}.scopes does not list ${beyond.join(', ')}`)
  // What the definition always asks for is no right that an agent gets: no connection lists it.
  const scopes = [...new Set([...(provider.scopeAlways ?? []), ...ask.scopes])]
  const url = new URL(provider.authorize)
  const fields = {
    ...provider.authorizeParams,
    ...ask.extra,
    response_type: 'code',
    client_id: connection.clientId,
    redirect_uri: ask.redirectUri,
    state: ask.state,
    ...(ask.nonce ? { nonce: ask.nonce } : {}),
    ...(provider.scopeParam !== null && scopes.length > 0
      ? { [provider.scopeParam]: scopes.join(provider.scopeSeparator) }
      : {}),
    ...(provider.pkce && ask.challenge !== null
      ? { code_challenge: ask.challenge, code_challenge_method: 'S256' }
      : {}),
  }
  for (const [field, value] of Object.entries(fields)) url.searchParams.set(field, value)
  // RFC 8707 2.1
  for (const resource of provider.resource ?? []) url.searchParams.append('resource', resource)
  return url
}

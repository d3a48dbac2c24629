// A connection where each person pastes a key of their own: there is no client, and no scope.
import type { Connection, Provider } from '../model.ts'
import type { Config } from './schema.ts'

/** What only an OAuth client has. */
const CLIENTS = [
  'client_id',
  'client_secret',
  'client_key',
  'issuer',
  'authorize',
  'token',
  'revoke',
] as const

/**
 * null: it has a client.
 * @param problems learns of each key that would change nothing
 */
export const keyed = (
  name: string,
  provider: Provider,
  entry: Config['connections'][string],
  problems: string[],
): Connection | null => {
  if (provider.credential !== 'api_key') return null
  for (const key of CLIENTS)
    if (entry[key] !== undefined)
      problems.push(
        `connections.${name}.${key}: has no use at ${provider.name}, where each person pastes a key of their own: leave it out`,
      )
  if (entry.scopes.length > 0)
    problems.push(
      `connections.${name}.scopes: have no use at ${provider.name}: a key opens what it opens, and policy decides on every call`,
    )
  return { name, provider, clientId: '', clientSecret: null, clientKey: null, scopes: [] }
}

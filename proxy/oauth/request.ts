// What goes into requests to an authorization server, and what is said when one fails. Pure: no secret comes by here as one.
import type { Connection, Provider, RefreshRules } from '../model.ts'
import { Problem } from '../problem.ts'
import type { TokenFailure } from './answer.ts'
import type { RawAnswer } from './body.ts'

export const FORM = 'application/x-www-form-urlencoded'
export const JSON_TYPE = 'application/json'
export type Fields = Readonly<Record<string, string>>

/** Why an endpoint is not there: its issuer could not be asked, or nobody wrote it down. */
export const absent = (
  { name, provider }: Connection,
  key: 'authorize' | 'token' | 'userinfo',
): Error => {
  const { issuer, discover } = provider
  return discover?.problem
    ? new Problem(
        'credential_unavailable',
        `the endpoints of ${provider.name} are not known now: its issuer ${issuer} has to say them, and ${discover.problem}`,
        { extra: { retry_after: 30 } },
      )
    : new Error(`connections.${name}: provider ${provider.id} has no ${key} endpoint`)
}
export const need = (connection: Connection, key: 'token' | 'userinfo'): string => {
  const url = connection.provider[key]
  if (url === null) throw absent(connection, key)
  return url
}
/** How this provider is asked for a token, and how its answer reads. */
export const rulesOf = (provider: Provider, request: 'grant' | 'refresh'): RefreshRules =>
  (request === 'refresh' ? provider.refresh : null) ?? {
    url: null,
    clientAuth: provider.clientAuth,
    params: provider.tokenParams,
    answer: provider.answer,
  }
export const written = (
  fields: readonly (readonly [string, string])[],
  format: 'form' | 'json',
): string =>
  format === 'json'
    ? JSON.stringify(Object.fromEntries(fields))
    : new URLSearchParams(fields.map(([name, value]) => [name, value])).toString()
/** The scopes once more, where the definition says that this request names them. */
export const scopeField = (
  { scopeParam, scopeSeparator, scopeRepeat }: Provider,
  request: 'token' | 'refresh',
  scopes: readonly string[],
): Fields =>
  scopeParam === null || scopes.length === 0 || scopeRepeat?.includes(request) !== true
    ? {}
    : { scope: scopes.join(scopeSeparator) }
export const refused = (detail: string, raw: RawAnswer | TokenFailure): Problem =>
  new Problem('credential_unavailable', detail, {
    cause: 'kind' in raw ? raw : { kind: 'refused', error: `http_${raw.status}` },
  })
/** A word or sentence of the provider that quotes what we sent is not passed on. */
export const withoutEcho = (failure: TokenFailure, sent: readonly string[]): TokenFailure => {
  const echoes = (text: string) => sent.some((value) => value.length > 3 && text.includes(value))
  return {
    ...failure,
    error: echoes(failure.error) ? 'unnamed_error' : failure.error,
    description:
      failure.description !== null && echoes(failure.description) ? null : failure.description,
  }
}

// What goes into requests to an authorization server, and what is said when one fails. Pure: no
// secret comes by here as one.
import type { Connection, Provider, RefreshRules } from '../model.ts'
import { Problem } from '../problem.ts'
import { tokenScrubbers } from '../wire/scrub.ts'
import type { TokenFailure } from './token_answer.ts'
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
/** Does a text quote one of these, in whichever way it is escaped or encoded? */
export const quoting = (secrets: readonly string[]): ((text: string) => boolean) => {
  const searches = secrets.filter(({ length }) => length > 3).map(tokenScrubbers)
  return (text) =>
    searches.some((search) => {
      const scrubber = search()
      scrubber.text(text)
      return scrubber.hits() > 0
    })
}
/**
 * A word or sentence of the provider that quotes what we sent is not passed on, nor a word that
 * could be a token.
 */
export const withoutEcho = (failure: TokenFailure, sent: readonly string[]): TokenFailure => {
  const echoes = quoting(sent)
  const { claims, ...rest } = failure
  const { error, description } = rest
  return {
    ...rest,
    error: echoes(error) || /^(?=.*\d)[\w.:-]{20,}$/.test(error) ? 'unnamed_error' : error,
    description: description !== null && echoes(description) ? null : description,
    // An escape inside of a JSON text is escaped once more.
    ...(claims === undefined || echoes(claims) || echoes(claims.replaceAll('\\\\', '\\'))
      ? {}
      : { claims }),
  }
}

// The normaliser: whatever a token endpoint said, as one of a few kinds. Pure; every provider's quirk ends here.
import { atPointer } from '../wire/json.ts'
import type { AccountRules, AnswerRules, Introspection, Provider, TokenSet } from '../model.ts'
import { secret } from '../secret.ts'
import { first, accountAt, hostAt, isFields, parseBody, word } from './body.ts'
import type { Account, Fields, RawAnswer } from './body.ts'

export type FailureKind =
  /** The grant is gone: the person must consent again. */
  | 'dead'
  /** The person must do something at the provider. */
  | 'step'
  /** Our client, secret or redirect is wrong: nobody's grant is to blame. */
  | 'our_fault'
  /** Later; nothing was consumed. */
  | 'busy'
  /** The provider refused or failed without a usable word. */
  | 'transient'
  /** The request never left. */
  | 'not_sent'
  /** It may have worked, and the answer is lost. */
  | 'unknown'

export type TokenFailure = {
  readonly kind: FailureKind
  /** The provider's word or ours; a plain word, never free text. */
  readonly error: string
  /** Short, printable, without anything that looks like a token; for logs only. */
  readonly description: string | null
  readonly retryAfterMs: number | null
}
export type TokenAnswer =
  | { readonly kind: 'tokens'; readonly tokens: TokenSet; readonly account: Account | null }
  | TokenFailure

const KINDS: ReadonlyMap<string, FailureKind> = new Map(
  Object.entries({
    dead: 'invalid_grant bad_refresh_token invalid_refresh_token token_revoked token_expired expired_token account_inactive invalid_code bad_verification_code code_already_used',
    step: 'interaction_required login_required consent_required account_selection_required insufficient_claims invalid_rapt access_denied admin_policy_enforced mfa_required',
    our_fault:
      'invalid_client unauthorized_client incorrect_client_credentials bad_client_secret bad_client_id invalid_client_id invalid_redirect invalid_redirect_uri bad_redirect_uri redirect_uri_mismatch unsupported_grant_type unsupported_token_type',
    busy: 'slow_down ratelimited rate_limited rate_limit_exceeded too_many_requests temporarily_unavailable authorization_pending',
  }).flatMap(([kind, words]) => words.split(' ').map((word) => [word, kind as FailureKind])),
)
/** Phrases of providers that have no word of their own for it; compared in lower case. */
const PHRASES: readonly (readonly [string, FailureKind])[] = [
  ['already being processed', 'busy'],
  // Salesforce, as invalid_grant: not from here, or not at this hour.
  ['ip restricted or invalid login hours', 'busy'],
  ['value passed for the token was invalid', 'dead'],
  ['aadsts700082', 'dead'],
  ['aadsts50173', 'dead'],
  ['invalid refresh token', 'dead'],
]
const DAY_MS = 86_400_000

/** Reads a token answer. @param now ms since the epoch, for absolute times */
export const readTokenAnswer = (
  rules: AnswerRules,
  raw: RawAnswer,
  now: number,
  account: Pick<AccountRules, 'id' | 'label'> | null = null,
): TokenAnswer => {
  const body = parseBody(raw)
  const error = body === null ? null : errorOf(body, raw.status, rules.errors)
  if (raw.status < 200 || raw.status > 299 || error !== null)
    return failureOf(rules, raw, body, error, now)
  const access = first(body, rules.accessToken)
  if (typeof access !== 'string' || access === '')
    return fail('unknown', body === null ? 'unreadable_answer' : 'no_token')
  const other = Object.entries(rules.onlyIf ?? {}).find(
    ([where, want]) => atPointer(body, where) !== want,
  )
  if (other !== undefined) return fail('unknown', 'token_of_another_slot')
  const type = word(atPointer(body, '/token_type'))?.toLowerCase()
  // A sender-constrained token presented as a bearer token would be refused at every call (RFC 9449 5).
  if (type === 'dpop' || type === 'mac') return fail('our_fault', 'unsupported_token_type')
  const host = rules.host ? hostAt(body, rules.host) : null
  // A token that names a host outside of the definition would be handed to whoever runs that host.
  if (host === 'foreign') return fail('dead', 'foreign_host')
  const refresh = first(body, rules.refreshToken)
  return {
    kind: 'tokens',
    tokens: {
      access: secret(access),
      refresh: typeof refresh === 'string' && refresh !== '' ? secret(refresh) : null,
      scopes: scopesOf(first(body, rules.scope), rules),
      expiresIn: lifetimeOf(first(body, rules.expiresIn), rules, now),
      ...(host === null ? {} : { host: host.name }),
    },
    account: account === null ? null : accountAt(body, account),
  }
}

/** What introspection adds to a token (RFC 7662 2.2); an answer that says nothing of it changes nothing. */
export const readIntrospection = (
  { account, answer }: Pick<Provider, 'account' | 'answer'>,
  rules: Introspection,
  raw: RawAnswer,
  tokens: TokenSet,
  now: number,
): { readonly tokens: TokenSet; readonly account: Account | null } => {
  const body = raw.status < 200 || raw.status > 299 ? null : parseBody(raw)
  if (body === null || body['active'] === false) return { tokens, account: null }
  const expires = first(body, rules.expiresIn)
  return {
    tokens: {
      ...tokens,
      scopes: scopesOf(first(body, rules.scope), answer) ?? tokens.scopes,
      expiresIn: expires === undefined ? tokens.expiresIn : lifetimeOf(expires, answer, now),
    },
    account: account?.from === 'introspect' ? accountAt(body, account) : null,
  }
}

/** The provider's word for what went wrong, in the places where they put it; null: no error. */
const errorOf = (body: Fields, status: number, known: AnswerRules['errors']): string | null => {
  const failed = status > 299 || body['ok'] === false || body['success'] === false
  const places = [
    '/error',
    '/error/code',
    '/error/type',
    '/error_code',
    '/errorType',
    '/errors/0/errorType',
    '/errors/0/code',
  ]
  // These stand in good answers too.
  const more = failed ? ['/code', '/type', '/status', '/error/message', '/message'] : []
  const said = [...places, ...more]
    .map((place) => atPointer(body, place))
    .filter((value): value is string => typeof value === 'string' && value !== '')
  // A word that the definition knows says more than a general one beside it (HubSpot).
  const found = said.find((value) => Object.hasOwn(known, value)) ?? said[0]
  if (found !== undefined) return found
  return failed || body['error'] === true || isFields(body['error']) ? '' : null
}

const failureOf = (
  rules: AnswerRules,
  { status, headers }: RawAnswer,
  body: Fields | null,
  error: string | null,
  now: number,
): TokenFailure => {
  const said = error === null || error === '' ? null : error
  const texts = [
    atPointer(body, '/error_description'),
    atPointer(body, '/error/message'),
    atPointer(body, '/message'),
  ]
  const text = texts.find((value) => typeof value === 'string')
  // One word for a dead grant and for a wrong client: only the description tells (Gitea).
  const [mapped] = [text, said].flatMap((key) =>
    key != null && Object.hasOwn(rules.errors, key) ? [rules.errors[key]] : [],
  )
  const retryAfterMs = retryAfter(headers.get('retry-after'), now)
  const kind = kindOf(
    status,
    [mapped, said],
    [atPointer(body, '/error_subtype'), atPointer(body, '/suberror')],
    `${said} ${text}`,
    retryAfterMs,
  )
  return {
    kind:
      kind === 'transient' && body === null && (status === 502 || status === 504)
        ? 'unknown'
        : kind,
    error: /^[\w.:-]{1,64}$/.test(said ?? '') ? String(said) : `http_${status}`,
    description: text === undefined ? null : printable(text),
    retryAfterMs,
  }
}

/** Decided on the parsed word; a status alone is never a dead grant. A gateway's 502 or 504 says nothing of the provider. */
const kindOf = (
  status: number,
  words: readonly (string | undefined | null)[],
  subtypes: readonly unknown[],
  text: string,
  retryAfterMs: number | null,
): FailureKind => {
  if (status === 429 || status === 409 || (status === 503 && retryAfterMs !== null)) return 'busy'
  const lower = text.toLowerCase()
  const phrase = PHRASES.find(([phrase]) => lower.includes(phrase))?.[1]
  if (phrase === 'busy') return phrase
  if (status >= 500) return 'transient'
  if (
    subtypes.some(
      (subtype) => typeof subtype === 'string' && KINDS.get(subtype.toLowerCase()) === 'step',
    )
  )
    return 'step'
  for (const word of words) {
    const kind = KINDS.get(word?.toLowerCase() ?? '')
    if (kind !== undefined) return kind
  }
  return phrase ?? 'transient'
}

const fail = (kind: FailureKind, error: string): TokenFailure => ({
  kind,
  error,
  description: null,
  retryAfterMs: null,
})

/** Seconds or an HTTP date (RFC 9110 10.2.3), at most a day. */
const retryAfter = (value: string | null, now: number): number | null => {
  if (value === null || value.trim() === '') return null
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - now
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), DAY_MS)
}

/** One line, with every run cut out that could be a token, an address or an id. */
const printable = (text: string): string =>
  text
    .slice(0, 2_000)
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .replaceAll(/[\w.~+/=-]{16,}/g, '[…]')
    .slice(0, 200)

/** A list, or a text with separators; null: not told. */
export const scopesOf = (
  value: unknown,
  { scopeSeparator, scopePrefix }: Pick<AnswerRules, 'scopeSeparator' | 'scopePrefix'>,
): readonly string[] | null => {
  const parts = typeof value === 'string' ? value.split(scopeSeparator) : value
  if (!Array.isArray(parts)) return null
  const scopes = parts
    .filter((part): part is string => typeof part === 'string')
    .flatMap((part) => part.split(/\s+/))
    .map((scope) =>
      scopePrefix && scope.startsWith(scopePrefix) ? scope.slice(scopePrefix.length) : scope,
    )
  return [...new Set(scopes)].filter((scope) => scope !== '').sort()
}

/** Seconds; an absolute time is taken from now. What is absent, past or no number counts as not told. */
export const lifetimeOf = (value: unknown, rules: AnswerRules, now: number): number | null => {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : ''
  const date = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) / 1000 : Number.NaN
  const told = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : date
  if (told === 0 && rules.zeroIsNever) return null
  // No lifetime reaches 30 years: this is a point in time, in seconds or milliseconds.
  const absolute = told >= 1e12 ? told / 1000 : told
  const seconds = Math.floor(told >= 1e9 ? absolute - now / 1000 : told)
  return seconds > 0 ? seconds : rules.assumeTtl
}

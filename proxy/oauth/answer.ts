// The normaliser: whatever a token endpoint said, as one of a few kinds. Pure; every provider's quirk ends here.
import type { AnswerRules, TokenSet } from '../model.ts'
import { secret } from '../secret.ts'
import { parseStrict } from '../wire/json.ts'

/** What came over the wire. `body` is null when it was too large or broke off. */
export type RawAnswer = {
  readonly status: number
  readonly headers: { readonly get: (name: string) => string | null }
  readonly body: string | null
}

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

export type Account = { readonly id: string; readonly label: string }

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

type Fields = Readonly<Record<string, unknown>>

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
  account: { readonly id: string; readonly label: string } | null = null,
): TokenAnswer => {
  const body = parseBody(raw)
  const error = body === null ? null : errorOf(body, raw.status)
  if (raw.status < 200 || raw.status > 299 || error !== null)
    return failureOf(rules, raw, body, error, now)
  const access = first(body, rules.accessToken)
  if (typeof access !== 'string' || access === '')
    return fail('unknown', body === null ? 'unreadable_answer' : 'no_token')
  const type = word(at(body, '/token_type'))?.toLowerCase()
  // A sender-constrained token presented as a bearer token would be refused at every call (RFC 9449 5).
  if (type === 'dpop' || type === 'mac') return fail('our_fault', 'unsupported_token_type')
  const refresh = first(body, rules.refreshToken)
  return {
    kind: 'tokens',
    tokens: {
      access: secret(access),
      refresh: typeof refresh === 'string' && refresh !== '' ? secret(refresh) : null,
      scopes: scopesOf(first(body, rules.scope), rules.scopeSeparator),
      expiresIn: lifetimeOf(first(body, rules.expiresIn), rules, now),
    },
    account: account === null ? null : accountAt(body, account),
  }
}

/** The account that an answer names; null when the pointer leads nowhere. */
export const accountAt = (
  body: unknown,
  pointers: { readonly id: string; readonly label: string },
): Account | null => {
  const id = word(at(body, pointers.id))
  return id === null ? null : { id, label: word(at(body, pointers.label)) ?? id }
}

/** A JSON body, or a form-encoded one; null when it is neither. Large numbers stay exact, as text. */
export const parseBody = ({ body, headers }: RawAnswer): Fields | null => {
  if (body === null) return null
  try {
    parseStrict(body)
    const value: unknown = JSON.parse(body, exact)
    return isFields(value) ? value : null
  } catch {
    const form =
      headers.get('content-type')?.startsWith('application/x-www-form-urlencoded') ?? false
    if (!form && !/^[\w.-]+=[^\s<>"&]*(?:&[\w.-]+=[^\s<>"&]*)*$/.test(body.trim())) return null
    return Object.fromEntries(new URLSearchParams(body.trim()))
  }
}

const exact = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)
    ? (context?.source ?? value)
    : value
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const word = (value: unknown): string | null => {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  return typeof value === 'string' && value !== '' && value.length <= 256 ? value : null
}

/** RFC 6901, own members only. */
const at = (value: unknown, pointer: string): unknown => {
  let here = value
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, key)) return undefined
    here = (here as Fields)[key]
  }
  return here
}
const first = (value: unknown, pointers: readonly string[]): unknown =>
  pointers
    .map((pointer) => at(value, pointer))
    .find((found) => found !== undefined && found !== null)

/** The provider's word for what went wrong, in the places where they put it; null: no error. */
const errorOf = (body: Fields, status: number): string | null => {
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
  const found = [...places, ...more]
    .map((place) => at(body, place))
    .find((value) => typeof value === 'string' && value !== '')
  if (typeof found === 'string') return found
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
  const mapped = said !== null && Object.hasOwn(rules.errors, said) ? rules.errors[said] : undefined
  const texts = [at(body, '/error_description'), at(body, '/error/message'), at(body, '/message')]
  const text = texts.find((value) => typeof value === 'string')
  const retryAfterMs = retryAfter(headers.get('retry-after'), now)
  const kind = kindOf(
    status,
    [mapped, said],
    [at(body, '/error_subtype'), at(body, '/suberror')],
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

const scopesOf = (value: unknown, separator: string): readonly string[] | null => {
  const parts =
    typeof value === 'string' ? value.split(separator).flatMap((part) => part.split(/\s+/)) : value
  if (!Array.isArray(parts)) return null
  const scopes = parts.filter((part): part is string => typeof part === 'string')
  return [...new Set(scopes.map((scope) => scope.trim()))].filter((scope) => scope !== '').sort()
}

/** Seconds; an absolute time is taken from now. What is absent, past or no number counts as not told. */
const lifetimeOf = (value: unknown, rules: AnswerRules, now: number): number | null => {
  const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : ''
  const date = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) / 1000 : Number.NaN
  const told = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : date
  if (told === 0 && rules.zeroIsNever) return null
  // No lifetime reaches 30 years: this is a point in time, in seconds or milliseconds.
  const absolute = told >= 1e12 ? told / 1000 : told
  const seconds = Math.floor(told >= 1e9 ? absolute - now / 1000 : told)
  return seconds > 0 ? seconds : rules.assumeTtl
}

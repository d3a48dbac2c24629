// The normaliser: whatever a token endpoint said, as one of a few kinds. Pure; every provider's quirk ends here.
import { atPointer, isObject } from '../wire/json.ts'
import type { AccountRules, AnswerRules, Introspection, Provider, TokenSet } from '../model.ts'
import { secret } from '../secret.ts'
import { retryAfterMs } from '../wire/retry_after.ts'
import { first, accountAt, hostAt, parseBody, parseJson, word } from './body.ts'
import type { Account, Fields, RawAnswer } from './body.ts'

type FailureKind =
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
  /** The provider refused, in words that say neither of the grant nor of the client that it is at fault. */
  | 'refused'
  /** It may have worked, and the answer is lost. */
  | 'unknown'
  /** It probably worked: the whole answer came, or came while this process stood still, and could not be read. */
  | 'unread'

/** What a step is: an administrator there must approve, the person must sign in more strongly, or say yes again. */
export type Step = 'admin' | 'sign_in' | 'consent'

export type TokenFailure = {
  readonly kind: FailureKind
  /** Of kind `step`. */
  readonly step?: Step
  /** The provider's claims request for the next sign-in (OpenID Connect Core 5.5), JSON; absent: none. */
  readonly claims?: string
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
    step: 'access_denied',
    our_fault:
      'invalid_client unauthorized_client incorrect_client_credentials bad_client_secret bad_client_id invalid_client_id invalid_redirect invalid_redirect_uri bad_redirect_uri redirect_uri_mismatch unsupported_grant_type unsupported_token_type',
    busy: 'slow_down ratelimited rate_limited rate_limit_exceeded too_many_requests temporarily_unavailable authorization_pending',
    transient:
      'server_error internal_error internal_server_error fatal_error service_unavailable request_timeout unknown_error',
  }).flatMap(([kind, words]) => words.split(' ').map((word) => [word, kind as FailureKind])),
)
/** Steps in the words of RFC 6749, OpenID Connect, RFC 9470, Google, Microsoft and Salesforce. */
const STEPS: ReadonlyMap<string, Step> = new Map(
  Object.entries({
    admin:
      'admin_policy_enforced org_internal admin_consent_required oauth_app_blocked oauth_app_access_denied oauth_approval_error_generic invalid_app_access inactive_user',
    sign_in:
      'interaction_required login_required account_selection_required insufficient_claims invalid_rapt mfa_required unmet_authentication_requirements insufficient_user_authentication',
    consent: 'consent_required',
  }).flatMap(([step, words]) => words.split(' ').map((word) => [word, step as Step])),
)
/** Said in text only, beside a general word; the first that is found counts. */
const STEP_PHRASES: readonly (readonly [string, Step])[] = [
  ['aadsts90094', 'admin'],
  ['aadsts90093', 'admin'],
  ['aadsts50105', 'admin'],
  ['aadsts53003', 'admin'],
  ['must be installed into org', 'admin'],
  ['not admin approved', 'admin'],
  ['aadsts65001', 'consent'],
  ['aadsts50074', 'sign_in'],
  ['aadsts50076', 'sign_in'],
  ['aadsts50078', 'sign_in'],
  ['aadsts50079', 'sign_in'],
  ['aadsts50158', 'sign_in'],
]
/** Who has to do what, by the words and the text of an error; null: nobody can help it by a step. */
export const stepOf = (words: readonly unknown[], text: string): Step | null => {
  const lower = text.toLowerCase()
  const phrase = STEP_PHRASES.find(([known]) => lower.includes(known))?.[1]
  if (phrase !== undefined) return phrase
  for (const word of words) {
    const step = typeof word === 'string' ? STEPS.get(word.toLowerCase()) : undefined
    if (step !== undefined) return step
  }
  return null
}
/** Words by which an authorization endpoint refuses the client, not the person (RFC 6749 4.1.2.1). */
export const refusesClient = (word: string): boolean =>
  KINDS.get(word) === 'our_fault' ||
  ['invalid_request', 'invalid_scope', 'unsupported_response_type'].includes(word)

/** Phrases of providers that have no word of their own for it; compared in lower case. The first kinds beat a word. */
const PHRASES: readonly (readonly [string, FailureKind])[] = [
  ['already being processed', 'busy'],
  ['aadsts50196', 'busy'],
  ['ip restricted', 'transient'],
  ['invalid login hours', 'transient'],
  ['value passed for the token was invalid', 'dead'],
  ['aadsts700082', 'dead'],
  ['aadsts50173', 'dead'],
  ['aadsts700084', 'dead'],
  ['aadsts70008', 'dead'],
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
    return failureOf(rules, raw, { body, error }, now)
  const access = first(body, rules.accessToken)
  if (typeof access !== 'string' || access === '')
    return body === null
      ? fail(isWhole(raw) ? 'unread' : 'unknown', 'unreadable_answer')
      : fail('unread', 'no_token')
  const other = Object.entries(rules.onlyIf ?? {}).find(
    ([where, want]) => atPointer(body, where) !== want,
  )
  if (other !== undefined) return fail('unread', 'token_of_another_slot')
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

/** An answer of the token endpoint itself, not a page of something before it: too long, or JSON with no one reading. */
const isWhole = ({ body }: RawAnswer): boolean =>
  body === null || /^[\s\uFEFF]*[{[]/.test(body.slice(0, 1_000))

/** What introspection adds to a token (RFC 7662 2.2); an answer that says nothing of it changes nothing. */
export const readIntrospection = (
  { account, answer }: Pick<Provider, 'account' | 'answer'>,
  rules: Introspection,
  raw: RawAnswer,
  { tokens, now }: { readonly tokens: TokenSet; readonly now: number },
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
  return failed || body['error'] === true || isObject(body['error']) ? '' : null
}

const failureOf = (
  rules: AnswerRules,
  { status, headers }: RawAnswer,
  { body, error }: { readonly body: Fields | null; readonly error: string | null },
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
  const waitMs = retryAfterMs(headers.get('retry-after'), now, DAY_MS)
  const subtypes = [atPointer(body, '/error_subtype'), atPointer(body, '/suberror')]
  const saying = `${said} ${text}`
  const words = [mapped, said]
  const kind = kindOf(status, waitMs, { words, subtypes, text: saying })
  const claims = claimsRequest(atPointer(body, '/claims'))
  return {
    kind:
      kind === 'transient' && body === null && (status === 502 || status === 504)
        ? 'unknown'
        : kind,
    error: /^[\w.:-]{1,64}$/.test(said ?? '') ? String(said) : `http_${status}`,
    description: text === undefined ? null : printable(text),
    retryAfterMs: waitMs,
    ...(kind === 'step' ? { step: stepOf([...subtypes, mapped, said], saying) ?? 'consent' } : {}),
    ...(kind === 'step' && claims !== null ? { claims } : {}),
  }
}

/** Said of the address or the moment, not of what was asked. */
const ELSEWHERE: ReadonlySet<number> = new Set([404, 405, 408, 425])

/** Decided on the parsed word; a status alone is never a dead grant. A gateway's 502 or 504 says nothing of the provider. */
const kindOf = (
  status: number,
  waitMs: number | null,
  {
    words,
    subtypes,
    text,
  }: {
    readonly words: readonly (string | undefined | null)[]
    readonly subtypes: readonly unknown[]
    readonly text: string
  },
): FailureKind => {
  if (status === 429 || status === 409 || (status === 503 && waitMs !== null)) return 'busy'
  const lower = text.toLowerCase()
  const phrase = PHRASES.find(([phrase]) => lower.includes(phrase))?.[1]
  if (phrase === 'busy' || phrase === 'transient') return phrase
  if (status >= 500) return 'transient'
  if (phrase !== 'dead' && stepOf([...subtypes, ...words], text) !== null) return 'step'
  for (const word of words) {
    const kind = KINDS.get(word?.toLowerCase() ?? '')
    if (kind !== undefined) return kind
  }
  const spoken = words.some((word) => word != null && word !== '')
  const refusal = spoken && (status < 300 || status >= 400) && !ELSEWHERE.has(status)
  return phrase ?? (refusal ? 'refused' : 'transient')
}

/** JSON text of an object, small enough for a URL; null: it is none. */
const claimsRequest = (value: unknown): string | null => {
  const parsed = typeof value === 'string' && value.length <= 4_096 ? parseJson(value) : undefined
  return isObject(parsed) ? JSON.stringify(parsed) : null
}

const fail = (kind: FailureKind, error: string): TokenFailure => ({
  kind,
  error,
  description: null,
  retryAfterMs: null,
})

/** One line, with every run cut out that could be a token, an address or an id. */
const printable = (text: string): string =>
  text
    .slice(0, 2_000)
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    // With the signs by which URLs, JSON and HTML escape: a token in pieces is one all the same.
    .replaceAll(/[\w.~+/=%\\&#;-]{16,}/g, '[…]')
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

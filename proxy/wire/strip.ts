// Cuts out or refuses credentials that the agent supplied, in every place where a provider might
// look, and names them.
import type { Provider, Target } from '../model.ts'
import { Problem } from '../problem.ts'
import { remembered } from '../memo.ts'
import { foldHeader } from './canonical.ts'
import type { Part } from './multipart.ts'

/** What changes what policy saw, at every provider. Names folded as `foldHeader` does. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  'x-original-url',
  'x-rewrite-url',
  'x-original-host',
])
/**
 * RFC 6750 2.2: the field that carries a bearer token, wherever one is accepted, and its kin; JSON
 * members too.
 */
const FORM: ReadonlySet<string> = new Set(['access_token', 'bearer_token', 'oauth_token'])

// Refused instead of cut out: the rest would still be another request than the agent meant.
const OVERRIDES =
  /^(?:\$http_?(?:method|headers|verb)|_(?:http_?)?(?:request_?)?(?:method|verb)(?:_?override)?|(?:x_)?(?:http_?)?(?:method|verb)_?override|x_(?:http_?)?(?:method|verb))$/

/** Sessions of a protocol or of a document, not of a person: the injected token still decides; and a handshake's nonce. */
const OF_NOBODY: ReadonlySet<string> = new Set([
  'mcp-session-id',
  'workbook-session-id',
  'sec-websocket-key',
])

// What a front server writes when it has signed somebody in, or read their certificate: a server
// behind it may believe.
const NAMES_USER =
  /^(?:x-)?(?:ssl-client|tls-client|client-?cert|arr-client-?cert|ssl-cert|forwarded-(?:user|email|groups?|preferred-username|client-cert|tls|ssl)|remote-(?:user|email|name|groups?|extra)|webauth|ms-client-principal|auth-(?:request|user|email|groups?|name)|authenticated|authentik|authelia|amzn-(?:oidc|mtls)|goog-(?:authenticated|iap)|cf-access|tailscale-user|consumer|anonymous-consumer|pomerium|vouch|sso|saml|shib|ldap|krb5|spiffe|iap|sm-?user|iv-(?:user|groups|creds)|oam-remote|ct-remote|endpoint-api-userinfo|apigateway-api-userinfo)(?:-|$)/
// How Box, Dropbox, Redmine and Symfony are told to act as somebody else, and what front servers
// call whom they know.
const ACTS_AS =
  /^(?:[a-z]+-){0,4}(?:(?:as|current|effective|entity|proxy|real|select|switch|trusted)-?user|select-admin|(?:act|login|run)-as|run-?as-user|user-?(?:info|name)|mscrm-?caller-?id|caller-?(?:object-?)?id|(?:trino|presto|clickhouse|hasura)-(?:user|role)(?:-id)?|client-(?:(?:[is]-)?dn|verify))$/
/** Only these whole names: `x-user-agent` names no person. */
const NAMES_USER_EXACTLY =
  /^(?:x-)?(?:user(?:-?(?:id|name|email|groups?|roles?|principal|identity))?|email|login|principal|eppn|groups?|roles?)$/

// Vendors invent names faster than lists grow, so every name that speaks of a credential, or of
// acting as somebody, counts as one.
const SPEAKS =
  /token|secret|passw|pass-?(?:phrase|code)|credential|cookie|session|assertion|jwt|impersonat|delegat|masquerad|(?:api|access|app|developer|license|write|deploy|admin)-?key$|api-?key|(?:^|-)(?:o?auth(?!or(?:s|-|$))|t?otp|[m2]fa|hmac|sudo|dpop|csrf|xsrf|bearer|behalf|signature|(?:pwd|pass|pat|sid|sig|sign|creds?|ticket|assume-(?:role|user)|do-?as)$)/
/**
 * A name that ends in `key` is a credential, unless the key only tells things apart or encrypts the
 * caller's own data.
 */
const KEY =
  /(?:^|-)(?<!(?:^|-)(?:idempotency|encryption|customer|cache|surrogate|partition|sort|object|resource|message|event)-)key$/

// The same of the query, `-` written `_`; there a token is often a place in a list, and a key often
// a name.
const PLACES =
  'page|next|previous|sync|delta|skip|continuation|resume|cursor|paging|pagination|position|offset|sequence|scroll|watch|idempotency|(?:^|_)(?:change|prev|start)'
const QUERY_SPEAKS = new RegExp(
  [
    `(?<!(?:${PLACES})_?)token$`,
    '(?:sess(?:ion)?_?id|secret|passw(?:or)?d|pass_?(?:phrase|code)|credentials?|assertion|jwt|bearer)$',
    '^(?:key|delegation|tempauth|xoauth_requestor_id)$|(?:api|access)_?key(?:_?id)?$|^(?:pass_?key|hmac)$',
    '(?:^|_)(?:account|admin|app|application|auth|client|deploy|license|write|consumer|developer|functions?|master|private|secret|server|service|session|shared|signing|subscription|user|x)_?key$',
    '(?:^|_)(?:pwd|pass|pat|t?otp|sid|sig|signature|ticket|session|o?auth(?:orization)?|cookie|csrf|xsrf|dpop|creds?)$',
    'impersonat|masquerad|on_?behalf_?of',
    '^(?:x_|_)?(?:sudo|(?:act|do|login|run)_?as|as_?user(?:_?id)?|(?:effective|proxy|real|switch)_?user|assume_?(?:role|user)|delegat(?:e|or|ed_?user))$',
  ].join('|'),
)

const speaks = (folded: string): boolean => SPEAKS.test(folded) || KEY.test(folded)

/** Is this header (lower case) a credential, or a way to change what policy saw? */
export const isCredentialHeader = (name: string, provider: Provider): boolean => {
  if (provider.strip.headers.includes(name)) return true
  if (OF_NOBODY.has(name)) return false
  const folded = foldHeader(name)
  return (
    ELSEWHERE.has(folded) ||
    speaks(folded) ||
    folded === foldHeader(provider.present.header.toLowerCase()) ||
    provider.strip.headers.includes(folded) ||
    NAMES_USER.test(folded) ||
    ACTS_AS.test(folded) ||
    NAMES_USER_EXACTLY.test(folded)
  )
}

/** The agent chose this name: it may be long. */
export const evidenceName = (
  name: string,
  place: 'header' | 'query' | 'trailer' = 'header',
): string => `${place}:${name.slice(0, 64)}`

// PHP and its like read `access.token`, `access token` and `access[token` as `access_token`,
// `token[]` as `token`, and nothing behind a zero byte. Some drop a byte order mark before the
// first field, JavaScript's URLSearchParams a `?`.
const PLAIN_NAME = /^[0-9a-z_]+$/
const foldName = (name: string): string =>
  PLAIN_NAME.test(name)
    ? name
    : name
        .replace(/^(?:\xef\xbb\xbf|\ufeff)?\??/, '')
        .replace(/\0[^]*$/, '')
        .trim()
        .toUpperCase()
        .toLowerCase()
        .replaceAll(/[\s.-]/g, '_')

const NONE: readonly string[] = []

const named = (name: string, has: (folded: string) => boolean): string | null => {
  if (PLAIN_NAME.test(name)) return has(name) ? name : null
  const folded = foldName(name)
  const plain = folded.startsWith('$') ? folded.slice(1) : folded // Google takes `$key` for `key`
  const bracket = plain.indexOf('[')
  if (bracket === -1) return has(plain) ? plain : has(folded) ? folded : null
  // `user[access_token]` is a member of that name to Rack and PHP; `card[token]` may be anybody's.
  const last = plain.endsWith(']') ? plain.slice(plain.lastIndexOf('[') + 1, -1) : ''
  const inner = FORM.has(last) || last.includes('passw') ? last : ''
  const forms = [plain.slice(0, bracket), plain.replace('[', '_').replace(/\]$/, ''), inner]
  return forms.find(has) ?? null
}

const listed =
  (every: ReadonlySet<string>, names: readonly string[]) =>
  (folded: string): boolean =>
    every.has(folded) || names.some((name) => foldName(name) === folded)

/** `userPat` → `user_Pat`: where one word ends in the names of many APIs. */
const HUMP = /(?<=[0-9a-z])(?=[A-Z])/g

type Judge = (name: string) => string | null
const judges = new WeakMap<Provider, Judge>()
/** Agents repeat the same few names, so each is judged once. */
const queryCredential = (provider: Provider): Judge => {
  let judge = judges.get(provider)
  if (judge === undefined) judges.set(provider, (judge = remembered(judgeOf(provider))))
  return judge
}
const lists = (names: readonly string[] | undefined, folded: string): boolean =>
  names?.some((name) => foldName(name) === folded) === true
/** What the definition names is one; what it lets pass is none, whatever its words say. */
const judgeOf = ({ strip }: Provider): Judge => {
  const has = (folded: string): boolean =>
    lists(strip.query, folded) ||
    lists(strip.provided, folded) ||
    (QUERY_SPEAKS.test(folded) && !lists(strip.pass, folded))
  return (name) => named(name, has) ?? named(name.replaceAll(HUMP, '_'), has)
}

const refuseOverride = (name: string, where: string): void => {
  if (OVERRIDES.test(foldName(name))) {
    throw new Problem('request_invalid', `a parameter of the ${where} overrides method or headers`)
  }
}

/**
 * Cuts credentials out of the query; the bytes of the other pairs stay.
 * @throws Problem `request_invalid` for a parameter that overrides the method
 */
export const stripQuery = (
  target: Target,
  provider: Provider,
): { readonly target: Target; readonly stripped: readonly string[] } => {
  if (target.query.length === 0) return { target, stripped: NONE }
  const credentialIn = queryCredential(provider)
  let stripped: Set<string> | null = null
  for (const pair of target.query) {
    refuseOverride(pair.name, 'query')
    const credential = credentialIn(pair.name)
    if (credential !== null) (stripped ??= new Set()).add(evidenceName(credential, 'query'))
  }
  if (stripped === null) return { target, stripped: NONE }
  const query = target.query.filter((pair) => credentialIn(pair.name) === null)
  return { target: { ...target, query }, stripped: [...stripped] }
}

/**
 * What providers sign into URLs of their own; everything else that is cut, and above all a bearer
 * token (RFC 6750 2.3), says who somebody is.
 */
const OF_A_URL =
  /^(?:(?:download|file|media|page|share|upload|view)_?)?(?:token|key|auth|sig|signature)$|^(?:jwt|sid|session|session_?id|ticket|x_(?:amz|goog)_(?:credential|security_token|signature))$/

/**
 * The values of the credentials in a URL that a provider wrote, where the provider may have put all
 * of them there for this URL; null: there are none, or one is a credential of a person wherever it
 * stands.
 */
export const providedValues = (target: Target, provider: Provider): readonly string[] | null => {
  const credentialIn = queryCredential(provider)
  const { strip } = provider
  const values: string[] = []
  for (const { name, value } of target.query) {
    const folded = credentialIn(name)
    if (folded === null) continue
    if (!lists(strip.provided, folded) && (!OF_A_URL.test(folded) || lists(strip.query, folded)))
      return null
    values.push(value)
  }
  return values.length > 0 ? values : null
}

// Lenient on purpose: what a strict decoder would refuse, a lenient server still reads; ASP.NET
// reads `%u0061` too.
const rawName = (pair: string): string => {
  const end = pair.indexOf('=')
  return end === -1 ? pair : pair.slice(0, end)
}
const formName = (pair: string): string =>
  rawName(pair)
    .replaceAll('+', ' ')
    .replaceAll(/%(?:u([0-9a-f]{4})|([0-9a-f]{2}))/gi, (_, wide?: string, hex?: string) =>
      String.fromCharCode(parseInt(wide ?? hex ?? '', 16)),
    )

/** Every name that some server reads in one pair of a form: only some split at a `;`, or read bytes as UTF-8. */
export const formNames = (pair: string): readonly string[] =>
  pair.split(';').flatMap((piece) => {
    const name = formName(piece)
    return [name, Buffer.from(name, 'latin1').toString('utf8')]
  })

/**
 * Cuts credentials out of an `application/x-www-form-urlencoded` body; the bytes of the other pairs
 * stay.
 * @param names field names of the provider file (`strip.body`)
 * @throws Problem `request_invalid` for an overriding field, and for a credential behind a `;`,
 *   which only some servers split at
 */
export const stripForm = (
  bytes: Buffer,
  names: readonly string[],
): { readonly bytes: Buffer; readonly stripped: readonly string[] } => {
  const has = listed(FORM, names)
  const stripped = new Set<string>()
  // A form of 1 MB may have a million pairs, and few names.
  const judged = new Map<string, string | null>()
  const credentialOf = (piece: string): string | null => {
    const raw = rawName(piece)
    let found = judged.get(raw)
    if (found === undefined) {
      const name = formName(raw)
      refuseOverride(name, 'body')
      judged.set(raw, (found = named(name, has)))
    }
    return found
  }
  const kept = bytes
    .toString('latin1')
    .split('&')
    .filter((pair) => {
      const [first = null, ...rest] = pair.split(';').map(credentialOf)
      if (rest.some((credential) => credential !== null)) {
        throw new Problem('request_invalid', 'the body hides a credential behind a semicolon')
      }
      if (first !== null) stripped.add(`body:${first}`)
      return first === null
    })
  return stripped.size === 0
    ? { bytes, stripped: [] }
    : { bytes: Buffer.from(kept.join('&'), 'latin1'), stripped: [...stripped] }
}

export type Field = {
  readonly name: string
  /** Every name that some server reads here; only some split at a `;`. */
  readonly pieces: readonly string[]
  readonly value: () => string
}

/** Bytes that a client should have escaped are read as if it had: servers read all of them as UTF-8. */
const escaped = (latin1: string): string =>
  latin1
    .replaceAll('+', ' ')
    .replaceAll(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`)

/**
 * The fields of an `application/x-www-form-urlencoded` body; a value is decoded when it is asked
 * for.
 */
export const formFields = (bytes: Buffer): readonly Field[] =>
  bytes
    .toString('latin1')
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => ({
      name: formName(pair),
      // As it stands, too, where only some would decode it so.
      pieces: [...pair.split(';').map(formName), ...(/^[^=]*%u/i.test(pair) ? [pair] : [])],
      value: () => {
        const at = pair.indexOf('=')
        try {
          return at === -1 ? '' : decodeURIComponent(escaped(pair.slice(at + 1)))
        } catch (cause) {
          throw new Problem('request_invalid', 'a field of the body is not UTF-8', { cause })
        }
      },
    }))

const loose = (name: string): string => foldName(name).replaceAll('_', '')
/** Would some server take a field of this name for one of these? */
export const sameField = (name: string, names: readonly string[]): boolean =>
  named(name, (folded) => names.some((one) => loose(one) === folded.replaceAll('_', ''))) !== null

/**
 * The named fields, decoded; one that is absent is left out.
 * @throws Problem `request_invalid` where servers would not all read the same value: twice, spelt
 *   otherwise, beside a `;`, not UTF-8
 */
export const fieldsOf = (
  fields: readonly Field[],
  names: readonly string[],
): Readonly<Record<string, string>> => {
  const found: Record<string, string> = {}
  const known = new Map<string, boolean>()
  const wanted = (piece: string): boolean => {
    let one = known.get(piece)
    if (one === undefined) known.set(piece, (one = sameField(piece, names)))
    return one
  }
  for (const { name, pieces, value } of fields) {
    // The field by which a form names its charset (HTML, 4.10.21): some readers obey, and read all others by it.
    if (foldName(name) === '_charset_' && !/^utf-?8$/i.test(value()))
      throw new Problem('request_invalid', 'the body names another charset than UTF-8')
    if (!pieces.some(wanted)) continue
    if (pieces.length > 1 || !names.includes(name) || Object.hasOwn(found, name)) {
      throw new Problem('request_invalid', 'a field of the body has more than one reading')
    }
    found[name] = value()
  }
  return found
}

/**
 * First key of a parsed JSON body, or of the objects of a top-level array, that is a listed
 * credential; else null.
 * @throws Problem `request_invalid` for an overriding member
 */
export const jsonCredential = (value: unknown, names: readonly string[]): string | null => {
  const has = listed(FORM, names)
  for (const item of Array.isArray(value) ? value : [value]) {
    if (typeof item !== 'object' || item === null) continue
    for (const key of Object.keys(item)) {
      refuseOverride(key, 'body')
      const credential = named(key, has)
      if (credential !== null) return credential
    }
  }
  return null
}

/**
 * First field of a `multipart/form-data` body that is a listed credential, or header of a part that is one; else null.
 * @throws Problem `request_invalid` for an overriding field
 */
export const multipartCredential = (
  parts: readonly Part[],
  names: readonly string[],
): string | null => {
  const has = listed(FORM, names)
  for (const part of parts) {
    const name = formName(part.name)
    refuseOverride(name, 'body')
    const header = part.headers.find((one) => speaks(foldHeader(one))) ?? null
    const credential = named(name, has) ?? header
    if (credential !== null) return credential
  }
  return null
}

// Builds header sections from nothing: what of the agent's headers reaches the provider, the
// credential once, and what of the provider's headers comes back.
import type { Challenge, Provider } from '../model.ts'
import { Problem } from '../problem.ts'
import { remembered } from '../memo.ts'
import type { Secret } from '../secret.ts'
import { nominated } from './canonical.ts'
import { parseStrict } from './json.ts'
import { tokenScrubbers, type TokenScrubber } from './scrub.ts'
import { atEdges, inCharset } from './scrub_forms.ts'
import { evidenceName, isCredentialHeader } from './strip.ts'

/** Of one hop only (RFC 9110 7.6.1), of deputy, of the network behind it, or of a browser: never a provider's business. */
const NEVER_SENT: ReadonlySet<string> = new Set([
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'host',
  'content-length',
  'expect',
  'max-forwards',
  'alt-used',
  'early-data',
  'origin',
  'referer', // holds the URL at deputy, and with it the person's name
  'via',
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'true-client-ip',
  'cf-connecting-ip',
])
/** Vendors read these where `Range` is missing, and nobody here would know which part was asked for. */
const OTHER_RANGE = /(?<!^(?:if[-_]|content[-_])?)range$/
const NEVER_SENT_FAMILY =
  /^(?:deputy|sec|proxy|x[-_]forwarded|x[-_]original|access-control-request)[-_]/

const NEVER_RETURNED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'set-cookie',
  'set-cookie2',
  // These speak for deputy's own origin, not for the provider's.
  'alt-svc',
  'clear-site-data',
  'strict-transport-security',
  'public-key-pins',
])
// No CORS answer, ever (design 2.5); Proxy-Status and Deputy-* are deputy's word alone (2.3).
const NEVER_RETURNED_FAMILY = /^(?:proxy|deputy|access-control)-/

/** Headers that no longer tell the truth once a body was rewritten, redacted or unpacked. */
const REWRITTEN: ReadonlySet<string> = new Set([
  'etag',
  'digest',
  'content-md5',
  'content-digest',
  'repr-digest',
  'content-length',
  'content-encoding',
  'accept-ranges',
])

// RFC 7240: preferences are separated by commas outside quotes. `wait` is deputy's own budget (design 2.3).
const withoutWait = (value: string): string => {
  const kept: string[] = []
  for (const [piece] of value.matchAll(/(?:"(?:\\.|[^"\\])*"?|[^",])+/g)) {
    const bare = piece.trim()
    if (bare !== '' && !/^wait[ \t]*(?:[=;]|$)/i.test(bare)) kept.push(bare)
  }
  return kept.join(', ')
}

// Of what the agent reads, the one coding that deputy can undo; a body past the cap passes as it came.
const rewritable = (accepted: string): string =>
  /(?:^|,)[ \t]*gzip[ \t]*(?:$|,|;[ \t]*q=(?!0(?:\.0*)?[ \t]*(?:,|$)))/i.test(accepted)
    ? 'gzip'
    : 'identity'

/** How a definition has a token said: with its scheme, alone, or in the pair of Basic (RFC 7617 2). */
export const presentedAs = (
  { present: { scheme, pair } }: Pick<Provider, 'present'>,
  bare: string,
): string => {
  const said =
    pair === undefined ? bare : Buffer.from(`${pair.before}${bare}${pair.after}`).toString('base64')
  return scheme === '' ? said : `${scheme} ${said}`
}

const credentialValue = (provider: Provider, token: Secret): string => {
  const { pair } = provider.present
  const bare = token.reveal()
  if (!/^[\x21-\x7e]+$/.test(bare)) {
    throw new Problem(
      'credential_unavailable',
      'the stored token is not one that a header can hold',
    )
  }
  // RFC 7617 2: the first colon ends the user's name, so there a key must hold none.
  if (pair !== undefined && pair.after !== '' && bare.includes(':'))
    throw new Problem(
      'credential_unavailable',
      'the stored key holds a colon, which Basic cannot carry as a name',
    )
  return presentedAs(provider, bare)
}

/** Bytes of a range for each character of the token, and at least. */
const [RANGE_FACTOR, SMALLEST_RANGE] = [8, 1024]
/**
 * May this be asked for where a token is injected? One range, too long to lie within an echo of the token: of the
 * others the provider sends the whole (RFC 9110 14.2), which can be searched.
 */
const searchable = (kept: readonly string[], token: Secret): boolean => {
  const ranges = kept.filter((_, i) => i % 2 === 1 && kept[i - 1] === 'range')
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/i.exec(ranges.join(', ')) ?? []
  const end = last === '' ? Infinity : Number(last) + 1
  const size = first === '' ? Number(last) : end - Number(first)
  return size >= Math.max(SMALLEST_RANGE, RANGE_FACTOR * token.reveal().length)
}

/** The agent's headers after the first rule of all: nothing passes that is not allowed to. */
export type Sifted = {
  /** Lower-case names and values in turn, as they came. */
  readonly kept: readonly string[]
  /** All that came as `Accept-Encoding`. */
  readonly accepted: string
  /** `header:authorization`, each once. */
  readonly stripped: readonly string[]
}

type Judged<R> = { readonly lower: string; readonly rule: R }
/** Agents and providers repeat the same few header names, so each is judged once. */
const judging = <R>(ruleOf: (lower: string, raw: string) => R): ((raw: string) => Judged<R>) =>
  remembered((raw) => {
    const lower = raw.toLowerCase()
    return { lower, rule: ruleOf(lower, raw) }
  })

type Rule = 'keep' | 'drop' | 'credential' | 'prefer' | 'encoding' | 'connection'

const ruleOf = (name: string, own: readonly string[], provider: Provider): Rule => {
  if (name === 'connection') return 'connection'
  if (own.includes(name)) return 'drop'
  if (isCredentialHeader(name, provider)) return 'credential'
  if (NEVER_SENT.has(name) || NEVER_SENT_FAMILY.test(name) || OTHER_RANGE.test(name)) return 'drop'
  if (name === 'prefer') return 'prefer'
  if (name === 'accept-encoding') return 'encoding'
  return 'keep'
}

/** Of one hop, because `Connection` says so (RFC 9110 7.6.1). */
const withoutNominated = (sifted: Sifted, names: readonly string[]): Sifted => ({
  ...sifted,
  kept: sifted.kept.filter((_, i) => !names.includes(sifted.kept[i - (i % 2)] ?? '')),
  accepted: names.includes('accept-encoding') ? '' : sifted.accepted,
})

/** Of a body that is sent without the coding that it came in: no digest of it is true any more. */
export const uncoded = (sifted: Sifted): Sifted => ({
  ...sifted,
  kept: sifted.kept.filter((_, i) => !REWRITTEN.has(sifted.kept[i - (i % 2)] ?? '')),
})

/**
 * Sorts an agent's headers (names and values in turn, as Node's `rawHeaders`, checked by `canonicalHeaders`).
 * Hop-by-hop, nominated, network, browser and deputy's own headers stay behind silently; credentials, and what holds a
 * tag, by name.
 * @param own lower case: the headers by which a call names its person and its agent
 * @param holdsTag does a tag stand in this text?
 * @throws Problem `request_invalid` for a name that holds one
 */
export const createSift = (
  own: readonly string[],
  holdsTag: (text: string) => boolean,
): ((rawHeaders: readonly string[], provider: Provider) => Sifted) => {
  const judges = new WeakMap<Provider, (raw: string) => Judged<Rule>>()
  return (rawHeaders, provider) => {
    let judge = judges.get(provider)
    if (judge === undefined) {
      judge = judging((lower, raw) => {
        if (holdsTag(raw))
          throw new Problem(
            'request_invalid',
            'a tag of deputy (a run token, an assertion or an application’s key) is the name of a header: it is a value, and the provider must not see it',
          )
        return ruleOf(lower, own, provider)
      })
      judges.set(provider, judge)
    }
    const kept: string[] = []
    let names = NONE
    let stripped: string[] | null = null
    let accepted = ''
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const value = rawHeaders[i + 1] ?? ''
      const { lower: name, rule } = judge(rawHeaders[i] ?? '')
      if (rule === 'credential' || (rule !== 'drop' && holdsTag(value))) {
        const said = evidenceName(name)
        stripped ??= []
        if (!stripped.includes(said)) stripped.push(said)
      } else if (rule === 'drop') continue
      else if (rule === 'connection') names = [...names, ...nominated(value)]
      else if (rule === 'encoding') accepted = accepted === '' ? value : `${accepted}, ${value}`
      else if (rule === 'prefer') {
        const preferences = withoutWait(value)
        if (preferences !== '') kept.push(name, preferences)
      } else kept.push(name, value)
    }
    const sifted = { kept, accepted, stripped: stripped ?? NONE }
    return names.length === 0 ? sifted : withoutNominated(sifted, names)
  }
}
const NONE: readonly string[] = []

export type UpstreamInput = {
  readonly sifted: Sifted
  readonly host: string
  readonly provider: Provider
  /** null: a host without credential (assets). */
  readonly token: Secret | null
  readonly contentLength: number | null
  /** A body of unknown length; the transport frames it itself. */
  readonly chunked: boolean
  /**
   * What to ask the provider for. `as_asked`: the agent's `Accept-Encoding`; `identity`: bytes that can be searched
   * (a short or second `Range` is left out wherever a token goes along);
   * `rewritable`: the whole answer (no `Range`), plain or in the one coding that agent and deputy both read.
   */
  readonly coding: 'as_asked' | 'identity' | 'rewritable'
}

/**
 * The header section of the upstream call, flat for undici's dispatch: lower-case names, values and their order as they came.
 * @throws Problem `credential_unavailable` for a token that is no header value
 */
export const upstreamHeaders = (input: UpstreamInput): string[] => {
  const { sifted, provider, token, coding } = input
  if (input.chunked && input.contentLength !== null) {
    throw new Problem('internal', 'an upstream call cannot have a length and be chunked')
  }
  const headers = ['host', input.host]
  let ranged: boolean | null = null
  for (let i = 0; i < sifted.kept.length; i += 2) {
    const name = sifted.kept[i] ?? ''
    if (name === 'range' || name === 'if-range') {
      ranged ??= coding !== 'rewritable' && (token === null || searchable(sifted.kept, token))
      if (!ranged) continue
    }
    headers.push(name, sifted.kept[i + 1] ?? '')
  }
  if (coding === 'identity') headers.push('accept-encoding', 'identity')
  else if (coding === 'rewritable') headers.push('accept-encoding', rewritable(sifted.accepted))
  else if (sifted.accepted !== '') headers.push('accept-encoding', sifted.accepted)
  for (const key in provider.requiredHeaders) {
    const name = key.toLowerCase()
    let absent = true
    for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) absent = false
    if (absent) headers.push(name, provider.requiredHeaders[key] ?? '')
  }
  if (token !== null) {
    headers.push(provider.present.header.toLowerCase(), credentialValue(provider, token))
  }
  if (input.contentLength !== null) headers.push('content-length', String(input.contentLength))
  return headers
}

const latin1 = (part: string | Buffer | undefined): string =>
  typeof part === 'string' ? part : (part?.toString('latin1') ?? '')

/** A section as undici tells it: names and values in turn (HTTP/1.1), or by name (HTTP/2). */
export const flatSection = (told: unknown): readonly (string | Buffer)[] => {
  if (Array.isArray(told)) return told as readonly (string | Buffer)[]
  return Object.entries(
    (told ?? {}) as Readonly<Record<string, string | readonly string[]>>,
  ).flatMap(([name, values]) => [values].flat().flatMap((value) => [name, value]))
}

/** `url`: its value is a URL (`Location`), `links`: a list of them (`Link`, RFC 8288). */
type AnswerRule = 'keep' | 'drop' | 'rewritten' | 'url' | 'links'
const answerRule = (lower: string): AnswerRule => {
  if (NEVER_RETURNED.has(lower) || NEVER_RETURNED_FAMILY.test(lower)) return 'drop'
  if (lower === 'link') return 'links'
  if (lower === 'location' || lower === 'content-location') return 'url'
  return REWRITTEN.has(lower) ? 'rewritten' : 'keep'
}

/** A provider's header section, read once. */
export type AnswerHead = {
  /** Names and values in turn, as they came (latin1). */
  readonly section: readonly string[]
  readonly judged: readonly Judged<AnswerRule>[]
  /** All content codings of all lines but `identity`, lower case; `identity` where there is none. */
  readonly coding: string
  /** `Content-Type` as it came, or empty. */
  readonly type: string
  /** Names in `Connection`, lower case. */
  readonly nominated: readonly string[]
}

/** Reads the head of an answer. */
export const createAnswerReader = (): ((raw: readonly (string | Buffer)[]) => AnswerHead) => {
  const judge = judging(answerRule)
  return (raw) => {
    const section: string[] = []
    const judged: Judged<AnswerRule>[] = []
    const codings: string[] = []
    let type: string | null = null
    let names = NONE
    for (let i = 0; i < raw.length; i += 2) {
      const name = latin1(raw[i])
      const value = latin1(raw[i + 1])
      const verdict = judge(name)
      section.push(name, value)
      judged.push(verdict)
      if (verdict.lower === 'content-encoding' || verdict.lower === 'transfer-encoding') {
        for (const piece of value.split(',')) {
          const coding = piece.trim().toLowerCase()
          // `chunked` is framing, which the transport has undone; any other transfer coding it has not.
          const undone = coding === 'chunked' && verdict.lower === 'transfer-encoding'
          if (coding !== '' && coding !== 'identity' && !undone) codings.push(coding)
        }
      } else if (verdict.lower === 'content-type') type ??= value
      else if (verdict.lower === 'connection') names = [...names, ...nominated(value)]
    }
    const coding = codings.length === 0 ? 'identity' : codings.join(', ')
    return { section, judged, coding, type: type ?? '', nominated: names }
  }
}

/**
 * The head as the agent gets it: names, order and duplicates as they came.
 * @param changed the body changes: what speaks of the old one is left out
 * @param unsized no `Content-Length`, whatever came
 * @param edit what may be repeated of a value, and of a `name`: a field whose name would change is left out
 */
export const answerHeaders = (
  { section, judged, nominated }: AnswerHead,
  changed: boolean,
  unsized: boolean,
  edit: (value: string, rule: AnswerRule | 'name') => string,
): string[] => {
  const kept: string[] = []
  judged.forEach(({ lower, rule }, i) => {
    if (rule === 'drop' || (rule === 'rewritten' && changed)) return
    if (nominated.includes(lower) || (unsized && lower === 'content-length')) return
    const name = section[2 * i] ?? ''
    // A name that would have to be altered says nothing that is worth repeating.
    if (edit(name, 'name') === name) kept.push(name, edit(section[2 * i + 1] ?? '', rule))
  })
  return kept
}

/** What a trailer may not say (RFC 9110 6.5.1): how to frame, route, cache, read or believe what came before it. */
const NEVER_TRAILS =
  /auth|cookie|token|session|secret|^(?:content-(?!digest$|md5$)|if-|x-(?:forwarded|original)-|sec-)|^(?:host|age|cache-control|date|expires|vary|warning|retry-after|range|te|expect|etag|last-modified|refresh|accept-ranges|max-forwards)$/
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** As `header:x` for what was not sent on; a name that could be a token is not repeated. */
const trailerName = (name: string): string =>
  name.length > 40 || /dpr_|eyj/i.test(name)
    ? 'trailer:[redacted]'
    : evidenceName(name.toLowerCase(), 'trailer')

/** Names of an agent's trailers, each once. None is sent on: the transport has no way to. */
export const namedTrailers = (rawTrailers: readonly string[]): readonly string[] => [
  ...new Set(rawTrailers.flatMap((name, i) => (i % 2 === 0 ? [trailerName(name)] : []))),
]

/**
 * A provider's trailers: those that the agent gets, and the names of the others.
 * @param changed the body changed: a digest of it is not true any more
 * @param edit what may be repeated of a text
 */
export const answerTrailers = (
  raw: readonly (string | Buffer)[],
  changed: boolean,
  edit: (text: string) => string,
): {
  readonly kept: readonly [string, string][]
  readonly dropped: readonly string[]
} => {
  const kept: [string, string][] = []
  const dropped = new Set<string>()
  for (let i = 0; i < raw.length; i += 2) {
    const [name, value] = [latin1(raw[i]), latin1(raw[i + 1]).trim()]
    const lower = name.toLowerCase()
    const rule = answerRule(lower)
    const harmless =
      (rule === 'keep' || (rule === 'rewritten' && !changed)) &&
      TOKEN.test(name) &&
      VALUE.test(value) &&
      !NEVER_TRAILS.test(lower)
    if (edit(name) !== name) dropped.add('trailer:[redacted]')
    else if (harmless) kept.push([name, edit(value)])
    else dropped.add(trailerName(name))
  }
  return { kept, dropped: [...dropped] }
}

export type AnswerScrubber = TokenScrubber & {
  /** The watcher for the body of an answer with this head; null: it cannot be searched. */
  readonly body: (status: number, type: string) => AnswerScrubber | null
}

/** Watches answers for the injected token; what the search needs is made once for each token. */
export const createScrubbers = (): ((token: Secret) => AnswerScrubber) => {
  const makers = new WeakMap<Secret, () => TokenScrubber>()
  return (token) => {
    let make = makers.get(token)
    if (make === undefined) makers.set(token, (make = tokenScrubbers(token.reveal())))
    const body: AnswerScrubber['body'] = (status, type) => {
      // Each part of it would begin and end somewhere in the document.
      if (status === 206 && /^multipart\//i.test(type.trim())) return null
      const found = inCharset(watcher, token.reveal(), type)
      if (found === null) return null
      if (found === watcher && status !== 206) return watcher
      return { ...(status === 206 ? atEdges(found, token.reveal()) : found), body }
    }
    const watcher: AnswerScrubber = { ...make(), body }
    return watcher
  }
}

const AUTH_PARAM = /(?<![a-z_])([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi
/** Visible ASCII and blanks: goes into an authorization request. */
const PLAIN = /^[\x20-\x7e]{1,500}$/

/**
 * The sign-in that an API demands by its 401 (RFC 9470 3, Microsoft's claims challenge); null: none.
 * @param clean leaves of a text what may be repeated: a member that echoes the token is left out, decoded as it is
 */
export const challengeIn = (
  wwwAuthenticate: string,
  clean: (text: string) => string,
): Challenge | null => {
  const asked = demanded(wwwAuthenticate)
  if (asked === null) return null
  return Object.fromEntries(Object.entries(asked).filter(([, text]) => clean(text) === text))
}

const demanded = (wwwAuthenticate: string): Challenge | null => {
  const params = authParams(wwwAuthenticate)
  const error = params.get('error')
  if (error === 'insufficient_user_authentication') {
    const acr = params.get('acr_values') ?? ''
    const age = params.get('max_age') ?? ''
    return {
      ...(PLAIN.test(acr) ? { acr_values: acr } : {}),
      ...(/^\d{1,9}$/.test(age) ? { max_age: age } : {}),
    }
  }
  if (error !== 'insufficient_claims') return null
  const encoded = params.get('claims') ?? ''
  const claims = encoded.length > 6_000 ? '' : Buffer.from(encoded, 'base64').toString('utf8')
  try {
    const parsed = parseStrict(claims)
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return {}
    return { claims: JSON.stringify(parsed) }
  } catch {
    return {} // It wants another sign-in all the same.
  }
}

const authParams = (wwwAuthenticate: string): ReadonlyMap<string, string> => {
  const params = new Map<string, string>()
  for (const [, name = '', quoted, bare] of wwwAuthenticate.slice(0, 16_384).matchAll(AUTH_PARAM))
    params.set(name.toLowerCase(), (quoted ?? bare ?? '').replaceAll(/\\(.)/g, '$1'))
  return params
}

/** The scopes that a 403 says the token lacks (RFC 6750 3.1); empty: it does not say. */
export const scopesLacking = (wwwAuthenticate: string): readonly string[] => {
  const params = authParams(wwwAuthenticate)
  if (params.get('error') !== 'insufficient_scope') return []
  return (params.get('scope') ?? '').split(/\s+/).filter((scope) => scope !== '')
}

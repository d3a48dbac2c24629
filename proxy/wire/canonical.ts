// Reads a request in one way, or refuses it: what policy decides on is sent byte for byte.
import type { Person, QueryPair, Target } from '../model.ts'
import { Problem } from '../problem.ts'
import { remembered } from '../memo.ts'

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Z]+$/
const PLAIN_NAME = /^[0-9a-z-]+$/
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
/** CONNECT asks for a tunnel; TRACE and TRACK echo the injected credential. */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE', 'TRACK'])
const NOT_PRINTABLE_ASCII = /[^\x21-\x7e]/
// oxlint-disable-next-line no-control-regex
const SEGMENT_REFUSED = /[\0-\x1f\x7f-\x9f\\;]/
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x1f\x7f-\x9f]/
const SCHEME = /^(?:https?|wss?|ftp|file):$/i
// Line and paragraph separators count as controls: they split lines of a log.
// oxlint-disable-next-line no-control-regex
const ID_REFUSED = /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/
// Field values: RFC 9110 5.5, obs-text as it came. A fold arrives here as CR, LF or NUL.
// oxlint-disable-next-line no-control-regex
const VALUE_REFUSED = /[^\t\x20-\x7e\x80-\xff]/

const invalid = (detail: string): Problem => new Problem('request_invalid', detail)

const decode = (raw: string, where: () => string): string => {
  if (!raw.includes('%')) return raw
  try {
    return decodeURIComponent(raw)
  } catch (cause) {
    const detail = `${where()} has an invalid percent escape, or is not UTF-8 once decoded`
    throw new Problem('request_invalid', detail, { cause })
  }
}

// A server that decodes before it splits sees each part between encoded slashes as a segment of its own.
const checkParts = (segment: string, where: () => string): void => {
  for (const part of segment.includes('/') ? segment.split('/') : [segment]) {
    const bare = part.trim() // some servers drop blanks at the end of a name
    if (bare === '') throw invalid(`${where()} is empty, or is empty beside an encoded slash`)
    if (bare === '.' || bare === '..') throw invalid(`${where()} is a dot segment`)
    if (SCHEME.test(part)) throw invalid(`${where()} holds the scheme of another URL`)
  }
}

/** What needs no second look: nothing escaped, no dots alone, no scheme. */
const PLAIN_SEGMENT = /^[\w-][\w.-]*$/
const PLAIN_PATH = /^(?:\/[\w-][\w.-]*)+$/

const readSegment = (raw: string, index: number, last: boolean): string => {
  if (PLAIN_SEGMENT.test(raw) || (raw === '' && last)) return raw
  const where = () => `segment ${index + 1} of the path`
  const segment = decode(raw, where)
  if (SEGMENT_REFUSED.test(segment)) {
    throw invalid(`${where()} holds a backslash, a semicolon or a control character`)
  }
  checkParts(segment, where)
  return segment
}

const PLAIN_PAIR = /^[\w-]+=[\w.,-]*$/

const readPair = (raw: string, index: number): QueryPair => {
  if (PLAIN_PAIR.test(raw)) {
    const at = raw.indexOf('=')
    return { raw, name: raw.slice(0, at), value: raw.slice(at + 1) }
  }
  const where = () => `parameter ${index + 1} of the query`
  const plain = raw.includes('+') ? raw.replaceAll('+', ' ') : raw
  const at = plain.indexOf('=')
  const name = decode(at === -1 ? plain : plain.slice(0, at), where)
  const value = at === -1 ? '' : decode(plain.slice(at + 1), where)
  if (CONTROL.test(name)) throw invalid(`${where()} has a control character in its name`)
  if (value.includes('\0')) throw invalid(`${where()} holds a zero byte`)
  return { raw, name, value }
}

const readQuery = (text: string): readonly QueryPair[] => {
  if (text === '') return []
  // Half the servers of the world split at `;` as well (opa-wasm pitfalls; RFC 1866 8.2.1).
  if (text.includes(';')) throw invalid('the query holds a semicolon; send it as %3B')
  return text
    .split('&')
    .filter((pair) => pair !== '')
    .map(readPair)
}

/**
 * The one reading of a request line.
 * @param pathAndQuery what will be sent to the provider: origin form, RFC 9112 3.2.1
 * @throws Problem `request_invalid`; the detail names the part, never its content
 */
export const canonicalTarget = (method: string, pathAndQuery: string): Target => {
  if (!METHOD.test(method)) throw invalid('the method is not a token in upper case')
  if (FORBIDDEN_METHODS.has(method)) throw invalid(`the method ${method} is never forwarded`)
  if (!pathAndQuery.startsWith('/')) throw invalid('the path does not begin with a slash')
  if (NOT_PRINTABLE_ASCII.test(pathAndQuery) || pathAndQuery.includes('#')) {
    throw invalid('the target holds a space, a control character, a byte outside ASCII or a #')
  }
  const mark = pathAndQuery.indexOf('?')
  const path = mark === -1 ? pathAndQuery : pathAndQuery.slice(0, mark)
  const raw = path.slice(1).split('/')
  return {
    method,
    path,
    raw,
    segments: PLAIN_PATH.test(path)
      ? raw
      : raw.map((segment, i) => readSegment(segment, i, i === raw.length - 1)),
    query: mark === -1 ? [] : readQuery(pathAndQuery.slice(mark + 1)),
  }
}

/** The bytes of a target as they are sent: path and query, escapes as they came. */
export const targetText = (target: Target): string =>
  target.query.length === 0
    ? target.path
    : `${target.path}?${target.query.map((pair) => pair.raw).join('&')}`

/** Servers of the CGI family read `x_a`, `x.a` and `x-a` as one header; so do we, when it matters. */
export const foldHeader = (lower: string): string =>
  PLAIN_NAME.test(lower) ? lower : lower.replaceAll(/[^0-9a-z]/g, '-')

/** Headers that a value of `Connection` names, lower case; usually none. */
export const nominated = (value: string): readonly string[] =>
  value
    .toLowerCase()
    .split(',')
    .map((option) => option.trim())
    .filter((option) => option !== '' && option !== 'close' && option !== 'keep-alive')

/** Headers that deputy itself acts on, each with its bit: none may come twice, folded, or named in `Connection`. */
const SINGLE: ReadonlyMap<string, number> = new Map(
  [
    'content-length',
    'transfer-encoding',
    'host',
    'content-type',
    'content-encoding',
    'deputy-connection',
  ].map((name, i) => [name, 1 << i]),
)
/** Policy would judge one method, and the provider run another. */
const OVERRIDES_METHOD =
  /^(?:x-)?(?:http-)?(?:method|verb)-?override$|^(?:x-)?http-(?:method|verb)$|^x-(?:http-)?(?:method|verb|original-method|rewrite-method|forwarded-method|request-method)$/
/** Is this header, folded, another word for the method? */
export const overridesMethod = (folded: string): boolean => OVERRIDES_METHOD.test(folded)
const LENGTH = 1
const CODING = 2
/** May come twice, and names others. */
const CONNECTION = 1 << SINGLE.size
const CONTROLS: ReadonlySet<string> = new Set([
  ...SINGLE.keys(),
  'connection',
  'authorization',
  'proxy-authorization',
  'prefer',
  'origin',
])

const checkNominated = (name: string, tag: string, agent: string): void => {
  const folded = foldHeader(name)
  // A hop that obeys would eat the tag, and the call would be somebody else's (RFC 9110 7.6.1).
  if (folded === tag || folded === 'authorization') {
    throw new Problem('unauthenticated', 'the Connection header names the header of the tag')
  }
  if (folded === agent)
    throw new Problem(
      'workload_unauthenticated',
      'the Connection header names the header of the workload’s token',
    )
  if (CONTROLS.has(folded) || folded.startsWith('deputy-')) {
    throw invalid(`the Connection header names ${folded}`)
  }
}

/**
 * Refuses header sections that two servers read differently.
 * @param tagHeader the configured header of the tag, in any case
 * @param agentHeader that of a workload's token
 * @returns a check of names and values in turn, as Node's `rawHeaders`. It throws Problem `request_invalid`;
 * `unauthenticated` and `workload_unauthenticated` when `Connection` names one of them (design 2.2)
 */
export const canonicalHeaders = (
  tagHeader: string,
  agentHeader = 'deputy-agent',
): ((rawHeaders: readonly string[]) => void) => {
  const own = [tagHeader.toLowerCase(), agentHeader.toLowerCase()]
  const [tag = '', agent = ''] = own.map(foldHeader)
  const bitOf = remembered((raw: string): number => {
    const name = raw.toLowerCase()
    if (name === 'connection') return CONNECTION
    if (own.includes(name)) return 0
    const folded = foldHeader(name)
    if (OVERRIDES_METHOD.test(folded))
      throw invalid('a header overrides the method: send the method itself')
    if (name !== tag && name !== agent && PLAIN_NAME.test(name)) return SINGLE.get(name) ?? 0
    if (!HEADER_NAME.test(name)) throw invalid('a header has a name that is not a token')
    if (folded === tag || folded === agent || CONTROLS.has(folded) || folded.startsWith('deputy-'))
      throw invalid(`a header reads as ${folded} on some servers and as another on others`)
    return 0
  })
  return (rawHeaders) => {
    let seen = 0
    let names: readonly string[] = []
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const raw = rawHeaders[i] ?? ''
      const value = rawHeaders[i + 1] ?? ''
      if (VALUE_REFUSED.test(value))
        throw invalid('a header is folded or holds a control character')
      const bit = bitOf(raw)
      if (bit === CONNECTION) {
        names = [...names, ...nominated(value)]
        continue
      }
      if ((seen & bit) !== 0) throw invalid(`the header ${raw.toLowerCase()} came twice`)
      seen |= bit
      if (bit === LENGTH && !/^[0-9]+$/.test(value))
        throw invalid('the content-length is not a number')
      if (bit === CODING && value.toLowerCase() !== 'chunked')
        throw invalid('the transfer-encoding is not chunked')
    }
    if ((seen & LENGTH) !== 0 && (seen & CODING) !== 0)
      throw invalid('content-length and transfer-encoding came together') // RFC 9112 6.1
    for (const name of names) checkNominated(name, tag, agent)
  }
}

/**
 * May this be a person's id? At most 256 bytes of UTF-8, no control or bidirectional characters (design 2.2); nor `.` or
 * `..`, which no path of an address can hold (RFC 3986 5.2.4): nobody could be exported, erased or switched off by them.
 */
export const validId = (id: string): boolean =>
  id !== '' &&
  id !== '.' &&
  id !== '..' &&
  id.isWellFormed() &&
  Buffer.byteLength(id) <= 256 &&
  !ID_REFUSED.test(id)

/** (tenant, realm, id), byte for byte: no folding, no trimming. */
export const samePerson = (a: Person, b: Person): boolean =>
  a.tenant === b.tenant && a.realm === b.realm && a.id === b.id

/**
 * The person in a first segment `~alice%40example.com`, decoded once.
 * @throws Problem `unauthenticated`
 */
export const decodePathPerson = (segment: string): string => {
  // A sealed tag (wire/address_tag) is longer than an id, and is opened later.
  if (/^~dps_[\w-]{1,32000}$/.test(segment)) return segment.slice(1)
  let id = ''
  try {
    if (segment.startsWith('~')) id = decodeURIComponent(segment.slice(1))
  } catch (cause) {
    const detail = 'the person in the path has an invalid percent escape'
    throw new Problem('unauthenticated', detail, { cause })
  }
  if (!validId(id)) throw new Problem('unauthenticated', 'the person in the path is not a valid id')
  return id
}
